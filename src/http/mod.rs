//! The HTTP surface: decode, call the engine, encode. A file for each
//! resource; statuses in [`status`] alone.
//!
//! It adds five things to the web framework:
//!
//! - A request that its head decides against is refused before its body, even
//!   if its client asks for 100 first ([`expect`]).
//! - A client that hangs up cancels its request: half-closed connections are
//!   not kept.
//! - Bodies are inflated in bounded steps ([`inflate`]); the framework's own
//!   limit counts too late.
//! - A body that comes too slowly is given up ([`body`]).
//! - A connection whose next request head doesn't come is ended, and a stop
//!   loses no request that was read ([`connection`]).

mod body;
mod connection;
mod cors;
mod deflate;
mod encoding;
mod expect;
mod finish;
mod health;
mod inference;
mod inflate;
mod kserve;
mod metadata;
mod model_path;
mod not_offered;
mod pages;
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
pub use pages::AllowedHosts;
pub use routes::paths;
pub use server::{Listeners, Servers, serve};
