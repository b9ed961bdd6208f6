"""PyTriton: Triton's core in front of functions of Python's, by the Open Inference Protocol."""

import os

import numpy
import torch
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, QueuePolicy, Tensor
from pytriton.triton import Triton, TritonConfig

from rows import BATCH, SHAPE, Model

HTTP, GRPC, METRICS = (int(port) for port in os.environ["PEER_PORTS"].split(","))
HOST = "127.0.0.1"

model = Model()


@batch
def infer(**inputs: numpy.ndarray) -> dict:
    # A copy, as torch wants memory that can be written to.
    return {"OUTPUT__0": model.run(torch.from_numpy(inputs["INPUT__0"].copy())).numpy()}


if __name__ == "__main__":
    config = TritonConfig(
        http_port=HTTP, grpc_port=GRPC, metrics_port=METRICS, http_address=HOST, grpc_address=HOST, log_verbose=0
    )
    batcher = DynamicBatcher(
        max_queue_delay_microseconds=int(os.environ["PEER_DELAY_MS"]) * 1000,
        default_queue_policy=QueuePolicy(max_queue_size=int(os.environ["PEER_QUEUE"])),
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name=os.environ["PEER_NAME"],
            infer_func=[infer] * int(os.environ["PEER_WORKERS"]),
            inputs=[Tensor(name="INPUT__0", dtype=numpy.float32, shape=tuple(SHAPE))],
            outputs=[Tensor(name="OUTPUT__0", dtype=numpy.float32, shape=(int(os.environ["PEER_OUTPUTS"]),))],
            config=ModelConfig(max_batch_size=BATCH, batcher=batcher),
            strict=True,
        )
        triton.serve()
