//! A model's instance: the long-lived thread that takes a batch, collects its
//! inputs, runs the model and cuts the outputs into responses.

mod classify;
mod collect;
mod execute;
mod inline;
mod later;
mod limit;
mod overlapped;
mod pace;
mod places;
mod request;
mod respond;
mod slot;
mod thread;

pub use later::Later;
pub use request::{Answer, Leaving, Order, QueuedRequest, Responder};
pub use slot::ModelSlot;
pub use thread::{Instance, InstanceSettings, WarmUp, WarmUpInput, WarmUpSampleRun, spawn};
