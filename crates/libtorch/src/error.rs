//! Converts libtorch's texts to errors that a client can read.
//!
//! libtorch's text has two kilobytes: a trace through the TorchScript code,
//! paths of the exporting machine, C++ frames. One line of it helps the client;
//! the rest goes to the log.

use std::path::Path;

use super::accelerators::libraries;
use super::cause::cause;
use super::ffi::Failure;
use super::{device, operators};
use cresset_backend::{
    AcceleratorKind, BackendError, Device, DeviceFault, EXPORT_TORCH_SCRIPT as EXPORT, TORCH_SCRIPT,
    file_kind,
};

/// A client's line is cut to this length: a model can put any text into its
/// messages.
const LONGEST_LINE: usize = 400;

/// Words that identify libtorch's texts for too little memory on the host; any
/// one of them suffices.
const OUT_OF_MEMORY: [&str; 2] = ["can't allocate memory", "std::bad_alloc"];

/// `forward` failed.
pub(super) fn execute(failure: Failure, device: Device) -> BackendError {
    let (message, detail) = match said(failure) {
        Ok(detail) => (format!("PyTorch execute failure: {}", line(&detail)), detail),
        Err(error) => return error,
    };
    classified(&message, &detail, device, device::probe).unwrap_or(BackendError::Execute { message, detail })
}

/// The file couldn't be loaded.
pub(super) fn load(failure: Failure, device: Device) -> BackendError {
    let detail = match said(failure) {
        Ok(detail) => detail,
        Err(error) => return error,
    };
    let names_accelerator = || {
        let detail = detail.to_lowercase();
        AcceleratorKind::ALL.iter().any(|kind| detail.contains(kind.name()))
    };
    let message = if device == Device::AsSaved && names_accelerator() {
        format!(
            "its tensors were saved on a GPU, where KIND_MODEL leaves them, and it can't be used here: take \
             KIND_AUTO, or KIND_CPU (can't be loaded: {})",
            line(&detail)
        )
    } else if detail.contains("constants.pkl") {
        not_torchscript(&format!(
            "it holds no code, as after torch.save of a module or a state_dict; {EXPORT}"
        ))
    } else if detail.contains("PytorchStreamReader") {
        not_torchscript("the zip archive is truncated or damaged")
    } else if let Some(unknown) = operators::unknown(&detail) {
        format!("can't be loaded: {unknown}")
    } else {
        format!("can't be loaded: {}", line(&detail))
    };
    classified(&message, &detail, device, device::probe).unwrap_or(BackendError::Load { message, detail })
}

/// Checks a file's kind and its checksums, before libtorch reads it: libtorch
/// reads a damaged weight as it is.
pub(super) fn inspect(path: &Path) -> Result<(), BackendError> {
    let unreadable = |error: std::io::Error| BackendError::Load {
        message: format!("the model file can't be read: {}", error.kind()),
        detail: format!("{}: {error}", path.display()),
    };
    let start = file_kind::start_of(path).map_err(unreadable)?;
    let message = match (TORCH_SCRIPT.files.mismatch)(&start) {
        Some(problem) => not_torchscript(&problem),
        None => match (TORCH_SCRIPT.files.whole)(path) {
            Ok(()) => return Ok(()),
            Err(damage) => damage,
        },
    };
    Err(BackendError::Load { detail: format!("{}: {message}", path.display()), message })
}

fn not_torchscript(problem: &str) -> String {
    format!("not a {} file: {problem}", TORCH_SCRIPT.name)
}

fn said(failure: Failure) -> Result<String, BackendError> {
    match failure {
        Failure::Said(detail) => Ok(detail),
        Failure::OutOfMemory => Err(BackendError::OutOfMemory {
            message: "PyTorch execute failure: out of memory".to_owned(),
            detail: "std::bad_alloc".to_owned(),
        }),
    }
}

