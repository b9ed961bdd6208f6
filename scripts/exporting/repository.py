"""The model repository: config.pbtxt, and a version's folder."""

import os
import shutil
import tempfile
from pathlib import Path

import torch

from . import pbtxt
from .inputs import NAMES
from .module import Refused

# More of what differs than that is no longer read.
NOTES = 8


def config(name, most, inputs, outputs):
    def dimensions(dims):
        listed = f"dims: [ {', '.join(map(str, dims)) or '1'} ]"
        # A row without dimensions is said by the shape that it is reshaped to; whole tensors have no such thing.
        return listed if dims or not most else f"{listed} reshape: {{ shape: [ ] }}"

    def listed(tensors):
        return ",\n".join(
            f'  {{ name: "{name}" data_type: {datatype} {dimensions(dims)} }}' for name, datatype, dims in tensors
        )

    # A list of strings has no shape that dims could be reshaped to: one string a row.
    given = [(each.name, NAMES[each.datatype], each.dims or ([1] if each.strings else [])) for each in inputs]
    text = (
        f'name: "{name}"\n'
        'platform: "pytorch_libtorch"\n'
        f"max_batch_size: {most}\n"
        f"input [\n{listed(given)}\n]\n"
        f"output [\n{listed(outputs)}\n]\n"
    )
    return text + "dynamic_batching { }\n" if most else text


def write(arguments, exported, text):
    """The version's folder, and what is to be said of the config.pbtxt that was there.

    A version is there whole or not at all: a server that watches the folder never sees half of one.
    """
    # Servers run as users of their own, in containers as one that owns nothing.
    os.umask(0o022)
    model = arguments.repository / arguments.name
    version, file = model / str(arguments.version), model / "config.pbtxt"
    if version.exists() and not arguments.force:
        raise Refused(f"{version} is there; say another --version, or --force to replace it")
    there = file.read_text(errors="replace") if file.exists() else None
    model.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".export-", dir=model))
    try:
        scratch.chmod(0o755)
        torch.jit.save(exported, str(scratch / "model.pt"))
        if there is None or arguments.force:
            aside = scratch / "config.pbtxt"
            aside.write_text(text)
            os.replace(aside, file)
        if version.exists():
            shutil.rmtree(version)
        os.replace(scratch, version)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return version, [] if there is None or there == text or arguments.force else kept(file, there, text)


# --- a config.pbtxt that stays -------------------------------------------------------------------------


def kept(file, there, text):
    """In a few lines, what the export would have written otherwise."""
    try:
        differing = differences(pbtxt.read(there), pbtxt.read(text))
    except pbtxt.Unreadable as why:
        return [f"{file} stays as it is, and can't be compared: {why}"]
    if not differing:
        return [f"{file} stays as it is; it says the same of inputs and outputs"]
    more = [f"  and {len(differing) - NOTES} more"] if len(differing) > NOTES else []
    return [f"{file} stays as it is (--force replaces it); the export says otherwise:", *differing[:NOTES], *more]


def differences(there, ours):
    lines = []
    sizes = [message.get("max_batch_size", ["0"])[-1] for message in (there, ours)]
    if sizes[0] != sizes[1]:
        lines.append(f"  max_batch_size: {sizes[0]} in the file, {sizes[1]} by the export")
    for kind in ("input", "output"):
        stands, would = tensors(there, kind), tensors(ours, kind)
        for name in dict.fromkeys([*would, *stands]):
            if name not in stands:
                lines.append(f"  {kind} {name}: not in the file, {would[name]} by the export")
            elif name not in would:
                lines.append(f"  {kind} {name}: {stands[name]} in the file, not in the export")
            elif stands[name] != would[name]:
                lines.append(f"  {kind} {name}: {stands[name]} in the file, {would[name]} by the export")
    return lines


def tensors(message, kind):
    """What the module sees of each input or output, as text by its name."""
    found = {}
    for each in message.get(kind, []):
        if not isinstance(each, dict):
            raise pbtxt.Unreadable(f"{kind} holds {each}")
        dims = each.get("dims", [])
        if reshape := each.get("reshape"):
            dims = reshape[-1].get("shape", [])
        name, datatype = (each.get(field, [""])[-1] for field in ("name", "data_type"))
        found[name] = f"{datatype or 'no data_type'} [ {', '.join(dims)} ]".replace("[  ]", "[ ]")
    return found
