"""One way of calling for the four official clients, so that a test runs on each of them."""

import asyncio

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from server import Server

NAMES = ["http", "http.aio", "grpc", "grpc.aio"]

# gRPC's asyncio wants one loop for all of a process's clients.
LOOP = asyncio.new_event_loop()

# gRPC's code beside HTTP's status, as the protocol pairs them.
CODES = {"INVALID_ARGUMENT": "400", "NOT_FOUND": "404", "INTERNAL": "500", "UNIMPLEMENTED": "501", "UNAVAILABLE": "503"}


class Surface:
    """A client; `name` is one of NAMES."""

    def __init__(self, name: str, server: Server, **options: object) -> None:
        self.name, self.server = name, server
        self.protocol, _, asynchronous = name.partition(".")
        self.module = getattr(tritonclient, self.protocol)
        maker = (self.module.aio if asynchronous else self.module).InferenceServerClient
        address = server.http if self.protocol == "http" else server.grpc

        async def inside() -> object:
            return maker(address, **options)

        self.client = LOOP.run_until_complete(inside()) if asynchronous else maker(address, **options)

    def close(self) -> None:
        done(self.client.close())

    def __getattr__(self, call: str):
        """Any call of the client's, finished."""
        return lambda *arguments, **named: done(getattr(self.client, call)(*arguments, **named))

    def told(self, call: str, *arguments: object) -> dict:
        """What a call tells, as a dictionary. gRPC's has 64-bit numbers as text, as protobuf's JSON does."""
        named = {} if self.protocol == "http" else {"as_json": True}
        return getattr(self, call)(*arguments, **named)

    def tensor(self, name: str, array: np.ndarray, datatype: str = "", **named: bool):
        """An input. `binary_data=False`, which HTTP alone has, puts it into the JSON."""
        tensor = self.module.InferInput(name, list(array.shape), datatype or np_to_triton_dtype(array.dtype))
        return tensor.set_data_from_numpy(array, **named)

    def output(self, name: str, **named: object):
        return self.module.InferRequestedOutput(name, **named)

    def infer(self, model: str, inputs: dict, **named: object):
        """An inference, its inputs arrays by name."""
        return done(self.start(model, inputs, **named))

    def start(self, model: str, inputs: dict, **named: object):
        """The same, for the asynchronous clients to wait for."""
        return self.client.infer(model, [self.tensor(*each) for each in inputs.items()], **named)


def done(result: object) -> object:
    """A result, waited for if it has to be."""
    return LOOP.run_until_complete(result) if asyncio.iscoroutine(result) else result


def status(error: InferenceServerException) -> str:
    """HTTP's status, on both protocols."""
    text = error.status()
    return CODES.get(text.removeprefix("StatusCode."), text)
