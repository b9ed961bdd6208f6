"""What torch says when TorchScript models fail: tests/failures/texts.json.

    python scripts/models/failure_texts.py

Each failure is a small model, saved and loaded again as a server has it, run
as traced, scripted, frozen or rewritten for inference. Beside each text stands
the cause that a client must be told, written down here by hand. Texts of CUDA
can't be made without a GPU: they are put together from the messages that torch
is known to give there, and say so in their names.
"""

import io
import json
import pathlib
import sys
from typing import Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn

INTO = pathlib.Path(__file__).resolve().parents[2] / "tests" / "failures" / "texts.json"


class Function(nn.Module):
    """A module around a function of tensors; traced, not scripted."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


class Embedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.embedding(ids)


class Nested(nn.Module):
    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * 2


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x)[0]


class OwnError(Exception):
    pass


class RaisesValue(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            raise ValueError("the sum must not be positive")
        return x


class RaisesLines(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            raise ValueError("two things are wrong:\nNote: the first\nand the second")
        return x


class RaisesFormatted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 7:
            raise RuntimeError(f"expected 7 dimensions, got {x.dim()}")
        return x


class RaisesIndex(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            raise IndexError("no such row")
        return x


class RaisesKey(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            raise KeyError("colour")
        return x


class RaisesType(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            raise TypeError("floats alone")
        return x


class RaisesNotImplemented(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            raise NotImplementedError("not yet: later")
        return x


class RaisesException(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            raise Exception("something")
        return x


class RaisesNothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            raise ValueError
        return x


class RaisesEmpty(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            raise ValueError("")
        return x


class RaisesOwn(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            raise OwnError("a type of its own")
        return x


class RaisesStack(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            raise ValueError("as if\na.py(3): forward\n    ~~~ <--- HERE\nfrom a trace")
        return x


class Asserts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert x.size(0) == 99, "99 rows are expected"
        return x


class AssertsSilently(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert x.size(0) == 99
        return x


class ListIndex(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        parts: List[Tensor] = [x]
        return parts[x.size(0) + 5]


class DictKey(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        parts: Dict[str, Tensor] = {"a": x}
        return parts["b"]


class PopEmpty(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        parts: List[Tensor] = []
        return parts.pop()


class Unwraps(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        maybe: Optional[Tensor] = None
        if x.sum() < 0:
            maybe = x
        return torch.jit._unwrap_optional(maybe)


class Divides(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * (5 // (x.size(0) - x.size(0)))


class Item(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.item()


class Parses(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * float("one" + str(x.size(0)))


def helper(x: Tensor) -> Tensor:
    return x.view(7, 11)


class CallsFunction(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = helper(x)
        return y


class Unpacks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        a, b = x.size()
        return x * a * b


class Loops(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for i in range(5):
            if i == 3:
                x = torch.cat([x, torch.ones(1, 1, 1)])
        return x


class Forks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        future = torch.jit.fork(helper, x)
        return torch.jit.wait(future)


class Differentiates(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = (x * 2).sum()
        grads = torch.autograd.grad([y], [x])
        first = grads[0]
        assert first is not None
        return first


class Backward(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x.sum().backward()
        return x


class Documented(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """Text in the first column.

Note: it stands in the trace's lines.
Warning: and so does this
"""
        return x.view(3, 3, 3)


class Commented(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x.view(3, 3, 3)
# Note: in the first column
        z = """
