"""The table, and the page that it stands on."""

import os
import platform
import re
import sys
import textwrap
import time
from collections.abc import Iterable
from pathlib import Path

from . import worth
from .expected import EXPECTED
from .figures import written
from .rows import ABLATION, ROWS

# What is measured now, and what was until it went.
HEURISTICS = [*ABLATION, *(f"ablation-{name}" for name in worth.GONE)]

SIMULATED = "ablation-simulated"
HEAD = "| row | figure | measured | goal | met | beside |\n|---|---|---:|---|---|---|"


def lines(row: dict) -> str:
    """A row's lines of the table."""
    if row["not_measured"]:
        return f"| {row['name']} | | not measured: {row['not_measured']} | | | |"
    return "\n".join(line(row["name"], figure) for figure in row["figures"])


def line(name: str, figure: dict) -> str:
    met = {None: "", True: "yes", False: "**no**"}[figure["met"]]
    sides = "; ".join(f"{side} {written(values)}" for side, values in figure["sides"].items())
    return f"| {name} | {figure['what']} | {written(figure['value'], figure['unit'])} | {figure['goal'] or ''} | {met} | {sides} |"


def circumstances() -> dict:
    """When and where, in words that tell nothing of whose machine it is."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": model.group(1).strip() if model else platform.machine(),
        "processors": len(os.sched_getaffinity(0)),
        "command": " ".join(["scripts/limits", *(word for word in sys.argv[1:] if not word.startswith("/"))]),
    }


def write(path: Path, runs: list[dict]) -> None:
    """The whole page; or its section on heuristics alone, if the runs are of nothing else."""
    rows = {row["name"] for run in runs for row in run["rows"]}
    old = path.read_text() if path.exists() else ""
    if rows & set(ROWS):
        kept = old[old.find(worth.TITLE) :] if worth.TITLE in old else ""
        of_others = [run for run in runs if {row["name"] for row in run["rows"]} <= set(HEURISTICS)]
        section = heuristics(of_others) if of_others else kept
        path.write_text(page(runs).rstrip() + "\n" + ("\n" + section if section else ""))
    else:
        path.write_text(old.partition(worth.TITLE)[0].rstrip() + "\n\n" + heuristics(runs))


def heuristics(runs: list[dict]) -> str:
    """The section on what each heuristic is worth."""
    rows = {name: known for name, known in merged(runs).items() if name in HEURISTICS}
    simulated = rows.get(SIMULATED, (None,))[0]
    parts = [
        worth.TITLE + "\n",
        wrapped(
            f"Printed by `scripts/limits --only ablation` {measured_on(runs)}. "
            "Each figure is that of the server over that of the same server without the heuristic: a rate above 1 and a p99 below "
            f"1 are what it brings. {worth.RULE}"
        ),
        "\n" + worth.HEAD,
        *(worth.line(name.removeprefix("ablation-"), simulated, rows.get(name, (None,))[0]) for name in HEURISTICS if name != SIMULATED),
        "\n" + HEAD,
        *(lines(rows[name][0]) for name in HEURISTICS if name in rows),
        "",
    ]
    return finished(parts, HEURISTICS, rows)


def page(runs: list[dict]) -> str:
    """The whole page, of one run or of several with different rows."""
    rows = merged(runs)
    parts = [
        "# Limits\n",
        wrapped(
            f"Printed by `scripts/limits` {measured_on(runs)} with the "
            "load generator on it. Medians, with quartiles in brackets, of rounds in which ours and what bounds it took "
            "turns. Rates on such a machine mean little; ratios within a round hold."
        ),
        "\n```sh\n" + "\n".join(dict.fromkeys(run["command"] for run in runs)) + "\n```",
        "\n" + HEAD,
        *(lines(rows[name][0]) for name in ROWS if name in rows),
        "\n## What the rows mean\n",
    ]
    return finished(parts, ROWS, rows)


def measured_on(runs: list[dict]) -> str:
    where = dict.fromkeys(f"{run['processors']} processors ({run['processor']})" for run in runs)
    dates = sorted({run["date"] for run in runs})
    return f"on {' and '.join(dates)}, on a virtual machine of {' and '.join(where)}"


def finished(parts: list[str], names: Iterable[str], rows: dict) -> str:
    """A page of these parts, and what each row that was measured means."""
    meanings = [line for name in names if name in rows for line in describe(name, *rows[name])]
    return "\n".join(parts + meanings).rstrip() + "\n"


def merged(runs: list[dict]) -> dict[str, tuple[dict, dict]]:
    """Each row with the run that it is of. One that was measured in parts, some clients at a time, is put together."""
    rows: dict[str, tuple[dict, dict]] = {}
    for run in runs:
        for row in run["rows"]:
            if row["name"] not in rows:
                rows[row["name"]] = (row, run)
                continue
            known, first = rows[row["name"]]
            rows[row["name"]] = (known, {**first, "rounds": f"{first['rounds']} and {run['rounds']}"})
            there = {figure["what"] for figure in known["figures"]}
            known["figures"] += [figure for figure in row["figures"] if figure["what"] not in there]
            known["figures"].sort(key=lambda figure: figure["goal"] is None)
            known["notes"] = list(dict.fromkeys(known["notes"] + row["notes"]))
            known["others"] = max(known["others"], row["others"])
    return rows


def describe(name: str, row: dict, run: dict) -> list[str]:
    measured = (ROWS | ABLATION).get(name)
    said = (measured.__doc__ or "").strip() if measured else f"Gone: {worth.GONE[name.removeprefix('ablation-')]}."
    title, _, meaning = textwrap.dedent("    " + said).partition("\n\n")
    meaning = " ".join((title + " " + meaning).split())
    said = f"**{name}**: {meaning} Expected before it was measured: {EXPECTED[name]}"
    if not row["not_measured"]:
        said += f" {run['rounds']} rounds."
    notes = [*row["notes"], *([f"others used {row['others']} processors meanwhile"] if row["others"] >= 0.05 else [])]
    if notes:
        said += f" In this run: {'; '.join(notes)}."
    return [wrapped(said), ""]


def wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)
