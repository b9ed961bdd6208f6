"""The trial: the export beside the module, on random inputs."""

import torch

from .inputs import LENGTHS, NAMES
from .module import Refused, call, copies, last_line, shape_of, shown

# Of the largest value of an output, by how many digits its datatype has.
TOLERANCES = {torch.float16: 1e-2, torch.bfloat16: 5e-2, torch.float32: 1e-5, torch.float64: 1e-10}


def trial(module, exported, inputs, batches):
    """Runs both, compares them, and returns every output as (name, datatype, dims)."""
    lengths = LENGTHS if any(-1 in each.dims for each in inputs) else LENGTHS[:1]
    seen = {}
    for batch in batches:
        for length in lengths:
            values = [each.random(batch, length) for each in inputs]
            shapes = shown(inputs, values)
            expected = named(call(module, inputs, values))
            # Twice and once more: from the third run on it is optimised.
            for _ in range(3):
                try:
                    answer = exported(*copies(values))
                except Exception as error:
                    raise Refused(f"inputs {shapes} pass the module and fail in the export: {last_line(error)}") from None
                compare(expected, named(answer), shapes)
            for name, value in expected.items():
                seen.setdefault(name, []).append((batch, value))
    return [describe(name, runs) for name, runs in seen.items()]


# --- outputs ------------------------------------------------------------------------------------------


def named(answer):
    """Every output by its name: tensors, and strings as (shape, list)."""
    outputs = []
    walk(answer, [], False, outputs)
    found = {name or f"OUTPUT__{index}": value for index, (name, value) in enumerate(outputs)}
    if not found:
        raise Refused("forward gives nothing; give a tensor, a tuple of tensors or a dict of them")
    return found


def walk(value, path, has_name, into):
    """By the server's rules (`crates/libtorch/src/outputs.cc`)."""
    place = ".".join(path) if has_name else None
    if isinstance(value, torch.Tensor):
        into.append((place, value))
    elif isinstance(value, str):
        into.append((place, Strings([value], ())))
    elif isinstance(value, (bool, int, float)):
        exact = {bool: torch.bool, int: torch.int64, float: torch.float64}
        into.append((place, torch.tensor(value, dtype=exact[type(value)])))
    elif isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        into.append((place, Strings(value, (len(value),))))
    elif isinstance(value, dict):
        for key, each in value.items():
            walk(each, [*path, str(key)], True, into)
    elif isinstance(value, (tuple, list)):
        fields = getattr(value, "_fields", None)
        for index, each in enumerate(value):
            walk(each, [*path, fields[index] if fields else str(index)], bool(fields or path), into)
    else:
        where = f"{'.'.join(path)} is" if path else "forward gives"
        raise Refused(f"{where} a {type(value).__name__}; give a tensor, a tuple of tensors or a dict of them")


class Strings:
    """As much of a tensor as comparing strings takes."""

    dtype = str

    def __init__(self, values, shape):
        self.values, self.shape = values, shape

    def __getitem__(self, rows):
        values = self.values[rows]
        return Strings(values, (len(values),))


def apart(want, have):
    """By how much at most; infinite where strings differ."""
    if isinstance(want, Strings):
        return 0.0 if want.values == have.values else float("inf")
    return (want.double() - have.double()).abs().max().item() if want.numel() else 0.0


def largest(value):
    return value.double().abs().max().item() if isinstance(value, torch.Tensor) and value.numel() else 0.0


def compare(expected, got, shapes):
    if expected.keys() != got.keys():
        raise Refused(f"the module gives {', '.join(expected)}, the export {', '.join(got)}")
    for name, want in expected.items():
        have = got[name]
        if want.shape != have.shape or want.dtype != have.dtype:
            raise Refused(
                f"for inputs {shapes} the module gives {name} as {want.dtype} {list(want.shape)}, "
                f"the export as {have.dtype} {list(have.shape)}: a trace has one path and one shape in it; "
                "make the module scriptable (--method script says what is in the way)"
            )
        allowed = TOLERANCES.get(want.dtype, 0.0) * largest(want)
        if not (by := apart(want, have)) <= allowed:
            raise Refused(f"for inputs {shapes} {name} differs by up to {by:g}, and {allowed:g} is allowed")


def check_rows(module, inputs, batch):
    """Batching is right only where a row's answer doesn't hang on its neighbours."""
    values = [each.random(batch) for each in inputs]
    together = named(call(module, inputs, values))
    for row in range(batch):
        alone = named(call(module, inputs, [value[row : row + 1] for value in values]))
        for name, value in together.items():
            mine = value[row : row + 1] if value.shape[:1] == (batch,) else None
            if mine is None or name not in alone or alone[name].shape != mine.shape:
                raise Refused(
                    f"{name} has the shape {list(value.shape)} for a batch of {batch}: dimension 0 is no "
                    "batch; say --max-batch-size 0"
                )
            # Kernels add up in another order in another batch.
            allowed = 10 * TOLERANCES.get(value.dtype, 0.0) * largest(value)
            if not (by := apart(mine, alone[name])) <= allowed:
                raise Refused(
                    f"{name} of row {row} differs by {by:g} between a batch of {batch} and the row alone: "
                    "rows depend on each other, so batching would mix callers; say --max-batch-size 0"
                )


def describe(name, runs):
    shapes = [list(value.shape if batch is None else value.shape[1:]) for batch, value in runs]
    if len({len(shape) for shape in shapes}) > 1:
        raise Refused(f"{name} has {' and '.join(sorted(map(str, shapes)))} as shapes: its rank must not change")
    # One that came empty can't be of that size always.
    dims = [sizes[0] if len(set(sizes)) == 1 and sizes[0] else -1 for sizes in zip(*shapes)]
    datatype = runs[0][1].dtype
    if datatype not in NAMES:
        known = ", ".join(name.removeprefix("TYPE_") for name in NAMES.values())
        raise Refused(f"{name} is {datatype}, which can't be sent; datatypes are {known}")
    return name, NAMES[datatype], dims
