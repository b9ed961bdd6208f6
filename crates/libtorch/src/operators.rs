//! Operators that libtorch lacks: torchvision's, and those of users' own
//! libraries.
//!
//! A library registers its operators when it is opened, for the whole process
//! and as long as it lives. An exception of its initialisers can't be caught,
//! because it would have to pass through the loader. So two libraries that
//! register the same operator would end the server. Therefore a user's library
//! is opened in another process first ([`try_with`]), and a library that is
//! open already isn't opened again, even from another copy.
//!
//! torchvision's library is installed next to libtorch (`scripts/libtorch`). It
//! is opened when the first model's file names one of its operators, so that
//! other servers don't pay for it.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::Hasher as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::torch_folder::{c_path, torch_folder};
use super::{accelerators, error, ffi, library_trial};
use cresset_backend::{Accelerators, BackendError};
use cresset_nvidia::dl::Library;

/// The folder within libtorch's folder that holds torchvision's library, and
/// the stand-ins for libraries that it needs by name.
const TORCHVISION: &str = "torchvision";
const TORCHVISION_LIBRARY: &str = "libtorchvision.so";

/// The name of libtorch as a whole. The server links its parts.
const TORCH: &str = "libtorch.so";
/// Needed, without use, by any library built as an extension of Python's torch.
const PYTHON: &str = "libtorch_python.so";

/// libtorch's text for an unknown operator.
const UNKNOWN: &str = "Unknown builtin op: ";

/// A user's library that is open.
struct Opened {
    path: PathBuf,
    content: Content,
}

/// Identifies a library by its content.
type Content = (usize, u64);

static OPENED: Mutex<Vec<Opened>> = Mutex::new(Vec::new());

/// Opens a user's library, once.
pub(super) fn open(path: &Path, accelerators: &Accelerators) -> Result<(), BackendError> {
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let result = content(path).and_then(|content| {
        if opened.iter().any(|known| known.content == content) {
            return Ok(());
        }
        let real = fs::canonicalize(path).map_err(|error| error.to_string())?;
        if opened.iter().any(|known| known.path == real) {
            return Err("it has changed since it was opened, and the old one can't be closed: restart the \
                        server"
                .to_owned());
        }
        let before: Vec<&Path> = opened.iter().map(|known| known.path.as_path()).collect();
        library_trial::try_to_open(&before, torchvision_is_open(), &real)?;
        open_here(&real, accelerators)?;
        tracing::info!(library = %real.display(), "opened a library of operators");
        opened.push(Opened { path: real, content });
        Ok(())
    });
    result.map_err(|why| cannot_open(path, &why))
}

/// Opens it in this process, without a trial.
pub(super) fn open_here(path: &Path, accelerators: &Accelerators) -> Result<(), String> {
    open_stand_ins(accelerators);
    let path = c_path(path)?;
    // All symbols now, because a symbol that is missing in the middle of a
    // request would end the process.
    let flags = libc::RTLD_NOW | libc::RTLD_LOCAL;
    ffi::done(|error| {
        // SAFETY: the path is terminated, and lives as long as the call. The
        // library's initialisers are trusted.
        unsafe { ffi::cresset_open_library(path.as_ptr(), flags, error) }
    })
    .map_err(|failure| match failure {
        ffi::Failure::Said(why) => why,
        ffi::Failure::OutOfMemory => "out of memory".to_owned(),
    })
}

/// Loads a file. If it names an operator of torchvision that isn't there, it
/// opens torchvision's library and loads once more.
pub(super) fn with_torchvision<T>(
    accelerators: &Accelerators,
    load: impl Fn() -> Result<T, BackendError>,
) -> Result<T, BackendError> {
    let error = match load() {
        Err(error) if names_torchvision(error.detail()) => error,
        done => return done,
    };
    match open_torchvision(accelerators) {
        Ok(()) => load(),
        Err(why) => Err(BackendError::Load {
            message: format!(
                "{error}: {why}; run scripts/libtorch anew, or name a library that has torchvision's operators \
                 (torchvision/_C.so of Python's torchvision for the same libtorch): --op-library PATH"
            ),
            detail: error.detail().to_owned(),
        }),
    }
}