RuntimeErrors: none of these
"""
        return y


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.expand(4, -1).add_(torch.ones(5, 3))


class TwoTensors(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class ManyMethods(nn.Module):
    """Code that is saved with classes behind it."""

    def __init__(self):
        super().__init__()
        self.a = Linear()
        self.b = Embedding()

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).long() * 1000)


def loaded(module, strip=False):
    """As a server has it: saved and read again."""
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    if strip:
        buffer = without_debug(buffer)
    return torch.jit.load(buffer)


def without_debug(buffer):
    """Without what the original code was."""
    import zipfile

    stripped = io.BytesIO()
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(stripped, "w", zipfile.ZIP_STORED) as target:
        for item in source.infolist():
            if not item.filename.endswith(".debug_pkl"):
                target.writestr(item.filename, source.read(item))
    stripped.seek(0)
    return stripped


def forms(module, inputs):
    """The forms in which the module may be served, by name."""
    scripted = torch.jit.script(module.eval())
    yield "scripted", loaded(scripted)
    yield "scripted, no debug files", loaded(scripted, strip=True)
    yield "in this process", scripted
    if isinstance(module, Attention):
        return  # torch 2.11 crashes on the frozen one
    try:
        frozen = torch.jit.freeze(loaded(scripted).eval())
        yield "frozen", frozen
        yield "rewritten", torch.jit.optimize_for_inference(torch.jit.freeze(loaded(scripted).eval()))
    except RuntimeError as error:
        print("can't be frozen:", type(module).__name__, str(error).splitlines()[0], file=sys.stderr)


def traced_forms(module, example):
    traced = torch.jit.trace(module.eval(), example, check_trace=False)
    yield "traced", loaded(traced)
    yield "traced, no debug files", loaded(traced, strip=True)
    yield "traced and frozen", torch.jit.freeze(loaded(traced).eval())
    yield "traced and rewritten", torch.jit.optimize_for_inference(torch.jit.freeze(loaded(traced).eval()))


ONES = torch.ones(2, 3)
INDEX = "RuntimeError: index out of range in self"
SHAPES = "RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x3 and 4x2)"
VIEW = "RuntimeError: shape '[7, 11]' is invalid for input of size 6"

SCRIPTED = [
    (Embedding(), [torch.tensor([99])], INDEX),
    (Nested(Nested(Embedding())), [torch.tensor([99])], INDEX),
    (Linear(), [ONES], SHAPES),
    (Convolution(), [torch.ones(1, 5, 8, 8)], "RuntimeError: Given groups=1, weight of size [4, 3, 3, 3], expected input[1, 5, 8, 8] to have 3 channels, but got 5 channels instead"),
    (Recurrent(), [torch.ones(2, 1, 9)], "builtins.RuntimeError: input.size(-1) must be equal to input_size. Expected 4, got 9"),
    (Attention(), [torch.ones(2, 1, 9)], "RuntimeError: AssertionError: was expecting embedding dimension of 4, but got 9"),
    (RaisesValue(), [ONES], "builtins.ValueError: the sum must not be positive"),
    (RaisesLines(), [ONES], "builtins.ValueError: two things are wrong: Note: the first and the second"),
    (RaisesFormatted(), [ONES], "builtins.RuntimeError: expected 7 dimensions, got 2"),
    (RaisesIndex(), [ONES], "builtins.IndexError: no such row"),
    (RaisesKey(), [ONES], "builtins.KeyError: colour"),
    (RaisesType(), [ONES], "builtins.TypeError: floats alone"),
    (RaisesNotImplemented(), [ONES], "builtins.NotImplementedError: not yet: later"),
    (RaisesException(), [ONES], "builtins.Exception: something"),
    (RaisesNothing(), [ONES], "RuntimeError"),
    (RaisesEmpty(), [ONES], "builtins.ValueError"),
    (RaisesOwn(), [ONES], "__main__.OwnError: a type of its own"),
    (RaisesStack(), [ONES], "builtins.ValueError: as if a.py(3): forward ~~~ <--- HERE from a trace"),
    (Asserts(), [ONES], "RuntimeError: AssertionError: 99 rows are expected"),
    (AssertsSilently(), [ONES], "RuntimeError: AssertionError"),
    (ListIndex(), [ONES], "RuntimeError: list index out of range"),
    (DictKey(), [ONES], "RuntimeError: KeyError: b"),
    (PopEmpty(), [ONES], "RuntimeError: pop from empty list"),
    (Unwraps(), [ONES], "RuntimeError: Unwrapping null optional"),
    (Divides(), [ONES], "RuntimeError: division by 0"),
    (Item(), [ONES], "RuntimeError: a Tensor with 6 elements cannot be converted to Scalar"),
    (Parses(), [ONES], "RuntimeError: stod"),
    (CallsFunction(), [ONES], VIEW),
    (Unpacks(), [torch.ones(1, 2, 3)], "RuntimeError: Expected 2 elements in a list but found 3"),
    (Loops(), [ONES], "RuntimeError: Tensors must have same number of dimensions: got 2 and 3"),
    (Forks(), [ONES], VIEW),
    (Differentiates(), [ONES], "RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn"),
    (Backward(), [ONES], "RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn"),
    (Documented(), [ONES], "RuntimeError: shape '[3, 3, 3]' is invalid for input of size 6"),
    (Commented(), [ONES], "RuntimeError: shape '[3, 3, 3]' is invalid for input of size 6"),
    (InPlace(), [torch.ones(1, 3)], "RuntimeError: unsupported operation: more than one element of the written-to tensor refers to a single memory location. Please clone() the tensor before performing the operation"),
    (ManyMethods(), [torch.full((2, 4), 1e6)], INDEX),
]

TRACED = [
    (Embedding(), [torch.tensor([1])], [torch.tensor([99])], INDEX),
    (Nested(Nested(Embedding())), [torch.tensor([1])], [torch.tensor([99])], INDEX),
    (Linear(), [torch.ones(1, 4)], [ONES], SHAPES),
    (Convolution(), [torch.ones(1, 3, 8, 8)], [torch.ones(1, 5, 8, 8)], "RuntimeError: Given groups=1, weight of size [4, 3, 3, 3], expected input[1, 5, 8, 8] to have 3 channels, but got 5 channels instead"),
    (Function(lambda x: x.view(2, 2)), [torch.ones(4)], [torch.ones(5)], "RuntimeError: shape '[2, 2]' is invalid for input of size 5"),
    (Function(lambda x, y: torch.cat([x, y], 1)), [ONES, ONES], [ONES, torch.ones(3, 3)], "RuntimeError: Sizes of tensors must match except in dimension 1. Expected size 2 but got size 3 for tensor number 1 in the list"),
    (Function(lambda x: torch.linalg.inv(x)), [torch.eye(2)], [torch.zeros(2, 2)], "RuntimeError: linalg.inv: The diagonal element 1 is zero, the inversion could not be completed because the input matrix is singular"),
    (Function(lambda x: x[:, 5]), [torch.ones(2, 9)], [torch.ones(2, 3)], "RuntimeError: select(): index 5 out of range for tensor of size [2, 3] at dimension 1"),
    (Function(lambda x, y: x[y]), [ONES, torch.tensor([0])], [ONES, torch.tensor([9])], "RuntimeError: index 9 is out of bounds for dimension 0 with size 2"),
    (Function(lambda x, y: torch.gather(x, 1, y)), [ONES, torch.tensor([[0]])], [ONES, torch.tensor([[9]])], "RuntimeError: index 9 is out of bounds for dimension 1 with size 3"),
    (Function(lambda x: nn.functional.one_hot(x, 3)), [torch.tensor([1])], [torch.tensor([7])], "RuntimeError: Class values must be smaller than num_classes"),
    (Function(lambda x: nn.functional.layer_norm(x, (3,))), [ONES], [torch.ones(2, 5)], "RuntimeError: Given normalized_shape=[3], expected input with shape [*, 3], but got input of size[2, 5]"),
    (Function(lambda x: torch.nn.functional.max_pool2d(x, 3)), [torch.ones(1, 1, 9, 9)], [torch.ones(1, 1, 2, 2)], "RuntimeError: Given input size: (1x2x2). Calculated output size: (1x0x0). Output size is too small"),
    (Function(lambda x: torch.bmm(x, x)), [torch.ones(1, 2, 2)], [ONES], "RuntimeError: batch1 must be a 3D tensor"),
    (Function(lambda x: torch.nn.functional.pad(x, [3, 3], mode="reflect")), [torch.ones(1, 1, 9)], [torch.ones(1, 1, 2)], "RuntimeError: Argument #4: Padding size should be less than the corresponding input dimension, but got: padding (3, 3) at dimension 2 of input [1, 1, 2]"),
    (Function(lambda x: x.max(0)[0]), [ONES], [torch.ones(0, 3)], "RuntimeError: max(): Expected reduction dim 0 to have non-zero size."),
]


def failure(module, inputs):
    try:
        with torch.inference_mode():
            module(*inputs)
    except Exception as error:
        return str(error)
    return None


def invented(path, message, kind="RuntimeError"):
    """A text of the interpreter's around a message that needs a GPU."""
    return (
        "The following operation failed in the TorchScript interpreter.\n"
        "Traceback of TorchScript, serialized code (most recent call last):\n"
        '  File "code/__torch__.py", line 10, in forward\n'
        "    weight = self.weight\n"
        "    _0 = torch.embedding(weight, x)\n"
        "         ~~~~~~~~~~~~~~~ <--- HERE\n"
        "    return _0\n"
        "\n"
        "Traceback of TorchScript, original code (most recent call last):\n"
        f"{path}"
        f"{kind}: {message}\n"
    )


