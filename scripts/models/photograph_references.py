"""Makes `tests/references/photographs.json`: what Python says of each of the tests' photographs.

    python3 scripts/models/photograph_references.py .

Each photograph goes through Pillow and `preprocess.py`, then through the committed
`efficientnet_lite0` on one thread. `wobble` is how far the probability of any of the five moves
when every sample of the decoded picture is off by -1, 0 or 1 at random, which is about what two
good JPEG decoders differ by.
"""

import json
import sys
from pathlib import Path

import numpy
import torch
from PIL import Image

import efficientnet_lite0
import preprocess
import references


def wobble(module, upright: Image.Image, top: list[dict], labels: list[str]) -> float:
    samples = numpy.asarray(upright).astype(numpy.int16)
    most = 0.0
    for seed in range(4):
        noise = numpy.random.default_rng(seed).integers(-1, 2, samples.shape)
        noisy = Image.fromarray(numpy.clip(samples + noise, 0, 255).astype(numpy.uint8))
        (logits,) = references.run(module, [preprocess.tensor(noisy)])
        probabilities = logits.softmax(dim=1)[0]
        most = max(most, *(abs(probabilities[t["index"]].item() - t["probability"]) for t in top))
    return round(most, 4)


def reference(module, path: Path, labels: list[str]) -> dict:
    with Image.open(path) as image:
        mode = image.mode
        upright = preprocess.to_rgb(image)
    crop = numpy.asarray(preprocess.pixels(upright)).astype(numpy.float64)
    (logits,) = references.run(module, [preprocess.tensor(upright)])
    top = preprocess.top_k(logits, labels)
    return {
        "file": path.name,
        "pillow_mode": mode,
        "upright_size": {"width": upright.width, "height": upright.height},
        "crop_mean": [round(mean, 4) for mean in crop.mean(axis=(0, 1)).tolist()],
        "top_5": top,
        "wobble": wobble(module, upright, top, labels),
    }


def main(root: Path) -> None:
    model = root / "models" / efficientnet_lite0.NAME
    module = references.load(model)
    labels = (model / "labels.txt").read_text().splitlines()
    files = sorted((root / "tests" / "photographs").iterdir()) + [model / "samples" / "cat.jpg"]
    photographs = [reference(module, path, labels) for path in files if path.suffix in (".jpg", ".png")]
    document = {
        "model": efficientnet_lite0.NAME,
        "torch": torch.__version__.split("+")[0],
        "pillow": Image.__version__,
        "photographs": photographs,
    }
    (root / "tests" / "references" / "photographs.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
