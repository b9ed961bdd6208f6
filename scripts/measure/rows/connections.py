"""Ten thousand clients that are connected and ask nothing."""

import resource
import socket
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

from ..figures import Figure, Row, at_least, at_most
from ..processes import ROOT, Bench, Server, Unmeasurable

CONNECTIONS = 10_000
MODEL = ROOT / "tests" / "models" / "mlp"
# Beside the connections: our own files, and the generator's.
SPARE = 200
CLIENTS = 8


def measure(bench: Bench) -> Row:
    """10,000 open connections, each after one request.

    What the process's resident memory grows by for each of them, over the same of a bare actix-web server that was sent
    the same bytes; and requests a second of 8 other clients beside them, over those of the same clients before they
    came and after they went. The kernel's own memory for a socket is in neither.
    """
    count = allowed()
    body = bytes(4 * 784)
    head = (b'{"inputs":[{"name":"INPUT__0","datatype":"FP32","shape":[1,784],"parameters":{"binary_data_size":3136}}],'
            b'"parameters":{"binary_data_output":true}}')  # fmt: skip
    request = (
        f"POST /v2/models/mlp/infer HTTP/1.1\r\nHost: localhost\r\nInference-Header-Content-Length: {len(head)}\r\n"
        f"Content-Length: {len(head) + len(body)}\r\n\r\n"
    ).encode() + head + body
    repository = bench.repository("mlp", MODEL)
    ours, echo, beside = [], [], []
    for _ in range(bench.rounds):
        with bench.serve(repository) as server:
            load = lambda: bench.load(server.url, ["--model", "mlp"], CLIENTS)["requests_per_second"]
            before = load()
            with connected(server, request, count) as kilobytes:
                ours.append(kilobytes)
                among = load()
            beside.append(among / ((before + load()) / 2))
        with bench.echo() as server:
            bench.load(server.url, ["--model", "mlp", "--input", "x:FP32:1,784"], CLIENTS, seconds=0.3)
            with connected(server, request, count) as kilobytes:
                echo.append(kilobytes)
    more = [a - b for a, b in zip(ours, echo, strict=True)]
    notes = [] if count == CONNECTIONS else [f"{count} connections: the hard limit of open files allows no more"]
    memory = Figure("KB a connection over bare actix-web", more, at_most(6), "KB", {"ours, KB": ours, "actix-web": echo})
    rate = Figure(f"rate of {CLIENTS} clients beside them", beside, at_least(0.97))
    return Row("connections", notes, [memory, rate])


def allowed() -> int:
    """How many connections this process and those that it starts may hold."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return CONNECTIONS if hard == resource.RLIM_INFINITY else min(CONNECTIONS, hard - SPARE)


@contextmanager
def connected(server: Server, request: bytes, count: int):
    """Connects so many, has each answered once, and gives the kilobytes that each has cost."""
    address = urlsplit(server.url)
    before = server.resident()
    clients = []
    try:
        for _ in range(count):
            client = socket.create_connection((address.hostname, address.port), timeout=10)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            clients.append(client)
            client.sendall(request)
            if not client.recv(65536).startswith(b"HTTP/1.1 200"):
                raise Unmeasurable("a connection wasn't answered")
        # Whatever was on its way has come.
        time.sleep(0.5)
        yield (server.resident() - before) / count / 1000
        if server.process.poll() is not None:
            raise SystemExit("the server ended")
    finally:
        for client in clients:
            client.close()