/// The advice about an operator or a class that libtorch doesn't know; `None`
/// if `detail` is about something else.
pub(super) fn unknown(detail: &str) -> Option<String> {
    const ADVICE: &str = "if a library brings it, name that: model_operations { op_library_filename: \"…\" } in \
                          config.pbtxt, or --op-library PATH";
    if let Some(name) = operator(detail) {
        let advice = match name.split_once("::") {
            // If it isn't open, `with_torchvision` says why.
            Some(("torchvision", _)) if torchvision_is_open() => {
                "torchvision's operators are here, and it isn't among them"
            }
            Some(("torchvision", _)) => return Some(format!("unknown operator {name}")),
            Some(("image", _)) => {
                "torchvision's decoding of images isn't here: [transform.image] in cresset.toml decodes photographs"
            }
            _ => ADVICE,
        };
        return Some(format!("unknown operator {name}: {advice}"));
    }
    let class = class(detail)?;
    Some(format!("unknown class {class}: {ADVICE}"))
}

/// `torchvision::nms`
fn operator(detail: &str) -> Option<&str> {
    let (_, rest) = detail.split_once(UNKNOWN)?;
    rest.lines().next().map(|name| name.trim_end_matches('.'))
}

/// `torch.classes.mine.Stack`: libtorch's text contains it only in the code,
/// above the marked place.
fn class(detail: &str) -> Option<&str> {
    const CLASSES: &str = "__torch__.torch.classes.";
    if !["cannot be used as a value", "Unknown type name", "Can't find class"]
        .iter()
        .any(|words| detail.contains(words))
    {
        return None;
    }
    let at = detail.find(CLASSES)?;
    let name = &detail[at + "__torch__.".len()..];
    let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(name.len());
    let name = &name[..end];
    Some(name.split(".__new__").next().unwrap_or(name))
}

fn names_torchvision(detail: &str) -> bool {
    operator(detail).is_some_and(|name| name.starts_with("torchvision::"))
}

fn torchvision_is_open() -> bool {
    // SAFETY: a terminated text.
    unsafe { ffi::cresset_has_operator(c"torchvision::nms".as_ptr()) != 0 }
}

/// Opens torchvision's library, once.
pub(super) fn open_torchvision(accelerators: &Accelerators) -> Result<(), String> {
    static OPEN: OnceLock<Result<(), String>> = OnceLock::new();
    // A user's library may be torchvision's, and both at once don't work.
    if torchvision_is_open() {
        return Ok(());
    }
    let open = || {
        let folder = torch_folder().ok_or("libtorch's folder isn't known")?.join(TORCHVISION);
        let library = folder.join(TORCHVISION_LIBRARY);
        if !library.is_file() {
            return Err(format!(
                "torchvision's operators ({TORCHVISION_LIBRARY}) aren't beside this libtorch"
            ));
        }
        let opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if !opened.is_empty() {
            // One of them may have operators of these names.
            let before: Vec<&Path> = opened.iter().map(|known| known.path.as_path()).collect();
            library_trial::try_to_open(&before, false, &library)?;
        }
        open_stand_ins(accelerators);
        // Lazily: images carry stubs for functions that aren't called.
        Library::open(&c_path(&library)?, libc::RTLD_LAZY | libc::RTLD_LOCAL).map_err(|why| {
            format!("torchvision's operators can't be opened: {}", without_folder(&why, &library))
        })?;
        tracing::info!("opened torchvision's operators");
        Ok(())
    };
    OPEN.get_or_init(open).clone()
}

