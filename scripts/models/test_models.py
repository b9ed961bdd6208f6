"""Makes the models that the tests serve: small, seeded, each odd in one way.

    python3 scripts/models/test_models.py tests/models

| model      | what it is there to show |
|------------|--------------------------|
| multi_io   | three inputs and three outputs of different shapes and types |
| tokens     | two inputs of any length; rows of different lengths can't share a batch unpadded |
| dynamic    | one output whose length follows the input's, one whose length doesn't |
| lengths    | how many of each row's values count is an input; one output follows it, one says how long rows were |
| mlp        | the usual small network, with inputs and outputs named by index |
| busy       | about 2 ms of work, whatever the batch: a queue forms behind it |
| no_config  | a file with no configuration beside it |
| stateful   | a module that writes to itself: it can't be shared between instances |
| fails      | a real error of the runtime, caused by what the request holds |
| identity   | hands its input tensor back as its output |
| dict_input | one argument that is a dictionary of tensors |
"""

import sys
from pathlib import Path
from typing import Dict, Tuple

import torch
from torch import nn

import repository


class MultiIo(nn.Module):
    """Floats [4], [2, 3] and [1] in; floats [5] and [2, 3] and an integer [1] out."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(11, 5)

    def forward(
        self, vector: torch.Tensor, matrix: torch.Tensor, scale: torch.Tensor
    ) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        scores = self.linear(torch.cat([vector, matrix.flatten(1), scale], dim=1))
        scaled = matrix * scale.unsqueeze(2) + vector[:, :3].unsqueeze(1)
        return scores, scaled, scores.argmax(dim=1, keepdim=True)


class Tokens(nn.Module):
    """The mean of the embeddings that the mask keeps, through a linear layer.

    Padding with any id and a mask of 0 leaves the answer as it is.
    """

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(1000, 32)
        self.linear = nn.Linear(32, 8)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        mask = attention_mask.unsqueeze(2).to(torch.float32)
        total = (self.embedding(input_ids) * mask).sum(dim=1)
        return self.linear(total / mask.sum(dim=1).clamp(min=1.0))


class Dynamic(nn.Module):
    """A weighted running sum as long as the input; and its mean, greatest and least value."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.75]))

    def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        summary = torch.stack([x.mean(dim=1), x.amax(dim=1), x.amin(dim=1)], dim=1)
        return x.cumsum(dim=1) * self.weight, summary


class Lengths(nn.Module):
    """The values that count less their mean, the mean itself, and how long rows came.

    What stands behind the values that count changes neither of the first two; whole numbers keep both exact.
    """

    def forward(self, x: torch.Tensor, length: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        counts = torch.arange(x.size(1), device=x.device).unsqueeze(0) < length
        mean = (x * counts).sum(dim=1, keepdim=True) / length.clamp(min=1)
        return (x - mean) * counts, mean, torch.full_like(length, x.size(1))


class Busy(nn.Module):
    """Gives x back after a chain of products that takes about 2 ms on one thread.

    The chain starts from something that depends on x, so that freezing can't work it out at load,
    and adds zero to the answer: the matrix is orthogonal, so nothing in it grows.
    """

    steps: int

    def __init__(self, steps: int):
        super().__init__()
        self.register_buffer("matrix", torch.linalg.qr(torch.randn(256, 256)).Q.contiguous())
        self.steps = steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        work = self.matrix + x.new_zeros([1])
        for _ in range(self.steps):
            work = work.matmul(self.matrix)
        return x + work.sum() * 0.0


class NoConfig(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class Stateful(nn.Module):
    """Counts the forwards in a buffer, in place, and adds the count to x."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count.add_(1.0)
        return x + self.count


class Fails(nn.Module):
    """Gives x back, unless some value in it is below zero: then it asks for rows that aren't there.

    The check is the runtime's own and made on the host, so it also leaves a GPU usable. One such
    value fails the whole batch that it is in.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        negative = int((x < 0).sum().item())
        return x.narrow(0, negative, x.size(0)).clone()


class Identity(nn.Module):
    def forward(self, INPUT0: torch.Tensor) -> torch.Tensor:
        return INPUT0


class DictInput(nn.Module):
    def forward(self, tensors: Dict[str, torch.Tensor]) -> torch.Tensor:
        return tensors["left"] + tensors["right"] * 2.0


def main(models: Path) -> None:
    def write(name, module, inputs, outputs, max_batch_size=8):
        scripted = torch.jit.script(module.eval().requires_grad_(False))
        repository.write(models, name, scripted, max_batch_size, inputs, outputs)

    torch.manual_seed(11)
    write(
        "multi_io",
        MultiIo(),
        [("vector", "FP32", [4]), ("matrix", "FP32", [2, 3]), ("scale", "FP32", [1])],
        [("scores", "FP32", [5]), ("scaled", "FP32", [2, 3]), ("best", "INT64", [1])],
    )
    torch.manual_seed(12)
    write(
        "tokens",
        Tokens(),
        [("input_ids", "INT64", [-1]), ("attention_mask", "INT64", [-1])],
        [("embedding", "FP32", [8])],
    )
    write("dynamic", Dynamic(), [("x", "FP32", [-1])], [("running", "FP32", [-1]), ("summary", "FP32", [3])])
    write(
        "lengths",
        Lengths(),
        [("x", "FP32", [-1]), ("length", "INT64", [1])],
        [("centred", "FP32", [-1]), ("mean", "FP32", [1]), ("came", "INT64", [1])],
    )
    (models / "lengths" / "cresset.toml").write_text('[padding]\nlength = "length"\ninputs = { x = {} }\n')
    torch.manual_seed(13)
    write(
        "mlp",
        nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10)),
        [("INPUT__0", "FP32", [784])],
        [("OUTPUT__0", "FP32", [10])],
        max_batch_size=32,
    )
    torch.manual_seed(14)
    write("busy", Busy(steps=6), [("x", "FP32", [4])], [("y", "FP32", [4])], max_batch_size=32)
    repository.save(torch.jit.script(NoConfig().eval()), models / "no_config" / "1" / "model.pt")
    write("stateful", Stateful(), [("x", "FP32", [4])], [("y", "FP32", [4])])
    write("fails", Fails(), [("x", "FP32", [4])], [("y", "FP32", [4])])
    write("identity", Identity(), [("INPUT0", "FP32", [-1])], [("OUTPUT0", "FP32", [-1])])
    write("dict_input", DictInput(), [("left", "FP32", [4]), ("right", "FP32", [4])], [("y", "FP32", [4])])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
