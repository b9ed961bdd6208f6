"""The servers and clients that the tests ask for."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import repository
from server import Server
from surface import NAMES, Surface


def binary() -> Path:
    if path := os.environ.get("CRESSET_BINARY"):
        return Path(path)
    raise pytest.UsageError("CRESSET_BINARY names no server: run scripts/test-clients")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The one that most tests share. Counts in it only grow: compare before and after."""
    models = repository.general(tmp_path_factory.mktemp("general") / "models")
    with Server(binary(), models) as server:
        yield server


@pytest.fixture(scope="session")
def policy_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = repository.policies(tmp_path_factory.mktemp("policies"))
    with Server(binary(), models) as server:
        yield server


@pytest.fixture(scope="session")
def string_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = repository.strings(tmp_path_factory.mktemp("strings"))
    with Server(binary(), models) as server:
        yield server


@pytest.fixture
def control_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Each test has its own: they change what is served."""
    models = repository.few(tmp_path_factory.mktemp("control"))
    explicit = ["--model-control-mode=explicit", "--load-model=simple"]
    with Server(binary(), models, *explicit) as server:
        yield server


def clients(server: str):
    """A fixture of a client of each kind, for the server of that name."""

    @pytest.fixture(params=NAMES)
    def fixture(request: pytest.FixtureRequest) -> Iterator[Surface]:
        surface = Surface(request.param, request.getfixturevalue(server))
        yield surface
        surface.close()

    return fixture


surface = clients("server")
policy_surface = clients("policy_server")
string_surface = clients("string_server")
control_surface = clients("control_server")


@pytest.fixture(params=["http", "http.aio"])
def http(request: pytest.FixtureRequest, server: Server) -> Iterator[Surface]:
    surface = Surface(request.param, server)
    yield surface
    surface.close()
