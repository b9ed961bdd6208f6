"""Plots as SVG files of their own, by day and by night."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from xml.sax.saxutils import escape

from .results import Cell

# The first is ours; the others keep apart for eyes that see fewer colours, too.
COLOURS = ("#d9480f", "#1f6fb4", "#2b8a3e", "#7a3fa0", "#8a6d00", "#5c6370")
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 13px } .small { font-size: 11px } .grid { stroke: #d0d7de }
.ground { fill: #ffffff }
@media (prefers-color-scheme: dark) { text { fill: #d7dde4 } .grid { stroke: #3d444d } .ground { fill: #14171d } }
"""
WIDTH = 760


@dataclass(frozen=True)
class Bar:
    label: str
    # None where there is none to show.
    value: float | None
    told: str
    colour: str


@dataclass(frozen=True)
class Line:
    label: str
    points: list[tuple[float, float]]
    colour: str


def throughput(results: dict) -> str:
    """The best rate of each, beside bare libtorch."""
    panels = []
    for model in results["models"]:
        def bar(server: dict, colour: str) -> Bar:
            cell = Cell(server, model)
            best = cell.best()
            told = f"{cell.of_bare(best[0]):.2f}  ({best[0]:,.0f}/s)" if best and cell.of_bare(best[0]) else "–"
            return Bar(server["title"], cell.of_bare(best[0]) if best else None, told, colour)
        panels.append((f"{model['title']}: requests a second, as a part of bare libtorch's rows a second", bars_of(results, bar)))
    return bar_panels(panels, columns=1)


def costs(results: dict) -> str:
    """What else they differ in: start and memory are of the last model, the largest."""
    panels = []
    for model in (model for model in results["models"] if model["limit_seconds"]):
        def good(server: dict, colour: str) -> Bar:
            goodput = Cell(server, model).goodput()
            return Bar(server["title"], goodput[1] if goodput else None, f"{goodput[1]:.0%}" if goodput else "–", colour)
        panels.append((f"{model['title']}: in time at 2× its capacity", bars_of(results, good)))
    last = results["models"][-1]

    def cold(server: dict, colour: str) -> Bar:
        seconds = Cell(server, last).cold()
        return Bar(server["title"], seconds, f"{seconds:.2f} s" if seconds is not None else "–", colour)

    def memory(server: dict, colour: str) -> Bar:
        used = Cell(server, last).memory()
        return Bar(server["title"], used, f"{used / 1e6:,.0f} MB" if used is not None else "–", colour)

    def disk(server: dict, colour: str) -> Bar:
        size = server.get("installed")
        total = sum(size.values()) if size else None
        return Bar(server["title"], total, f"{total / 1e6:,.0f} MB" if total is not None else "–", colour)

    panels.append((f"{last['title']}: start to first answer", bars_of(results, cold)))
    panels.append((f"{last['title']}: memory of all its processes", bars_of(results, memory)))
    panels.append(("installed, with libtorch or PyTorch", bars_of(results, disk)))
    return bar_panels(panels, columns=2)


def latency(results: dict) -> str:
    """p50 and p99 over concurrency, both in powers."""
    panels = []
    for model in results["models"]:
        for field, name in (("p50_ms", "p50"), ("p99_ms", "p99")):
            lines = []
            for server, colour in coloured(results):
                cell = Cell(server, model)
                points = [(clients, cell.at(clients, field)) for clients in results["plan"]["clients"]]
                lines.append(Line(server["title"], [(x, y) for x, y in points if y], colour))
            panels.append((f"{model['title']}: {name}, ms, over clients", lines))
    return line_panels(panels)


def coloured(results: dict) -> list[tuple[dict, str]]:
    return [(server, COLOURS[number % len(COLOURS)]) for number, server in enumerate(results["servers"])]


def bars_of(results: dict, bar: Callable[[dict, str], Bar]) -> list[Bar]:
    return [bar(server, colour) for server, colour in coloured(results)]


def bar_panels(panels: list[tuple[str, list[Bar]]], columns: int) -> str:
    width, step, label = WIDTH / columns, 22, 165
    height = 34 + step * max((len(bars) for _, bars in panels), default=0)
    body = []
    for number, (title, bars) in enumerate(panels):
        left, top = number % columns * width, number // columns * height
        body.append(text(left + 4, top + 18, title, "title"))
        most = max((bar.value or 0.0 for bar in bars), default=0.0)
        room = width - label - 110
        for row, bar in enumerate(bars):
            y = top + 28 + row * step
            length = room * (bar.value or 0.0) / most if most else 0.0
            body.append(text(left + label - 8, y + 13, bar.label, anchor="end"))
            body.append(f'<rect x="{left + label:.1f}" y="{y}" width="{length:.1f}" height="16" rx="2" fill="{bar.colour}"/>')
            body.append(text(left + label + length + 6, y + 13, bar.told))
    rows = math.ceil(len(panels) / columns)
    return document(rows * height + 8, body)


def line_panels(panels: list[tuple[str, list[Line]]]) -> str:
    width, height = WIDTH / 2, 250
    body = []
    for number, (title, lines) in enumerate(panels):
        body += line_panel(title, lines, number % 2 * width, number // 2 * height, width, height)
    top = math.ceil(len(panels) / 2) * height
    for number, line in enumerate(panels[0][1] if panels else []):
        x, y = 8 + number % 3 * WIDTH / 3, top + 16 + number // 3 * 20
        body.append(f'<rect x="{x:.1f}" y="{y - 9}" width="14" height="10" rx="2" fill="{line.colour}"/>')
        body.append(text(x + 20, y, line.label))
    return document(top + 50, body)


def line_panel(title: str, lines: list[Line], left: float, top: float, width: float, height: float) -> list[str]:
    body = [text(left + 4, top + 18, title, "title")]
    points = [point for line in lines for point in line.points]
    if not points:
        return [*body, text(left + 4, top + 40, "nothing was measured")]
    xs = sorted({x for x, _ in points})
    low, high = (edge(math.log10(value)) for edge, value in ((math.floor, min(y for _, y in points)), (math.ceil, max(y for _, y in points))))
    high = max(high, low + 1)
    area = (left + 48, left + width - 16, top + 30, top + height - 34)

    def across(x: float) -> float:
        # Each concurrency as far from the next: they are powers, about.
        return area[0] + (area[1] - area[0]) * (xs.index(x) + 0.5) / len(xs)

    def up(y: float) -> float:
        return area[3] - (area[3] - area[2]) * (math.log10(y) - low) / (high - low)

    for power in range(low, high + 1):
        y = up(10.0**power)
        body.append(f'<line class="grid" x1="{area[0]:.1f}" x2="{area[1]:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        body.append(text(area[0] - 6, y + 4, f"{10.0**power:g}", "small", "end"))
    for x in xs:
        body.append(text(across(x), area[3] + 18, f"{x:g}", "small", "middle"))
    for line in lines:
        joined = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in line.points)
        body.append(f'<polyline points="{joined}" fill="none" stroke="{line.colour}" stroke-width="2"/>')
        body += [f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3" fill="{line.colour}"/>' for x, y in line.points]
    return body


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def document(height: float, body: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}">'
    # Whoever shows it may be dark where it is light, or the other way: it brings its own ground.
    ground = '<rect class="ground" width="100%" height="100%"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", ground, *body, "</svg>"]) + "\n"
