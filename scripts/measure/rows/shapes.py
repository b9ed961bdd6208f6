"""Memory under inputs of many shapes."""

import random
import statistics
from pathlib import Path

from .. import bodies
from ..figures import Figure, Row, at_most, ratio
from ..processes import Bench

REQUESTS, STEP = 10_000, 1_000
CLIENTS = 8
SIZES = range(32, 97)


def measure(bench: Bench) -> Row:
    """10,000 requests over 64 shapes, and over random ones, from 8 clients to a small convolutional network.

    Its images are 32 to 96 pixels high and wide: libtorch makes and keeps a kernel for each shape that it meets. Over
    64 shapes: the slope of the resident memory from the 1,000th request on, by least squares. Over random shapes: what
    it grows by over all requests, over what the same requests make bare libtorch grow by, on as many instances.
    """
    directory = bench.made("shapes")
    repository = bench.repository("shapes", directory)
    model = directory / "1" / "model.pt"
    chance = random.Random(8)
    few = [(high, wide) for high in chance.sample(SIZES, 8) for wide in chance.sample(SIZES, 8)]
    chance.shuffle(few)
    slopes, bare_slopes, growths, bare_growths = [], [], [], []
    for _ in range(bench.rounds):
        any_shape = [(chance.choice(SIZES), chance.choice(SIZES)) for _ in range(REQUESTS)]
        slopes.append(slope(served(bench, repository, few)))
        bare_slopes.append(slope(by_itself(bench, model, few)))
        growths.append(growth(served(bench, repository, any_shape)))
        bare_growths.append(growth(by_itself(bench, model, any_shape)))
    flat = Figure("slope over 64 shapes, MB for 1,000 requests", slopes, at_most(1), "MB", {"ours, MB": slopes, "bare": bare_slopes})
    grown = ratio("growth over random shapes, of bare libtorch's", growths, bare_growths, ("ours, MB", "bare"), at_most(1.1))
    return Row("shapes", figures=[flat, grown])


def served(bench: Bench, repository: Path, shapes: list[tuple[int, int]]) -> list[float]:
    """Megabytes at first and after each step."""
    told = []
    with bench.serve(repository) as server:
        path = ["--path", "/v2/models/shapes/infer"]
        bench.load(server.url, [*send(bench, shapes[:1]), *path], 1, requests=3)
        told.append(server.resident() / 1e6)
        for step in range(0, REQUESTS, STEP):
            these = [shapes[number % len(shapes)] for number in range(step, step + STEP)]
            bench.load(server.url, [*send(bench, these), *path], CLIENTS, requests=STEP)
            told.append(server.resident() / 1e6)
    return told


def send(bench: Bench, shapes: list[tuple[int, int]]) -> list[str]:
    made = [bodies.request(("x", "FP32", [1, 3, *shape], b"\0\0\0?" * (3 * shape[0] * shape[1]))) for shape in shapes]
    return bodies.write(bench.scratch / "shapes", made)


def by_itself(bench: Bench, model: Path, shapes: list[tuple[int, int]]) -> list[float]:
    """The same without a server."""
    file = bench.scratch / "shapes.txt"
    file.write_text("".join(f"1,3,{high},{wide}\n" for high, wide in shapes))
    told = bench.bare("shapes", model, "--shapes", file, "--requests", REQUESTS, "--each", STEP)
    return [line["resident_bytes"] / 1e6 for line in told]


def slope(told: list[float]) -> float:
    """Megabytes for a step, from the end of the first on."""
    return statistics.linear_regression(range(len(told) - 1), told[1:]).slope


def growth(told: list[float]) -> float:
    return max(told[-1] - told[0], 0.001)
