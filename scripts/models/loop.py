"""The most that a model gives in Python: a loop over PyTorch, no server.

    python3 scripts/models/loop.py MODEL.pt --shape 3,224,224 [--batch 1,8,16] [--plan 1x2] [--seconds S]
                                   [--channels-last] [--for-inference | --unfrozen]

`--shape` is one FP32 input's without its batch. Prints a JSON object a line, for `scripts/limits` to hold
examples/bare to, which takes the same. One loop: an interpreter runs one thread at a time.
"""

import argparse
import json
import time

import torch


def main() -> None:
    options = parse()
    dims = [int(d) for d in options.shape.split(",")]
    torch.set_num_threads(1)
    model = prepared(options)
    torch.set_num_threads(int(options.plan.removeprefix("1x")))
    for batch in (int(b) for b in options.batch.split(",")):
        x = torch.rand(batch, *dims)
        if options.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            for _ in range(3):
                model(x)
            runs, start = 0, time.perf_counter()
            while (spent := time.perf_counter() - start) < options.seconds:
                model(x)
                runs += 1
        print(json.dumps({"plan": options.plan, "batch": batch, "items_per_second": runs * batch / spent}))


def prepared(options: argparse.Namespace) -> torch.nn.Module:
    """As Cresset and the bare loop have it: frozen, unless it is asked for as the file is."""
    model = torch.jit.load(options.model, map_location="cpu").eval()
    with torch.inference_mode():
        if options.channels_last:
            model = model.to(memory_format=torch.channels_last)
        if options.unfrozen:
            return model
        model = torch.jit.freeze(model)
        return torch.jit.optimize_for_inference(model) if options.for_inference else model


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--shape", required=True)
    parser.add_argument("--batch", default="1,8,16")
    parser.add_argument("--plan", default="1x1", help="1xTHREADS")
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--for-inference", action="store_true")
    parser.add_argument("--unfrozen", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
