"""`ModelStreamInfer`, by both gRPC clients."""

import asyncio
import queue

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from server import Server
from surface import LOOP, Surface


def row(value: float) -> np.ndarray:
    return np.full((1, 4), value, np.float32)


class Stream:
    """The callback client's stream, until the block ends."""

    def __init__(self, server: Server, **named: object) -> None:
        self.surface, self.named = Surface("grpc", server), named
        self.answers: queue.Queue = queue.Queue()

    def __enter__(self) -> "Stream":
        self.surface.start_stream(lambda result, error: self.answers.put((result, error)), **self.named)
        return self

    def send(self, model: str, name: str, array: np.ndarray, **named: object) -> None:
        self.surface.client.async_stream_infer(model, [self.surface.tensor(name, array)], **named)

    def answer(self) -> tuple:
        return self.answers.get(timeout=30)

    def __exit__(self, *_: object) -> None:
        self.surface.stop_stream()
        self.surface.close()


def test_answers_in_the_order_of_their_requests(server: Server) -> None:
    with Stream(server) as stream:
        for value in range(200):
            stream.send("identity", "INPUT0", row(value), request_id=f"r{value}")
        for value in range(200):
            result, error = stream.answer()
            assert error is None
            assert result.get_response().id == f"r{value}"
            assert result.as_numpy("OUTPUT0").tolist() == [[value] * 4]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_compressed_stream(server: Server, algorithm: str) -> None:
    with Stream(server, compression_algorithm=algorithm) as stream:
        for value in range(20):
            stream.send("identity", "INPUT0", np.full((1, 10_000), value, np.float32))
        for value in range(20):
            result, error = stream.answer()
            assert error is None and (result.as_numpy("OUTPUT0") == value).all()


def test_an_error_does_not_end_the_stream(server: Server) -> None:
    with Stream(server) as stream:
        for value in [1, -1, 2]:
            stream.send("fails", "x", row(value))
        stream.send("nope", "x", row(3))
        stream.send("fails", "x", row(4))
        answers = [stream.answer() for _ in range(5)]
    good = [result.as_numpy("y")[0, 0] for result, error in answers if error is None]
    assert good == [1, 2, 4]
    assert "start out of range" in answers[1][1].message()
    assert answers[3][1].message() == "Request for unknown model: 'nope' is not found"


def test_several_models_on_one_stream(server: Server) -> None:
    with Stream(server) as stream:
        for value in range(30):
            stream.send(*[("identity", "INPUT0"), ("fails", "x"), ("busy", "x")][value % 3], row(value))
        for value in range(30):
            result, error = stream.answer()
            assert error is None
            name = ["OUTPUT0", "y", "y"][value % 3]
            assert result.as_numpy(name).tolist() == [[value] * 4]


def test_a_stream_that_is_stopped_answers_what_was_sent(server: Server) -> None:
    stream = Stream(server)
    with stream:
        for value in range(50):
            stream.send("busy", "x", row(value))
    answers = [stream.answer() for _ in range(50)]
    assert [result.as_numpy("y")[0, 0] for result, _ in answers] == list(range(50))
    assert stream.answers.empty()


def test_a_stream_that_is_cancelled(server: Server) -> None:
    with Stream(server) as stream:
        for value in range(200):
            stream.send("slow", "x", row(value))
        stream.surface.stop_stream(cancel_requests=True)
        errors = []
        while not stream.answers.empty():
            result, error = stream.answer()
            errors += [error] if error else []
        assert [error.status() for error in errors] == ["StatusCode.CANCELLED"]
    surface = Surface("http", server)
    assert surface.infer("slow", {"x": row(1)}).as_numpy("y").tolist() == [[1.0] * 4]
    surface.close()


def test_a_stream_has_its_time(server: Server) -> None:
    with Stream(server, stream_timeout=0.1) as stream:
        for value in range(200):
            stream.send("slow", "x", row(value))
        while True:
            _, error = stream.answer()
            if error and error.status():
                break
            # Who can't be answered in that time is told so before it is over.
            assert error is None or "its deadline is in" in error.message()
        assert error.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_the_asynchronous_stream(server: Server) -> None:
    surface = Surface("grpc.aio", server)

    async def requests():
        for value in range(100):
            tensor = surface.tensor("x", row(-1 if value == 50 else value))
            yield {"model_name": "fails", "inputs": [tensor], "request_id": str(value)}

    async def answers() -> list:
        return [each async for each in surface.client.stream_infer(requests())]

    found = LOOP.run_until_complete(answers())
    assert len(found) == 100
    for value, (result, error) in enumerate(found):
        if value == 50:
            assert isinstance(error, InferenceServerException) and "start out of range" in error.message()
        else:
            assert result.get_response().id == str(value) and result.as_numpy("y").tolist() == [[value] * 4]
    surface.close()


def test_the_asynchronous_stream_is_cancelled(server: Server) -> None:
    surface = Surface("grpc.aio", server)

    async def requests():
        for _ in range(500):
            yield {"model_name": "slow", "inputs": [surface.tensor("x", row(1))]}

    async def some() -> int:
        answers, count = surface.client.stream_infer(requests()), 0
        with pytest.raises(asyncio.CancelledError):
            async for _ in answers:
                count += 1
                if count == 5:
                    assert answers.cancel()
        return count

    assert LOOP.run_until_complete(some()) >= 5
    surface.close()
