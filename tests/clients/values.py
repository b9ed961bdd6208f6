"""Arrays of every datatype, with its extremes in them."""

import ml_dtypes
import numpy as np
from tritonclient.utils import triton_to_np_dtype


def extremes(datatype: str) -> np.ndarray:
    """One row: the least, the greatest, and what lies between."""
    dtype = np.dtype(triton_to_np_dtype(datatype))
    if datatype == "BOOL":
        return np.array([[True, False, True, True, False]])
    if datatype.startswith(("INT", "UINT")):
        limits = np.iinfo(dtype)
        return np.array([[limits.min, limits.max, 0, 1, limits.max // 3]], dtype)
    limits = ml_dtypes.finfo(dtype)
    return np.array([[limits.min, limits.max, limits.smallest_subnormal, -0.0, 1 / 3]]).astype(dtype)


def random(datatype: str, random: np.random.Generator, shape: tuple) -> np.ndarray:
    """Any bits, but no NaN: it is like nothing, itself included."""
    dtype = np.dtype(triton_to_np_dtype(datatype))
    if datatype == "BOOL":
        return random.integers(0, 2, shape).astype(bool)
    if datatype.startswith(("INT", "UINT")):
        limits = np.iinfo(dtype)
        return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return random.standard_normal(shape).astype(dtype)


def same(left: np.ndarray, right: np.ndarray) -> bool:
    """Equal to the bit: type, shape and every element."""
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
