"""Makes a row, and what PyTorch in Python answers to it.

    python3 scripts/peers/serving/reference.py MODEL.pt SHAPE ROW ANSWER

writes both as little-endian FP32. The row's values are 256ths, as of pixels: they are exact, and short in JSON.
"""

import sys
from pathlib import Path

import torch


def main(file: str, shape: str, row: str, answer: str) -> None:
    torch.manual_seed(1)
    x = torch.randint(0, 256, (1, *map(int, shape.split(",")))) / 256
    with torch.inference_mode():
        y = torch.jit.load(file, map_location="cpu").eval()(x)
    Path(row).write_bytes(x.numpy().tobytes())
    Path(answer).write_bytes(y.numpy().tobytes())


if __name__ == "__main__":
    if len(sys.argv) != 5:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
