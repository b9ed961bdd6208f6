//! Loading and unloading on demand: which clients may, and the outcome.

use std::net::IpAddr;
use std::sync::Arc;

use super::Engine;
use super::loader::{Loaded, Loader, Occasion};
use super::table::Transition;
use crate::error::{Error, ErrorCode, Result};
use crate::model_repository::validate_model_name;
use cresset_protocol::{IndexRequest, IndexedModel, IndexedState, LoadParameters, UnloadParameters};

/// `--model-control-mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ControlMode {
    /// Serves what the repository held at start.
    None,
    /// Looks at the repository from time to time, and follows it.
    Poll,
    /// Loads and unloads what it is asked to.
    Explicit,
}

/// Whether models are loaded and unloaded on demand, and for which clients.
#[derive(Debug, Clone, Copy)]
pub struct Control {
    mode: ControlMode,
    /// Whether other machines can reach the server.
    open: bool,
}

impl Control {
    /// In `mode`, on a server that listens on `host`.
    #[must_use]
    pub fn new(mode: ControlMode, host: IpAddr) -> Self {
        Self { mode, open: !host.to_canonical().is_loopback() }
    }

    /// Whether load and unload calls are refused that the mode would allow.
    #[must_use]
    pub fn closed_to_network(&self) -> bool {
        self.mode == ControlMode::Explicit && self.open
    }

    /// Refuses changes of the log's settings if other machines can reach the
    /// server: a client could silence the log.
    ///
    /// # Errors
    /// Changes are refused; the error says what to do.
    pub fn allow_log_changes(&self) -> Result<()> {
        if !self.open {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::PermissionDenied,
            "what is logged isn't changed on an address that others reach, and there are no keys yet to tell which clients \
             may: start the server with --log, or listen on a loopback address (--host 127.0.0.1)",
        ))
    }

    /// Refuses in Triton's words, if it has some.
    fn allow(&self) -> Result<()> {
        let mode = match self.mode {
            ControlMode::Explicit if !self.open => return Ok(()),
            ControlMode::Explicit => {
                return Err(Error::new(
                    ErrorCode::PermissionDenied,
                    "explicit model load / unload is not allowed on an address that others reach: \
                     a model is a program, and there are no keys yet to tell which clients may load one; \
                     listen on a loopback address (--host 127.0.0.1), \
                     or let --model-control-mode=poll follow the model repository",
                ));
            }
            ControlMode::None => "none",
            ControlMode::Poll => "poll",
        };
        Err(Error::unavailable(format!(
            "explicit model load / unload is not allowed if polling is enabled, \
             or without --model-control-mode=explicit: the model control mode is {mode}"
        )))
    }
}

impl Engine {
    /// Loads a model, or loads it again: versions that are new or changed are
    /// loaded, the others stay as they are. Returns when it answers.
    ///
    /// # Errors
    /// It isn't allowed, there is no such model, or the reason why the model or
    /// a version of it isn't served. Versions that answered before still
    /// answer.
    pub async fn load_model(&self, name: &str, parameters: LoadParameters) -> Result<()> {
        self.control.allow()?;
        validate_model_name(name).map_err(|error| Error::invalid(error.to_string()))?;
        if let Some(file) = parameters.files.first() {
            return Err(Error::new(
                ErrorCode::Unimplemented,
                format!(
                    "load parameter '{file}': a model's files aren't taken from a request: \
                     put them into the model repository and load the model without"
                ),
            ));
        }
        let model = name.to_owned();
        let outcome = self
            .in_turn(name, move |loader| loader.load(&model, parameters.config.as_deref(), Occasion::Serving))
            .await?;
        log(name, &outcome);
        answer(name, outcome)
    }

    /// Takes a model out of service. Returns when no further request finds it;
    /// earlier requests are answered. A missing model is no error, as with
    /// Triton.
    ///
    /// # Errors
    /// That it isn't allowed.
    pub async fn unload_model(&self, name: &str, parameters: UnloadParameters) -> Result<()> {
        self.control.allow()?;
        // Without ensembles nothing depends on a model.
        let UnloadParameters { unload_dependents: _ } = parameters;
        let model = name.to_owned();
        self.in_turn(name, move |loader| loader.unload(&model, Transition::Unloading)).await
    }

