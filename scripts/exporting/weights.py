"""--weights: a state dict out of whatever a training run left."""

import argparse
import contextlib
import re
from collections import OrderedDict

import torch

from .module import Refused, last_line

# Where training scripts keep a state dict within a checkpoint.
KEYS = ("state_dict", "model_state_dict", "model")
# How many names one line bears.
SHOWN = 3


def load(module, path):
    state = fitted(state_dict(read(path), path), module)
    try:
        missing, unexpected = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise Refused(f"{path} doesn't fit the module: {mismatches(str(error)) or last_line(error)}") from None
    both = (("missing", missing), ("unexpected", unexpected))
    if wrong := [f"{len(keys)} {what} ({listed(keys)})" for what, keys in both if keys]:
        raise Refused(f"{path} doesn't fit the module: keys {', '.join(wrong)}")


def read(path):
    # What torchvision's and others' scripts keep beside the weights, and what is no code.
    safe = getattr(torch.serialization, "safe_globals", None)
    with safe([argparse.Namespace]) if safe else contextlib.nullcontext():
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise Refused(f"{path}: no such file") from None
        except Exception as error:  # Of a file that may be anything.
            if other := re.search(r"GLOBAL (\S+)", str(error)):
                raise Refused(
                    f"{path} holds more than tensors ({other[1]}), which isn't opened: save the state_dict alone"
                ) from None
            raise Refused(f"{path} is no checkpoint of PyTorch's: {last_line(error)}") from None


def state_dict(found, path):
    """The state dict itself, however deep it lies."""
    while isinstance(found, dict):
        if (key := next((key for key in KEYS if isinstance(found.get(key), dict)), None)) is None:
            break
        found = found[key]
    if not isinstance(found, dict):
        raise Refused(f"{path} holds a {type(found).__name__}, and no state_dict")
    if found and not any(isinstance(value, torch.Tensor) for value in found.values()):
        raise Refused(f"{path} holds {listed(found)}, and no state_dict, which is looked for under {', '.join(KEYS)}")
    return found


def fitted(state, module):
    """Without the names of what was wrapped around the module while it was trained."""
    wanted = module.state_dict().keys()

    def bare(name):
        if not any("_orig_mod." in each for each in wanted):
            # torch.compile may have wrapped any part.
            name = name.replace("_orig_mod.", "")
        while name.startswith("module.") and not any(each.startswith("module.") for each in wanted):
            name = name.removeprefix("module.")
        return name

    named = OrderedDict((bare(name), value) for name, value in state.items())
    # By which older files say that they are older.
    if metadata := getattr(state, "_metadata", None):
        named._metadata = OrderedDict((bare(f"{name}.").rstrip("."), value) for name, value in metadata.items())
    return named


def mismatches(text):
    form = r"size mismatch for (\S+): .*?torch\.Size\((\[.*?\])\).*?torch\.Size\((\[.*?\])\)"
    found = [f"{name} is {there} in the file and {here} in the module" for name, there, here in re.findall(form, text)]
    return listed(found)


def listed(names):
    names = [str(name) for name in names]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
