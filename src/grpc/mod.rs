//! The gRPC surface: decode, call the engine, encode. A file for each
//! resource; codes in [`status`] alone.
//!
//! It runs on threads of its own, so that neither surface's clients hold up
//! the other's. Four things that the framework leaves open are closed here: the
//! memory that messages take counts before they are read ([`body`], which also
//! gives up a message that comes too slowly); a client's deadline ends its
//! call, wherever that is ([`call`]); an answer that nobody reads ends its
//! connection; and a stop ends connections and streams that are between
//! requests, and waits for the others ([`connection`]).

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
