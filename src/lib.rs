//! Cresset serves PyTorch models: TorchScript behind a dynamic batcher, over
//! HTTP and gRPC, in one binary.
//!
//! This crate is the server. `ARCHITECTURE.md` describes its modules and the path
//! of a request. The server uses these crates of the workspace:
//!
//! - [`cresset_protocol`]: the Open Inference Protocol as plain types, JSON, binary
//!   and messages of gRPC.
//! - [`cresset_backend`]: the interface between serving and computing. Only an
//!   implementation of it, `cresset_libtorch`, names libtorch.
//! - [`cresset_scheduler`]: decides which requests run together, and when.
//! - [`cresset_clock`]: the one place that reads the clock.
//! - [`cresset_nvidia`]: NVIDIA's GPUs as their driver describes them.
//! - [`cresset_bicubic`]: resizes images.
//! - [`cresset_bench`] and [`cresset_healthcheck`]: the subcommands `bench` and
//!   `healthcheck`.

pub mod admission;
pub mod cli;
pub mod command_line;
pub mod context;
pub mod device_health;
pub mod devices;
pub mod engine;
pub mod error;
pub mod grpc;
pub mod http;
pub mod inspect;
pub mod instance;
pub mod links;
pub mod listen;
pub mod metrics;
pub mod model;
pub mod model_config;
pub mod model_repository;
pub mod model_settings;
pub mod serve;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
pub mod transform;
pub mod trial;
