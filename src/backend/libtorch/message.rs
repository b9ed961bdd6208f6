//! libtorch's errors: a short line for the client, all of it for the log.

use crate::backend::BackendError;

/// An error of `forward`.
pub(super) fn execute_error(detail: String) -> BackendError {
    if out_of_memory(&detail) {
        let message = format!("PyTorch execute failure: out of memory: {}", line(&detail));
        return BackendError::OutOfMemory { message, detail };
    }
    BackendError::Execute { message: format!("PyTorch execute failure: {}", line(&detail)), detail }
}

/// An error of reading a file.
pub(super) fn load_error(detail: String) -> BackendError {
    if out_of_memory(&detail) {
        return BackendError::OutOfMemory {
            message: "out of memory while the model file was read".to_owned(),
            detail,
        };
    }
    let said = |words: &str| detail.contains(words);
    let message = if said("failed finding central directory") || said("failed reading zip archive") {
        "the model file isn't a TorchScript file, or is truncated: export it with torch.jit.script or \
         torch.jit.trace and save()"
            .to_owned()
    } else if said("constants.pkl") || said("file not found: code") {
        "the model file holds weights without code (torch.save): export the model with torch.jit.script or \
         torch.jit.trace and save()"
            .to_owned()
    } else {
        format!("the model file can't be loaded: {}", line(&detail))
    };
    BackendError::Load { message, detail }
}

fn out_of_memory(detail: &str) -> bool {
    detail.contains("can't allocate memory") || detail.contains("out of memory")
}

/// The line that tells most: the last that names an error, behind the trace
/// through the model's code; a call that doesn't fit the schema says it in its
/// first line.
fn line(detail: &str) -> &str {
    let lines = || detail.lines().map(str::trim).filter(|line| !line.is_empty());
    let names_an_error = |line: &&str| {
        line.split_once(':').is_some_and(|(kind, _)| kind.ends_with("Error") || kind.ends_with("Exception"))
    };
    lines().rfind(names_an_error).or_else(|| lines().next()).unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_telling_line_is_found() {
        let traced = "The following operation failed in the TorchScript interpreter.\n\
            Traceback of TorchScript, serialized code (most recent call last):\n  File \"code/x.py\", line 9\n\
            RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x785 and 784x512)\n";
        assert_eq!(
            execute_error(traced.to_owned()).to_string(),
            "PyTorch execute failure: RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x785 and 784x512)"
        );
        let missing =
            "forward() is missing value for argument 'input'. Declaration: forward(__torch__.M self)\n  x";
        assert!(execute_error(missing.to_owned()).to_string().contains("missing value for argument 'input'"));
        let memory = "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried";
        assert!(matches!(execute_error(memory.to_owned()), BackendError::OutOfMemory { .. }));
    }
}
