//! TorchScript, as `torch.jit.save` writes it.

use super::checksums;
use super::file_kind;
use super::format::{Allows, FormatNames, ModelFiles, ModelFormat, Switch};

/// The advice about a file of another format.
pub const EXPORT_TORCH_SCRIPT: &str = "export the model with torch.jit.trace or torch.jit.script";

const PYTHON: &str = "it is a switch of models in Python: for TorchScript there are INTRA_OP_THREAD_COUNT, \
    INTER_OP_THREAD_COUNT and the other switches of libtorch";

/// TorchScript: a zip archive of code and weights. It declares the arguments of
/// `forward`, but neither datatypes nor shapes.
pub static TORCH_SCRIPT: ModelFormat = ModelFormat {
    name: "TorchScript",
    files: ModelFiles {
        default_filename: "model.pt",
        extensions: &["pt", "pth", "ts", "torchscript"],
        rare_extensions: &["jit"],
        mismatch: |start| file_kind::told(start, EXPORT_TORCH_SCRIPT),
        whole: checksums::check,
    },
    names: FormatNames {
        platform: "pytorch_libtorch",
        backend: "pytorch",
        accepted: &["pytorch", "pytorch_libtorch", "libtorch"],
        runtime: "libtriton_pytorch.so",
        instead_of_runtime: "export the model with torch.jit",
    },
    switches: &[
        Switch::bool("DISABLE_OPTIMIZED_EXECUTION"),
        Switch::bool("INFERENCE_MODE"),
        Switch::bool("DISABLE_CUDNN"),
        Switch::bool("ENABLE_WEIGHT_SHARING"),
        Switch::bool("ENABLE_CACHE_CLEANING"),
        Switch::bool("ENABLE_JIT_EXECUTOR"),
        Switch::bool("ENABLE_JIT_PROFILING"),
        Switch::bool("ENABLE_TENSOR_FUSER"),
        Switch::count("INTER_OP_THREAD_COUNT"),
        Switch::count("INTRA_OP_THREAD_COUNT"),
        Switch::refused("NUM_THREADS", PYTHON),
        Switch::refused("NUM_INTEROP_THREADS", PYTHON),
        Switch::refused("TORCH_COMPILE_OPTIONAL_PARAMETERS", PYTHON),
        Switch::refused("EXECUTION_ENV_PATH", PYTHON),
        Switch::refused("FORCE_CPU_ONLY_INPUT_TENSORS", PYTHON),
        Switch::refused(
            "TRITON_BATCH_STRATEGY_PATH",
            "batches are formed by the server: libraries for that are not loaded",
        ),
    ],
    allows: Allows { share: true, batch: true, freeze: true, rewrite: true },
};
