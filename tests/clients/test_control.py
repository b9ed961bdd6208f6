"""Loading and unloading, of a server that was started for it."""

import json

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from repository import MODELS
from surface import Surface, status

X = {"x": np.ones((1, 4), np.float32)}


def state(surface: Surface, name: str) -> str:
    told = surface.told("get_model_repository_index")
    models = told if surface.protocol == "http" else told.get("models", [])
    return next(model.get("state", "") for model in models if model["name"] == name)


def test_nothing_is_served_but_what_was_named(control_surface: Surface) -> None:
    assert control_surface.is_server_ready() is True
    assert control_surface.is_model_ready("simple") is True
    assert control_surface.is_model_ready("fails") is False
    assert state(control_surface, "simple") == "READY" and state(control_surface, "fails") != "READY"


def test_loaded_and_unloaded(control_surface: Surface) -> None:
    control_surface.load_model("fails")
    assert control_surface.is_model_ready("fails") is True
    assert control_surface.infer("fails", X).as_numpy("y").tolist() == [[1.0] * 4]
    control_surface.unload_model("fails")
    # Requests in progress are answered; when that is done, the model is gone.
    with pytest.raises(InferenceServerException) as error:
        control_surface.infer("fails", X)
    assert status(error.value) in ("400", "404", "503")
    assert control_surface.is_model_ready("fails") is False
    assert state(control_surface, "fails") != "READY"
    control_surface.load_model("fails")
    assert control_surface.infer("fails", X).as_numpy("y").tolist() == [[1.0] * 4]


def test_loaded_again_while_it_serves(control_surface: Surface) -> None:
    control_surface.load_model("simple")
    assert control_surface.is_model_ready("simple") is True


def test_with_another_configuration(control_surface: Surface) -> None:
    tensor = lambda name: [{"name": name, "data_type": "TYPE_FP32", "dims": [4]}]
    config = {"name": "fails", "backend": "pytorch", "max_batch_size": 2, "input": tensor("x"), "output": tensor("y")}
    control_surface.load_model("fails", config=json.dumps(config))
    told = control_surface.told("get_model_config", "fails")
    assert (told if control_surface.protocol == "http" else told["config"])["max_batch_size"] == 2
    with pytest.raises(InferenceServerException, match="batch-size must be <= 2"):
        control_surface.infer("fails", {"x": np.ones((3, 4), np.float32)})


def test_files_of_ones_own_are_refused(control_surface: Surface) -> None:
    files = {"file:1/model.pt": (MODELS / "identity" / "1" / "model.pt").read_bytes()}
    with pytest.raises(InferenceServerException, match="file:1/model.pt"):
        control_surface.load_model("sent", config='{"backend": "pytorch"}', files=files)
    assert control_surface.is_model_ready("sent") is False


def test_what_is_not_there_is_not_loaded(control_surface: Surface) -> None:
    with pytest.raises(InferenceServerException, match="nope"):
        control_surface.load_model("nope")
    assert control_surface.is_server_ready() is True


def test_a_broken_configuration_leaves_the_model_as_it_is(control_surface: Surface) -> None:
    with pytest.raises(InferenceServerException):
        control_surface.load_model("simple", config='{"max_batch_size": "many"}')
    a = np.ones((1, 16), np.int32)
    assert control_surface.infer("simple", {"INPUT0": a, "INPUT1": a}).as_numpy("OUTPUT0").tolist() == [[2] * 16]
