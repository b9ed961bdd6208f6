//! Cresset serves PyTorch models: TorchScript behind a dynamic batcher, over
//! HTTP and gRPC, in one binary.
//!
//! The walk of a request is also the order in which the rooms may know each
//! other, downwards only:
//!
//! ```text
//! socket → http | grpc  head      to a context: name, caller, deadline, trace
//!        → engine       resolve   name and version to a served model, without a lock
//!        → admission    admit     or refuse, before anything is queued
//!        → http | grpc  decode    bytes to an inference request
//!        → engine       infer     one way in, whatever the form was
//!        → scheduler    queue     with its responder, its arrival and its deadline
//!        → scheduler    batch     a pure decision: form, wait until, idle
//!        → instance     collect   into the batch's buffer, once
//!        → backend      forward
//!        → instance     respond   slices to responders; statistics recorded once
//!        → protocol     encode    to the socket
//! ```
//!
//! [`protocol`] and [`error`] know nobody; [`backend`] is the seam under which
//! alone libtorch is named; [`transform`] stands beside the engine and turns
//! photographs into tensors and tensors into labels. [`trial`] runs a model on
//! inputs that no client sent. [`model_config`] and
//! [`model_settings`] read what stands beside a model's file.

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
