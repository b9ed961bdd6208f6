"""Compressed bodies, both ways."""

import gzip
import zlib
from http.client import HTTPConnection

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient
from tritonclient.utils import InferenceServerException

import values
from surface import Surface, done, status

# Worth compressing.
ARRAY = np.zeros((1, 100_000), np.float32)
ALGORITHMS = [None, "gzip", "deflate"]


@pytest.mark.parametrize("asked", ALGORITHMS)
@pytest.mark.parametrize("answered", ALGORITHMS)
@pytest.mark.parametrize("binary", [True, False])
def test_over_http(http: Surface, asked: str | None, answered: str | None, binary: bool) -> None:
    tensor, outputs = http.tensor("INPUT0", ARRAY, binary_data=binary), [http.output("OUTPUT0", binary_data=binary)]
    how = {"request_compression_algorithm": asked, "response_compression_algorithm": answered}
    result = done(http.client.infer("identity", [tensor], outputs=outputs, **how))
    assert values.same(result.as_numpy("OUTPUT0"), ARRAY)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_over_grpc(surface: Surface, algorithm: str | None) -> None:
    if surface.protocol == "grpc":
        result = surface.infer("identity", {"INPUT0": ARRAY}, compression_algorithm=algorithm)
        assert values.same(result.as_numpy("OUTPUT0"), ARRAY)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_answers_are_as_small_as_was_asked(http: Surface, algorithm: str) -> None:
    body, length = InferenceServerClient.generate_request_body([http.tensor("INPUT0", ARRAY)])
    headers = {"Inference-Header-Content-Length": str(length), "Accept-Encoding": algorithm}
    connection = HTTPConnection(http.server.http)
    connection.request("POST", "/v2/models/identity/infer", body, headers)
    answer = connection.getresponse()
    compressed = answer.read()
    connection.close()
    assert answer.headers["Content-Encoding"] == algorithm and len(compressed) < len(body) / 50
    header = int(answer.headers["Inference-Header-Content-Length"])
    result = InferenceServerClient.parse_response_body(compressed, header_length=header, content_encoding=algorithm)
    assert values.same(result.as_numpy("OUTPUT0"), ARRAY)
    whole = {"gzip": gzip.decompress, "deflate": zlib.decompress}[algorithm](compressed)
    assert len(whole) == header + ARRAY.nbytes


def test_a_body_that_is_not_what_it_says(http: Surface) -> None:
    with pytest.raises(InferenceServerException) as error:
        http.infer("identity", {"INPUT0": ARRAY}, headers={"Content-Encoding": "gzip"})
    assert status(error.value) == "400"
    with pytest.raises(InferenceServerException) as error:
        http.infer("identity", {"INPUT0": ARRAY}, headers={"Content-Encoding": "br"})
    assert status(error.value) == "415"
    assert "gzip, deflate" in error.value.message()
