//! End to end: the real binary, real sockets, real models.
#![cfg(feature = "libtorch")]
// A test may say what it expects.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::cloned_ref_to_slice_refs
)]
// From outside there is no other clock.
#![allow(clippy::disallowed_methods)]

mod answers;
mod arguments;
mod batching;
mod bench;
mod classification;
mod compatibility;
mod compression;
mod configuration;
mod container;
mod containers;
mod control;
mod cors;
mod crashes;
mod datatypes;
mod declared;
mod devices;
mod grpc;
mod grpc_compression;
mod grpc_stopping;
mod hostile;
mod inspect;
mod kserve;
mod load;
mod naming;
mod non_finite;
mod operators;
mod padding;
mod pages;
mod photographs;
mod plain;
mod precision;
mod raw_body;
mod recipes;
mod repository;
mod server;
mod statistics;
mod stopping;
mod strings;
mod surface;
mod surfaces;
