"""Makes the tests' references: what PyTorch in Python answers to given inputs.

    python3 scripts/models/references.py .

reads `models/` and `tests/models/` under the repository's root and writes
`tests/references/{efficientnet_lite0,multi_io,tokens,dynamic}.json`. Each case is one request that
ran alone, on one thread, under inference mode, through the committed `model.pt` as it was loaded
(neither frozen nor optimised). `tests/references/README.md` says what the files hold.
"""

import json
import sys
from pathlib import Path

import numpy
import torch

import efficientnet_lite0
import repository  # one thread

DATATYPES = {torch.float32: "FP32", torch.int64: "INT64"}

FORMULA = (
    "data[i] = float32(((((floor(i / step) + offset) * 2654435761) mod 2^32) >> 8) / 2^24 * 2 - 1) * float32(scale), "
    "i counted over the whole tensor in row-major order; every step but the last product is exact in float32"
)


def formula(shape: list[int], offset: int, step: int, scale: float) -> torch.Tensor:
    index = numpy.arange(int(numpy.prod(shape)), dtype=numpy.uint64) // numpy.uint64(step) + numpy.uint64(offset)
    hashed = (index * numpy.uint64(2654435761)) & numpy.uint64(0xFFFF_FFFF)
    value = (hashed >> numpy.uint64(8)).astype(numpy.float32) / numpy.float32(2**24)
    value = (value * numpy.float32(2) - numpy.float32(1)) * numpy.float32(scale)
    return torch.from_numpy(value.reshape(shape))


def described(name: str, tensor: torch.Tensor) -> dict:
    """A tensor as the Open Inference Protocol writes it; a float32 is spelt as the float64 it equals."""
    return {
        "name": name,
        "datatype": DATATYPES[tensor.dtype],
        "shape": list(tensor.shape),
        "data": tensor.flatten().tolist(),
    }


def run(module: torch.jit.ScriptModule, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    with torch.inference_mode():
        outputs = module(*inputs)
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


def load(model: Path) -> torch.jit.ScriptModule:
    # Without these the second run of a shape goes through other, fused code than the first.
    torch._C._jit_set_profiling_executor(False)
    return torch.jit.load(model / "1" / "model.pt").eval()


def write(root: Path, model: str, tolerance: dict, cases: list[dict], **more) -> None:
    path = root / "tests" / "references" / f"{model}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {"model": model, "torch": torch.__version__.split("+")[0], "tolerance": tolerance, **more}
    lines = ",\n".join(json.dumps(case, allow_nan=False) for case in cases)
    path.write_text(json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n' + lines + "\n]}\n")


def plain(root: Path, model: str, inputs: list[str], outputs: list[str], requests) -> None:
    """References whose inputs are small enough to be written out."""
    module = load(root / "tests" / "models" / model)
    cases = [
        {
            "inputs": [described(*each) for each in zip(inputs, tensors)],
            "outputs": [described(*each) for each in zip(outputs, run(module, tensors))],
        }
        for tensors in requests
    ]
    write(root, model, {"absolute": 1e-5, "relative": 1e-5}, cases)


def multi_io(root: Path) -> None:
    generator = torch.Generator().manual_seed(31)
    normal = lambda *shape: torch.randn(*shape, generator=generator)
    requests = [[normal(n, 4), normal(n, 2, 3), normal(n, 1)] for n in (1, 1, 1, 1, 1, 1, 2, 3, 5, 8)]
    plain(root, "multi_io", ["vector", "matrix", "scale"], ["scores", "scaled", "best"], requests)


def tokens(root: Path) -> None:
    generator = torch.Generator().manual_seed(32)
    requests = []
    for rows, length in [(1, 1), (1, 2), (1, 5), (1, 7), (1, 16), (1, 33), (1, 64), (1, 128), (2, 7), (3, 16)]:
        ids = torch.randint(0, 1000, (rows, length), generator=generator)
        mask = torch.ones(rows, length, dtype=torch.int64)
        for row in range(1, rows):  # later rows are padded at the end
            mask[row, length - row :] = 0
        requests.append([ids, mask])
    requests.append([torch.tensor([[0, 999, 500, 1]]), torch.tensor([[1, 0, 1, 0]])])
    requests.append([torch.tensor([[17, 18, 19]]), torch.zeros(1, 3, dtype=torch.int64)])
    plain(root, "tokens", ["input_ids", "attention_mask"], ["embedding"], requests)


def dynamic(root: Path) -> None:
    generator = torch.Generator().manual_seed(33)
    shapes = [(1, 1), (1, 2), (1, 3), (1, 8), (1, 17), (1, 64), (1, 100), (1, 257), (2, 8), (4, 17)]
    requests = [[torch.randn(*shape, generator=generator)] for shape in shapes]
    plain(root, "dynamic", ["x"], ["running", "summary"], requests)


def image_classifier(root: Path) -> None:
    """Inputs of 150,528 values each, so they are given by a formula."""
    module = load(root / "models" / efficientnet_lite0.NAME)
    eager = efficientnet_lite0.load()
    cases = []
    for rows, offset, step, scale in [
        (1, 0, 1, 1.0),
        (1, 1000, 1, 0.25),
        (1, 65_537, 7, 1.0),
        (1, 1_000_003, 56, 0.75),
        (1, 123_456_789, 224, 1.0),
        (1, 2_000_000_011, 1792, 0.875),
        (1, 4_294_967_000, 7168, 1.0),
        (1, 31, 50_176, 0.5),
        (2, 42, 112, 0.625),
    ]:
        shape = [rows, 3, 224, 224]
        values = {"offset": offset, "step": step, "scale": scale}
        x = formula(shape, **values)
        (logits,) = run(module, [x])
        with torch.inference_mode():
            torch.testing.assert_close(logits, eager(x), rtol=1e-5, atol=1e-5)
        cases.append(
            {
                "inputs": [{"name": "x", "datatype": "FP32", "shape": shape, "formula": values}],
                "outputs": [described("logits", logits)],
            }
        )
    rows = torch.cat([torch.tensor(case["outputs"][0]["data"]).view(-1, 1000) for case in cases])
    apart = torch.cdist(rows, rows, p=float("inf")).fill_diagonal_(float("inf")).min().item()
    print(f"efficientnet_lite0: the two likest cases differ by {apart:.3f} in some logit")
    write(
        root,
        efficientnet_lite0.NAME,
        {"absolute": 1e-3, "relative": 1e-3},
        cases,
        formula=FORMULA,
        formula_example={"offset": 5, "step": 2, "scale": 0.5, "data": formula([8], 5, 2, 0.5).tolist()},
    )


def main(root: Path) -> None:
    multi_io(root)
    tokens(root)
    dynamic(root)
    image_classifier(root)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
