"""What the server and its models say of themselves."""

import pytest
from tritonclient.utils import InferenceServerException

from surface import Surface, status


def test_live_and_ready(surface: Surface) -> None:
    assert surface.is_server_live() is True
    assert surface.is_server_ready() is True
    assert surface.is_model_ready("simple") is True
    assert surface.is_model_ready("simple", "1") is True


def test_what_is_not_there_is_not_ready(surface: Surface) -> None:
    assert surface.is_model_ready("nope") is False
    assert surface.is_model_ready("simple", "2") is False


def test_server_metadata(surface: Surface) -> None:
    told = surface.told("get_server_metadata")
    assert told["name"] == "cresset" and told["version"]
    offered = {"classification", "model_repository", "model_configuration", "binary_tensor_data", "statistics"}
    assert offered <= set(told["extensions"])
    assert not {"system_shared_memory", "cuda_shared_memory", "trace", "sequence"} & set(told["extensions"])


@pytest.mark.parametrize("version", ["", "1"])
def test_model_metadata(surface: Surface, version: str) -> None:
    told = surface.told("get_model_metadata", "multi_io", version)
    assert (told["name"], told["platform"], told["versions"]) == ("multi_io", "pytorch_libtorch", ["1"])
    tensors = lambda which: [(t["name"], t["datatype"], [int(d) for d in t["shape"]]) for t in told[which]]
    assert tensors("inputs") == [("vector", "FP32", [-1, 4]), ("matrix", "FP32", [-1, 2, 3]), ("scale", "FP32", [-1, 1])]
    assert tensors("outputs") == [("scores", "FP32", [-1, 5]), ("scaled", "FP32", [-1, 2, 3]), ("best", "INT64", [-1, 1])]


def test_model_config(surface: Surface) -> None:
    told = surface.told("get_model_config", "mlp", "1")
    config = told if surface.protocol == "http" else told["config"]
    assert (config["name"], config["max_batch_size"], config["backend"]) == ("mlp", 32, "pytorch")
    assert "dynamic_batching" in config
    [tensor] = config["input"]
    assert (tensor["name"], tensor["data_type"], [int(d) for d in tensor["dims"]]) == ("INPUT__0", "TYPE_FP32", [784])
    [group] = config["instance_group"]
    assert group["kind"] == "KIND_CPU" and group["count"] >= 1


def test_repository_index(surface: Surface) -> None:
    told = surface.told("get_model_repository_index")
    models = told if surface.protocol == "http" else told["models"]
    states = {model["name"]: (model["version"], model["state"]) for model in models}
    assert states["simple"] == states["no_config"] == ("1", "READY")


def test_a_model_that_is_not_there(surface: Surface) -> None:
    for call in ["get_model_metadata", "get_model_config", "get_inference_statistics"]:
        with pytest.raises(InferenceServerException) as error:
            surface.told(call, "nope")
        assert error.value.message() == "Request for unknown model: 'nope' is not found", call
        assert status(error.value) == "404"


def test_own_headers_are_taken(surface: Surface) -> None:
    headers = {"x-request-source": "a test", "authorization": "Basic YTpi"}
    assert surface.is_server_live(headers=headers) is True
    if surface.protocol == "http":
        assert surface.is_server_live(query_params={"test": [1, 2]}) is True


def test_loading_is_off_unless_asked_for(surface: Surface) -> None:
    for call in [surface.load_model, surface.unload_model]:
        with pytest.raises(InferenceServerException, match="explicit"):
            call("simple")
    assert surface.is_model_ready("simple") is True


def test_no_memory_is_shared(surface: Surface) -> None:
    for kind in ["system", "cuda"]:
        assert not surface.told(f"get_{kind}_shared_memory_status"), kind
        getattr(surface, f"unregister_{kind}_shared_memory")()
    with pytest.raises(InferenceServerException, match="not offered") as error:
        surface.register_system_shared_memory("r", "/r", 64)
    assert status(error.value) == "501"


def test_what_is_logged_is_told_and_changed(surface: Surface) -> None:
    assert "log_verbose_level" in str(surface.told("get_log_settings"))
    changed = surface.told("update_log_settings", {"log_verbose_level": 0, "log_info": True})
    assert "log_info" in str(changed)
    with pytest.raises(InferenceServerException, match="log file location can not be updated through network protocol"):
        surface.told("update_log_settings", {"log_file": "/tmp/elsewhere"})


def test_traces_are_off(surface: Surface) -> None:
    assert "OFF" in str(surface.told("get_trace_settings"))
    assert "OFF" in str(surface.told("update_trace_settings", None, {"trace_level": ["OFF"]}))
    with pytest.raises(InferenceServerException, match="there are no traces"):
        surface.told("update_trace_settings", None, {"trace_level": ["TIMESTAMPS"]})
