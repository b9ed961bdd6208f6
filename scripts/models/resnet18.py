"""Makes the model `resnet18`, with random weights: a load to measure, not a classifier.

    python3 scripts/models/resnet18.py OUT_DIR

writes `OUT_DIR/resnet18/` (46 MB, so it isn't kept in the repository): torchvision's ResNet-18,
seeded, traced, FP32 [3, 224, 224] in and [1000] out.
"""

import sys
from pathlib import Path

import torch
from torchvision.models import resnet18

import repository


def main(models: Path) -> None:
    torch.manual_seed(18)
    model = resnet18(weights=None).eval()
    with torch.no_grad():
        traced = torch.jit.trace(model, torch.rand(2, 3, 224, 224))
        x = torch.rand(5, 3, 224, 224)
        torch.testing.assert_close(traced(x), model(x), rtol=1e-4, atol=1e-5)
    repository.write(
        models,
        "resnet18",
        traced,
        max_batch_size=16,
        inputs=[("INPUT__0", "FP32", [3, 224, 224])],
        outputs=[("OUTPUT__0", "FP32", [1000])],
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
