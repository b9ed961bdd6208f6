"""Inference: every datatype, in binary and in JSON, and what may be asked of an answer."""

from http.client import HTTPConnection

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient

import values
from repository import DATATYPES, identity
from surface import Surface, done

A, B = np.arange(16, dtype=np.int32).reshape(1, 16), np.full((1, 16), 3, np.int32)
IN = {"INPUT0": A, "INPUT1": B}


def test_sums_and_differences(surface: Surface) -> None:
    result = surface.infer("simple", IN)
    assert values.same(result.as_numpy("OUTPUT0"), A + B)
    assert values.same(result.as_numpy("OUTPUT1"), A - B)
    assert result.as_numpy("OUTPUT2") is None


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_rows(surface: Surface, rows: int) -> None:
    a = np.arange(rows * 16, dtype=np.int32).reshape(rows, 16)
    result = surface.infer("simple", {"INPUT0": a, "INPUT1": -a})
    assert values.same(result.as_numpy("OUTPUT1"), 2 * a)


def test_names_ids_and_versions_come_back(surface: Surface) -> None:
    for version in ["", "1"]:
        result = surface.infer("simple", IN, model_version=version, request_id="id ü 1")
        told = result.get_response() if surface.protocol == "http" else result.get_response(as_json=True)
        assert (told["model_name"], told["model_version"], told["id"]) == ("simple", "1", "id ü 1")
    without = surface.infer("simple", IN).get_response()
    assert ("id" not in without) if surface.protocol == "http" else without.id == ""


def test_only_the_outputs_that_are_asked_for(surface: Surface) -> None:
    result = surface.infer("simple", IN, outputs=[surface.output("OUTPUT1")])
    assert result.as_numpy("OUTPUT0") is None and result.as_numpy("OUTPUT1") is not None
    result = surface.infer("simple", IN, outputs=[surface.output("OUTPUT1"), surface.output("OUTPUT0")])
    assert values.same(result.as_numpy("OUTPUT0"), A + B)


def test_inputs_in_any_order(surface: Surface) -> None:
    result = surface.infer("simple", dict(reversed(IN.items())))
    assert values.same(result.as_numpy("OUTPUT1"), A - B)


def test_several_inputs_and_outputs_of_several_types(surface: Surface) -> None:
    vector, matrix, scale = np.ones((2, 4)), np.arange(12).reshape(2, 2, 3), np.full((2, 1), 2)
    inputs = {"vector": vector, "matrix": matrix, "scale": scale}
    result = surface.infer("multi_io", {name: array.astype(np.float32) for name, array in inputs.items()})
    assert values.same(result.as_numpy("scaled"), (matrix * 2 + 1).astype(np.float32))
    scores = result.as_numpy("scores")
    assert scores.shape == (2, 5) and values.same(result.as_numpy("best"), scores.argmax(axis=1, keepdims=True))


def test_a_dictionary_for_an_argument(surface: Surface) -> None:
    left, right = np.ones((1, 4), np.float32), np.full((1, 4), 2, np.float32)
    result = surface.infer("dict_input", {"left": left, "right": right})
    assert values.same(result.as_numpy("y"), left + 2 * right)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_comes_back_to_the_bit(surface: Surface, datatype: str) -> None:
    array = values.extremes(datatype)
    result = surface.infer(identity(datatype), {"INPUT0": array})
    assert values.same(result.as_numpy("OUTPUT0"), array)


@pytest.mark.parametrize("datatype", [each for each in DATATYPES if each != "BF16"])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_every_datatype_in_json(http: Surface, datatype: str, binary_in: bool, binary_out: bool) -> None:
    """BF16 the client itself doesn't put into JSON; it reads it, below."""
    array = values.extremes(datatype)
    tensor = http.tensor("INPUT0", array, binary_data=binary_in)
    outputs = [http.output("OUTPUT0", binary_data=binary_out)]
    result = done(http.client.infer(identity(datatype), [tensor], outputs=outputs))
    assert ("data" in result.get_output("OUTPUT0")) is not binary_out
    assert values.same(result.as_numpy("OUTPUT0"), array)


def test_bf16_out_in_json(http: Surface) -> None:
    array = values.extremes("BF16")
    outputs = [http.output("OUTPUT0", binary_data=False)]
    result = http.infer(identity("BF16"), {"INPUT0": array}, outputs=outputs)
    assert "data" in result.get_output("OUTPUT0")
    assert values.same(result.as_numpy("OUTPUT0"), array)


def test_json_and_binary_in_one_request(http: Surface) -> None:
    for first, second in [(True, False), (False, True)]:
        inputs = [http.tensor("INPUT0", A, binary_data=first), http.tensor("INPUT1", B, binary_data=second)]
        outputs = [http.output("OUTPUT0", binary_data=second), http.output("OUTPUT1", binary_data=first)]
        result = done(http.client.infer("simple", inputs, outputs=outputs))
        assert values.same(result.as_numpy("OUTPUT0"), A + B) and values.same(result.as_numpy("OUTPUT1"), A - B)


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
@pytest.mark.parametrize("binary", [True, False])
def test_not_a_number_and_infinity(surface: Surface, datatype: str, binary: bool) -> None:
    if surface.protocol == "grpc" and not binary:
        return
    array = np.array([[np.nan, np.inf, -np.inf]], values.extremes(datatype).dtype)
    how = {"binary_data": binary} if surface.protocol == "http" else {}
    tensor = surface.tensor("INPUT0", array, **how)
    outputs = [surface.output("OUTPUT0", **how)]
    result = done(surface.client.infer(identity(datatype), [tensor], outputs=outputs))
    assert np.array_equal(result.as_numpy("OUTPUT0"), array, equal_nan=True)


def test_no_elements(surface: Surface) -> None:
    array = np.zeros((1, 0), np.float32)
    assert values.same(surface.infer("identity", {"INPUT0": array}).as_numpy("OUTPUT0"), array)


def test_sixteen_megabytes(surface: Surface) -> None:
    array = np.random.default_rng(7).standard_normal((1, 4 << 20), np.float32)
    assert values.same(surface.infer("identity", {"INPUT0": array}).as_numpy("OUTPUT0"), array)


def test_a_tensor_that_is_a_view(surface: Surface) -> None:
    array = np.arange(64, dtype=np.float32).reshape(8, 8).T[1:2, ::2]
    assert values.same(surface.infer("identity", {"INPUT0": array}).as_numpy("OUTPUT0"), np.ascontiguousarray(array))


def test_a_model_without_a_configuration(surface: Surface) -> None:
    for array in [np.arange(6, dtype=np.int64).reshape(1, 2, 3), np.float32(1.5) * np.ones((2, 2))]:
        result = surface.infer("no_config", {"x": array, "y": array})
        assert values.same(result.as_numpy("OUTPUT__0"), array + array)


def test_bodies_made_and_read_without_a_connection(http: Surface) -> None:
    """The client's functions for those who send by themselves."""

    body, length = InferenceServerClient.generate_request_body([http.tensor("INPUT0", A), http.tensor("INPUT1", B)])
    connection = HTTPConnection(http.server.http)
    connection.request("POST", "/v2/models/simple/infer", body, {"Inference-Header-Content-Length": str(length)})
    answer = connection.getresponse()
    header = int(answer.headers["Inference-Header-Content-Length"])
    result = InferenceServerClient.parse_response_body(answer.read(), header_length=header)
    assert values.same(result.as_numpy("OUTPUT0"), A + B)
    connection.close()
