//! The command that the server prints at start for a first request.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::engine::Engine;
use crate::model::ServedModel;
use crate::settings::ServeSettings;
use crate::transform::ItemKind;

/// The host port in README's `docker run`.
const PUBLISHED: u16 = 8080;

/// How a reader of the server's output can reach the server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reached {
    authority: String,
    /// Whether it runs in a container. Outside, its paths exist only if the checkout
    /// has them too.
    contained: bool,
}

impl Reached {
    fn new(http: SocketAddr, contained: bool) -> Self {
        let authority = match (contained, http.ip().is_unspecified()) {
            (true, true) => format!("localhost:{PUBLISHED}"),
            (false, true) => format!("localhost:{}", http.port()),
            (_, false) => http.to_string(),
        };
        Self { authority, contained }
    }
}

/// A command for a first request: a prediction of the default model, if there is
/// one, else the server's metadata. The input is the model's sample or an input
/// that the model ran on at load.
pub(super) fn line(engine: &Engine, settings: &ServeSettings, http: SocketAddr) -> String {
    let contained = ["/.dockerenv", "/run/.containerenv"].iter().any(|file| Path::new(file).exists());
    let reached = Reached::new(http, contained);
    let command = match engine.default_model() {
        Err(_) => format!("curl http://{}/v2", reached.authority),
        Ok(model) => command(&model, settings, &reached),
    };
    if contained && http.ip().is_unspecified() {
        return format!("{command}   # if it is published by -p {PUBLISHED}:{}", http.port());
    }
    command
}

fn command(model: &ServedModel, settings: &ServeSettings, reached: &Reached) -> String {
    let Reached { authority, contained } = reached;
    if let Some(preprocessor) = model.preprocessor() {
        let kind = preprocessor.kind();
        let some = || format!("{}.{}", kind.name, kind.suffixes.first().copied().unwrap_or("bin")).into();
        let item = sample(model.name(), kind, settings).unwrap_or_else(some);
        let shown = item.strip_prefix("/").ok().filter(|_| *contained).unwrap_or(&item);
        return format!("curl --data-binary @{} http://{authority}/predict", shown.display());
    }
    match model.example() {
        Some(body) => {
            format!(
                "curl -d '{}' http://{authority}/predictions/{}",
                body.replace('\'', "'\\''"),
                model.name()
            )
        }
        None => format!("curl http://{authority}/v2/models/{}", model.name()),
    }
}

/// A sample file in the model's directory.
fn sample(model: &str, kind: &ItemKind, settings: &ServeSettings) -> Option<PathBuf> {
    settings.model_repository.iter().find_map(|root| {
        let samples = std::fs::read_dir(root.join(model).join("samples")).ok()?;
        let files = samples.filter_map(|entry| Some(entry.ok()?.path()));
        let is_one = |path: &PathBuf| {
            path.extension().is_some_and(|end| kind.suffixes.iter().any(|suffix| end == *suffix))
        };
        files.filter(is_one).min()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_readers() {
        let at = |address: &str, contained| Reached::new(address.parse().unwrap(), contained).authority;
        assert_eq!(at("127.0.0.1:8000", false), "127.0.0.1:8000");
        assert_eq!(at("0.0.0.0:8000", false), "localhost:8000");
        assert_eq!(at("[::]:9000", false), "localhost:9000");
        assert_eq!(at("0.0.0.0:8000", true), "localhost:8080");
        assert_eq!(at("127.0.0.1:8000", true), "127.0.0.1:8000", "inside, and nowhere else");
    }
}
