//! The whole of it: the real binary, real sockets, real models.
#![cfg(feature = "libtorch")]

mod answers;
mod batching;
mod hostile;
mod photographs;
mod repository;
mod server;
mod stopping;
mod surface;
