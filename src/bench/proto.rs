//! The messages of the inference protocol over gRPC.

pub(super) use crate::grpc::proto::*;
