"""Makes `tests/backend/*.pt`: the smallest modules that are each odd in a way the backend must know.

    python3 scripts/models/backend_fixtures.py tests/backend
"""

import io
import sys
import zipfile
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import nn

import repository


class InPlace(nn.Module):
    """Changes a part of a buffer in place, through a view."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count[0:2].add_(1.0)
        return x + self.count


class KeepsInput(nn.Module):
    """Answers with what came before."""

    last: torch.Tensor

    def __init__(self):
        super().__init__()
        self.last = torch.zeros(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = self.last
        self.last = x
        return before


class ListElement(nn.Module):
    """Changes a tensor that it holds in a list."""

    held: List[torch.Tensor]

    def __init__(self):
        super().__init__()
        self.held = [torch.zeros(1)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.held[0].add_(1.0)
        return x + self.held[0]


class DictElement(nn.Module):
    """Changes a tensor that it holds in a dictionary."""

    held: Dict[str, torch.Tensor]

    def __init__(self):
        super().__init__()
        self.held = {"a": torch.zeros(1)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.held["a"].add_(1.0)
        return x + self.held["a"]


class Counter(nn.Module):
    """Sets a number."""

    calls: int

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x + self.calls


class SetsAttribute(nn.Module):
    """Holds a module that sets a number of its own."""

    def __init__(self):
        super().__init__()
        self.counter = Counter()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.counter(x)


class Remembers(nn.Module):
    """Puts what comes into a list."""

    seen: List[torch.Tensor]

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.sum())
        return torch.stack(self.seen)


class GivesItsState(nn.Module):
    """Hands the buffer out that the next forward changes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("state", torch.zeros(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.state.add_(x)
        return self.state


class Forked(nn.Module):
    """Changes a buffer in a task that runs beside."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def step(self, x: torch.Tensor) -> torch.Tensor:
        self.count.add_(1.0)
        return x + self.count

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.jit.wait(torch.jit.fork(self.step, x))


class Ordinary(nn.Module):
    """What convolutional networks do, all of it harmless in eval mode: batch normalisation that would
    count its batches in training, dropout, changes in place of what the forward made itself, a tensor
    of the module's joined with the input."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 1)
        self.norm = nn.BatchNorm1d(2)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5, inplace=True)
        self.token = nn.Parameter(torch.ones(1, 2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.norm(self.conv(x)))
        y += x
        y = torch.cat([self.token.expand(x.size(0), -1, -1), self.dropout(y)], dim=2)
        y[:, :, 0] = 7.0
        return y


class WritesInput(nn.Module):
    """Changes its argument in place and gives it back."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.add_(1.0)


class Views(nn.Module):
    """Parts of the input that share its memory, contiguous, strided and expanded; and a constant."""

    def __init__(self):
        super().__init__()
        self.register_buffer("constant", torch.tensor([5.0, 6.0]))

    def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        return x[1:], x.t(), x[0:1].expand(3, -1), self.constant


class Point(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


class Nested(nn.Module):
    """Every kind of container, and numbers."""

    def forward(
        self, x: torch.Tensor
    ) -> Tuple[torch.Tensor, Dict[str, Tuple[torch.Tensor, List[torch.Tensor]]], Point, int, float, bool]:
        return x, {"b": (x + 1, [x + 2, x + 3]), "a": (x + 4, [])}, Point(x + 5, x + 6), x.dim(), 0.5, True


class Fields(nn.Module):
    def forward(self, x: torch.Tensor) -> Dict[str, torch.Tensor]:
        return {"sum": x.sum(), "double": x * 2}


class Nothing(nn.Module):
    def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, Optional[torch.Tensor]]:
        return x, None


class Text(nn.Module):
    def forward(self, x: torch.Tensor) -> List[str]:
        return ["a", "b"]


class Complex(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.complex(x, x)


class Sparse(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.to_sparse()


class Datatypes(nn.Module):
    """One output of each type of element, from any input."""

    def forward(self, x: torch.Tensor) -> List[torch.Tensor]:
        return [
            x.to(torch.bool), x.to(torch.uint8), x.to(torch.uint16), x.to(torch.uint32), x.to(torch.uint64),
            x.to(torch.int8), x.to(torch.int16), x.to(torch.int32), x.to(torch.int64),
            x.to(torch.half), x.to(torch.bfloat16), x.to(torch.float), x.to(torch.double),
        ]  # fmt: skip


class Optionals(nn.Module):
    def forward(
        self, x: torch.Tensor, mask: Optional[torch.Tensor] = None, scale: float = 2.0, flip: bool = False
    ) -> torch.Tensor:
        return x * scale if mask is None else x * mask


class Words(nn.Module):
    def forward(self, words: List[str]) -> torch.Tensor:
        return torch.tensor([len(word) for word in words])


class Echo(nn.Module):
    """Gives strings back."""

    def forward(self, words: List[str]) -> List[str]:
        return words


class WordsAndNumbers(nn.Module):
    """Strings beside a tensor: how long each is times its number, the strings backwards, one of them all."""

    def forward(self, words: List[str], x: torch.Tensor) -> Tuple[torch.Tensor, Dict[str, List[str]]]:
        lengths = torch.tensor([len(word) for word in words], dtype=torch.float).unsqueeze(1)
        return lengths * x, {"backwards": [word[::-1] for word in words]}


class BesideDict(nn.Module):
    """Tensors beside a dictionary: x + left + 2 * right, and y as it came."""

    def forward(
        self, x: torch.Tensor, tensors: Dict[str, torch.Tensor], y: torch.Tensor
    ) -> Dict[str, torch.Tensor]:
        return {"sum": x + tensors["left"] + tensors["right"] * 2.0, "y": y}


class Scalars(nn.Module):
    """Numbers and a string of Python's, made of the input."""

    def forward(self, x: torch.Tensor) -> Tuple[int, float, bool, str]:
        return x.numel(), float(x.sum().item()), bool(x.sum() > 0), "of " + str(x.numel())


class MixesRows(nn.Module):
    """Its outputs have the batch in front, but a row's answer depends on its neighbours."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0, keepdim=True)


class WantsCuda(nn.Module):
    """A device is written into its code."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.ones(1, device=torch.device("cuda:0"))


class Log(nn.Module):
    """The infinities and NaN, from ordinary numbers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log(x)


class Picture(nn.Module):
    """Outputs that grow with the input, that don't, and one of a number a row."""

    def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return x.flatten(1), torch.stack([x.amax([1, 2, 3]), x.amin([1, 2, 3])], dim=1), x.sum([1, 2, 3])


class Modes(nn.Module):
    """Whether gradients are on, whether the result wants one, and whether it is an inference tensor."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> Tuple[bool, bool, bool]:
        y = self.linear(x)
        return torch.is_grad_enabled(), y.requires_grad, y.is_inference()


class Raises(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() < 0):
            raise ValueError("the sum is below zero\nand here is more")
        return x


class Scale(nn.Module):
    """A submodule that makes a tensor on the device that it was traced on."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.full((1,), 2.0, device=x.device)


class TracedOnGpu(nn.Module):
    """What a trace on a GPU writes down: the device, in the module's code and in a submodule's; a buffer
    and a constant beside them, which move with the file."""

    def __init__(self):
        super().__init__()
        self.scale = Scale()
        self.register_buffer("offset", torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = torch.arange(x.shape[-1], dtype=x.dtype, device=x.device)
        return self.scale(x) + steps + self.offset + torch.tensor([10.0])


class ScriptedForGpu(nn.Module):
    """Every way in which a script names a GPU, in a function and in a forked task too."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        return x.to("cuda:1") + 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        task = torch.jit.fork(self.branch, x)
        y = to_gpu(x) + torch.ones(2, device="cuda") + self.weight
        if bool(x.sum() > 0.0):
            y = y + x.to(torch.device("cuda", 3))
        return y + torch.jit.wait(task)


def to_gpu(x: torch.Tensor) -> torch.Tensor:
    return x.cuda()


class OnProcessors(nn.Module):
    """Goes to the processors by name."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.to("cpu") + 1.0


class Convolutional(nn.Module):
    """What is served in reduced precision: convolutions, normalisation, a classifier; and a whole number."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.wide = nn.Conv2d(8, 16, 3, padding=1)
        self.linear = nn.Linear(16, 10)
        self.norm.running_mean.uniform_(-0.5, 0.5)
        self.norm.running_var.uniform_(0.5, 2.0)

    def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        features = torch.relu(self.wide(torch.relu(self.norm(self.conv(x)))))
        logits = self.linear(features.mean([2, 3]))
        return logits, features, logits.argmax(1)


class Recurrent(nn.Module):
    """Holds its weights twice: as attributes, and in a list."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 8, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x)[0]


class Baked(nn.Module):
    """Makes a tensor of its input's type, which tracing writes down as FP32."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x + torch.ones(4, dtype=x.dtype))


def with_code(path: Path, old: str, new: str) -> bytes:
    """The archive with other code in it: operators that this libtorch doesn't have, devices that this
    machine doesn't have."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith(".py"):
                content = content.replace(old.encode(), new.encode())
            target.writestr(entry, content)
    return out.getvalue()


def with_location(path: Path, device: str) -> bytes:
    """The archive with its tensors saved from another device: a pickled text with its length in front."""
    text = lambda word: b"X" + len(word).to_bytes(4, "little") + word.encode()
    out = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith(".pkl"):
                content = content.replace(text("cpu"), text(device))
            target.writestr(entry, content)
    return out.getvalue()


SCRIPTED = {
    "in_place": InPlace,
    "keeps_input": KeepsInput,
    "list_element": ListElement,
    "dict_element": DictElement,
    "sets_attribute": SetsAttribute,
    "remembers": Remembers,
    "gives_its_state": GivesItsState,
    "forked": Forked,
    "ordinary": Ordinary,
    "writes_input": WritesInput,
    "views": Views,
    "nested": Nested,
    "fields": Fields,
    "nothing": Nothing,
    "text": Text,
    "complex": Complex,
    "sparse": Sparse,
    "datatypes": Datatypes,
    "optionals": Optionals,
    "words": Words,
    "echo": Echo,
    "words_and_numbers": WordsAndNumbers,
    "beside_dict": BesideDict,
    "scalars": Scalars,
    "mixes_rows": MixesRows,
    "wants_cuda": WantsCuda,
    "picture": Picture,
    "log": Log,
    "modes": Modes,
    "raises": Raises,
    "scripted_for_gpu": ScriptedForGpu,
    "on_processors": OnProcessors,
    "convolutional": Convolutional,
    "recurrent": Recurrent,
}


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, module in SCRIPTED.items():
        torch.manual_seed(3)
        scripted = torch.jit.script(module().eval())
        repository.save(scripted, out / f"{name}.pt")
    torch.manual_seed(3)
    repository.save(torch.jit.trace(Baked().eval(), torch.ones(1, 4)), out / "baked.pt")
    repository.save(torch.jit.script(nn.Linear(4, 2).bfloat16().eval()), out / "bf16.pt")
    repository.save(torch.jit.script(nn.Linear(4, 2).half().eval()), out / "fp16.pt")
    unknown = with_code(out / "complex.pt", "torch.complex(x, x)", "ops.nowhere.complex(x, x)")
    (out / "unknown_operator.pt").write_bytes(unknown)
    # Traced here and not on a GPU, so the device is put in by hand.
    repository.save(torch.jit.trace(TracedOnGpu().eval(), torch.zeros(2)), out / "traced_on_gpu.pt")
    traced = with_code(out / "traced_on_gpu.pt", 'torch.device("cpu")', 'torch.device("cuda:0")')
    (out / "traced_on_gpu.pt").write_bytes(traced)
    saved = with_location(out / "scripted_for_gpu.pt", "cuda:0")
    (out / "saved_on_gpu.pt").write_bytes(saved)
    torch.save({"weight": torch.zeros(2)}, out / "state_dict.pt")
    torch.save({"weight": torch.zeros(2)}, out / "old_state_dict.pt", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
