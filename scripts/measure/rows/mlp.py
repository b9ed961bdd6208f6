"""A small MLP (784-512-10), where the server costs more than the model."""

from ..figures import Row, at_least, at_most, ratio
from ..processes import PROCESSORS, ROOT, Bench

MODEL = ROOT / "tests" / "models" / "mlp"
SHAPE = "784"


def throughput(bench: Bench) -> Row:
    """MLP (784-512-10), FP32, binary, 32 and 64 clients.

    Over the ideal of the run: processors / (processors / echo's rate + 1 / forwards a second of one thread at the best
    batch). It is what a server would reach whose cost for a request is that of a bare actix-web server that sends the
    same bytes back (generator included, as it runs on the same processors), and whose model costs what a loop over
    libtorch costs. Once more over a harder ideal, of a bare server that reads the same bytes and answers with as few as
    ours.
    """
    levels = bench.levels((32, 64))
    body = bench.scratch / "mlp.body"
    kinds = ("ours", "echo", "short")
    rates, forwards = {kind: {c: [] for c in levels} for kind in kinds}, []
    with bench.serve(bench.repository("mlp", MODEL)) as cresset:
        sent, answered = sizes(bench, cresset.url)
        body.write_bytes(bytes(sent))
        bare = ["--body", body, "--path", "/echo"]
        with bench.echo() as echo, bench.echo(answered) as short:
            sides = {"ours": (cresset, ["--model", "mlp"]), "echo": (echo, bare), "short": (short, bare)}
            for _ in range(bench.rounds):
                for clients in levels:
                    for kind, (server, what) in sides.items():
                        # One thread of the generator would be busy all the time, and bound the echo.
                        level = bench.load(server.url, what, clients, threads=PROCESSORS)
                        rates[kind][clients].append(level["requests_per_second"])
                forwards.append(bench.bare("rate", MODEL / "1/model.pt", "--shape", SHAPE, "--plan", "1x1",
                                           "--batch", "8,16,32,64", "--seconds", bench.seconds / 6))  # fmt: skip
        plan = cresset.plan()
    best = max(range(len(forwards[0])), key=lambda at: sum(runs[at]["items_per_second"] for runs in forwards))
    forward = [runs[best]["items_per_second"] for runs in forwards]
    row = Row("mlp", notes=[f"{sent} bytes in, {answered} out", f"one thread's best batch: {forwards[0][best]['batch']}", f"ours: {plan}"])
    for kind, goal in (("echo", at_least(0.5)), ("short", None)):
        for clients in levels:
            ideal = [PROCESSORS / (PROCESSORS / e + 1 / f) for e, f in zip(rates[kind][clients], forward, strict=True)]
            what = f"of the ideal, {clients} clients" if goal else f"of the harder ideal, {clients} clients"
            figure = ratio(what, rates["ours"][clients], ideal, ("ours, requests/s", "ideal"), goal)
            figure.sides |= {"echo" if goal else "short echo": rates[kind][clients], "forwards of one thread": forward}
            row.figures.append(figure)
    return row


def one_client(bench: Bench) -> Row:
    """The same model at one client: the median latency.

    Over the median of the bare echo of the same bytes plus that of a bare forward of one row on one thread. The p99
    stands beside the echo's.
    """
    body = bench.scratch / "mlp.body"
    ours, echo, forward = [], [], []
    with bench.serve(bench.repository("mlp", MODEL)) as cresset, bench.echo() as bare_echo:
        body.write_bytes(bytes(sizes(bench, cresset.url)[0]))
        for _ in range(bench.rounds):
            ours.append(bench.load(cresset.url, ["--model", "mlp"], 1)["latency"])
            echo.append(bench.load(bare_echo.url, ["--body", body, "--path", "/echo"], 1)["latency"])
            forward.append(bench.bare("rate", MODEL / "1/model.pt", "--shape", SHAPE, "--plan", "1x1", "--batch", 1,
                                      "--seconds", bench.seconds / 4)[0]["p50_ms"])  # fmt: skip
    least = [e["p50_ms"] + f for e, f in zip(echo, forward, strict=True)]
    p50 = [latency["p50_ms"] for latency in ours]
    figure = ratio("p50 over (echo + bare forward)", p50, least, ("ours, ms", "echo + forward"), at_most(1.5))
    figure.sides |= {"echo": [latency["p50_ms"] for latency in echo], "forward": forward}
    p99 = ratio("p99 over the echo's", [latency["p99_ms"] for latency in ours], [latency["p99_ms"] for latency in echo],
                ("ours, ms", "echo"))  # fmt: skip
    return Row("mlp-one-client", figures=[figure, p99])


def sizes(bench: Bench, url: str) -> tuple[int, int]:
    """Bytes of the body of a request to ours, and of its answer's."""
    level = bench.load(url, ["--model", "mlp"], 1, requests=10)
    return level["request_bytes"], round(level["body_bytes"] / level["latency"]["count"])
