"""BYTES tensors."""

import numpy as np
import pytest

from surface import Surface, done

WORDS = np.array([b"torch", "gr\u00fc\u00df".encode(), b"", b"basket"], np.object_)


def test_strings_in(string_surface: Surface) -> None:
    result = string_surface.infer("lengths", {"words": WORDS})
    assert result.as_numpy("lengths").tolist() == [5, 6, 0, 6]


def test_strings_come_back(string_surface: Surface) -> None:
    result = string_surface.infer("echo", {"words": WORDS})
    assert result.as_numpy("same").dtype == np.object_
    assert result.as_numpy("same").tolist() == WORDS.tolist()


def test_bytes_that_are_no_text(string_surface: Surface) -> None:
    words = np.array([b"\x00", b"\xff\xfe", b"a\x00b", bytes(range(256))], np.object_)
    assert string_surface.infer("echo", {"words": words}).as_numpy("same").tolist() == words.tolist()


def test_long_and_many(string_surface: Surface) -> None:
    words = np.array([b"x" * (1 << 20)] + [str(i).encode() for i in range(10_000)], np.object_)
    assert string_surface.infer("echo", {"words": words}).as_numpy("same").tolist() == words.tolist()


def test_no_strings(string_surface: Surface) -> None:
    result = string_surface.infer("lengths", {"words": np.array([], np.object_)})
    assert result.as_numpy("lengths").shape == (0,)


def test_rows_of_strings(string_surface: Surface) -> None:
    result = string_surface.infer("batched", {"words": WORDS.reshape(4, 1)})
    assert result.as_numpy("lengths").tolist() == [[5], [6], [0], [6]]


def test_numpys_own_bytes(string_surface: Surface) -> None:
    words = np.array([b"ab", b"cde"])
    assert string_surface.infer("lengths", {"words": words}).as_numpy("lengths").tolist() == [2, 3]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("string_surface", ["http", "http.aio"], indirect=True)
def test_strings_in_json(string_surface: Surface, binary_in: bool, binary_out: bool) -> None:
    tensor = string_surface.tensor("words", WORDS, binary_data=binary_in)
    outputs = [string_surface.output("same", binary_data=binary_out)]
    result = done(string_surface.client.infer("echo", [tensor], outputs=outputs))
    assert ("data" in result.get_output("same")) is not binary_out
    expected = WORDS.tolist() if binary_out else [word.decode() for word in WORDS]
    assert result.as_numpy("same").tolist() == expected
