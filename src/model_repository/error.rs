use std::io;
use std::path::PathBuf;

use crate::model_config::formats;

/// Why a repository can't be served from at all. One line, for the operator.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// It is missing, or this user may not read it.
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
    /// It is a remote address.
    #[error(
        "model repository '{0}' is a remote address, and those aren't read: download the models before the server \
         starts (an init container, KServe's storage initializer, a volume) and give the directory that they are in"
    )]
    Remote(String),
    /// No directories in it.
    #[error("model repository '{}' holds no model: expected <model>/<version>/{}", .0.display(), filename())]
    Empty(PathBuf),
    /// Two models have the same name.
    #[error(
        "model '{name}' is in two model repositories, '{}' and '{}': rename or remove one",
        first.display(), second.display()
    )]
    Duplicate {
        /// The model's name.
        name: String,
        /// The first repository that holds it.
        first: PathBuf,
        /// The second one.
        second: PathBuf,
    },
}

/// The usual name of a model's file.
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
            "permission denied to user {user}, which this process runs as: chmod -R a+rX makes it readable"
        );
    }
    error.to_string()
}
