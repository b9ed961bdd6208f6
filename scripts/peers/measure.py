"""What is measured, and in which order.

First every server is tried at each of its settings, and the best is kept: the one with the highest geometric
mean of its rates at one client and at 32. Then come the rounds. In each, for each model, a bare loop over
libtorch and all servers take turns, so that a machine that is slower for a while is slower for all.
"""

import json
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from .generator import Generator
from .machine import Trouble, run, say
from .models import Model, Row
from .process import Running
from .servers import Server, Setting, Start
from .wires import answers, arguments, checked_arguments

CLIENTS = (1, 8, 32, 64)
SWEPT_CLIENTS = (1, 32)
# A server that hasn't answered by then never will.
START_LIMIT = 60.0


@dataclass(frozen=True)
class Plan:
    rounds: int
    seconds: float
    processors: int
    clients: tuple[int, ...] = CLIENTS
    # Whether each takes the first of its settings.
    first_settings: bool = False

    @property
    def warm_up(self) -> float:
        return min(0.5, self.seconds / 2)


@dataclass
class Subject:
    """A model, and how to ask for it."""

    model: Model
    file: Path
    row: Row
    bare: list = field(default_factory=list)


@dataclass
class Entry:
    """A server on one model: what came of it."""

    server: Server
    subject: Subject
    sweep: list = field(default_factory=list)
    chosen: Setting | None = None
    rounds: list = field(default_factory=list)
    failed: str | None = None


class Measurement:
    def __init__(self, plan: Plan, generator: Generator, bare: Path, scratch: Path) -> None:
        self.plan, self.generator, self.bare_program, self.scratch = plan, generator, bare, scratch

    def all(self, subjects: list[Subject], servers: list[Server]) -> list[Entry]:
        entries = [Entry(server, subject) for subject in subjects for server in servers]
        for entry in entries:
            self.guarded(entry, self.choose)
        for number in range(self.plan.rounds):
            for subject in subjects:
                say(f"round {number + 1} of {self.plan.rounds}, {subject.model.name}")
                subject.bare.append(self.bare(subject))
                for entry in entries:
                    if entry.subject is subject and entry.chosen:
                        self.guarded(entry, self.round)
        return entries

    def guarded(self, entry: Entry, step) -> None:
        """A server's trouble is its own."""
        try:
            step(entry)
        except Trouble as trouble:
            entry.failed = str(trouble)
            say(f"{entry.server.name}, {entry.subject.model.name}: {trouble}")

    def bare(self, subject: Subject) -> dict:
        """The best of libtorch alone, by batch, instances and threads."""
        command = [*self.generator.under, self.bare_program, "rate", subject.file, "--shape", subject.model.dims]
        command += ["--seconds", self.plan.seconds / 4, "--batch", "1,8,16,32"]
        runs = [json.loads(line) for line in run(command, limit=300).splitlines()]
        return max(runs, key=lambda one: one["items_per_second"])

    def choose(self, entry: Entry) -> None:
        settings = entry.server.settings(self.plan.processors, entry.subject.model.batch)
        if self.plan.first_settings:
            entry.chosen = settings[0]
            return
        say(f"settings of {entry.server.name}, {entry.subject.model.name}")
        for setting in settings:
            tried = {"setting": str(setting), "levels": [], "failed": None}
            entry.sweep.append(tried)
            try:
                with self.start(entry, setting, None) as started:
                    started.settle()
                    tried["levels"] = started.levels(SWEPT_CLIENTS, self.plan.seconds / 2)
            except Trouble as trouble:
                tried["failed"] = str(trouble)
        ranked = [(score(tried["levels"]), number) for number, tried in enumerate(entry.sweep)]
        best, number = max(ranked, key=lambda each: (each[0], -each[1]))
        if best <= 0:
            raise Trouble(entry.sweep[0]["failed"] or "no request was answered at any setting")
        entry.chosen = settings[number]

    def round(self, entry: Entry) -> None:
        with self.start(entry, entry.chosen, None) as started:
            cold = started.settle()
            levels = started.levels(self.plan.clients, self.plan.seconds)
            outcome = {"cold_seconds": cold, "levels": levels, "memory": started.running.memory(), "overload": None}
        entry.rounds.append(outcome)
        capacity = max(level["rate"] for level in levels)
        if capacity <= 0:
            raise Trouble("no request was answered")
        limit = entry.subject.model.limit_seconds
        if limit is None:
            return
        # As many as it answers within half the limit may wait: else what is answered under overload is late.
        queue = max(4, round(capacity * limit / 2))
        with self.start(entry, entry.chosen, queue) as started:
            started.settle()
            load = arguments(entry.chosen.wire, started.address, entry.subject.row)
            seconds = max(self.plan.seconds, 2 * limit)
            overload = self.generator.overload(load, 2 * capacity, seconds, limit)
            outcome["overload"] = overload | {"capacity": capacity, "queue": queue}

    def start(self, entry: Entry, setting: Setting, queue: int | None) -> "Started":
        return Started(self, entry, setting, queue)


class Started:
    """A server that runs, for as long as the block does."""

    def __init__(self, measurement: Measurement, entry: Entry, setting: Setting, queue: int | None) -> None:
        self.measurement, self.entry, self.setting, self.queue = measurement, entry, setting, queue

    def __enter__(self) -> "Started":
        self.folder = tempfile.TemporaryDirectory(dir=self.measurement.scratch, ignore_cleanup_errors=True)
        try:
            folder = Path(self.folder.name)
            subject = self.entry.subject
            command = self.entry.server.command(Start(subject.model, subject.file, self.setting, self.queue, folder))
            self.address = command.address
            self.running = Running(command.words, command.environment, folder / "log", folder)
            self.running.__enter__()
        except BaseException:
            self.folder.cleanup()
            raise
        return self

    def settle(self) -> float:
        """Waits for its first answer, holds one to libtorch's, and gives how long the first took."""
        row, wire = self.entry.subject.row, self.setting.wire
        cold = self.running.first_answer(lambda: answers(wire, self.address, row), START_LIMIT)
        self.measurement.generator.check(checked_arguments(wire, self.address, row))
        return cold

    def levels(self, clients: tuple[int, ...], seconds: float) -> list[dict]:
        what = arguments(self.setting.wire, self.address, self.entry.subject.row)
        return self.measurement.generator.levels(what, list(clients), seconds, self.measurement.plan.warm_up)

    def __exit__(self, *caught: object) -> None:
        try:
            self.running.__exit__(*caught)
        finally:
            self.folder.cleanup()


def score(levels: list[dict]) -> float:
    rates = [level["rate"] for level in levels]
    return statistics.geometric_mean(rates) if rates and min(rates) > 0 else 0.0
