//! The Open Inference Protocol v2 as plain types, and its forms on the wire. No
//! I/O, no libtorch, no web framework; it imports no other crate of ours.

mod binary;
mod datatype;
mod element;
mod error;
mod inputs;
pub mod json;
pub mod messages;
mod metadata;
mod non_finite;
mod raw;
mod repository;
mod shape;
mod statistics;
mod strings;
#[cfg(test)]
mod tests;
mod types;

pub use binary::{EncodedResponse, decode_request, encode_response};
pub use datatype::{Datatype, UnknownDatatype};
pub use element::{Element, append_number, numbers};
pub use error::ProtocolError;
pub use inputs::{Inputs, LONGEST_NAME, MOST_DIMENSIONS, MOST_PARAMETERS, distinct};
pub use metadata::{ModelMetadata, ServerMetadata, TensorMetadata};
pub use non_finite::{NonFinite, NotFinite, Strict};
pub use raw::{RawInput, raw_request};
pub use repository::{
    IndexRequest, IndexedModel, IndexedState, LoadParameters, ParameterValue, UnloadParameters,
};
pub use shape::{element_count, expected_bytes, fill_shape};
pub use statistics::{BatchStatistics, DurationStatistic, InferenceStatistics, ModelStatistics, Statistics};
pub use strings::{MOST_STRINGS, Strings, check_strings, push_string};
pub use types::{
    InferenceRequest, InferenceResponse, OutputForm, RequestedOutput, ResponseFormat, Schedule, Tensor,
};
// Used by `with_element!`.
#[doc(hidden)]
pub use half::{bf16, f16};
