"""What is measured: servers, the load generator, bare libtorch; each a process that is ended with its block."""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROCESSORS = len(os.sched_getaffinity(0))


class Unmeasurable(Exception):
    """Why a row can't be measured here; the others go on."""


@dataclass
class Bench:
    """Where all is, and how long and how often it is measured."""

    release: Path
    scratch: Path
    models: Path
    python: Path | None
    rounds: int
    seconds: float
    # Nothing is built: what is measured is there.
    built: bool = False
    # Levels of a closed loop to be measured, of those that a row has; all if it is empty.
    clients: list[int] = field(default_factory=list)
    # The busiest that the generator was with several clients, and what it did then. One client's is never idle.
    busiest: tuple[float, str] = (0.0, "")

    def levels(self, usual: tuple[int, ...]) -> list[int]:
        chosen = [level for level in usual if not self.clients or level in self.clients]
        if not chosen:
            raise Unmeasurable(f"--clients names none of {', '.join(map(str, usual))}")
        return chosen

    def load(
        self, url: str, what: list, clients: int, *, seconds: float | None = None, requests: int | None = None, threads: int = 1,
        rate: float | None = None, warm_up: float | None = None, refusals: bool = False,
    ) -> dict:  # fmt: skip
        """A closed loop from so many of the generator's threads, or an open one if there is a rate, after a warm-up that
        isn't counted. Ends the measurement if a request fails, unless it was refused and `refusals` are no failures."""
        how = ["--rate", f"{rate:.2f}"] if rate else ["--concurrency", clients]
        command = [self.release / "cresset", "bench", url, *what, *how, "--threads", threads, "--json", "--quiet"]
        if requests:
            command += ["--requests", requests, "--warm-up", "0s"]
        else:
            seconds = seconds or self.seconds
            warm_up = max(0.3, seconds / 5) if warm_up is None else warm_up
            command += ["--duration", f"{seconds:.2f}s", "--warm-up", f"{warm_up:.2f}s"]
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
        if not done.stdout or (done.returncode != 0 and not refusals):
            raise SystemExit(f"the load failed: {done.stdout}")
        outcome = json.loads(done.stdout)
        level = outcome["levels"][0] | {"request_bytes": outcome["request_bytes"]}
        errors = [error for error in level["errors"] if not (refusals and error["refused"])]
        if errors or not level["latency"]:
            raise SystemExit(f"requests failed: {level['errors']}")
        if clients > 1:
            self.busiest = max(self.busiest, (level["own_cpu_busiest"], f"{clients} clients at {url}"))
        return level

    def bare(self, *words: object) -> list[dict]:
        """What `examples/bare` measured."""
        return lines([self.release / "examples" / "bare", *words])

    def serve(self, repository: Path, *flags: str) -> "Server":
        return Server([self.release / "cresset", "serve", *SERVE, "--model-repository", repository, *flags], "ready")

    def echo(self, answer: int | None = None) -> "Server":
        """A bare HTTP server that sends back what it gets, or so many bytes."""
        size = [] if answer is None else [answer]
        return Server([self.release / "examples" / "echo", 0, *size], "echo")

    def repository(self, name: str, model: Path, settings: str = "") -> Path:
        """A model repository with this model alone: others would only take memory and time. `settings` are the
        model's cresset.toml."""
        repository = Path(tempfile.mkdtemp(dir=self.scratch, prefix=f"{name}-"))
        shutil.copytree(model, repository / name)
        if settings:
            (repository / name / "cresset.toml").write_text(settings)
        return repository

    def made(self, name: str, *, needs: list[str] | None = None) -> Path:
        """A model that isn't kept in the repository, made by scripts/models once."""
        path = self.models / name
        if (path / "1" / "model.pt").exists():
            return path
        if not self.python:
            raise Unmeasurable(f"no {path}, and no Python with torch to make it: see scripts/models/setup and --python")
        if needs:
            subprocess.run([self.python, "-m", "pip", "install", "--quiet", "--no-deps", *needs], check=True)
        subprocess.run([self.python, ROOT / "scripts" / "models" / f"{name}.py", self.models], check=True)
        return path


SERVE = ["--http-port=0", "--grpc-port=0", "--metrics-port=0", "--log=error"]


class Server:
    """A server that says where it is, and when it is ready."""

    def __init__(self, command: list, ready: str) -> None:
        self.command, self.ready = [str(word) for word in command], ready
        # What it said before it was ready.
        self.said: list[str] = []

    def __enter__(self) -> "Server":
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        for line in self.process.stdout:
            self.said.append(line.rstrip())
            if line.startswith(("inference", "echo")):
                self.url = line.split()[-1]
            if line.startswith("grpc"):
                self.grpc = line.split()[-1]
            if line.startswith(self.ready):
                return self
            if line.startswith("NOT ready"):
                break
        self.end()
        self.errors.seek(0)
        raise Unmeasurable(" ".join(self.errors.read().split()) or "; ".join(self.said))

    def resident(self) -> int:
        """Bytes of it that are in memory."""
        return resident(self.process.pid)

    def plan(self) -> str:
        """`cpu, 2 instances x 1 thread, …`, of the one model that it serves."""
        said = next((line for line in self.said if " instance" in line), "")
        return said.partition(": ")[2].partition(", loaded in")[0]

    def __exit__(self, *_: object) -> None:
        self.end()
        # A server that logged an error while it was measured.
        self.errors.seek(0)
        sys.stderr.write(self.errors.read())

    def end(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=30)


class Others:
    """How much of the processors went to processes that aren't this one's, or to the machine below."""

    def __init__(self) -> None:
        self.start = self.now()

    def now(self) -> tuple[float, float, float]:
        """Seconds: since some time, that processors were busy, that they were for us."""
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        busy = (sum(ticks[:3]) + sum(ticks[5:8])) / os.sysconf("SC_CLK_TCK")
        ours = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return time.monotonic(), busy, ours

    def used(self) -> float:
        """Processors, on average since it was made; to be asked when all that was started has ended."""
        passed, busy, ours = (now - then for now, then in zip(self.now(), self.start, strict=True))
        return max(0.0, (busy - ours) / passed)


def resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def lines(command: list) -> list[dict]:
    """A JSON object for each line that it prints."""
    done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]