    /// What the model repository holds, whether it answers, and why not.
    ///
    /// # Errors
    /// That the repository can't be looked at now.
    pub async fn repository_index(&self, request: IndexRequest) -> Result<Vec<IndexedModel>> {
        let mut index = self.models().read().index();
        if request.ready {
            index.retain(|entry| entry.state == IndexedState::Ready);
        } else if self.control.mode == ControlMode::Explicit {
            // The index lists models that could be loaded, too.
            let loader = Arc::clone(&self.loader);
            let listing = self.pool().run(move || loader.repository().listing()).await?;
            let listing = listing.map_err(|error| {
                tracing::error!("{error}");
                Error::internal("the model repository can't be read; see the server's log")
            })?;
            let known: Vec<String> = self.models().read().names().map(str::to_owned).collect();
            let unknown = listing.into_iter().filter(|(name, _)| !known.contains(name));
            index.extend(unknown.map(|(name, wrong)| IndexedModel {
                name,
                version: String::new(),
                state: IndexedState::Unavailable,
                reason: match wrong {
                    None => "not loaded".to_owned(),
                    Some(_) => "model appears in two or more repositories".to_owned(),
                },
            }));
            // The versions of each stay in their order.
            index.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(index)
    }

    /// Runs work on a model on the loader's threads. Ends early if the server
    /// stops.
    async fn in_turn<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&Loader) -> T + Send + 'static,
    ) -> Result<T> {
        let loader = Arc::clone(&self.loader);
        let given = self.loader.turns().submit(name, move || work(&loader));
        let given = given.map_err(|error| {
            tracing::error!(%error, "there is no thread to load a model");
            Error::unavailable("the server has no thread left to load or unload a model")
        })?;
        tokio::select! {
            given = given => given.map_err(|_| Error::internal("loading ended in a panic; see the server's log")),
            () = self.stopping.cancelled() => Err(Error::unavailable("the server is stopping")),
        }
    }
}

/// The answer to the client, in Triton's form.
fn answer(name: &str, outcome: Loaded) -> Result<()> {
    if !outcome.found {
        return Err(Error::internal(format!(
            "failed to load '{name}', failed to poll from model repository: it has no directory of that name"
        )));
    }
    if outcome.failures.is_empty() {
        return Ok(());
    }
    let reasons = outcome.failures.iter().map(|problem| match problem.version {
        Some(version) => format!("version {version} is at UNAVAILABLE state: {};", problem.reason),
        None => format!("{};", problem.reason),
    });
    let reasons: Vec<String> = reasons.collect();
    // Triton has one text for a model that can't be read, and another for its
    // versions.
    let whole = outcome.failures.iter().all(|problem| problem.version.is_none());
    let failed = if whole {
        format!("failed to load '{name}', failed to poll from model repository")
    } else {
        format!("load failed for model '{name}'")
    };
    let answering: Vec<String> = outcome.answering.iter().map(ToString::to_string).collect();
    let answering = if answering.is_empty() { "none".to_owned() } else { answering.join(", ") };
    Err(Error::invalid(format!("{failed}: {} versions that answer: {answering}", reasons.join(" "))))
}

/// Logs the outcome of a model's load.
pub(super) fn log(name: &str, outcome: &Loaded) {
    for line in &outcome.loaded {
        tracing::info!("serving {line}");
    }
    for problem in &outcome.failures {
        tracing::error!(model = name, answering = ?outcome.answering, "not served: {problem}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(mode: ControlMode, host: &str) -> Option<(ErrorCode, String)> {
        let refused = Control::new(mode, host.parse().unwrap()).allow().err()?;
        Some((refused.code(), refused.message().to_owned()))
    }

    #[test]
    fn models_are_controlled_on_demand_from_this_machine_alone() {
        for host in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(refusal(ControlMode::Explicit, host), None, "{host}");
        }
        for host in ["0.0.0.0", "::", "10.0.0.1", "::ffff:0.0.0.0", "192.168.1.1"] {
            let (code, message) = refusal(ControlMode::Explicit, host).unwrap();
            assert_eq!(code, ErrorCode::PermissionDenied, "{host}");
            assert!(message.contains("no keys yet") && message.contains("--host 127.0.0.1"), "{message}");
            assert!(Control::new(ControlMode::Explicit, host.parse().unwrap()).closed_to_network());
        }
    }

    #[test]
    fn without_explicit_control_the_refusal_is_tritons() {
        for (mode, name) in [(ControlMode::None, "none"), (ControlMode::Poll, "poll")] {
            for host in ["127.0.0.1", "0.0.0.0"] {
                let (code, message) = refusal(mode, host).unwrap();
                assert_eq!(code, ErrorCode::Unavailable);
                let tritons = "explicit model load / unload is not allowed if polling is enabled";
                assert!(message.starts_with(tritons) && message.ends_with(name), "{message}");
            }
        }
    }
}
