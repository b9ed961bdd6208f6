"""Makes the model `slow_rows`, which takes 15 ms of one processor for each row.

    python3 scripts/models/slow_rows.py OUT_DIR

writes `OUT_DIR/slow_rows/`: FP32 [4] in and the same out. A batch takes as long as its rows one by one, so the
server's capacity is 67 rows a second for each instance, however they are batched. How much there is to compute is
found by this program, on the machine that it runs on. `scripts/overload` sends the model more than it can do.
"""

import sys
import time
from pathlib import Path

import torch
from torch import nn

import repository

A_ROW = 0.015


class SlowRows(nn.Module):
    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        # It turns a vector and makes it a little longer: values neither vanish nor grow, and take the same time.
        self.register_buffer("weight", 1.2 * torch.linalg.qr(torch.randn(64, 64))[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.weight
        for _ in range(self.steps * x.size(0)):
            y = torch.tanh(y @ self.weight)
        return x + 0.0 * y.sum()


def main(models: Path) -> None:
    torch.manual_seed(15)
    torch.set_num_threads(1)
    steps = 200
    model = torch.jit.freeze(torch.jit.script(SlowRows(steps).eval()))
    taken = []
    for _ in range(40):
        start = time.perf_counter()
        model(torch.rand(1, 4))
        taken.append(time.perf_counter() - start)
    steps = round(steps * A_ROW / sorted(taken)[len(taken) // 2])
    scripted = torch.jit.script(SlowRows(steps).eval())
    repository.write(
        models, "slow_rows", scripted, max_batch_size=8,
        inputs=[("x", "FP32", [4])], outputs=[("y", "FP32", [4])],
    )  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
