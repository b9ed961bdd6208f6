"""Writes one model of a model repository: `<name>/config.pbtxt` and `<name>/1/model.pt`.

Not a program: the others here import it.
"""

import os
import tempfile
from pathlib import Path

import torch

# Everything here is small, and one thread makes every run add up in the same order.
torch.set_num_threads(1)


def save(module: torch.jit.ScriptModule, path: Path) -> None:
    """Saves `module` as TorchScript, without the records that name source files.

    `torch.jit.save` puts a `.debug_pkl` beside each piece of code, which says where on the maker's
    disk each line stood. A server has no use for them, they differ from machine to machine, and
    their paths would turn up in error messages.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        full = os.path.join(scratch, "full.pt")
        torch.jit.save(module, full)
        reader = torch._C.PyTorchFileReader(full)
        writer = torch._C.PyTorchFileWriter(str(path))
        # Newer operators' files keep it elsewhere.
        records = reader.get_all_records()
        version = "version" if "version" in records else ".data/version"
        writer.set_min_version(int(reader.get_record(version)))
        for name in records:
            # The writer adds these of its own accord.
            if name.endswith(".debug_pkl") or name in (version, ".data/serialization_id"):
                continue
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
        writer.write_end_of_file()


def tensor(name: str, datatype: str, dims: list[int]) -> str:
    """One entry of `input` or `output`; `dims` leave the batch out."""
    return f'  {{ name: "{name}" data_type: TYPE_{datatype} dims: [ {", ".join(map(str, dims))} ] }}'


def config(name: str, max_batch_size: int, inputs: list[tuple], outputs: list[tuple]) -> str:
    """The text of a `config.pbtxt`; inputs and outputs are (name, datatype, dims)."""
    listed = lambda tensors: ",\n".join(tensor(*each) for each in tensors)
    return (
        f'name: "{name}"\n'
        'platform: "pytorch_libtorch"\n'
        f"max_batch_size: {max_batch_size}\n"
        f"input [\n{listed(inputs)}\n]\n"
        f"output [\n{listed(outputs)}\n]\n"
        "dynamic_batching { }\n"
    )


def write(repository: Path, name: str, module, max_batch_size: int, inputs, outputs) -> Path:
    """Writes a whole model and returns its directory."""
    directory = Path(repository) / name
    save(module, directory / "1" / "model.pt")
    (directory / "config.pbtxt").write_text(config(name, max_batch_size, inputs, outputs))
    return directory
