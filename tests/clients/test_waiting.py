"""Clients that wait no longer: time limits of theirs, and requests that they take back."""

import asyncio
import re
import threading
import time
import urllib.request

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from server import Server
from surface import LOOP, Surface
from test_statistics import count, told

X = {"x": np.ones((1, 4), np.float32)}
# `slow` has one instance and no batches: so many take more than a second.
MANY = 800
# Of these, so many take longer than any that is to come too late may wait.
ENOUGH = 200


class Crowd:
    """A queue in front of `slow`, until the block ends."""

    def __init__(self, server: Server) -> None:
        self.surface, self.metrics = Surface("grpc", server), server.metrics

    def __enter__(self) -> "Crowd":
        tensor = self.surface.tensor("x", X["x"])
        self.answered = threading.Semaphore(0)
        self.errors = []

        def callback(result: object, error: object) -> None:
            self.errors += [error] if error else []
            self.answered.release()

        self.calls = [self.surface.client.async_infer("slow", [tensor], callback) for _ in range(MANY)]
        assert self.answered.acquire(timeout=30)
        self.answered.release()
        # The others come on the same connection, but not all at once: until so many wait, somebody else could
        # be answered before most of them.
        until = time.monotonic() + 30
        while self.waiting() < ENOUGH:
            assert time.monotonic() < until, "the queue never became as long as it should"
        return self

    def waiting(self) -> float:
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return float(re.search(r'(?m)^nv_inference_pending_request_count{model="slow",version="1"} (\S+)$', text)[1])

    def cancel(self) -> None:
        for call in self.calls:
            call.cancel()

    def __exit__(self, *_: object) -> None:
        self.cancel()
        for _ in self.calls:
            assert self.answered.acquire(timeout=30)
        self.surface.close()


@pytest.mark.parametrize("name", ["grpc", "grpc.aio"])
def test_a_deadline_over_grpc(server: Server, name: str) -> None:
    surface = Surface(name, server)
    with Crowd(server):
        began = time.monotonic()
        with pytest.raises(InferenceServerException, match="(?i)deadline") as error:
            surface.infer("slow", X, client_timeout=0.02)
        # Refused at once, because the queue needs longer, or ended by the client's own clock before it heard of that.
        if error.value.status() == "StatusCode.UNAVAILABLE":
            times = re.search(r"queue ahead .* need (\d+) ms, its deadline is in (\d+) ms", error.value.message())
            assert times, error.value.message()
            assert int(times[1]) >= int(times[2])
        else:
            assert error.value.status() == "StatusCode.DEADLINE_EXCEEDED"
        assert time.monotonic() - began < 10
    assert surface.infer("slow", X, client_timeout=30).as_numpy("y").tolist() == [[1.0] * 4]
    surface.close()


def test_a_time_limit_over_http(server: Server) -> None:
    surface = Surface("http", server, network_timeout=0.02)
    with Crowd(server):
        with pytest.raises(TimeoutError):
            surface.infer("slow", X)
    surface.close()


def test_a_time_limit_over_asynchronous_http(server: Server) -> None:
    surface = Surface("http.aio", server, conn_timeout=0.02)
    with Crowd(server):
        with pytest.raises(asyncio.TimeoutError):
            surface.infer("slow", X)
    surface.close()


def test_what_is_taken_back_is_not_run(server: Server) -> None:
    surface = Surface("grpc", server)
    before = told(surface, "slow")
    with Crowd(server) as crowd:
        pass
    assert crowd.errors, "all were answered before they were taken back"
    assert {error.status() for error in crowd.errors} == {"StatusCode.CANCELLED"}
    assert {error.message() for error in crowd.errors} == {"Locally cancelled by application!"}
    surface.infer("slow", X)
    run = told(surface, "slow")["execution_count"] - before.get("execution_count", 0)
    assert run < MANY / 2, "the queue was worked off for nobody"
    surface.close()


def test_asynchronous_calls_are_cancelled(server: Server) -> None:
    async def cancelled(surface: Surface) -> None:
        tensor = surface.tensor("x", X["x"])
        call = asyncio.create_task(surface.client.infer("slow", [tensor]))
        await asyncio.sleep(0.02)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    for name in ["http.aio", "grpc.aio"]:
        surface = Surface(name, server)
        before = told(surface, "slow")
        with Crowd(server):
            LOOP.run_until_complete(cancelled(surface))
        assert surface.infer("slow", X).as_numpy("y").tolist() == [[1.0] * 4]
        after = told(surface, "slow")
        assert count(after, "success") > count(before, "success")
        surface.close()


def test_the_asynchronous_call_of_the_http_client(server: Server) -> None:
    surface = Surface("http", server, concurrency=8)
    calls = []
    for value in range(50):
        tensor = surface.tensor("INPUT0", np.full((1, 3), value, np.float32))
        calls.append(surface.client.async_infer("identity", [tensor], request_id=str(value)))
    for value, call in enumerate(calls):
        result = call.get_result(timeout=30)
        assert result.get_response()["id"] == str(value)
        assert result.as_numpy("OUTPUT0").tolist() == [[value] * 3]
    surface.close()
