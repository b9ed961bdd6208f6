//! The Open Inference Protocol v2 as plain types, and its forms on the wire.
//! No I/O, no libtorch, no web framework; imports nothing of ours.

mod datatype;

pub use datatype::{Datatype, UnknownDatatype};