/// The failures that are not caused by the request or the file. `probe` tells
/// whether an accelerator still answers, and its error if not.
fn classified(
    message: &str,
    detail: &str,
    device: Device,
    probe: impl FnOnce(Device) -> Result<(), String>,
) -> Option<BackendError> {
    let says = |words: &[&str]| words.iter().any(|word| detail.contains(word));
    // First, because a library that finds no memory may be on a failed device.
    let may_be_failed = !device.is_host() && libraries().any(|library| says(library.failure));
    let answer = if may_be_failed { probe(device).err() } else { None };
    let Some(answer) = answer else {
        let (message, detail) = (message.to_owned(), detail.to_owned());
        let no_memory = says(&OUT_OF_MEMORY) || libraries().any(|library| says(library.out_of_memory));
        return no_memory.then_some(BackendError::OutOfMemory { message, detail });
    };
    let fault = fault_in(detail, &answer);
    let cause = match fault {
        DeviceFault::Assert => ": an index out of range, as in an embedding, is the usual cause",
        DeviceFault::IllegalAddress | DeviceFault::Lost | DeviceFault::Unavailable => "",
    };
    let message = format!("{message}{cause}");
    Some(BackendError::Device { fault, message, detail: format!("{detail}\nthe device says: {answer}") })
}

/// The kind of a device's failure, by the first text and by its own answer.
fn fault_in(detail: &str, answer: &str) -> DeviceFault {
    let says = |words: &[&str]| words.iter().any(|word| detail.contains(word) || answer.contains(word));
    if libraries().any(|library| says(library.assert)) {
        DeviceFault::Assert
    } else if libraries().any(|library| says(library.illegal_address)) {
        DeviceFault::IllegalAddress
    } else {
        DeviceFault::Lost
    }
}

/// The one line that says what was wrong.
fn line(detail: &str) -> String {
    let message = cause(detail);
    let message = if message.is_empty() { "no reason given" } else { message.as_str() };
    // `forward() is missing value … Declaration: forward(__torch__.…`: names
    // that mean nothing to a client.
    let message = message.split(" Declaration: ").next().unwrap_or(message);
    let message = without_enforce(message);
    let message = without_folders(&message);
    cut(message.trim_end_matches('.'))
}

/// Without `[enforce fail at alloc_cpu.cpp:127] err == 0. `, the prefix of
/// allocators.
fn without_enforce(message: &str) -> String {
    let Some((before, rest)) = message.split_once("[enforce fail at ") else {
        return message.to_owned();
    };
    let reason = rest.split_once("] ").map_or(rest, |(_, reason)| reason);
    let reason = reason.split_once(". ").map_or(reason, |(_, reason)| reason);
    format!("{before}{reason}")
}

/// Removes the folders of paths: they are the server's, or the exporter's.
fn without_folders(message: &str) -> String {
    let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '(' | ')' | ',' | '[' | ']');
    message
        .split_inclusive(is_end)
        .map(|word| match word.rsplit_once('/') {
            Some((_, file)) if word.starts_with('/') => file,
            _ => word,
        })
        .collect()
}

