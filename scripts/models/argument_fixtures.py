#!/usr/bin/env python3
"""Models whose forward takes more than tensors, for tests/arguments.

    scripts/models/argument_fixtures.py

Each says in its docstring what it computes: tests/e2e/arguments.rs holds answers to that. rate, scale, optional and
rnn beside them are files as people sent them, with Python's answers in the tests.
"""

from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "arguments"


class State(NamedTuple):
    h: torch.Tensor
    c: torch.Tensor


class Kinds(torch.nn.Module):
    """x * factor + count, negated with `negate`, and the length of `unit`."""

    def forward(
        self,
        x: torch.Tensor,
        count: int,
        factor: float = 2.0,
        negate: bool = False,
        unit: str = "m",
    ) -> Tuple[torch.Tensor, int]:
        y = x * factor + count
        return -y if negate else y, len(unit)


class Switch(torch.nn.Module):
    """x + 1; with `turn`, the rows in the opposite order."""

    def forward(self, x: torch.Tensor, turn: bool = False) -> torch.Tensor:
        return x.flip(0) + 1 if turn else x + 1


class Shifted(torch.nn.Module):
    """x + by, of any number of callers that have the same by."""

    def forward(self, x: torch.Tensor, by: int) -> torch.Tensor:
        return x + by


class Masked(torch.nn.Module):
    """x, times mask and plus bias where they are there."""

    def forward(
        self,
        x: torch.Tensor,
        mask: Optional[torch.Tensor] = None,
        bias: Optional[torch.Tensor] = None,
    ) -> torch.Tensor:
        if mask is not None:
            x = x * mask
        return x + bias if bias is not None else x


class Listed(torch.nn.Module):
    """The sum of a list, and how many there are."""

    def forward(self, parts: List[torch.Tensor]) -> Tuple[torch.Tensor, int]:
        total = torch.zeros_like(parts[0])
        for part in parts:
            total = total + part
        return total, len(parts)


class Nested(torch.nn.Module):
    """x + state.h - state.c + weights['a'][0] + weights['a'][1] + the sum of sizes; plus more[0] where it is there."""

    def forward(
        self,
        x: torch.Tensor,
        state: State,
        weights: Dict[str, Tuple[torch.Tensor, torch.Tensor]],
        sizes: List[int],
        more: Optional[Tuple[torch.Tensor, Optional[torch.Tensor]]] = None,
    ) -> torch.Tensor:
        total = 0
        for size in sizes:
            total += size
        a = weights["a"]
        y = x + state.h - state.c + a[0] + a[1] + total
        if more is not None:
            y = y + more[0]
        return y


class Keyed(torch.nn.Module):
    """left['a'] - right['a'], of two dictionaries."""

    def forward(self, left: Dict[str, torch.Tensor], right: Dict[str, torch.Tensor]) -> torch.Tensor:
        return left["a"] - right["a"]


class Defaults(torch.nn.Module):
    """Writes x into its default and gives that back: x, if each call has a default of its own."""

    def forward(self, x: torch.Tensor, total: torch.Tensor = torch.zeros(1)) -> torch.Tensor:
        total += x
        return total


class Deep(torch.nn.Module):
    """x + counts['a'] + each pair's product + box[0] + the sum of box[1]; timeout is an argument, too."""

    def forward(
        self,
        x: torch.Tensor,
        counts: Dict[str, int],
        pairs: List[Tuple[torch.Tensor, torch.Tensor]],
        box: Tuple[torch.Tensor, List[torch.Tensor]],
        timeout: int = 0,
    ) -> torch.Tensor:
        y = x + counts.get("a", 0) + box[0] + timeout
        for left, right in pairs:
            y = y + left * right
        for more in box[1]:
            y = y + more
        return y


class Placed(torch.nn.Module):
    """x on a device, which no request can send."""

    def forward(self, x: torch.Tensor, where: torch.device) -> torch.Tensor:
        return x.to(where)


def main() -> None:
    modules = [Kinds(), Switch(), Shifted(), Masked(), Listed(), Nested(), Keyed(), Defaults(), Deep(), Placed()]
    for module in modules:
        torch.jit.save(torch.jit.script(module.eval()), FOLDER / f"{type(module).__name__.lower()}.pt")


if __name__ == "__main__":
    main()
