"""What goes into forward: inputs as --input describes them, and random values for them."""

import argparse
import inspect
import random
import re

import torch

from .module import Refused, scripted_types

# TorchScript's names are Triton's, but for these. Strings are Python's own.
DATATYPES = {
    "BOOL": torch.bool,
    "UINT8": torch.uint8,
    "INT8": torch.int8,
    "INT16": torch.int16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "FP16": torch.float16,
    "BF16": torch.bfloat16,
    "FP32": torch.float32,
    "FP64": torch.float64,
    "BYTES": str,
}
# In config.pbtxt, which says STRING where the protocol says BYTES.
NAMES = {datatype: f"TYPE_{name}" for name, datatype in DATATYPES.items()} | {str: "TYPE_STRING"}
DEFAULT_BATCH = 16
# Lengths that stand in for -1: neither one, which broadcasts, nor equal to each other.
LENGTHS = (7, 12)


class Input:
    """One argument of forward, as --input describes it."""

    def __init__(self, text):
        form = r"(\w+):(\w+):((?:-1|[1-9]\d*)(?:,(?:-1|[1-9]\d*))*|)(?::(-?[\d.]+)\.\.(-?[\d.]+))?"
        if not (parts := re.fullmatch(form, text)):
            raise argparse.ArgumentTypeError(f"{text}: NAME:DATATYPE:DIMS[:LOW..HIGH], such as x:FP32:3,224,224")
        name, datatype, dims, low, high = parts.groups()
        # config.pbtxt's words are as good as the protocol's.
        known = datatype.removeprefix("TYPE_")
        known = "BYTES" if known == "STRING" else known
        if known not in DATATYPES:
            raise argparse.ArgumentTypeError(f"{datatype}: datatypes are {', '.join(DATATYPES)}")
        self.name, self.datatype = name, DATATYPES[known]
        self.dims = [int(dim) for dim in dims.split(",")] if dims else []
        if self.strings and sum(dim != 1 for dim in self.dims) > 1:
            raise argparse.ArgumentTypeError(f"{text}: a list of strings has one dimension, such as {name}:BYTES:1")
        floating = not self.strings and self.datatype.is_floating_point
        self.low = float(low or (-1 if floating else 0))
        self.high = float(high or (1 if floating else 2))

    @property
    def strings(self):
        return self.datatype is str

    def shape(self, batch, length):
        shape = [length if dim == -1 else dim for dim in self.dims]
        return shape if batch is None else [batch, *shape]

    def random(self, batch, length=LENGTHS[0]):
        shape = self.shape(batch, length)
        if self.strings:
            # Digits are text, and what a module reads as a number, too.
            return [str(random.randrange(10_000)) for _ in range(torch.Size(shape).numel())]
        if self.datatype.is_floating_point:
            return (torch.rand(shape) * (self.high - self.low) + self.low).to(self.datatype)
        return torch.randint(int(self.low), int(self.high), shape).to(self.datatype)


def check_arguments(module, scripted, inputs, most):
    names, required = parameters(module)
    given = [each.name for each in inputs]
    if given != names[: len(given)] or len(given) < len(required):
        raise Refused(f"forward takes {', '.join(names)}; --input names {', '.join(given)}")
    types = scripted_types(scripted)
    for each in inputs:
        if each.strings and most and any(dim != 1 for dim in each.dims):
            raise Refused(
                f"{each.name}: strings come one a row, {each.name}:BYTES:1; for lists of any length say "
                "--max-batch-size 0"
            )
        if (takes := types.get(each.name)) is None:
            continue
        if each.strings != (takes == "List[str]"):
            said = "BYTES" if each.strings else NAMES[each.datatype].removeprefix("TYPE_")
            fit = "BYTES is for a List[str], which forward has to say" if each.strings else "say BYTES"
            raise Refused(f"{each.name} is a {takes} in forward, and {said} in --input: {fit}")


def parameters(module):
    """The names of forward's arguments, and of those that have no default."""
    if isinstance(module, torch.jit.ScriptModule):
        found = module.forward.schema.arguments[1:]
        return [each.name for each in found], [each.name for each in found if not each.has_default_value()]
    found = [
        parameter
        for parameter in inspect.signature(module.forward).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return [each.name for each in found], [each.name for each in found if each.default is each.empty]
