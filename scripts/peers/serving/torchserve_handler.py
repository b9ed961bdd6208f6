"""TorchServe's handler: raw bytes both ways, a batch at a time."""

from rows import Model


class Handler:
    def initialize(self, context: object) -> None:
        self.model = Model()

    def handle(self, data: list[dict], context: object) -> list[bytes]:
        return self.model.rows([row["body"] for row in data])
