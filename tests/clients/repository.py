"""The repositories that the tests serve: the repository's own models, under other configurations too."""

import shutil
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent
MODELS = CHECKOUT / "tests" / "models"
BACKEND = CHECKOUT / "tests" / "backend"

# What numpy (and ml_dtypes) has an element for.
DATATYPES = [
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64",
]  # fmt: skip


def identity(datatype: str) -> str:
    """The name of the model that gives tensors of this datatype back."""
    return f"identity_{datatype.lower()}"


def general(root: Path) -> Path:
    """Everything that needs no setting of its own."""
    shutil.copytree(MODELS, root, ignore=shutil.ignore_patterns("README.md"))
    shutil.copytree(CHECKOUT / "models" / "simple", root / "simple")
    identities(root)
    tensor = "data_type: TYPE_FP32 dims: [ 3 ]"
    labels = 'label_filename: "labels.txt"'
    config = f'max_batch_size: 8 input {{ name: "INPUT0" {tensor} }} output {{ name: "OUTPUT0" {tensor} {labels} }}'
    folder = model(root, "labelled", config, MODELS / "identity" / "1" / "model.pt")
    (folder / "labels.txt").write_text("cat\ndog\nfox\n")
    slow(root, "")
    return root


def few(root: Path) -> Path:
    """Two models, to be loaded and unloaded."""
    shutil.copytree(CHECKOUT / "models" / "simple", root / "simple")
    shutil.copytree(MODELS / "fails", root / "fails")
    return root


def identities(root: Path) -> None:
    for datatype in DATATYPES:
        tensor = f"data_type: TYPE_{datatype} dims: [ -1 ]"
        config = f'max_batch_size: 8 input {{ name: "INPUT0" {tensor} }} output {{ name: "OUTPUT0" {tensor} }} dynamic_batching {{ }}'
        model(root, identity(datatype), config, MODELS / "identity" / "1" / "model.pt")


def slow(root: Path, batching: str) -> None:
    """`slow`: a request takes about 2 ms, one after the other."""
    tensor = "data_type: TYPE_FP32 dims: [ 4 ]"
    config = f"""
      max_batch_size: 1
      input {{ name: "x" {tensor} }} output {{ name: "y" {tensor} }}
      instance_group {{ kind: KIND_CPU count: 1 }}
      {batching}
    """
    model(root, "slow", config, MODELS / "busy" / "1" / "model.pt")


def policies(root: Path) -> Path:
    """Models whose queues have priorities and time limits."""
    slow(
        root,
        """dynamic_batching {
          priority_levels: 2 default_priority_level: 2
          default_queue_policy { timeout_action: REJECT allow_timeout_override: true default_timeout_microseconds: 60000000 }
        }""",
    )
    return root


def strings(root: Path) -> Path:
    """Models that take strings, and give them."""
    strings = "data_type: TYPE_STRING dims: [ -1 ]"
    config = f'max_batch_size: 0 input {{ name: "words" {strings} }} output {{ name: "lengths" data_type: TYPE_INT64 dims: [ -1 ] }}'
    model(root, "lengths", config, BACKEND / "words.pt")
    config = f'max_batch_size: 0 input {{ name: "words" {strings} }} output {{ name: "same" {strings} }}'
    echo = model(root, "echo", config, BACKEND / "words.pt") / "1" / "model.pt"
    rewrite(echo, "-> Tensor", "-> List[str]", "return torch.tensor(_0)", "return words")
    one = "dims: [ 1 ] reshape { shape: [ ] }"
    config = f"""
      max_batch_size: 8
      input {{ name: "words" data_type: TYPE_STRING {one} }}
      output {{ name: "lengths" data_type: TYPE_INT64 {one} }}
    """
    model(root, "batched", config, BACKEND / "words.pt")
    return root


def model(root: Path, name: str, config: str, file: Path) -> Path:
    """One model, in the form that Triton's tools write: a folder, its configuration, its version."""
    folder = root / name
    (folder / "1").mkdir(parents=True)
    shutil.copy(file, folder / "1" / "model.pt")
    (folder / "config.pbtxt").write_text(f'name: "{name}" platform: "pytorch_libtorch" {config}\n')
    return folder


def rewrite(file: Path, *pairs: str) -> None:
    """Replaces text in a model's code, each first of a pair by the second."""
    with zipfile.ZipFile(file) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            if name.endswith(".py"):
                for old, new in zip(pairs[::2], pairs[1::2]):
                    assert old.encode() in content, f"{name} has no {old}"
                    content = content.replace(old.encode(), new.encode())
            archive.writestr(name, content)
