"""What is wrong is said in the same words by both protocols, with statuses that pair."""

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from surface import Surface, done, status

A = np.zeros((1, 16), np.int32)
X = np.ones((1, 4), np.float32)

CASES = {
    "no such model": (
        "nope", {"INPUT0": A}, {},
        "404", "Request for unknown model: 'nope' is not found"),
    "no such version": (
        "simple", {"INPUT0": A, "INPUT1": A}, {"model_version": "7"},
        "404", "Request for unknown model: 'simple' version 7 is not found; served: 1"),
    "an input is missing": (
        "simple", {"INPUT0": A}, {},
        "400", "INPUT1"),
    "an input too many": (
        "simple", {"INPUT0": A, "INPUT1": A, "INPUT2": A}, {},
        "400", "INPUT2"),
    "another datatype": (
        "simple", {"INPUT0": A, "INPUT1": A.astype(np.int64)}, {},
        "400", "inference input 'INPUT1' data-type is 'INT64', but model 'simple' expects 'INT32'"),
    "another shape": (
        "simple", {"INPUT0": A, "INPUT1": A[:, :15]}, {},
        "400", "unexpected shape for input 'INPUT1' for model 'simple'. Expected [-1,16], got [1,15]"),
    "different rows": (
        "simple", {"INPUT0": A, "INPUT1": np.zeros((2, 16), np.int32)}, {},
        "400", "input 'INPUT1' batch size does not match other inputs for 'simple'"),
    "too many rows": (
        "fails", {"x": np.ones((9, 4), np.float32)}, {},
        "400", "inference request batch-size must be <= 8 for 'fails'"),
    "the model fails": (
        "fails", {"x": -X}, {},
        "500", "PyTorch execute failure: RuntimeError: start out of range"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_said(surface: Surface, case: str) -> None:
    model, inputs, named, expected, words = CASES[case]
    with pytest.raises(InferenceServerException) as error:
        surface.infer(model, inputs, **named)
    assert words in error.value.message()
    assert status(error.value) == expected


def test_an_output_that_is_not_there(surface: Surface) -> None:
    with pytest.raises(InferenceServerException, match="'y2'") as error:
        surface.infer("fails", {"x": X}, outputs=[surface.output("y2")])
    assert status(error.value) == "400"


def test_a_server_that_failed_once_goes_on(surface: Surface) -> None:
    for _ in range(3):
        with pytest.raises(InferenceServerException):
            surface.infer("fails", {"x": -X})
        assert surface.infer("fails", {"x": X}).as_numpy("y").tolist() == [[1.0] * 4]


def test_shared_memory_is_refused(surface: Surface) -> None:
    tensor = surface.module.InferInput("x", [1, 4], "FP32")
    tensor.set_shared_memory("region", 16)
    output = surface.output("y")
    output.set_shared_memory("region", 16)
    for inputs, outputs in [([tensor], None), ([surface.tensor("x", X)], [output])]:
        with pytest.raises(InferenceServerException, match="shared memory extensions are not offered") as error:
            done(surface.client.infer("fails", inputs, outputs=outputs))
        assert status(error.value) == "400"
