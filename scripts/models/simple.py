"""Makes the model `simple`: the sum and the difference of two rows of 16 integers.

    python3 scripts/models/simple.py models

It has the names, types and shapes of Triton's example of the same name, so that the clients'
examples run against it as they are.
"""

import sys
from pathlib import Path
from typing import Tuple

import torch

import repository


class Simple(torch.nn.Module):
    def forward(self, INPUT0: torch.Tensor, INPUT1: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        return INPUT0 + INPUT1, INPUT0 - INPUT1


def main(models: Path) -> None:
    repository.write(
        models,
        "simple",
        torch.jit.script(Simple().eval()),
        max_batch_size=8,
        inputs=[("INPUT0", "INT32", [16]), ("INPUT1", "INT32", [16])],
        outputs=[("OUTPUT0", "INT32", [16]), ("OUTPUT1", "INT32", [16])],
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
