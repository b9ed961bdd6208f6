//! The end of versions that aren't served any more: what they took in is
//! answered first, then they go, then their memory.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::models::Models;
use crate::model::ServedModel;
use cresset_backend::Backend;

/// How often a version that still has requests is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Where versions go that were taken out of the table.
pub(super) struct Retirement(Sender<Leaving>);

/// A version that nobody can find any more.
struct Leaving {
    model: Arc<ServedModel>,
    why: Why,
}

/// What took its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Another of the same number.
    Replaced,
    /// Nothing: the table tells of it until it is gone.
    Unloaded,
}

impl Retirement {
    /// Starts the thread that sees versions off; it ends when this is dropped
    /// and the last of them is gone.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn new(models: Arc<Models>, backend: Arc<dyn Backend>) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new().name("unload".to_owned());
        thread.spawn(move || see_off(&receiver, &models, backend.as_ref()))?;
        Ok(Self(sender))
    }

    /// Sees a version off that was just taken out of the table.
    pub(super) fn add(&self, model: Arc<ServedModel>, why: Why) {
        if let Err(mpsc::SendError(leaving)) = self.0.send(Leaving { model, why }) {
            // The thread is gone, by a bug of ours: better here than never.
            leaving.model.stop();
        }
    }
}

fn see_off(arrivals: &Receiver<Leaving>, models: &Models, backend: &dyn Backend) {
    let mut leaving: Vec<Leaving> = Vec::new();
    loop {
        let arrived = if leaving.is_empty() {
            arrivals.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            arrivals.recv_timeout(LOOK)
        };
        match arrived {
            Ok(model) => leaving.push(model),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if leaving.is_empty() => return,
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
        }
        leaving = leaving.into_iter().filter_map(|model| end(model, models, backend)).collect();
    }
}

/// Ends a version that no request holds; gives it back where one does. A
/// request that found it just before it left the table holds it, though it
/// stands in no queue yet.
fn end(leaving: Leaving, models: &Models, backend: &dyn Backend) -> Option<Leaving> {
    let Leaving { model, why } = leaving;
    let model = match Arc::try_unwrap(model) {
        Ok(model) => model,
        Err(model) => {
            // Nobody who looks for failed devices in the table sees this one.
            model.fail_waiting();
            return Some(Leaving { model, why });
        }
    };
    let (name, version) = (Arc::clone(model.name()), model.version());
    model.stop();
    drop(model);
    backend.release_memory();
    match why {
        Why::Replaced => tracing::debug!(model = &*name, version, "the replaced one is gone"),
        Why::Unloaded => {
            models.change(|table| table.unloaded(&name, version));
            tracing::info!(model = &*name, version, "unloaded");
        }
    }
    None
}