/// The message, cut to the length of a client's line.
pub(super) fn cut(message: &str) -> String {
    match message.char_indices().nth(LONGEST_LINE) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execute(failure: Failure) -> BackendError {
        super::execute(failure, Device::Cpu)
    }

    fn load(failure: Failure) -> BackendError {
        super::load(failure, Device::Cpu)
    }

    const INTERPRETED: &str = "The following operation failed in the TorchScript interpreter.
Traceback of TorchScript, serialized code (most recent call last):
  File \"code/__torch__.py\", line 10, in forward
    return torch.linear(input, weight, bias)
           ~~~~~~~~~~~~ <--- HERE

Traceback of TorchScript, original code (most recent call last):
  File \"/home/somebody/export.py\", line 24, in forward
        return F.linear(input, self.weight, self.bias)
               ~~~~~~~~ <--- HERE
        # and more code
RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x785 and 784x512)
";

    fn said(text: &str) -> Failure {
        Failure::Said(text.to_owned())
    }

    #[test]
    fn a_client_gets_the_line_that_says_what_was_wrong() {
        let error = execute(said(INTERPRETED));
        assert_eq!(
            error.to_string(),
            "PyTorch execute failure: RuntimeError: \
             mat1 and mat2 shapes cannot be multiplied (2x785 and 784x512)"
        );
        assert_eq!(error.detail(), INTERPRETED);
    }

    #[test]
    fn a_missing_argument_is_named_without_mangled_types() {
        let error = execute(said(
            "forward() is missing value for argument 'x'. Declaration: \
             forward(__torch__.___torch_mangle_2.F s, Tensor x) -> Tensor\nException raised from …",
        ));
        assert_eq!(error.to_string(), "PyTorch execute failure: forward() is missing value for argument 'x'");
    }

    #[test]
    fn too_little_memory_has_a_class_of_its_own() {
        let error = execute(said(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: \
             you tried to allocate 140737488355328 bytes. Error code 12 (Cannot allocate memory)",
        ));
        assert!(matches!(error, BackendError::OutOfMemory { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            "PyTorch execute failure: DefaultCPUAllocator: can't allocate memory: \
             you tried to allocate 140737488355328 bytes. Error code 12 (Cannot allocate memory)"
        );
        assert!(matches!(execute(Failure::OutOfMemory), BackendError::OutOfMemory { .. }));
    }

    #[test]
    fn a_device_is_given_up_on_its_own_word_alone() {
        const ASSERT: &str = "CUDA error: device-side assert triggered\nCUDA kernel errors might …";
        let on = |text: &str, device, answer: Result<(), String>| classified("m", text, device, |_| answer);
        let broken = |text: &str| Err(format!("CUDA error: {text}"));
        let fault = |error: Option<BackendError>| match error {
            Some(BackendError::Device { fault, .. }) => Some(fault),
            _ => None,
        };
        let gpu = Device::cuda(0);
        assert_eq!(fault(on(ASSERT, gpu, broken("device-side assert triggered"))), Some(DeviceFault::Assert));
        let address = "an illegal memory access was encountered";
        let elsewhere = "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED";
        assert_eq!(fault(on(elsewhere, gpu, broken(address))), Some(DeviceFault::IllegalAddress));
        let launch = "CUDA error: unspecified launch failure";
        assert_eq!(fault(on(launch, gpu, broken("unspecified launch failure"))), Some(DeviceFault::Lost));
        // A model may raise any text, and so may a missing kernel.
        assert_eq!(on(ASSERT, gpu, Ok(())), None);
        assert_eq!(on(ASSERT, Device::Cpu, broken("never asked")), None);
        assert_eq!(on("RuntimeError: shapes", gpu, broken("never asked")), None);
        let blas = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`";
        assert!(matches!(on(blas, gpu, Ok(())), Some(BackendError::OutOfMemory { .. })));
        assert_eq!(fault(on(blas, gpu, broken("device-side assert triggered"))), Some(DeviceFault::Assert));
        let memory = on("CUDA out of memory. Tried to allocate 2.00 GiB", gpu, broken("never asked"));
        assert!(matches!(memory, Some(BackendError::OutOfMemory { .. })));
    }

    #[test]
    fn no_folder_reaches_a_client() {
        let error = load(said("open file failed, file path: /srv/models/m/1/model.pt"));
        assert_eq!(error.to_string(), "can't be loaded: open file failed, file path: model.pt");
        let error = execute(said("cannot read \"/etc/secret/key\" (a/b stays)"));
        assert_eq!(error.to_string(), "PyTorch execute failure: cannot read \"key\" (a/b stays)");
    }

    #[test]
    fn a_long_line_is_cut() {
        let error = execute(said(&"é".repeat(1000)));
        assert_eq!(error.to_string().chars().count(), "PyTorch execute failure: ".len() + LONGEST_LINE + 1);
    }
}