ASYNC = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\nCompile with `TORCH_USE_CUDA_DSA` to enable "
    "device-side assertions.\n"
)
TRACE = "/home/somebody/export.py(12): forward\n/usr/lib/python3/torch/nn/modules/module.py(1769): _slow_forward\n/home/somebody/export.py(20): <module>\n"
SCRIPT = '  File "/home/somebody/export.py", line 24, in forward\n        return self.e(x)\n               ~~~~~~ <--- HERE\n'
CUDA = [
    ("CUDA error: device-side assert triggered", ASYNC),
    ("CUDA error: an illegal memory access was encountered", ASYNC),
    ("CUDA error: no kernel image is available for execution on the device", ASYNC),
    ("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.80 GiB of which 1.12 GiB is free", ""),
    ("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`", ""),
    ("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input", ""),
    ("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!", ""),
    ("nvrtc: error: invalid value for --gpu-architecture (-arch)", "\n\nnvrtc compilation failed: \n\n#define NAN __int_as_float(0x7fffffff)\n"),
]


def main():
    texts = []

    def add(name, module, inputs, cause):
        text = failure(module, inputs)
        if text is None:
            print("runs after all:", name, file=sys.stderr)
            return
        first = cause.split(": ", 1)[-1].split(" Note:")[0].split(" a.py")[0]
        if first not in text and cause not in text:
            print("says something else:", name, repr(text[-300:]), file=sys.stderr)
            return
        # The paths are those of whoever made the file.
        text = text.replace(str(pathlib.Path(__file__).resolve()), "/home/somebody/export.py")
        text = text.replace(str(pathlib.Path(torch.__file__).parent), "/usr/lib/python3/torch")
        # Other forms often say the same.
        if text not in (known["text"] for known in texts):
            texts.append({"name": name, "text": text, "cause": cause})

    for module, inputs, cause in SCRIPTED:
        for form, made in forms(module, inputs):
            add(f"{type(module).__name__}, {form}", made, inputs, cause)
    for number, (module, example, inputs, cause) in enumerate(TRACED):
        for form, made in traced_forms(module, tuple(example)):
            add(f"{type(module).__name__} {number}, {form}", made, inputs, cause)
    for message, rest in CUDA:
        for form, path in (("traced", TRACE), ("scripted", SCRIPT)):
            cause = f"RuntimeError: {message}"
            texts.append({"name": f"CUDA's, put together, {form}: {message[:40]}", "text": invented(path, message + rest), "cause": cause})
        texts.append({"name": f"CUDA's, put together, bare: {message[:40]}", "text": message + rest, "cause": message})
    INTO.write_text(json.dumps(texts, indent=1) + "\n")
    print(len(texts), "texts", file=sys.stderr)


if __name__ == "__main__":
    main()
