"""A figure: what was measured in each round, its goal, and how both are written."""

import statistics
from dataclasses import dataclass, field


@dataclass
class Goal:
    """`at least` or `at most` a bound; `excluded` if the bound itself doesn't meet it."""

    way: str
    bound: float

    def met(self, value: float) -> bool:
        return value >= self.bound if self.way == "at least" else value <= self.bound

    def __str__(self) -> str:
        return f"{self.way} {self.bound:g}"


def at_least(bound: float) -> Goal:
    return Goal("at least", bound)


def at_most(bound: float) -> Goal:
    return Goal("at most", bound)


@dataclass
class Figure:
    """One value a round, mostly a ratio of two sides measured in that round; no goal if it only informs."""

    what: str
    values: list[float]
    goal: Goal | None = None
    unit: str = ""
    # What it was made of, by name, with its unit in it: one value a round each.
    sides: dict[str, list[float]] = field(default_factory=dict)

    def summary(self) -> dict:
        middle = statistics.median(self.values)
        return {
            "what": self.what,
            "unit": self.unit,
            "value": spread(self.values),
            "goal": str(self.goal) if self.goal else None,
            "met": self.goal.met(middle) if self.goal else None,
            "sides": {name: spread(values) for name, values in self.sides.items()},
        }


@dataclass
class Row:
    """What a row of the table says: its figures, or why there are none."""

    name: str
    # What was found on the way: which settings won, what was lower than asked for.
    notes: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    not_measured: str | None = None
    # Processors that others used meanwhile.
    others: float = 0.0
    # Whether that can change what is measured.
    timed: bool = True

    def summary(self) -> dict:
        return {
            "name": self.name,
            "figures": [figure.summary() for figure in self.figures],
            "notes": self.notes,
            "not_measured": self.not_measured,
            "others": round(self.others, 2),
        }


def ratio(what: str, over: list[float], under: list[float], names: tuple[str, str], goal: Goal | None = None) -> Figure:
    """Both sides' values of the same rounds, one over the other in each."""
    values = [a / b for a, b in zip(over, under, strict=True)]
    return Figure(what, values, goal, sides={names[0]: over, names[1]: under})


def spread(values: list[float]) -> dict:
    """Median and quartiles."""
    if len(values) == 1:
        return {"low": values[0], "median": values[0], "high": values[0], "rounds": 1}
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"low": low, "median": middle, "high": high, "rounds": len(values)}


def written(spread: dict, unit: str = "") -> str:
    """`0.87 (0.86 to 0.88)`: as many digits as mean something."""
    low, middle, high = (number(spread[key]) for key in ("low", "median", "high"))
    unit = f" {unit}" if unit else ""
    return f"{middle}{unit}" if spread["rounds"] == 1 else f"{middle}{unit} ({low} to {high})"


def number(value: float) -> str:
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.3f}"
