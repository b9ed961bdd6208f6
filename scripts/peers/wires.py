"""How a server is spoken to: by the generator, and for its first answer."""

import enum
import http.client
from dataclasses import dataclass

from .machine import HOST
from .models import INPUT, Row

OCTETS = "application/octet-stream"


class Wire(enum.StrEnum):
    # A row's bytes, and an answer's, with nothing around them.
    RAW = "raw bytes"
    JSON = "JSON"
    # The Open Inference Protocol's binary form.
    BINARY = "v2 binary"
    GRPC = "v2 gRPC"


@dataclass(frozen=True)
class Address:
    http: int
    # Of plain bodies.
    path: str = ""
    grpc: int = 0


def arguments(wire: Wire, address: Address, row: Row) -> list:
    """Of `cresset bench`, for load."""
    if wire is Wire.GRPC:
        return [f"grpc://{HOST}:{address.grpc}", "--model", row.model.name, "--input-file", f"{INPUT}={row.raw}"]
    if wire is Wire.BINARY:
        return [f"http://{HOST}:{address.http}", "--model", row.model.name, "--input-file", f"{INPUT}={row.raw}"]
    body = row.raw if wire is Wire.RAW else row.json
    return [f"http://{HOST}:{address.http}", "--body", body, "--path", address.path]


def checked_arguments(wire: Wire, address: Address, row: Row) -> list:
    """The same, with each answer held to libtorch's. What is expected of a body stands beside it, and is
    found by itself."""
    loaded = arguments(wire, address, row)
    return [*loaded[:-2], "--input-data", row.cases] if wire in (Wire.BINARY, Wire.GRPC) else loaded


def answers(wire: Wire, address: Address, row: Row) -> bool:
    """Whether a request gets a good answer now. Over HTTP where gRPC is spoken: all of those have both."""
    headers, path = {"Content-Type": OCTETS}, address.path
    if wire in (Wire.BINARY, Wire.GRPC):
        headers["Inference-Header-Content-Length"] = str(row.header_length)
        path, body = f"/v2/models/{row.model.name}/infer", row.binary
    elif wire is Wire.RAW:
        body = row.raw.read_bytes()
    else:
        headers["Content-Type"], body = "application/json", row.json.read_bytes()
    connection = http.client.HTTPConnection(HOST, address.http, timeout=10)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
