"""FastAPI under uvicorn, a forward for each request: raw bytes at /raw and /raw-async, JSON at /json."""

from typing import Annotated

import torch
from fastapi import Body, FastAPI, Request, Response
from pydantic import BaseModel

from rows import Model

OCTETS = "application/octet-stream"

app = FastAPI()
model = Model()


class Row(BaseModel):
    data: list


@app.post("/json")
def json(row: Row) -> dict:
    return {"output": model.run(torch.tensor(row.data)[None])[0].tolist()}


# In FastAPI's pool of threads.
@app.post("/raw")
def raw(row: Annotated[bytes, Body(media_type=OCTETS)]) -> Response:
    return Response(model.rows([row])[0], media_type=OCTETS)


# On the event loop itself.
@app.post("/raw-async")
async def raw_async(request: Request) -> Response:
    return Response(model.rows([await request.body()])[0], media_type=OCTETS)
