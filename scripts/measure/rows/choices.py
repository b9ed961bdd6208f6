"""What was chosen among several, beside what it was chosen over."""

import shutil
import subprocess
from pathlib import Path

from ..figures import Row, ratio
from ..processes import PROCESSORS, ROOT, SERVE, Bench, Server

MODEL = ROOT / "tests" / "models" / "mlp"
CLIENTS = 32
# Kept by Debian in the package libjemalloc2.
JEMALLOC = Path("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2")


def measure(bench: Bench) -> Row:
    """Settings and choices of ours over others: the MLP, 32 clients, the rate as it is over the rate with the other.

    Threads of the HTTP server; kernels of MKL's by the processor's features over those by its name (CRESSET_MKL); the
    allocator of requests over the C library's (the feature `system-allocator`, built for this and built back after it),
    and over jemalloc for requests and tensors, where it is here.
    """
    repository = bench.repository("mlp", MODEL)
    system = system_allocator(bench)
    others = {f"{threads} HTTP threads": ours(bench, f"--http-threads={threads}") for threads in (1, 2 * PROCESSORS)}
    others["MKL as shipped"] = ours(bench, CRESSET_MKL="as-shipped")
    others["the C library's allocator"] = program(system)
    if JEMALLOC.exists():
        others["jemalloc for all"] = program(system, LD_PRELOAD=str(JEMALLOC))
    chosen, rates = [], {name: [] for name in others}
    for _ in range(bench.rounds):
        chosen.append(rate(bench, ours(bench), repository))
        for name, started in others.items():
            rates[name].append(rate(bench, started, repository))
    figures = [ratio(f"over {name}", chosen, rates[name], ("as chosen, requests/s", name)) for name in others]
    missing = [] if JEMALLOC.exists() else ["jemalloc: not here (apt-get install libjemalloc2)"]
    return Row("choices", figures=figures, notes=missing)


def rate(bench: Bench, command: list, repository: Path) -> float:
    with Server([*command, "--model-repository", repository], "ready") as server:
        return bench.load(server.url, ["--model", "mlp"], CLIENTS, threads=PROCESSORS)["requests_per_second"]


def ours(bench: Bench, *flags: str, **environment: str) -> list:
    return [*program(bench.release / "cresset", **environment), *flags]


def program(binary: Path, **environment: str) -> list:
    return ["env", *(f"{name}={value}" for name, value in environment.items()), binary, "serve", *SERVE]


def system_allocator(bench: Bench) -> Path:
    """The program with the C library's allocator. Cargo puts it where ours is: that one is built again."""
    build = ["cargo", "build", "--quiet", "--release", "--locked", "--bin=cresset"]
    copy = bench.scratch / "cresset-system-allocator"
    try:
        subprocess.run([*build, "--features=system-allocator"], cwd=ROOT, check=True)
        shutil.copy(bench.release / "cresset", copy)
    finally:
        subprocess.run(build, cwd=ROOT, check=True)
    return copy
