"""From nothing to the first answer."""

import http.client
import socket
import subprocess
import time

from ..figures import Figure, Row, at_most
from ..processes import SERVE, Bench, Unmeasurable, resident
from .photograph import MODEL, PHOTOGRAPH

PATIENCE = 30.0


def measure(bench: Bench) -> Row:
    """Process start to the first answer of efficientnet_lite0, and the memory then.

    A photograph is posted over and over from before the process is started until one is answered with 200; the files
    are in the page cache, because the first start isn't counted. Memory is what is resident after that answer, code and
    weights included.
    """
    repository = bench.repository("efficientnet_lite0", MODEL)
    command = [bench.release / "cresset", "serve", *SERVE[1:], "--model-repository", repository]
    once(command)
    runs = [once(command) for _ in range(bench.rounds)]
    took = Figure("to the first answer", [seconds for seconds, _ in runs], at_most(0.8), "s")
    memory = Figure("resident memory then", [rss / 1e6 for _, rss in runs], at_most(350), "MB")
    return Row("start", figures=[took, memory])


def once(command: list) -> tuple[float, int]:
    """Seconds to the first answer, and bytes that are resident after it."""
    photograph = PHOTOGRAPH.read_bytes()
    port = free_port()
    start = time.perf_counter()
    process = subprocess.Popen([*map(str, command), f"--http-port={port}"], stdout=subprocess.DEVNULL)
    try:
        while (spent := time.perf_counter() - start) < PATIENCE:
            if process.poll() is not None:
                raise SystemExit(f"the server ended with {process.returncode}")
            if answered(port, photograph):
                return time.perf_counter() - start, resident(process.pid)
            time.sleep(0.002)
        raise Unmeasurable(f"no answer within {spent:.0f} s")
    finally:
        process.terminate()
        process.wait(timeout=30)


def answered(port: int, photograph: bytes) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("POST", "/predict", photograph)
        answer = connection.getresponse()
        answer.read()
        return answer.status == 200
    except (ConnectionError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
