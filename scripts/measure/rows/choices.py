"""What was chosen among several, beside what it was chosen over."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import bodies
from ..figures import Row, ratio
from ..processes import PROCESSORS, ROOT, SERVE, Bench, Server

MODELS = ROOT / "tests" / "models"
CLIENTS = 32
# Kept by Debian in the package libjemalloc2.
JEMALLOC = Path("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2")
# As many floats as a picture of 224 x 224 has.
PICTURE = 3 * 224 * 224
DEPTH = 8


@dataclass
class Way:
    """One way in which the server is started and loaded."""

    command: list
    # Between start and load.
    prepare: Callable[[Server], None] = lambda server: None
    # For the generator.
    load: tuple = ()


def measure(bench: Bench) -> Row:
    """Settings and choices of ours over others: the MLP, 32 clients, the rate as it is over the rate with the other.

    Threads of the HTTP server; kernels of MKL's by the processor's features over those by its name (CRESSET_MKL); the
    allocator of requests over the C library's (the feature `system-allocator`, built for this and built back after it),
    and over jemalloc for requests and tensors, if it is here; TCP_NODELAY over sockets that wait for
    acknowledgements; kept connections over one for each request; threads where the kernel puts them over HTTP threads
    and instances that are held to one processor each. Then, over gRPC, tensors of a picture's size through the identity
    model, 8 clients, windows of HTTP/2 of 1 MiB over the protocol's own of 64 KiB and over 16 MiB. Last what 8 requests
    sent ahead on each connection bring over one at a time, by wrk, if it is here.
    """
    mlp = bench.repository("mlp", MODELS / "mlp")
    chosen = Way(ours(bench))
    row = Row("choices")
    ways = others(bench, row)
    row.figures += compare(bench, chosen, ways, lambda way: rate(bench, way, mlp, ["--model", "mlp"], CLIENTS))
    identity = bench.repository("identity", MODELS / "identity")
    ways = {f"windows of {size >> 10} KiB": Way(ours(bench, f"--grpc-window-bytes={size}")) for size in (1 << 16, 1 << 24)}
    picture = ["--model", "identity", "--shape", f"INPUT0:1,{PICTURE}"]
    figures = compare(bench, chosen, ways, lambda way: rate(bench, way, identity, picture, 8, grpc=True))
    row.figures += figures
    if shutil.which("wrk"):
        ahead, alone = [], []
        for _ in range(bench.rounds):
            for depth, rates in ((DEPTH, ahead), (1, alone)):
                rates.append(piped(bench, mlp, depth))
        row.figures.append(ratio(f"{DEPTH} requests ahead over one", ahead, alone, ("ahead, requests/s", "one at a time")))
    else:
        row.notes.append("pipelining: no wrk here (apt-get install wrk)")
    return row


def others(bench: Bench, row: Row) -> dict[str, Way]:
    """What the MLP is served with, beside what is chosen."""
    system = system_allocator(bench)
    ways = {f"{threads} HTTP threads": Way(ours(bench, f"--http-threads={threads}")) for threads in (1, 2 * PROCESSORS)}
    ways["MKL as shipped"] = Way(ours(bench, CRESSET_MKL="as-shipped"))
    ways["the C library's allocator"] = Way(program(system))
    if JEMALLOC.exists():
        ways["jemalloc for all"] = Way(program(system, LD_PRELOAD=str(JEMALLOC)))
    else:
        row.notes.append("jemalloc: not here (apt-get install libjemalloc2)")
    ways["no TCP_NODELAY"] = Way(ours(bench, LD_PRELOAD=str(nagle(bench))))
    ways["a connection for each request"] = Way(ours(bench), load=("--header", "Connection: close"))
    ways["threads held to processors"] = Way(ours(bench), prepare=hold)
    return ways


def compare(bench: Bench, chosen: Way, ways: dict[str, Way], measured: Callable[[Way], float]) -> list:
    mine, rates = [], {name: [] for name in ways}
    for _ in range(bench.rounds):
        mine.append(measured(chosen))
        for name, way in ways.items():
            rates[name].append(measured(way))
    return [ratio(f"over {name}", mine, rates[name], ("as chosen, requests/s", name)) for name in ways]


def rate(bench: Bench, way: Way, repository: Path, what: list, clients: int, *, grpc: bool = False) -> float:
    with Server([*way.command, "--model-repository", repository], "ready") as server:
        way.prepare(server)
        url = f"grpc://{server.grpc}" if grpc else server.url
        return bench.load(url, [*what, *way.load], clients, threads=PROCESSORS)["requests_per_second"]


def piped(bench: Bench, repository: Path, depth: int) -> float:
    """Requests a second by wrk, with so many sent ahead on each connection."""
    body = bodies.request(("INPUT__0", "FP32", [1, 784], b"\0" * 4 * 784))
    head = (
        f"POST /v2/models/mlp/infer HTTP/1.1\r\nHost: x\r\nInference-Header-Content-Length: {bodies.HEADER}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    script, raw = bench.scratch / "ahead.lua", bench.scratch / "ahead.raw"
    raw.write_bytes((head.encode() + body) * depth)
    script.write_text(
        f'local file = io.open("{raw}", "rb")\nlocal all = file:read("*a")\n'
        "function request() return all end\n"
        'function response(status) if status ~= 200 then print("FAILED", status) end end\n'
    )
    with Server([*ours(bench), "--model-repository", repository], "ready") as server:
        command = ["wrk", f"-t{PROCESSORS}", f"-c{CLIENTS}", f"-d{max(1, round(bench.seconds))}s", "-s", script, server.url]
        said = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout
    if "FAILED" in said or "Non-2xx" in said:
        raise SystemExit(f"requests failed: {said}")
    return float(next(line.split()[1] for line in said.splitlines() if line.startswith("Requests/sec")))


def hold(server: Server) -> None:
    """Puts the server's HTTP threads and instances on one processor each, in turns."""
    allowed = sorted(os.sched_getaffinity(0))
    turns = {"actix": 0, "mlp/1": 0}
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        for kind in turns:
            if name.startswith(kind):
                os.sched_setaffinity(int(task.name), {allowed[turns[kind] % len(allowed)]})
                turns[kind] += 1
    if 0 in turns.values():
        raise SystemExit(f"the server's threads have other names: {turns}")


def nagle(bench: Bench) -> Path:
    library = bench.scratch / "nagle.so"
    source = ROOT / "scripts" / "measure" / "nagle.c"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


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
