"""The module: loading it, calling it, and turning it into TorchScript."""

import importlib.util
import sys
from pathlib import Path

import torch


class Refused(Exception):
    """Why nothing was written, for the person at the keyboard: one line."""


def load(where):
    file, _, name = where.rpartition(":")
    if not file:
        raise Refused(f"{where}: name a file and what is in it, such as net.py:model")
    path = Path(file).resolve()
    if not path.is_file():
        raise Refused(f"{file}: no such file")
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    source = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = source
    spec.loader.exec_module(source)
    try:
        found = getattr(source, name)
    except AttributeError:
        raise Refused(f"{file} has no {name}") from None
    if not isinstance(found, torch.nn.Module):
        found = found()
    if not isinstance(found, torch.nn.Module):
        raise Refused(f"{where} gives a {type(found).__name__}, and no torch.nn.Module")
    return found.cpu()


def call(module, inputs, values):
    """What forward answers. Copies go in, since it may write to them."""
    try:
        return module(*copies(values))
    except Exception as error:  # A module raises whatever it likes.
        raise Refused(f"forward fails on {shown(inputs, values)}: {last_line(error)}") from None


def copies(values):
    return [value.clone() if isinstance(value, torch.Tensor) else list(value) for value in values]


def shown(inputs, values):
    """`x [2, 3], text [2]`: which input had which shape."""
    return ", ".join(f"{each.name} {shape_of(value)}" for each, value in zip(inputs, values))


def shape_of(value):
    return list(value.shape) if isinstance(value, torch.Tensor) else [len(value)]


def script(module):
    """The scripted module, or none and what the compiler said."""
    if isinstance(module, torch.jit.ScriptModule):
        return module, None
    try:
        return torch.jit.script(module), None
    except Exception as error:  # The compiler raises whatever it stumbles over.
        return None, str(error).strip() or type(error).__name__


def trace(module, inputs, batch, why):
    """`why`: why it isn't scripted, where that was tried."""
    if any(each.strings for each in inputs):
        raise Refused("a trace can't follow strings: make the module scriptable (--method script says what is in the way)")
    try:
        return torch.jit.trace(module, tuple(each.random(batch) for each in inputs), strict=False, check_trace=False)
    except Exception as error:
        scripting = f"; torch.jit.script: {first_line(why)}" if why else ""
        raise Refused(f"torch.jit.trace: {last_line(error)}{scripting}") from None


def scripted_types(scripted):
    """The types of forward's arguments by their names, as TorchScript spells them; none of what isn't scripted."""
    if scripted is None:
        return {}
    return {each.name: each.type.annotation_str for each in scripted.forward.schema.arguments[1:]}


def first_line(text):
    return text.strip().splitlines()[0]


def last_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
