//! The messages of `proto/`, as the build script made them.

/// A model's configuration: `proto/model_config.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::wildcard_enum_match_arm)]
pub mod config {
    include!(concat!(env!("OUT_DIR"), "/config/inference.rs"));

    /// The same messages' descriptors, encoded.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/config/inference.bin"));
}

/// What travels over gRPC: `proto/grpc_service.proto`. Tensors are slices of
/// the message that they came in.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::wildcard_enum_match_arm)]
pub mod inference {
    include!(concat!(env!("OUT_DIR"), "/service/inference.rs"));

    /// The descriptors of these messages, of those that they import and of the
    /// service, encoded.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/service/inference.bin"));
}
