"""What is served: the models, one row to ask with, and libtorch's answer to it."""

import array
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .machine import ROOT, Trouble

INPUT, OUTPUT = "INPUT__0", "OUTPUT__0"


@dataclass(frozen=True)
class Model:
    name: str
    title: str
    shape: tuple[int, ...]
    outputs: int
    # The most rows of a batch, for all: beyond it a bare loop over libtorch gains nothing.
    batch: int
    # Under twice the load that a server can bear, an answer within this is a good one. None where that isn't
    # measured: for a small model a refusal costs about what an answer does, and at twice the load the machine
    # is busy with HTTP alone, the generator's included; nothing that a server decides shows.
    limit_seconds: float | None

    @property
    def dims(self) -> str:
        return ",".join(map(str, self.shape))

    def repository(self, made: Path) -> Path:
        """The model repository that holds it, a folder of which `made` is for what isn't committed."""
        return ROOT / "tests" / "models" if self.name == "mlp" else made

    def file(self, made: Path) -> Path:
        return self.repository(made) / self.name / "1" / "model.pt"


MODELS = {
    "mlp": Model("mlp", "MLP (784-512-10)", (784,), 10, 32, None),
    "resnet18": Model("resnet18", "ResNet-18 (224 × 224)", (3, 224, 224), 1000, 8, 1.0),
}


@dataclass(frozen=True)
class Row:
    """A model's input in every form that a server here takes, each with the answer expected beside it."""

    model: Model
    # Raw floats, for plain bodies and for the Open Inference Protocol's own.
    raw: Path
    # {"data": …}
    json: Path
    # Both sides in perf_analyzer's form, which the generator checks answers by.
    cases: Path
    # A whole request in the binary form of the Open Inference Protocol, and how long its JSON is.
    binary: bytes
    header_length: int


def make_row(model: Model, file: Path, torch: Path, folder: Path) -> Row:
    """`torch` is a Python that has PyTorch: its answer is what all are held to."""
    raw, answer = folder / f"{model.name}.bin", folder / f"{model.name}.bin.expected.fp32"
    done = subprocess.run(
        [torch, Path(__file__).parent / "serving" / "reference.py", file, model.dims, raw, answer],
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode != 0:
        raise Trouble(f"PyTorch doesn't run {file}: {done.stderr.strip().splitlines()[-1:]}")
    x, y = floats(raw), floats(answer)
    text = folder / f"{model.name}.json"
    text.write_text(json.dumps({"data": nested(x, model.shape)}))
    expected = folder / f"{model.name}.json.expected.json"
    expected.write_text(json.dumps({"output": y}))
    cases = folder / f"{model.name}.cases"
    cases.write_text(json.dumps({"data": [{INPUT: x}], "validation_data": [{OUTPUT: y}]}))
    head = json.dumps({
        "inputs": [{
            "name": INPUT,
            "datatype": "FP32",
            "shape": [1, *model.shape],
            "parameters": {"binary_data_size": raw.stat().st_size},
        }],
        "parameters": {"binary_data_output": True},
    }).encode()
    return Row(model, raw, text, cases, head + raw.read_bytes(), len(head))


def floats(file: Path) -> list[float]:
    values = array.array("f")
    values.frombytes(file.read_bytes())
    return values.tolist()


def nested(values: list[float], shape: tuple[int, ...]) -> list:
    if len(shape) == 1:
        return values
    step = len(values) // shape[0]
    return [nested(values[at : at + step], shape[1:]) for at in range(0, len(values), step)]
