"""A text model with real weights and mixed lengths: what batching them is worth."""

import json
import random
import struct
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .. import bodies
from ..figures import Row, at_least, at_most, ratio
from ..processes import ROOT, Bench, Unmeasurable

WHEEL = ROOT / "scripts" / "models" / "minilm.txt"
CLIENTS = 32
LENGTHS = (8, 128)
REQUESTS = 256
LONGER = 2
# How far an answer may be from the one without padding, as a part of the largest number in it.
TOLERANCE = 1e-4
# What makes mixed lengths batch.
PADDING = '[padding]\nmask = "attention_mask"\n\n[padding.inputs]\ninput_ids = { }\n'


def measure(bench: Bench) -> Row:
    """MiniLM (all-MiniLM-L6-v2, real weights, FP32), lengths 8 to 128 mixed, 32 clients.

    Over a bare loop over the same lengths, sorted in windows of 32, cut into batches of neighbours and padded, at its
    best batch and plan. And over the same server without padding, which batches equal lengths alone: its rate, and its
    p99. Answers with padding are held to those without. What batches are worth to the bare loop bounds what padding can
    bring.
    """
    directory = bench.made("minilm", needs=["-r", str(WHEEL)])
    lengths, bodies_of = sent()
    listed = bench.scratch / "lengths.txt"
    listed.write_text(" ".join(map(str, lengths)))
    send = [*bodies.write(bench.scratch / "minilm", bodies_of), "--path", "/v2/models/minilm/infer"]
    loop = lambda seconds, *flags: bench.bare("lengths", directory / "1/model.pt", "--lengths", listed, "--seconds", seconds, *flags)
    best = max(loop(bench.seconds / 3), key=lambda run: run["items_per_second"])
    chosen = ["--batch", best["batch"], "--plan", f"{best['instances']}x{best['threads']}"]

    with bench.serve(bench.repository("minilm", directory)) as plain:
        padded, why = padding_server(bench, directory)
        sides = {"padded": padded, "plain": plain} if padded else {"plain": plain}
        try:
            if padded:
                compare(padded, plain, bodies_of[:24])
            runs, bare, singly = {name: [] for name in sides}, [], []
            for _ in range(bench.rounds):
                bare.append(loop(bench.seconds * LONGER, *chosen)[0]["items_per_second"])
                singly.append(loop(bench.seconds, "--batch", 1, *chosen[2:])[0]["items_per_second"])
                for name, server in sides.items():
                    runs[name].append(bench.load(server.url, send, CLIENTS, seconds=bench.seconds * LONGER))
        finally:
            if padded:
                padded.__exit__(None)
        notes = [f"best bare loop: batch {best['batch']}, {chosen[-1]} threads", f"ours: {plain.plan()}", *why]
    rates = {name: [level["requests_per_second"] for level in levels] for name, levels in runs.items()}
    p99 = {name: [level["latency"]["p99_ms"] for level in levels] for name, levels in runs.items()}
    ours = "padded" if padded else "plain"
    row = Row("minilm", notes)
    row.figures.append(ratio(f"of the bare loop, {ours}", rates[ours], bare, ("ours, requests/s", "bare loop"), at_least(0.9)))
    if padded:
        row.figures += [
            ratio("rate over that without padding", rates["padded"], rates["plain"], ("padded, requests/s", "plain"), at_least(1.35)),
            ratio("p99 over that without padding", p99["padded"], p99["plain"], ("padded, ms", "plain"), at_most(1.1)),
        ]
    row.figures.append(ratio("what batches are worth to the bare loop", bare, singly, ("sorted and padded, requests/s", "one by one")))
    return row


def sent() -> tuple[list[int], list[bytes]]:
    """Lengths, and a request of each."""
    chance = random.Random(6)
    lengths = [chance.randint(*LENGTHS) for _ in range(REQUESTS)]
    return lengths, [body(length, chance) for length in lengths]


def padding_server(bench: Bench, directory: Path):
    """A server whose model is padded, started; or none, and why."""
    try:
        return bench.serve(bench.repository("minilm", directory, PADDING)).__enter__(), []
    except Unmeasurable as why:
        return None, [f"measured without padding: {why}"]


def body(length: int, chance: random.Random) -> bytes:
    ids = [101, *(chance.randint(1000, 29_000) for _ in range(length - 2)), 102]
    return bodies.request(
        ("input_ids", "INT64", [1, length], struct.pack(f"<{length}q", *ids)),
        ("attention_mask", "INT64", [1, length], struct.pack(f"<{length}q", *([1] * length))),
    )


def compare(padded, plain, requests: list[bytes]) -> None:
    """One by one on the plain server; all at once, so that they batch, on the other."""
    expected = [embedding(plain.url, request) for request in requests]
    with ThreadPoolExecutor(len(requests)) as pool:
        came = list(pool.map(lambda request: embedding(padded.url, request), requests))
    for want, got in zip(expected, came, strict=True):
        apart = max(abs(a - b) for a, b in zip(want, got, strict=True)) / max(map(abs, want))
        if apart > TOLERANCE:
            raise Unmeasurable(f"padding moves answers by {apart:.1e} of the largest number")


def embedding(url: str, request: bytes) -> tuple[float, ...]:
    headers = {"Inference-Header-Content-Length": str(bodies.HEADER), "Content-Type": "application/octet-stream"}
    asked = urllib.request.Request(f"{url}/v2/models/minilm/infer", request, headers)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        head = int(answer.headers["Inference-Header-Content-Length"])
        data = answer.read()
    [output] = json.loads(data[:head])["outputs"]
    return struct.unpack(f"<{output['shape'][-1]}f", data[head:])
