"""The load: `cresset bench`, the same for all, and what else the machine did meanwhile."""

import json
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from . import process
from .machine import Trouble

# A part of one processor used by others, above which a measurement is theirs as well.
FOREIGN = 0.2


@dataclass(frozen=True)
class Generator:
    binary: Path
    # Words that each load is run under: `taskset -c 1`.
    under: list[str]

    def check(self, what: list) -> None:
        """One request, whose answer must be the expected one."""
        outcome = self.run([*what, "--requests", "1", "--warm-up", "0s", "--tolerance", "1e-4"], 60)
        [level] = outcome["levels"]
        if level["errors"]:
            error = level["errors"][0]
            raise Trouble(f"{error['cause']}: {error['first']}"[:300])

    def levels(self, what: list, clients: list[int], seconds: float, warm_up: float) -> list[dict]:
        """Closed loops, one after another."""
        load = ["--concurrency", ",".join(map(str, clients)), "--duration", f"{seconds}s", "--warm-up", f"{warm_up}s"]
        outcome = self.run([*what, *load], 60 + len(clients) * (seconds + warm_up + 35))
        return [told(level) | {"foreign": outcome["foreign"]} for level in outcome["levels"]]

    def overload(self, what: list, rate: float, seconds: float, limit: float) -> dict:
        """An open loop. An answer later than twice the limit is as good as none."""
        load = ["--rate", f"{rate:.3f}", "--duration", f"{seconds}s", "--warm-up", "0.5s"]
        load += ["--slo", f"p99<{limit * 1000:.0f}ms", "--timeout", f"{2 * limit + 1}s"]
        outcome = self.run([*what, *load], 60 + seconds)
        [level] = outcome["levels"]
        return told(level) | {"foreign": outcome["foreign"]}

    def run(self, words: list, limit: float) -> dict:
        command = [*self.under, self.binary, "bench", *words, "--json", "--quiet"]
        before, own, started = others(), children_seconds(), time.monotonic()
        try:
            done = subprocess.run(
                [str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit
            )
        except subprocess.TimeoutExpired:
            raise Trouble(f"the load didn't end within {limit:.0f} s") from None
        spent = time.monotonic() - started
        # 1 is for failed requests, which the outcome tells of.
        if done.returncode not in (0, 1) or not done.stdout.startswith("{"):
            said = done.stderr.strip().splitlines()
            raise Trouble(f"no load could be made: {said[-1] if said else done.returncode}"[:300])
        foreign = (others() - before - (children_seconds() - own)) / spent
        return json.loads(done.stdout) | {"foreign": round(max(foreign, 0.0), 3)}


def told(level: dict) -> dict:
    """What is kept of a level."""
    latency = level["latency"] or {}
    return {
        "clients": level["concurrency"],
        "offered": level["offered_rate"],
        "rate": level["requests_per_second"],
        "goodput": level["goodput_per_second"],
        "p50_ms": latency.get("p50_ms"),
        "p99_ms": latency.get("p99_ms"),
        "requests": level["requests"],
        "errors": {error["cause"]: error["count"] for error in level["errors"]},
        "generator_cpu": level["own_cpu_busiest"],
        "generator_lag_ms": (level["lag"] or {}).get("p99_ms"),
    }


def others() -> float:
    """Processor seconds of all but the server that runs, and us."""
    return process.machine_seconds() - process.processor_seconds() - time.process_time()


def children_seconds() -> float:
    """Of the generators that have ended, and of nothing else while a server runs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
