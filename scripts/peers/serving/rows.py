"""The model that a peer serves: rows of raw floats in, rows of raw floats out.

What is asked of it stands in the environment: PEER_MODEL, a TorchScript file; PEER_SHAPE, one row's
(`3,224,224`); PEER_THREADS, torch's own; PEER_BATCH, the most rows at once.
"""

import os

import torch

SHAPE = [int(size) for size in os.environ["PEER_SHAPE"].split(",")]
THREADS = int(os.environ["PEER_THREADS"])
BATCH = int(os.environ["PEER_BATCH"])


class Model:
    def __init__(self) -> None:
        torch.set_num_threads(THREADS)
        # Frozen and warm, as Cresset has it: what then differs is the server.
        self.module = torch.jit.freeze(torch.jit.load(os.environ["PEER_MODEL"], map_location="cpu").eval())
        for batch in sorted({1, 2, BATCH}):
            for _ in range(3):
                self.run(torch.rand(batch, *SHAPE))

    def run(self, x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return self.module(x)

    def rows(self, bodies: list[bytes]) -> list[bytes]:
        """A batch of bodies, each a row of little-endian FP32."""
        x = torch.frombuffer(bytearray().join(bodies), dtype=torch.float32).reshape(-1, *SHAPE)
        return [row.tobytes() for row in self.run(x).numpy()]
