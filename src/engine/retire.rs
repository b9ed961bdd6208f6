//! The end of versions that aren't served any more: first their requests are
//! answered, then they end, then their memory is given back.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::models::Models;
use crate::model::ServedModel;
use cresset_backend::Backend;

/// How often a version is checked for requests that it still has.
const LOOK: Duration = Duration::from_millis(10);

/// Ends versions that were taken out of the table.
pub(super) struct Retirement(Sender<Leaving>);

/// A version that requests can't find any more.
struct Leaving {
    model: Arc<ServedModel>,
    why: Why,
}

/// Why it left the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// A new version of the same number took its place.
    Replaced,
    /// It was unloaded: the table lists it until it has ended.
    Unloaded,
}

impl Retirement {
    /// Starts the thread that ends versions. It stops when this is dropped and
    /// the last version has ended.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn new(models: Arc<Models>, backend: Arc<dyn Backend>) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new().name("unload".to_owned());
        thread.spawn(move || see_off(&receiver, &models, backend.as_ref()))?;
        Ok(Self(sender))
    }

    /// Ends a version that was just taken out of the table.
    pub(super) fn add(&self, model: Arc<ServedModel>, why: Why) {
        if let Err(mpsc::SendError(leaving)) = self.0.send(Leaving { model, why }) {
            // The thread is gone by a bug of the server, so the version is
            // stopped here.
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

/// Ends a version that no request holds; returns it if a request does. A
/// request may hold it without being queued: it found the version just before
/// it left the table.
fn end(leaving: Leaving, models: &Models, backend: &dyn Backend) -> Option<Leaving> {
    let Leaving { model, why } = leaving;
    let model = match Arc::try_unwrap(model) {
        Ok(model) => model,
        Err(model) => {
            // The check for failed devices looks in the table only, where this
            // version isn't.
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
