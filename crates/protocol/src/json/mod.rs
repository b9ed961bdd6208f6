//! JSON, both ways. Read by a scanner of our own, because a tensor's numbers
//! go straight into its bytes, typed by a `datatype` that may stand before or
//! behind them, and because NaN and Infinity are numbers here (as for Triton),
//! which no strict parser takes.

mod columns;
mod decimal;
mod instances;
mod numbers;
mod photographs;
mod plain;
mod ragged;
mod request;
mod scan;
mod write;

pub use columns::{PredictForm, decode_predict, write_outputs};
pub use instances::{write_instances, write_predictions};
pub use photographs::{PhotographNames, Photographs, photographs};
pub use plain::{decode_named_tensor, decode_named_tensors, is_inference_request, kind, write_named_tensors};
pub use ragged::{decode_named_rows, decode_predict_rows, write_named_rows, write_predict_rows};
pub use request::RESERVED;
pub(super) use request::{InputData, RequestHeader, read_request};
pub(super) use write::write_response;
