"""Many at a time, of every datatype: each gets its own answer."""

import asyncio
import threading

import numpy as np
import pytest

import values
from repository import DATATYPES, identity
from server import Server
from surface import LOOP, Surface

THREADS = 12
REQUESTS = 26


def request(random: np.random.Generator, datatype: str) -> np.ndarray:
    """Of lengths that some share and some don't, so that batches form and rows stand beside others'."""
    rows, length = random.integers(1, 4), random.choice([5, 64, 700])
    return values.random(datatype, random, (rows, length))


@pytest.mark.parametrize("name", ["http", "grpc"])
def test_threads_with_a_client_each(server: Server, name: str) -> None:
    wrong = []

    def run(thread: int) -> None:
        try:
            # The HTTP client belongs to the thread that made it.
            surface = Surface(name, server)
            random = np.random.default_rng(thread)
            for number in range(REQUESTS):
                datatype = DATATYPES[(thread + number) % len(DATATYPES)]
                array, id = request(random, datatype), f"{thread}.{number}"
                result = surface.infer(identity(datatype), {"INPUT0": array}, request_id=id)
                response = result.get_response()
                answered = response["id"] if name == "http" else response.id
                if answered != id or not values.same(result.as_numpy("OUTPUT0"), array):
                    wrong.append((id, answered, datatype, array.shape))
            surface.close()
        except Exception as error:
            wrong.append((thread, error))

    threads = [threading.Thread(target=run, args=[thread]) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_threads_that_share_a_grpc_client(server: Server) -> None:
    surface, wrong = Surface("grpc", server), []

    def run(thread: int) -> None:
        try:
            for number in range(REQUESTS):
                array = np.full((1, 64), thread * 1000 + number, np.float32)
                result = surface.infer("identity", {"INPUT0": array})
                if not values.same(result.as_numpy("OUTPUT0"), array):
                    wrong.append((thread, number))
        except Exception as error:
            wrong.append((thread, error))

    threads = [threading.Thread(target=run, args=[thread]) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    surface.close()
    assert not wrong


@pytest.mark.parametrize("name", ["http.aio", "grpc.aio"])
def test_tasks_of_one_client(server: Server, name: str) -> None:
    surface, random = Surface(name, server), np.random.default_rng(3)

    async def one(number: int) -> bool:
        datatype = DATATYPES[number % len(DATATYPES)]
        array = request(random, datatype)
        tensor = surface.tensor("INPUT0", array)
        result = await surface.client.infer(identity(datatype), [tensor], request_id=str(number))
        response = result.get_response()
        answered = response["id"] if name == "http.aio" else response.id
        return answered == str(number) and values.same(result.as_numpy("OUTPUT0"), array)

    async def all() -> list:
        return await asyncio.gather(*[one(number) for number in range(THREADS * REQUESTS)])

    assert False not in LOOP.run_until_complete(all())
    surface.close()
