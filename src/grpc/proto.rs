//! The messages of gRPC, and the service and a client for it, as the build
//! script made them.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::wildcard_enum_match_arm)]

pub use cresset_protocol::messages::inference::*;

include!(concat!(env!("OUT_DIR"), "/grpc/inference.rs"));
