//! A model's instance: the long-lived thread that takes a batch, collects its
//! inputs, runs the model and cuts the outputs into responses.

mod classify;
mod collect;
mod execute;
mod inline;
mod joined;
mod limit;
mod overlapped;
mod pace;
mod padding;
mod places;
mod request;
mod respond;
mod row_state;
mod slot;
mod thread;
mod variants;
mod warm_up_queue;

pub use joined::split;
pub use padding::{CutBack, CutRule, Fill, Padding};
pub use request::{ModelAnswer, Order, QueuedRequest, Responder, SequencedAnswer};
pub use respond::{OutputLayout, Unfit, name_outputs};
pub use row_state::RowState;
pub use slot::ModelSlot;
pub use thread::{Instance, InstanceSettings, WarmUp, WarmUpSampleRun, spawn};
pub use warm_up_queue::WarmUpQueue;
