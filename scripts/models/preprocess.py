"""A photograph to the tensor that `efficientnet_lite0` takes, and its logits to labels.

Not a program: the others here import it. It says in Python what `cresset.toml` beside the model
declares, and the references in `tests/references/photographs.json` come from it:

1. the EXIF orientation is applied;
2. samples of 16 bits become 8 (the high byte), grey and palette become RGB, CMYK becomes RGB
   as (255 - c)(255 - k) / 255, and alpha is dropped: the colour below it stays as it is stored;
3. the short side becomes 256 pixels and the long side floor(256 * long / short), bicubic
   (a = -0.5) and antialiased, rounded to 8 bits after each of the two passes, across first;
4. the middle 224 x 224 pixels are taken, from round((size - 224) / 2), where a half goes to the
   even neighbour;
5. value = (pixel - 127) / 128, as [1, 3, 224, 224].
"""

import numpy
import torch
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional

SHORT_SIDE, CROP, MEAN, STD = 256, 224, 127.0, 128.0


def to_rgb(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # Pillow's conversion of 16-bit grey would clip, not scale
        image = Image.fromarray((numpy.asarray(image).astype(numpy.uint16) >> 8).astype(numpy.uint8))
    if image.mode == "P":  # by way of RGBA, as Pillow asks for where the palette has transparency
        image = image.convert("RGBA")
    return image.convert("RGB")


def pixels(image: Image.Image) -> Image.Image:
    """Resized and cropped, still 8 bits a channel."""
    resized = functional.resize(to_rgb(image), SHORT_SIDE, InterpolationMode.BICUBIC)
    return functional.center_crop(resized, CROP)


def tensor(image: Image.Image) -> torch.Tensor:
    return (functional.pil_to_tensor(pixels(image)).float().unsqueeze(0) - MEAN) / STD


def top_k(logits: torch.Tensor, labels: list[str], k: int = 5) -> list[dict]:
    probability, index = logits.softmax(dim=1)[0].topk(k)
    return [
        {"index": i, "label": labels[i], "probability": p}
        for p, i in zip(probability.tolist(), index.tolist())
    ]
