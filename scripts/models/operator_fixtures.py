"""Makes `tests/operators/*.pt`: modules whose operators libtorch doesn't have, and what Python answers.

    python3 scripts/models/operator_fixtures.py tests/operators

One for each of torchvision's operators, torchvision's detectors (scripted, of random weights, as small as they
come), and one that calls an operator which no library of Python's brings. `references.json` beside them has what
goes in and what Python gives back, by the names of the arguments and in the order of the outputs.
"""

import json
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Dict, Tuple

import torch
import torchvision
from torch import Tensor, nn
from torchvision import ops
from torchvision.models.detection import FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign

import repository


class Nms(nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor) -> Tensor:
        return ops.nms(boxes, scores, 0.5)


class BatchedNms(nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor, classes: Tensor) -> Tensor:
        return ops.batched_nms(boxes, scores, classes, 0.5)


class RoiAlign(nn.Module):
    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        return ops.roi_align(x, boxes, (3, 2), 0.5, 2, True)


class RoiPool(nn.Module):
    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        return ops.roi_pool(x, boxes, (2, 2), 0.5)


class PsRoiAlign(nn.Module):
    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        return ops.ps_roi_align(x, boxes, 2, 0.5, 2)


class PsRoiPool(nn.Module):
    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        return ops.ps_roi_pool(x, boxes, 2, 0.5)


class DeformConv2d(nn.Module):
    """With weights of its own, as a layer has it."""

    def __init__(self):
        super().__init__()
        self.layer = ops.DeformConv2d(4, 3, 3, padding=1)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        return self.layer(x, offset, mask)


class Twice(nn.Module):
    """Asks for an operator that a test's own library has."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.cresset_test.twice(x)


def layer(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride=2, padding=1), nn.ReLU())


class Backbone(nn.Module):
    """Two levels of features, an eighth and a sixteenth of the picture."""

    def __init__(self, channels: int):
        super().__init__()
        self.out_channels = channels
        self.first = nn.Sequential(layer(3, channels), layer(channels, channels), layer(channels, channels))
        self.second = layer(channels, channels)

    def forward(self, x: Tensor) -> Dict[str, Tensor]:
        first = self.first(x)
        return OrderedDict([("0", first), ("1", self.second(first))])


class Detector(nn.Module):
    """One picture in, its detections out, as a server can ask for them: torchvision's own take and give lists."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        found = self.model([x[0]])[1][0]
        return found["boxes"], found["scores"], found["labels"]


class Masks(Detector):
    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        found = self.model([x[0]])[1][0]
        return found["boxes"], found["scores"], found["labels"], found["masks"]


CLASSES, CHANNELS, HIDDEN = 4, 8, 16
SIZES = dict(min_size=64, max_size=96, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.25, 0.3])


def anchors(count: int = 2) -> AnchorGenerator:
    return AnchorGenerator(((16,), (32,))[:count], ((0.5, 1.0, 2.0),) * count)


def rcnn(**more) -> dict:
    return dict(
        rpn_anchor_generator=anchors(),
        rpn_pre_nms_top_n_test=60,
        rpn_post_nms_top_n_test=30,
        box_roi_pool=MultiScaleRoIAlign(["0", "1"], 3, 2),
        box_head=TwoMLPHead(CHANNELS * 9, HIDDEN),
        box_predictor=FastRCNNPredictor(HIDDEN, CLASSES),
        box_score_thresh=0.01,
        box_detections_per_img=4,
        **SIZES,
        **more,
    )


def detectors() -> Dict[str, nn.Module]:
    masks = dict(
        mask_roi_pool=MultiScaleRoIAlign(["0", "1"], 4, 2),
        mask_head=MaskRCNNHeads(CHANNELS, (HIDDEN,), 1),
        mask_predictor=MaskRCNNPredictor(HIDDEN, HIDDEN, CLASSES),
    )
    boxes = DefaultBoxGenerator([[2], [2]], scales=[0.2, 0.5, 0.8])
    ssd = SSD(
        SsdBackbone(CHANNELS), boxes, (64, 64), CLASSES, score_thresh=0.01, detections_per_img=8,
        topk_candidates=40, image_mean=SIZES["image_mean"], image_std=SIZES["image_std"],
    )
    retina = RetinaNet(
        Backbone(CHANNELS), CLASSES, anchor_generator=anchors(), score_thresh=0.001, detections_per_img=8,
        topk_candidates=40, **SIZES,
    )
    return {
        "faster_rcnn": Detector(FasterRCNN(Backbone(CHANNELS), **rcnn())),
        "mask_rcnn": Masks(MaskRCNN(Backbone(CHANNELS), **rcnn(**masks))),
        "ssd": Detector(ssd),
        "retinanet": Detector(retina),
    }


