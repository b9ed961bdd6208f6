"""What a heuristic is worth, of all that was measured of it."""

from .figures import written

TITLE = "## What each heuristic is worth"
# What a heuristic must bring in some row to stay.
RATE, P99 = 1.03, 0.95
RULE = (
    f"A heuristic stays if it brings {RATE - 1:.0%} of rate or {1 - P99:.0%} of p99 in a row that a user would meet: the median "
    "beyond that, and both quartiles on its side of 1. Best and worst are by how far a figure is beyond those bounds with all but a quarter of its rounds."
)
# What stood in the server until this table was made, as it was measured then.
GONE = {
    "warmth": "batch sizes that hadn't run yet were held back; measured with the swap to a rewritten module on",
    "by_size": "both forms of a model stayed, each for the batch sizes at which it was the faster",
}
HEAD = "| heuristic | simulated, best | simulated, worst | measured, best | measured, worst | verdict |\n|---|---|---|---|---|---|"


def line(name: str, simulated: dict | None, measured: dict | None) -> str:
    """A line of the table; each side may be missing."""
    of = lambda row, prefix: [
        figure | {"what": figure["what"].removeprefix(prefix)} for figure in (row or {"figures": []})["figures"] if figure["what"].startswith(prefix)
    ]
    sides = [[figure for figure in side if kind(figure)] for side in (of(simulated, f"{name}: "), of(measured, ""))]
    cells = [cell for side in sides for cell in extremes(side)]
    says = f"**gone** ({GONE[name]})" if name in GONE else verdict(*sides)
    return f"| {name} | {' | '.join(cells)} | {says} |"


def kind(figure: dict) -> str | None:
    return next((kind for kind in ("rate", "p99") if figure["what"].startswith(kind)), None)


def gain(figure: dict, at: str = "median") -> float:
    """1 if it just earns its place; below 0 if it costs."""
    value = figure["value"][at]
    return (value - 1) / (RATE - 1) if kind(figure) == "rate" else (1 - value) / (1 - P99)


def extremes(figures: list[dict]) -> tuple[str, str]:
    if not figures:
        return ("", "")
    best = max(figures, key=lambda figure: min(gain(figure, "low"), gain(figure, "high")))
    worst = min(figures, key=lambda figure: max(gain(figure, "low"), gain(figure, "high")))
    return cell(best), cell(worst)


def cell(figure: dict) -> str:
    words = figure["what"].replace(", best: ", ", ").replace(", worst: ", ", ")
    what, _, where = words.partition(", ")
    return f"{what} {written(figure['value'])}: {where}"


def earns(figure: dict) -> bool:
    return gain(figure) >= 1 and min(gain(figure, "low"), gain(figure, "high")) > 0


def costs(figure: dict) -> bool:
    return gain(figure) <= -1 and max(gain(figure, "low"), gain(figure, "high")) < 0


def verdict(simulated: list[dict], measured: list[dict]) -> str:
    if not simulated and not measured:
        return "not measured"
    if any(earns(one) for one in measured):
        says = "earns its place"
    elif any(earns(one) for one in simulated):
        says = "earns it simulated only" if measured else "earns it simulated; not measured"
    else:
        says = "**doesn't earn its place**"
    where = [name for name, side in (("simulated", simulated), ("measured", measured)) if any(costs(one) for one in side)]
    return says + (f"; costs in some row {' and '.join(where)}" if where else "")
