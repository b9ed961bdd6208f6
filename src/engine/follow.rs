//! Following a repository that changes: `--model-control-mode=poll`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::control::log;
use super::loader::{Loader, Occasion};
use crate::model_repository::ModelStamp;

/// The state of a repository at the last look.
pub struct Follower {
    loader: Arc<Loader>,
    seen: BTreeMap<String, ModelStamp>,
    /// Why the last look failed, so that this is logged once.
    complaint: Option<String>,
}

impl Follower {
    /// Remembers the present state of the models of these names. To be called
    /// before they are loaded, so that the first look finds changes during the
    /// load, and all other models.
    #[must_use]
    pub fn begin(loader: Arc<Loader>, names: &[String]) -> Self {
        let mut watch = Self { loader, seen: BTreeMap::new(), complaint: None };
        watch.seen = watch.stamps().unwrap_or_default();
        watch.seen.retain(|name, _| names.contains(name));
        watch
    }

    /// Loads what is new or changed and unloads what is gone, each model in its
    /// turn, and returns when that is done. A model that is half copied fails,
    /// and is tried again when more of it is there. A repository that can't be
    /// read is left as it was.
    pub fn look(&mut self) {
        let Some(mut now) = self.stamps() else { return };
        let names: BTreeSet<&String> = self.seen.keys().chain(now.keys()).collect();
        let changed = names.into_iter().filter(|name| self.seen.get(*name) != now.get(*name));
        let changed: Vec<String> = changed.cloned().collect();
        let mut under_way = Vec::new();
        for name in changed {
            let (loader, model) = (Arc::clone(&self.loader), name.clone());
            let loading =
                self.loader.turns().submit(&name, move || loader.load(&model, None, Occasion::Serving));
            match loading {
                Ok(loading) => under_way.push((name, loading)),
                Err(error) => {
                    tracing::error!(model = name, %error, "there is no thread to load it now");
                    // The next look must find it changed again.
                    match self.seen.remove(&name) {
                        Some(before) => now.insert(name, before),
                        None => now.remove(&name),
                    };
                }
            }
        }
        for (name, loading) in under_way {
            if let Ok(outcome) = loading.blocking_recv() {
                log(&name, &outcome);
            }
        }
        self.seen = now;
    }

    fn stamps(&mut self) -> Option<BTreeMap<String, ModelStamp>> {
        match self.loader.repository().stamps() {
            Ok(stamps) => {
                self.complaint = None;
                Some(stamps)
            }
            Err(error) => {
                let complaint = error.to_string();
                if self.complaint.as_ref() != Some(&complaint) {
                    tracing::error!("{complaint}; what is served stays as it is");
                }
                self.complaint = Some(complaint);
                None
            }
        }
    }
}
