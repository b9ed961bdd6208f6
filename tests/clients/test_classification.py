"""The classification extension: the best classes of each row, with their labels."""

import numpy as np
import pytest

from surface import Surface

SCORES = np.array([[0.5, 2, 1], [-1, -3, -2]], np.float32)


def test_the_best_with_labels(surface: Surface) -> None:
    outputs = [surface.output("OUTPUT0", class_count=2)]
    result = surface.infer("labelled", {"INPUT0": SCORES}, outputs=outputs)
    expected = [[b"2.000000:1:dog", b"1.000000:2:fox"], [b"-1.000000:0:cat", b"-2.000000:2:fox"]]
    assert result.as_numpy("OUTPUT0").tolist() == expected
    told = result.get_output("OUTPUT0")
    assert (told["datatype"] if surface.protocol == "http" else told.datatype) == "BYTES"


def test_without_labels(surface: Surface) -> None:
    outputs = [surface.output("OUTPUT0", class_count=1)]
    result = surface.infer("identity", {"INPUT0": SCORES}, outputs=outputs)
    assert result.as_numpy("OUTPUT0").tolist() == [[b"2.000000:1"], [b"-1.000000:0"]]


def test_more_than_there_are(surface: Surface) -> None:
    outputs = [surface.output("OUTPUT0", class_count=1000)]
    assert surface.infer("labelled", {"INPUT0": SCORES}, outputs=outputs).as_numpy("OUTPUT0").shape == (2, 3)


def test_beside_a_whole_output(surface: Surface) -> None:
    a = np.arange(16, dtype=np.int32).reshape(1, 16)
    outputs = [surface.output("OUTPUT0", class_count=1), surface.output("OUTPUT1")]
    result = surface.infer("simple", {"INPUT0": a, "INPUT1": a}, outputs=outputs)
    assert result.as_numpy("OUTPUT0").tolist() == [[b"30:15"]] or result.as_numpy("OUTPUT0").tolist() == [[b"30.000000:15"]]
    assert result.as_numpy("OUTPUT1").tolist() == [[0] * 16]


@pytest.mark.parametrize("binary", [True, False])
def test_in_json_and_in_binary(http: Surface, binary: bool) -> None:
    outputs = [http.output("OUTPUT0", binary_data=binary, class_count=1)]
    result = http.infer("labelled", {"INPUT0": SCORES}, outputs=outputs)
    assert ("data" in result.get_output("OUTPUT0")) is not binary
    expected = ["2.000000:1:dog", "-1.000000:0:cat"]
    found = result.as_numpy("OUTPUT0").flatten().tolist()
    assert found == ([text.encode() for text in expected] if binary else expected)
