"""The servers that are compared, with the settings that each is tried at."""

import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from .install import libpython
from .machine import HOST, free_ports, run
from .models import Model
from .wires import Address, Wire

SERVING = Path(__file__).parent / "serving"


@dataclass(frozen=True)
class Setting:
    """What a server is started with, and spoken to by."""

    wire: Wire
    # Processes or instances, each with so many of torch's threads.
    workers: int = 1
    threads: int = 1
    # The most rows of a batch, 1 for none; how long it waits for company.
    batch: int = 1
    delay_ms: int = 0
    # In words that the server's own documentation has.
    also: str = ""
    # What that means to its programs here.
    environment: dict = field(default_factory=dict)

    def __str__(self) -> str:
        words = [str(self.wire)]
        if self.workers:
            words.append(f"{self.workers} × {self.threads} thread{'s' * (self.threads > 1)}")
        if self.batch > 1:
            words.append(f"batch {self.batch}, delay {self.delay_ms} ms")
        return ", ".join([*words, self.also] if self.also else words)


@dataclass(frozen=True)
class Start:
    """What a server is started for."""

    model: Model
    file: Path
    setting: Setting
    # The most requests that may wait; None for the server's own default.
    queue: int | None
    # Files of this start alone.
    scratch: Path


@dataclass(frozen=True)
class Command:
    """A start, as a process and where it then listens."""

    words: list
    environment: dict
    address: Address


class Server:
    name: str
    title: str
    # Of its pinned packages, those that its version is told by.
    packages: tuple[str, ...] = ()
    # Programs that it needs beside Python, each with the Debian packages that may bring it.
    programs: dict[str, tuple[str, ...]] = {}
    # What it does about more requests than it can answer, in a few words.
    bound: str

    def settings(self, processors: int, batch: int) -> list[Setting]:
        """The first is what a sweep on two processors found best; `--quick` takes it."""
        raise NotImplementedError

    def command(self, start: Start) -> Command:
        raise NotImplementedError


