"""LitServe, with raw bytes both ways: a body declared as bytes is handed on as it came."""

import os
from typing import Annotated

import litserve
from fastapi import Body, Response

from rows import BATCH, Model

OCTETS = "application/octet-stream"


class Rows(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = Model()

    def decode_request(self, request: Annotated[bytes, Body(media_type=OCTETS)]) -> bytes:
        return request

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def predict(self, rows: list[bytes] | bytes) -> list[bytes] | bytes:
        return self.model.rows(rows) if isinstance(rows, list) else self.model.rows([rows])[0]

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        return output

    def encode_response(self, output: bytes) -> Response:
        return Response(output, media_type=OCTETS)


if __name__ == "__main__":
    api = Rows(max_batch_size=BATCH, batch_timeout=int(os.environ["PEER_DELAY_MS"]) / 1000)
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=int(os.environ["PEER_WORKERS"]),
        timeout=30,
        fast_queue=os.environ.get("PEER_FAST_QUEUE") == "1",
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PEER_PORTS"]),
        num_api_servers=int(os.environ.get("PEER_API_SERVERS", "1")),
        generate_client_file=False,
        log_level="warning",
    )
