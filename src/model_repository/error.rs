use std::io;
use std::path::PathBuf;

use crate::model_config::formats;

/// Why a repository can't be served from at all. One line, for the person who
/// started the server.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// Missing, or closed to this user.
    #[error("model repository '{}' can't be read: {}", .0.display(), reason(.1))]
    Unreadable(PathBuf, io::Error),
    /// A file that is no model's.
    #[error(
        "model repository '{}' is not a directory: expected a directory that holds <model>/<version>/{}, or \
         one model's file ({})",
        .0.display(),
        filename(),
        formats::extensions()
    )]
    NotADirectory(PathBuf),
    /// An address elsewhere.
    #[error(
        "model repository '{0}' is a remote address, and those aren't read: download the models before the server \
         starts (an init container, KServe's storage initializer, a volume) and give the directory that they are in"
    )]
    Remote(String),
    /// No directories in it.
    #[error("model repository '{}' holds no model: expected <model>/<version>/{}", .0.display(), filename())]
    Empty(PathBuf),
    /// A name that means two models.
    #[error(
        "model '{name}' is in two model repositories, '{}' and '{}': rename or remove one",
        first.display(), second.display()
    )]
    Duplicate {
        /// The model's.
        name: String,
        /// Where it was first.
        first: PathBuf,
        /// Where it is again.
        second: PathBuf,
    },
}

/// What a model's file is called, as a rule.
fn filename() -> &'static str {
    formats::default_format().files.default_filename
}

fn reason(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        return "no such directory".to_owned();
    }
    if error.kind() == io::ErrorKind::PermissionDenied {
        // SAFETY: it has no precondition.
        let user = unsafe { libc::geteuid() };
        return format!(
            "permission denied to user {user}, as whom this runs: chmod -R a+rX makes it readable"
        );
    }
    error.to_string()
}
