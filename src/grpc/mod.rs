//! The gRPC surface: decode, call the engine, encode. A file for each
//! resource; codes in [`status`] alone.
//!
//! It runs on threads of its own, so that the clients of one surface don't
//! delay the other's. It adds four things to the framework:
//!
//! - Memory for messages is lent before they are read, and a message that comes
//!   too slowly is given up ([`body`]).
//! - A client's deadline ends its call at any point ([`call`]).
//! - A client that doesn't read its answer loses its connection
//!   ([`connection`]).
//! - A stop ends connections and streams that are between requests, and waits
//!   for the others ([`connection`]).

mod body;
mod call;
mod codec;
mod connection;
mod contents;
mod decode;
mod encode;
mod health;
mod inference;
mod measure;
mod metadata;
pub mod proto;
mod repository;
mod server;
mod service;
mod settings;
mod shared;
mod socket;
mod status;

pub use server::{Server, serve};
