"""Binary inference requests of many shapes, as files for `cresset bench --body`."""

import json
import shutil
from pathlib import Path

# All headers are padded to this many bytes, because one HTTP header tells it for all files of a folder.
HEADER = 512


def write(folder: Path, bodies: list[bytes]) -> list[str]:
    """Replaces a folder's files, and gives the arguments that send them in this order, over and over."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number, body in enumerate(bodies):
        (folder / f"{number:06}.bin").write_bytes(body)
    return ["--body", str(folder), "--header", f"Inference-Header-Content-Length: {HEADER}"]


def request(*tensors: tuple[str, str, list[int], bytes]) -> bytes:
    """Name, datatype, shape and bytes of each input; outputs are asked for in binary."""
    header = {
        "inputs": [
            {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(data)}}
            for name, datatype, shape, data in tensors
        ],
        "parameters": {"binary_data_output": True},
    }
    head = json.dumps(header).encode()
    if len(head) > HEADER:
        raise ValueError(f"a header of {len(head)} bytes")
    return head.ljust(HEADER) + b"".join(data for *_, data in tensors)
