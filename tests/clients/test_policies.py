"""The parameters of a request: its own, its priority and its time."""

import asyncio

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from server import Server
from surface import LOOP, Surface, status
from test_waiting import Crowd

X = {"x": np.ones((1, 4), np.float32)}
# Of `slow`, 2 ms each: so many that two others come while most of them wait, however busy the machine is.
LATE = 240


def test_parameters_of_ones_own_are_taken(surface: Surface) -> None:
    parameters = {"text": "a", "number": 3, "truth": True}
    assert surface.infer("fails", X, parameters=parameters).as_numpy("y").tolist() == [[1.0] * 4]


def test_a_priority_and_a_time_are_taken(surface: Surface) -> None:
    """By a model that has neither: there they say nothing."""
    assert surface.infer("fails", X, priority=1, timeout=60_000_000).as_numpy("y").tolist() == [[1.0] * 4]


def test_a_time_that_is_over(policy_surface: Surface) -> None:
    with Crowd(policy_surface.server):
        with pytest.raises(InferenceServerException, match="Request timeout expired") as error:
            policy_surface.infer("slow", X, timeout=1000)
        assert status(error.value) == "503"
    assert policy_surface.infer("slow", X, timeout=30_000_000).as_numpy("y").tolist() == [[1.0] * 4]


@pytest.mark.parametrize("name", ["http.aio", "grpc.aio"])
def test_the_first_level_goes_first(policy_server: Server, name: str) -> None:
    surface, order = Surface(name, policy_server), []

    async def one(level: int) -> None:
        await surface.client.infer("slow", [surface.tensor("x", X["x"])], priority=level)
        order.append(level)

    async def all() -> None:
        late = [asyncio.create_task(one(2)) for _ in range(LATE)]
        await asyncio.sleep(0.02)
        await asyncio.gather(one(1), one(1), *late)

    LOOP.run_until_complete(all())
    surface.close()
    assert sorted(order) == [1] * 2 + [2] * LATE
    # Not the very first: some are done before these two come.
    assert max(place for place, level in enumerate(order) if level == 1) < LATE * 2 / 3, order


def test_a_level_that_is_not_there_is_the_default(policy_surface: Surface) -> None:
    """As Triton has it."""
    assert policy_surface.infer("slow", X, priority=3).as_numpy("y").tolist() == [[1.0] * 4]