class SsdBackbone(Backbone):
    """SSD asks the backbone for the number of channels of each level."""

    def __init__(self, channels: int):
        super().__init__(channels)
        self.out_channels = [channels, channels]


def spread(module: nn.Module, scale: float) -> nn.Module:
    """Weights so large that detections differ from each other by more than rounding, and so small that scores
    stay below 1."""
    for weights in module.parameters():
        # Biases too: RetinaNet begins with one that finds nothing.
        nn.init.normal_(weights, std=scale if weights.dim() > 1 else 0.5 * scale)
    return module


def operators() -> Dict[str, Tuple[nn.Module, Dict[str, Tensor]]]:
    corner = torch.rand(12, 2) * 20
    boxes = torch.cat([corner, corner + 2 + torch.rand(12, 2) * 10], 1)
    # Near each other, so that some are suppressed.
    near = torch.cat([boxes, boxes + 0.5], 0)
    scores = torch.randperm(24).float() / 24
    rois = torch.cat([torch.arange(12).remainder(2)[:, None].float(), boxes], 1)
    features = torch.randn(2, 8, 10, 12)
    small = torch.randn(2, 4, 6, 5)
    return {
        "nms": (Nms(), {"boxes": near, "scores": scores}),
        "batched_nms": (
            BatchedNms(), {"boxes": near, "scores": scores, "classes": torch.arange(24).remainder(3)},
        ),
        "roi_align": (RoiAlign(), {"x": features, "boxes": rois}),
        "roi_pool": (RoiPool(), {"x": features, "boxes": rois}),
        "ps_roi_align": (PsRoiAlign(), {"x": features, "boxes": rois}),
        "ps_roi_pool": (PsRoiPool(), {"x": features, "boxes": rois}),
        "deform_conv2d": (
            DeformConv2d(),
            {"x": small, "offset": torch.randn(2, 18, 6, 5), "mask": torch.rand(2, 9, 6, 5)},
        ),
    }


def told(tensor: Tensor, digits: int = 5) -> dict:
    """A tensor as the protocol's JSON has it."""
    datatype = {torch.float32: "FP32", torch.int64: "INT64"}[tensor.dtype]
    # Five digits say about as much as two processors agree on.
    values = [float(f"{value:.{digits}g}") if datatype == "FP32" else value for value in tensor.flatten().tolist()]
    return {"datatype": datatype, "shape": list(tensor.shape), "data": values}


def short(tensor: Tensor) -> Tensor:
    """The same in eight digits or fewer, where it is floating."""
    return (tensor * 64).round() / 64 if tensor.dtype == torch.float32 else tensor


def main(directory: Path) -> None:
    torch.manual_seed(14)
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    picture = torch.stack([torch.sin(rows / 5 + c) * torch.cos(columns / (4 + c)) for c in range(3)])[None] / 2 + 0.5
    cases = operators()
    for name, module in detectors().items():
        cases[name] = (spread(module, 0.3 if "rcnn" in name else 0.15), {"x": picture})
    # All detectors see the same one: it is written once.
    references = {"picture": told(short(picture), 8)}
    for name, (module, inputs) in cases.items():
        inputs = {key: short(value) for key, value in inputs.items()}
        scripted = torch.jit.script(module.eval())
        repository.save(scripted, directory / f"{name}.pt")
        with torch.no_grad():
            outputs = scripted(*inputs.values())
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        print(name, [tuple(output.shape) for output in outputs], (directory / f"{name}.pt").stat().st_size)
        references[name] = {
            "inputs": [
                {"name": key, **told(value, 8)} for key, value in inputs.items() if value.shape != picture.shape
            ],
            "outputs": [told(output) for output in outputs],
        }
    torch.library.define("cresset_test::twice", "(Tensor x) -> Tensor")
    repository.save(torch.jit.script(Twice()), directory / "twice.pt")
    (directory / "references.json").write_text(json.dumps(references) + "\n")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main(Path(sys.argv[1]))
