"""A photograph to `POST /predict`, one client."""

from ..figures import Row, at_most, ratio
from ..processes import ROOT, Bench

MODEL = ROOT / "models" / "efficientnet_lite0"
PHOTOGRAPH = MODEL / "samples" / "cat.jpg"


def measure(bench: Bench) -> Row:
    """A photograph to POST /predict, one client: the median latency.

    Over the median of decoding it, resizing it and one forward in a process without a server, on one thread.
    """
    ours, bare = [], []
    with bench.serve(bench.repository("efficientnet_lite0", MODEL)) as server:
        for _ in range(bench.rounds):
            ours.append(bench.load(server.url, ["--body", PHOTOGRAPH, "--path", "/predict"], 1)["latency"])
            bare += bench.bare("photograph", MODEL, PHOTOGRAPH, "--seconds", bench.seconds)
        notes = [f"ours: {server.plan()}"]
    both = [each["p50_ms"] for each in bare]
    figure = ratio("p50 over (decode + resize + forward)", [latency["p50_ms"] for latency in ours], both,
                   ("ours, ms", "bare"), at_most(1.15))  # fmt: skip
    figure.sides |= {
        "decode + resize": [each["transform_p50_ms"] for each in bare],
        "forward": [each["forward_p50_ms"] for each in bare],
    }
    p99 = ratio("p99 over the bare p99", [latency["p99_ms"] for latency in ours], [each["p99_ms"] for each in bare],
                ("ours, ms", "bare"))  # fmt: skip
    return Row("photograph", notes, [figure, p99])
