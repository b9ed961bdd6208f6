//! The messages of `proto/model_config.proto`, as the build script made them.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::wildcard_enum_match_arm)]

include!(concat!(env!("OUT_DIR"), "/inference.rs"));

/// The same messages' descriptors, encoded.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.bin"));
