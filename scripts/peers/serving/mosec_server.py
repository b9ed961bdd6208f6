"""mosec, with raw bytes both ways; its own arguments come from the command line."""

import os

from mosec import Server, Worker

from rows import BATCH, Model


class Rows(Worker):
    resp_mime_type = "application/octet-stream"

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: list[bytes]) -> list[bytes]:
        return self.model.rows(data)

    def serialize(self, data: bytes) -> bytes:
        return data


if __name__ == "__main__":
    server = Server()
    wait = int(os.environ["PEER_DELAY_MS"])
    server.append_worker(Rows, num=int(os.environ["PEER_WORKERS"]), max_batch_size=BATCH, max_wait_time=wait)
    server.run()
