"""What models have done: the same by all clients, exact, and adding up."""

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from surface import Surface

PARTS = ["queue", "compute_input", "compute_infer", "compute_output"]


def told(surface: Surface, model: str, version: str = "") -> dict:
    [model] = surface.told("get_inference_statistics", model, version)["model_stats"]
    return numbers(model)


def numbers(value: object) -> object:
    """The same with counts as numbers; protobuf's JSON has them as text, and leaves zeros out."""
    if isinstance(value, dict):
        return {key: each if key in ("name", "version") else numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [numbers(each) for each in value]
    return int(value)


def count(statistics: dict, what: str) -> int:
    return statistics.get("inference_stats", {}).get(what, {}).get("count", 0)


def test_every_request_is_counted_once(surface: Surface) -> None:
    ones = lambda rows, value=1: {"x": np.full((rows, 4), value, np.float32)}
    before = told(surface, "fails")
    for rows in [1, 3, 3, 8]:
        surface.infer("fails", ones(rows))
    for bad in [ones(1, -1), ones(9)]:
        with pytest.raises(InferenceServerException):
            surface.infer("fails", bad)
    after = told(surface, "fails", "1")
    grown = lambda what: count(after, what) - count(before, what)
    assert grown("success") == 4 and grown("fail") == 2
    assert all(grown(part) == 4 for part in PARTS)
    assert after["inference_count"] - before.get("inference_count", 0) == 15
    assert after["execution_count"] - before.get("execution_count", 0) == 5
    assert after["last_inference"] >= before.get("last_inference", 0)
    sizes = {batch["batch_size"]: batch["compute_infer"]["count"] for batch in after["batch_stats"]}
    assert {1, 3, 8} <= set(sizes)


def test_the_parts_are_no_more_than_the_whole(surface: Surface) -> None:
    for _ in range(5):
        surface.infer("slow", {"x": np.zeros((1, 4), np.float32)})
    inference = told(surface, "slow")["inference_stats"]
    parts = sum(inference[part].get("ns", 0) for part in PARTS)
    assert 0 < parts <= inference["success"]["ns"]


def test_all_models_at_once(surface: Surface) -> None:
    names = {model["name"] for model in surface.told("get_inference_statistics")["model_stats"]}
    assert {"simple", "mlp", "fails", "identity_bool"} <= names


def test_the_two_protocols_tell_the_same(server) -> None:
    surfaces = [Surface(name, server) for name in ["http", "grpc"]]
    surfaces[0].infer("mlp", {"INPUT__0": np.zeros((2, 784), np.float32)})

    def without_zeros(value: object) -> object:
        if isinstance(value, dict):
            kept = {key: without_zeros(each) for key, each in value.items()}
            return {key: each for key, each in kept.items() if each not in (0, {}, [])}
        return [without_zeros(each) for each in value] if isinstance(value, list) else value

    over_http, over_grpc = [without_zeros(told(surface, "mlp")) for surface in surfaces]
    assert over_http == over_grpc and over_http["inference_count"] >= 2
    for surface in surfaces:
        surface.close()
