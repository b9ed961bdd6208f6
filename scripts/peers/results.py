"""A whole comparison as plain data, to be kept as JSON; and the figures that are shown of it."""

import statistics
from collections.abc import Callable, Iterable

from .measure import Entry, Plan, Subject
from .servers import Server

# A generator that used more of its processor than this may be what was measured.
BUSY = 0.9
# Beyond this, others on the machine were measured as well.
FOREIGN = 0.2


def gathered(plan: Plan, subjects: list[Subject], servers: list[Server], entries: list[Entry]) -> dict:
    return {
        "plan": {
            "rounds": plan.rounds,
            "seconds": plan.seconds,
            "clients": list(plan.clients),
            "swept": not plan.first_settings,
        },
        "models": [
            {
                "name": subject.model.name,
                "title": subject.model.title,
                "limit_seconds": subject.model.limit_seconds,
                "bare": subject.bare,
            }
            for subject in subjects
        ],
        "servers": [
            {
                "name": server.name,
                "title": server.title,
                "bound": server.bound,
                "models": {
                    entry.subject.model.name: {
                        "failed": entry.failed,
                        "setting": str(entry.chosen) if entry.chosen else None,
                        "sweep": entry.sweep,
                        "rounds": entry.rounds,
                    }
                    for entry in entries
                    if entry.server is server
                },
            }
            for server in servers
        ],
    }


def median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


class Cell:
    """One server on one model: medians over its rounds. What wasn't measured is None."""

    def __init__(self, server: dict, model: dict) -> None:
        self.server, self.model = server, model
        self.entry = server["models"].get(model["name"]) or {"failed": None, "setting": None, "sweep": [], "rounds": []}
        self.rounds = self.entry["rounds"]

    def at(self, clients: int, field: str) -> float | None:
        levels = (level for one in self.rounds for level in one["levels"] if level["clients"] == clients)
        return median(level[field] for level in levels)

    def best(self) -> tuple[float, int] | None:
        """The highest rate, and the clients that it takes."""
        if not self.rounds:
            return None
        return max((self.at(level["clients"], "rate") or 0.0, level["clients"]) for level in self.rounds[0]["levels"])

    def of_bare(self, rate: float | None) -> float | None:
        bare = bare_rate(self.model)
        return rate / bare if rate is not None and bare else None

    def goodput(self) -> tuple[float, float] | None:
        """Answers in time a second under twice its own capacity, and as a part of that."""
        loads = [one["overload"] for one in self.rounds if one["overload"]]
        if not loads:
            return None
        return (
            statistics.median(load["goodput"] for load in loads),
            statistics.median(load["goodput"] / load["capacity"] for load in loads),
        )

    def cold(self) -> float | None:
        return median(one["cold_seconds"] for one in self.rounds)

    def memory(self) -> float | None:
        return median(one["memory"] for one in self.rounds)

    def levels(self) -> list[dict]:
        """Everything that it was loaded with, overload included."""
        overloads = [one["overload"] for one in self.rounds if one["overload"]]
        return [level for one in self.rounds for level in one["levels"]] + overloads


def bare_rate(model: dict) -> float | None:
    return median(run["items_per_second"] for run in model["bare"])


def worst(cell: Cell, measure: Callable[[dict], float | None]) -> float:
    return max((measure(level) or 0.0 for level in cell.levels()), default=0.0)


def remarks(results: dict) -> list[str]:
    """What a reader should know of single figures."""
    said = []
    for server in results["servers"]:
        for model in results["models"]:
            cell = Cell(server, model)
            what = f"{server['title']}, {model['title']}"
            if cell.entry["failed"]:
                said.append(f"{what}: {cell.entry['failed']}")
            errors: dict[str, int] = {}
            for level in (level for one in cell.rounds for level in one["levels"]):
                for cause, count in level["errors"].items():
                    errors[cause] = errors.get(cause, 0) + count
            if errors:
                told = ", ".join(f"{count} × {cause}" for cause, count in errors.items())
                said.append(f"{what}: requests failed without overload: {told}")
            loads = [one["overload"] for one in cell.rounds if one["overload"]]
            if any(load["generator_cpu"] > BUSY for load in loads):
                said.append(f"{what}: under overload the generator had no processor time left, so it offered less than twice the capacity")
            if any(level["generator_cpu"] > BUSY for one in cell.rounds for level in one["levels"]):
                said.append(f"{what}: the generator had no processor time left at some concurrency; the server may do more")
            if (foreign := worst(cell, lambda level: level["foreign"])) > FOREIGN:
                said.append(f"{what}: other processes used up to {foreign:.2f} of a processor meanwhile")
    return said
