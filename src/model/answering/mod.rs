//! A version in service: a request against it is checked, queued and answered.

pub(super) mod check;
pub(super) mod infer;
pub(super) mod served;
pub(super) mod values;
