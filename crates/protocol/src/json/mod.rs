//! JSON, read and written. A scanner of our own reads it, for two reasons:
//!
//! - A tensor's numbers go directly into its bytes, typed by a `datatype` that
//!   may come before or after them.
//! - NaN and Infinity are numbers here (as in Triton), which a strict parser
//!   rejects.

mod columns;
mod decimal;
mod instances;
mod items;
mod numbers;
mod plain;
mod ragged;
mod request;
mod scan;
mod write;

pub use columns::{PredictForm, decode_predict, write_outputs};
pub use instances::{write_instances, write_predictions};
pub use items::{ItemNames, Items, items};
pub use plain::{decode_named_tensor, decode_named_tensors, is_inference_request, kind, write_named_tensors};
pub use ragged::{decode_named_rows, decode_predict_rows, write_named_rows, write_predict_rows};
pub use request::RESERVED;
pub(super) use request::{InputData, RequestHeader, read_request};
pub(super) use write::write_response;
