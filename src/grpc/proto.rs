//! The messages and the service of `proto/grpc_service.proto`, and a client for
//! it, as the build script made them.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::wildcard_enum_match_arm)]

include!(concat!(env!("OUT_DIR"), "/grpc/inference.rs"));

/// The same messages' descriptors, encoded, with those that they import.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/grpc/inference.bin"));
