"""The server under test: its own process, on free ports, ended by its id."""

import subprocess
import tempfile
from pathlib import Path


class Refused(Exception):
    """The server ended before it served: its exit code, and what it said."""


class Server:
    """`cresset serve` on a repository, until the block ends.

    Addresses are `host:port`, as the clients take them.
    """

    def __init__(self, binary: Path, repository: Path, *arguments: str) -> None:
        ports = ["--http-port=0", "--grpc-port=0", "--metrics-port=0"]
        # Tests fill queues on purpose: a bound on the wait would end that by how busy the machine is.
        fixed = [*ports, "--max-queue-wait=0", "--log=warn"]
        self.command = [binary, "serve", f"--model-repository={repository}", *fixed, *arguments]
        self.http = self.grpc = self.metrics = ""

    def __enter__(self) -> "Server":
        # Into a file: a pipe that nobody reads would fill and hold the server up.
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        for line in self.process.stdout:
            label, *rest = line.split()
            if label in ("inference", "grpc", "metrics"):
                setattr(self, {"inference": "http"}.get(label, label), rest[0].removeprefix("http://").split("/")[0])
            if line == "ready\n":
                return self
            if line.startswith("NOT ready"):
                break
        self.stop()
        self.log.seek(0)
        raise Refused(f"exit code {self.process.returncode}: {self.log.read().strip()}")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def __exit__(self, *_: object) -> None:
        self.stop()
        # Of a server that was asked to stop and had nothing left to do.
        assert self.process.returncode == 0, f"the server ended with {self.process.returncode}"
