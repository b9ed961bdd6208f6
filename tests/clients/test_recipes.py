"""The client that docs/recipes.md shows, run as it stands, prints what the page says."""

import ast
import contextlib
import io
import re
from pathlib import Path

import pytest

import repository
from conftest import binary
from server import Server

PAGE = (repository.CHECKOUT / "docs" / "recipes.md").read_text()


def block(info: str) -> str:
    return re.search(f"^```{re.escape(info)}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1]


def test_the_pages_client_prints_what_the_page_says(tmp_path: Path) -> None:
    encoder = tmp_path / "encoder"
    (encoder / "1").mkdir(parents=True)
    (encoder / "1" / "model.pt").write_bytes((repository.CHECKOUT / "tests/recipes/encoder.pt").read_bytes())
    (encoder / "config.pbtxt").write_text(block("text title=my-models/encoder/config.pbtxt"))
    (encoder / "cresset.toml").write_text(block("toml title=my-models/encoder/cresset.toml"))
    with Server(binary(), tmp_path) as server, contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(block("python title=triton_client.py").replace("localhost:8000", server.http), {})
    came, told = ast.literal_eval(printed.getvalue()), ast.literal_eval(block("text title=triton_client.py prints"))
    assert came == [pytest.approx(row, abs=1e-3) for row in told]
