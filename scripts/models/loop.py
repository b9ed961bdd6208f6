"""The most that a model gives in Python: a loop over PyTorch, no server.

    python3 scripts/models/loop.py MODEL.pt SHAPE [SECONDS] [BATCH,…]

SHAPE is one FP32 input's without its batch: `3,224,224`. Prints a JSON object a line, for
`scripts/figures` to hold `examples/bare_loop.rs` to.
"""

import json
import os
import sys
import time

import torch


def main(file: str, shape: str, seconds: str = "1", batches: str = "1,8,16") -> None:
    dims = [int(d) for d in shape.split(",")]
    torch.set_num_threads(1)
    # Frozen, as Cresset and the bare loop have it.
    model = torch.jit.freeze(torch.jit.load(file, map_location="cpu").eval())
    for threads in sorted({1, len(os.sched_getaffinity(0))}):
        torch.set_num_threads(threads)
        for batch in (int(b) for b in batches.split(",")):
            x = torch.rand(batch, *dims)
            with torch.inference_mode():
                for _ in range(5):
                    model(x)
                runs, start = 0, time.perf_counter()
                while (spent := time.perf_counter() - start) < float(seconds):
                    model(x)
                    runs += 1
            print(json.dumps({"threads": threads, "batch": batch, "items_per_second": runs * batch / spent}))


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 5:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