class Cresset(Server):
    name, title = "cresset", "Cresset"
    bound = "`--max-queue-size`"

    def __init__(self, binary: Path) -> None:
        self.binary = binary

    def settings(self, processors: int, batch: int) -> list[Setting]:
        # As it comes: it plans its own threads, and batches form by themselves.
        return [Setting(wire, workers=0, also="as it comes") for wire in (Wire.BINARY, Wire.GRPC)]

    def command(self, start: Start) -> Command:
        http, grpc, metrics = free_ports(3)
        repository = start.scratch / "models"
        shutil.copytree(start.file.parent.parent, repository / start.model.name)
        config = repository / start.model.name / "config.pbtxt"
        config.write_text(re.sub(r"max_batch_size: \d+", f"max_batch_size: {start.model.batch}", config.read_text()))
        words = [self.binary, "serve", "--model-repository", repository, "--log=error"]
        words += [f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"]
        words += [f"--max-queue-size={start.queue}"] if start.queue else []
        return Command(words, {}, Address(http=http, grpc=grpc))


class Peer(Server):
    """One that runs Python, in an environment of its own."""

    def __init__(self, venv: Path) -> None:
        self.venv = venv

    def python(self) -> Path:
        return self.venv / "bin" / "python"

    def environment(self, start: Start, ports: list[int]) -> dict:
        setting = start.setting
        return setting.environment | {
            "PYTHONPATH": str(SERVING),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PATH": f"{self.venv / 'bin'}:{os.environ['PATH']}",
            # Sockets and files of processes that may be killed.
            "TMPDIR": str(start.scratch),
            "OMP_NUM_THREADS": str(setting.threads),
            "PEER_MODEL": str(start.file),
            "PEER_NAME": start.model.name,
            "PEER_SHAPE": start.model.dims,
            "PEER_OUTPUTS": str(start.model.outputs),
            "PEER_THREADS": str(setting.threads),
            "PEER_BATCH": str(setting.batch),
            "PEER_WORKERS": str(setting.workers),
            "PEER_DELAY_MS": str(setting.delay_ms),
            "PEER_QUEUE": str(start.queue or 0),
            "PEER_PORTS": ",".join(map(str, ports)),
        }


class FastApi(Peer):
    name, title = "fastapi", "FastAPI + uvicorn"
    packages = ("fastapi", "uvicorn")
    bound = "uvicorn's `--limit-concurrency`"
    PATHS = {"def": "/raw", "async def": "/raw-async", "def, as most are written": "/json"}

    def settings(self, processors: int, batch: int) -> list[Setting]:
        return [
            Setting(Wire.RAW, processors, 1, also="async def"),
            Setting(Wire.RAW, processors, 1, also="def"),
            Setting(Wire.RAW, 1, processors, also="def"),
            Setting(Wire.JSON, processors, 1, also="def, as most are written"),
        ]

    def command(self, start: Start) -> Command:
        ports, setting = free_ports(1), start.setting
        words = [self.python(), "-m", "uvicorn", "fastapi_app:app", "--host", HOST, "--port", ports[0]]
        words += ["--workers", setting.workers, "--log-level", "warning", "--no-access-log"]
        # Each of its processes counts for itself.
        words += ["--limit-concurrency", max(1, start.queue // setting.workers)] if start.queue else []
        return Command(words, self.environment(start, ports), Address(ports[0], self.PATHS[setting.also]))


class Mosec(Peer):
    name, title = "mosec", "mosec"
    packages = ("mosec",)
    bound = "`--capacity`"

    def settings(self, processors: int, batch: int) -> list[Setting]:
        return [
            Setting(Wire.RAW, processors, 1, batch, 0),
            Setting(Wire.RAW, processors, 1, batch, 1),
            Setting(Wire.RAW, processors, 1, batch, 5),
            Setting(Wire.RAW, 1, processors, batch, 0),
        ]

    def command(self, start: Start) -> Command:
        ports = free_ports(1)
        words = [self.python(), SERVING / "mosec_server.py", "--address", HOST, "--port", ports[0]]
        # A delay of 0 is read as none given, and then this one holds.
        words += ["--wait", start.setting.delay_ms, "--timeout", 30_000, "--log-level", "warning"]
        words += ["--capacity", start.queue] if start.queue else []
        return Command(words, self.environment(start, ports), Address(ports[0], "/inference"))


class TorchServe(Peer):
    name, title = "torchserve", "TorchServe"
    programs = {"java": ("openjdk-17-jre-headless", "default-jre-headless")}
    packages = ("torchserve",)
    bound = "`job_queue_size`"

    def settings(self, processors: int, batch: int) -> list[Setting]:
        return [
            Setting(Wire.RAW, processors, 1, batch, 1),
            Setting(Wire.RAW, processors, 1, batch, 0),
            Setting(Wire.RAW, processors, 1),
            Setting(Wire.RAW, 1, processors, batch, 5),
        ]

    def command(self, start: Start) -> Command:
        ports, setting, model = free_ports(5), start.setting, start.model
        archive = start.scratch / f"{model.name}.mar"
        if not archive.exists():
            self.archive(start)
        plan = {
            "defaultVersion": True,
            "marName": archive.name,
            "minWorkers": setting.workers,
            "maxWorkers": setting.workers,
            "batchSize": setting.batch,
            "maxBatchDelay": setting.delay_ms,
            "responseTimeout": 60,
        }
        properties = {
            "inference_address": f"http://{HOST}:{ports[0]}",
            "management_address": f"http://{HOST}:{ports[1]}",
            "metrics_address": f"http://{HOST}:{ports[2]}",
            "grpc_inference_port": ports[3],
            "grpc_management_port": ports[4],
            "disable_token_authorization": "true",
            "enable_envvars_config": "false",
            "model_store": start.scratch,
            "load_models": archive.name,
            "models": json.dumps({model.name: {"1.0": plan}}),
        }
        if start.queue:
            properties["job_queue_size"] = start.queue
        file = start.scratch / "config.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        words = [self.venv / "bin" / "torchserve", "--start", "--foreground", "--no-config-snapshots"]
        words += ["--disable-token-auth", "--ts-config", file, "--model-store", start.scratch]
        words += ["--log-config", SERVING / "torchserve_log.xml"]
        logs = {"LOG_LOCATION": str(start.scratch), "METRICS_LOCATION": str(start.scratch)}
        java = Path(shutil.which("java") or "/usr/bin/java").resolve().parent.parent
        environment = self.environment(start, ports) | logs | {"JAVA_HOME": str(java)}
        return Command(words, environment, Address(ports[0], f"/predictions/{model.name}"))

    def archive(self, start: Start) -> None:
        """The model in the form that it takes."""
        words = [self.venv / "bin" / "torch-model-archiver", "--model-name", start.model.name, "--version", "1.0"]
        words += ["--serialized-file", start.file, "--handler", SERVING / "torchserve_handler.py"]
        words += ["--extra-files", SERVING / "rows.py", "--export-path", start.scratch]
        run(words)


class PyTriton(Peer):
    name, title = "pytriton", "PyTriton (Triton's core)"
    packages = ("nvidia-pytriton",)
    bound = "`max_queue_size`"

    def settings(self, processors: int, batch: int) -> list[Setting]:
        return [
            Setting(Wire.GRPC, 1, processors, batch, 0),
            Setting(Wire.BINARY, 1, processors, batch, 0),
            Setting(Wire.BINARY, processors, 1, batch, 0),
            Setting(Wire.BINARY, 1, processors, batch, 1),
        ]

    def command(self, start: Start) -> Command:
        ports = free_ports(3)
        words = [self.python(), SERVING / "pytriton_server.py"]
        environment = self.environment(start, ports)
        # Its stub of Python opens the library of the same version; a Python of one's own has it elsewhere.
        if folder := libpython(self.python()):
            environment["LD_LIBRARY_PATH"] = str(folder)
        return Command(words, environment, Address(ports[0], grpc=ports[1]))


class LitServe(Peer):
    name, title = "litserve", "LitServe"
    packages = ("litserve",)
    bound = "none"

    def settings(self, processors: int, batch: int) -> list[Setting]:
        fast = {"PEER_FAST_QUEUE": "1"}
        several = {"PEER_API_SERVERS": str(processors)}
        return [
            Setting(Wire.RAW, processors, 1, batch, 0, "fast_queue", fast),
            Setting(Wire.RAW, processors, 1, batch, 0),
            Setting(Wire.RAW, processors, 1, batch, 1, f"fast_queue, {processors} API servers", fast | several),
            Setting(Wire.RAW, 1, processors, batch, 5),
            Setting(Wire.RAW, processors, 1),
        ]

    def command(self, start: Start) -> Command:
        ports = free_ports(1)
        words = [self.python(), SERVING / "litserve_server.py"]
        return Command(words, self.environment(start, ports), Address(ports[0], "/predict"))


PEERS = {peer.name: peer for peer in (FastApi, Mosec, TorchServe, PyTriton, LitServe)}
