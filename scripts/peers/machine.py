"""This machine: its folders, what it is, and what the programs here say."""

import datetime
import os
import platform
import re
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = Path(os.environ.get("CRESSET_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cresset")
HOST = "127.0.0.1"


class Trouble(Exception):
    """One line: what is wrong, for the row of whom it hit."""


def say(text: str) -> None:
    print(f"compare: {text}", file=sys.stderr, flush=True)


def run(command: list, limit: float = 120, environment: dict | None = None, folder: Path | None = None, shown: bool = False) -> str:
    """What a command prints. `shown` lets it say on our stderr what it does."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            env=os.environ | (environment or {}),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if shown else subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=limit,
        )
    except FileNotFoundError:
        raise Trouble(f"{words[0]} is missing") from None
    except subprocess.TimeoutExpired:
        raise Trouble(f"no end after {limit:.0f} s: {' '.join(words)}") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout or "").strip().splitlines()
        raise Trouble(f"{Path(words[0]).name} failed with {done.returncode}: {said[-1] if said else 'see above'}")
    return done.stdout


def processors() -> int:
    """As many as the servers and the generator may use."""
    return len(os.sched_getaffinity(0))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now. Held together, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def described() -> dict:
    memory = re.search(r"MemTotal:\s*(\d+)", read("/proc/meminfo"))
    return {
        "date": datetime.date.today().isoformat(),
        "processor": (re.search(r"model name\s*: (.*)", read("/proc/cpuinfo")) or [None, platform.machine()])[1],
        "processors": processors(),
        "memory_gib": round(int(memory[1]) / 2**20) if memory else None,
        "system": (re.search(r'PRETTY_NAME="(.*)"', read("/etc/os-release")) or [None, platform.system()])[1],
        "python": platform.python_version(),
        "commit": commit(),
    }


def commit() -> str | None:
    """The checkout's, where there is one."""
    done = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
