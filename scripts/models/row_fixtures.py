"""Makes `tests/rows/*.pt`: modules whose outputs are rows of their inputs, and modules whose outputs aren't.

    python3 scripts/models/row_fixtures.py tests/rows

Each takes one tensor `x` of shape [batch, 4] unless its comment says otherwise. `tests/libtorch_rows.rs` serves
all of them with batching across callers configured.
"""

import sys
from pathlib import Path
from typing import Dict, List, Tuple

import torch
from torch import nn

import repository


# What batches.


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class Label(Linear):
    """One number a row, and its score."""

    def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        scores = self.layer(x)
        return scores.argmax(1), scores.amax(1)


class Recurrent(nn.Module):
    """The state behind the last step, of [batch, 4, 1]; the batch is in front of neither inside."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(1, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, state = self.gru(x.unsqueeze(2).transpose(0, 1))
        return state[0]


class Keyed(Linear):
    """By key, beside what isn't asked for: the mean over the batch."""

    def forward(self, x: torch.Tensor) -> Dict[str, torch.Tensor]:
        scores = self.layer(x)
        return {"scores": scores, "mean": scores.mean(0)}


class Normalised(nn.Module):
    """A batch normalisation that was trained."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


class Padded(nn.Module):
    """Three places for hits of each row, zeros where there are fewer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0.5, x, torch.zeros_like(x)).sort(1, descending=True)[0][:, :3]


class Late(Linear):
    """Refuses what nobody would guess."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x < 1000).any()):
            raise ValueError("expected values of 1000 and more")
        return self.layer(x - 1000)


class Table(nn.Module):
    """Rows of a table whose first two can't be asked for; `x` is INT64."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x < 2).any()):
            raise IndexError("the first two are taken")
        return self.table(x).sum(1)


# What doesn't.


class Hits(nn.Module):
    """The hits of the whole batch in one list."""

    def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        hits = torch.nonzero(x > 0.5)
        return hits, x[hits[:, 0], hits[:, 1]]


class Layers(Linear):
    """Hidden states of two layers: [2, batch, 3]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.layer(x)
        return torch.stack([one, one.relu()])


class TimeFirst(nn.Module):
    """[4, batch, 1], as a recurrent net gives it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.t().unsqueeze(2) * 2


class Flat(nn.Module):
    """[batch * 4]: every token of every row."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(-1) * 2


class Flips(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flip(0)


class Sorts(nn.Module):
    """The best rows first."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[x.sum(1).argsort(descending=True)]


class Centres(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0)


class SoftmaxOverRows(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.softmax(0)


class AddsUp(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.cumsum(0)


class Training(nn.Module):
    """A batch normalisation that was left in training, and keeps no statistics."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2, track_running_stats=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x.reshape(-1, 2, 2)).reshape(-1, 4)


class Suppresses(nn.Module):
    """Sets a row to zero where one before it is like it: rows of other requests count."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        near = torch.cdist(x, x) < 1.5
        before = near.tril(-1).any(1)
        return torch.where(before.unsqueeze(1), torch.zeros_like(x), x)


class Squeezes(nn.Module):
    """Loses the batch where it is 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * 2).squeeze()


class Best(nn.Module):
    """The three best rows, or all where there are fewer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        best: List[int] = [3, x.size(0)]
        return x[x.sum(1).topk(min(best))[1]]


class Random(nn.Module):
    """Another answer each time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand_like(x)


class BeyondFive(nn.Module):
    """Rows, up to batches of five."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flip(0) if x.size(0) > 5 else x * 1


class LateHits(nn.Module):
    """A list of hits, of values that nobody would guess."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x < 1000).any()):
            raise ValueError("expected values of 1000 and more")
        return x[x > 1000.5]


BY_ROW = [Linear, Label, Recurrent, Keyed, Normalised, Padded, Late, Table]
WHOLE = [
    Hits, Layers, TimeFirst, Flat, Flips, Sorts, Centres, SoftmaxOverRows, AddsUp, Training, Suppresses, Squeezes,
    Best, Random, BeyondFive, LateHits,
]  # fmt: skip


def snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for module in BY_ROW + WHOLE:
        torch.manual_seed(3)
        made = module()
        made = made.train() if module is Training else made.eval()
        repository.save(torch.jit.script(made), out / f"{snake(module.__name__)}.pt")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
