//! A version in service: a request against it is checked, queued and answered.

pub(super) mod batching;
pub(super) mod check;
mod infer;
mod overload;
pub(super) mod served;
mod values;