/// Opens the libraries that others need by name, or stand-ins for them. The
/// loader goes by the libraries' own names, so the real ones take precedence if
/// they are open.
fn open_stand_ins(accelerators: &Accelerators) {
    let Some(folder) = torch_folder() else { return };
    let stand_ins = folder.join(TORCHVISION);
    let missing = accelerators::missing_files(accelerators);
    let by_name = std::iter::once(PYTHON).chain(missing).map(|name| stand_ins.join(name));
    for path in std::iter::once(folder.join(TORCH)).chain(by_name) {
        // If one is missing, the loader's error about the library that needs it
        // says so.
        if let Ok(path) = c_path(&path) {
            let _ = Library::open(&path, libc::RTLD_LAZY | libc::RTLD_LOCAL);
        }
    }
}

fn content(path: &Path) -> Result<Content, String> {
    let told = |error: std::io::Error| error.to_string();
    // Reading a pipe would block.
    if !fs::metadata(path).map_err(told)?.is_file() {
        return Err("it is not a file".to_owned());
    }
    let bytes = fs::read(path).map_err(told)?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    Ok((bytes.len(), hasher.finish()))
}

fn cannot_open(path: &Path, why: &str) -> BackendError {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let why_short = error::cut(&without_folder(why, path));
    let advice = if why.contains("undefined symbol: Py") || why.contains("undefined symbol: _Py") {
        "; it is an extension of Python's: build it without (torch.utils.cpp_extension.load(…, \
         is_python_module=False), or CMake with find_package(Torch))"
    } else if why.contains("undefined symbol: ") && (why.contains("c10") || why.contains("at")) {
        // SAFETY: a literal of the shim.
        let version = unsafe { ffi::text(ffi::cresset_torch_version()) }.unwrap_or_default();
        let message = format!(
            "the library of operators '{name}' can't be opened: {why_short}; build it for libtorch {version}"
        );
        return BackendError::Load { message, detail: format!("{}: {why}", path.display()) };
    } else {
        ""
    };
    BackendError::Load {
        message: format!("the library of operators '{name}' can't be opened: {why_short}{advice}"),
        detail: format!("{}: {why}", path.display()),
    }
}

/// Removes the path before the loader's message: it is the server's.
fn without_folder(why: &str, path: &Path) -> String {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut text = why.to_owned();
    for whole in [&real, &path.to_owned()] {
        text = text.trim_start_matches(&format!("{}: ", whole.display())).to_owned();
        if let (Some(folder), Some(_)) = (whole.parent(), whole.file_name())
            && folder.as_os_str().len() > 1
        {
            text = text.replace(&format!("{}/", folder.display()), "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_where_it_may_come_from() {
        let said = "\nUnknown builtin op: mine::twice.\nCould not find any similar ops to mine::twice.";
        let advice = unknown(said).unwrap_or_default();
        assert!(advice.starts_with("unknown operator mine::twice: if a library brings it"), "{advice}");
        assert!(advice.contains("op_library_filename") && advice.contains("--op-library"), "{advice}");
        let image = unknown("Unknown builtin op: image::decode_jpeg.\n").unwrap_or_default();
        assert!(image.contains("[transform.image]"), "{image}");
        let said = "\nClass Namespace cannot be used as a value:\n  File \"code/__torch__.py\", line 8\n    return \
                    torch.add(x, __torch__.torch.classes.mine.Stack.__new__(__torch__.torch.classes.mine.Stack).size())";
        let advice = unknown(said).unwrap_or_default();
        assert!(advice.starts_with("unknown class torch.classes.mine.Stack: "), "{advice}");
        assert_eq!(unknown("PytorchStreamReader failed reading zip archive"), None);
    }

    #[test]
    fn no_folder_of_the_server_reaches_a_client() {
        let path = Path::new("/srv/models/m/libmine.so");
        let why = "/srv/models/m/libmine.so: undefined symbol: _ZN2at6TensorE";
        let error = cannot_open(path, why);
        assert!(!error.to_string().contains("/srv"), "{error}");
        assert!(error.to_string().contains("'libmine.so' can't be opened: undefined symbol: _ZN2at6TensorE"));
        assert!(error.to_string().contains("build it for libtorch"), "{error}");
        let python = cannot_open(path, "/srv/models/m/libmine.so: undefined symbol: PyExc_RuntimeError");
        assert!(python.to_string().contains("is_python_module=False"), "{python}");
    }
}
