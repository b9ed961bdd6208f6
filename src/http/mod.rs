//! The HTTP surface: decode, call the engine, encode. A file for each
//! resource; statuses in [`status`] alone.
//!
//! Four things that the web framework leaves open are closed here:
//! a client that hangs up cancels its request (half-closed connections are
//! not kept); bodies are never inflated by the framework, whose limit counts
//! too late, but in bounded steps ([`inflate`]); a body that comes too slowly is given up ([`body`]); and so is a
//! connection whose next request head doesn't come ([`connection`], which also
//! lets a stop lose nothing that was read).

mod body;
mod connection;
mod cors;
mod deflate;
mod encoding;
mod health;
mod inference;
mod inflate;
mod kserve;
mod metadata;
mod model_path;
mod not_offered;
mod plain;
mod prediction;
mod repository;
mod routes;
mod server;
mod settings;
mod shared_memory;
mod state;
mod statistics;
mod status;
mod tensorflow;

pub use cors::AllowedOrigins;
pub use routes::paths;
pub use server::{Listeners, Servers, serve};
