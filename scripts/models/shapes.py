"""Makes the model `shapes`: a small convolutional network that takes images of any size.

    python3 scripts/models/shapes.py OUT_DIR

writes `OUT_DIR/shapes/`: FP32 [3, -1, -1] in and [10] out, random weights. libtorch makes a kernel for each
size and each batch of it; `scripts/limits` sends it many, and watches memory.
"""

import sys
from pathlib import Path

import torch
from torch import nn

import repository


def main(models: Path) -> None:
    torch.manual_seed(64)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    ).eval().requires_grad_(False)  # fmt: skip
    scripted = torch.jit.script(model)
    x = torch.rand(2, 3, 40, 56)
    torch.testing.assert_close(scripted(x), model(x), rtol=1e-4, atol=1e-5)
    repository.write(
        models, "shapes", scripted, max_batch_size=8,
        inputs=[("x", "FP32", [3, -1, -1])], outputs=[("scores", "FP32", [10])],
    )  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
