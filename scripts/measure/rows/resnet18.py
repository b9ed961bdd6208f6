"""A ResNet-18 (224 x 224), where the model costs all and the server must not stand in its way."""

from dataclasses import dataclass
from pathlib import Path

from ..figures import Row, at_least, ratio
from ..processes import PROCESSORS, ROOT, Bench, Unmeasurable, lines

SHAPE = "3,224,224"
BATCHES = (1, 2, 4, 8, 16)
# After a first look at all settings these many are measured in every round.
FINALISTS = 2
# A batch of 16 is a good part of a window's requests: so many times --seconds make it a small one.
LONGER = 2


@dataclass(frozen=True)
class Settings:
    """What `cresset.toml` asks for, and the same as flags of the loops."""

    name: str
    toml: str
    flags: tuple[str, ...]


PLAIN = Settings("frozen", "", ())
FOR_INFERENCE = Settings("for inference", "[optimize]\nfor_inference = true\n", ("--for-inference",))
CHANNELS_LAST = Settings("channels last", "[precision]\nchannels_last = true\n", ("--channels-last",))
BOTH = Settings("channels last, for inference", CHANNELS_LAST.toml + FOR_INFERENCE.toml, ("--channels-last", "--for-inference"))
BF16 = Settings("bf16 weights, channels last", '[precision]\nweights = "bf16"\nchannels_last = true\n',
                ("--weights", "bf16", "--channels-last"))  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """One way in which a bare loop may run."""

    settings: Settings
    batch: int
    plan: str

    def rate(self, bench: Bench, model: Path, seconds: float) -> float:
        return run(bench, model, self.settings, [self.batch], [self.plan], seconds)[0]["items_per_second"]

    def __str__(self) -> str:
        return f"{self.settings.name}, batch {self.batch}, {self.plan} threads"


def fp32(bench: Bench) -> Row:
    """ResNet-18 (224 x 224), FP32, binary, 8 to 64 clients.

    Over the best that a bare loop over libtorch reaches in the run, whichever batch, instances x threads and load
    settings that takes. Ours is served in the same layout, asked for in cresset.toml, and chooses its batches,
    instances, threads and where it is optimised for inference itself; and as it is without any setting. Few clients
    can't fill the best batch on every processor at once: beside the first figure stands the best that the bare loop
    reaches with batches of as many as there are clients for each processor. The bare loop is held to the same loop in
    Python, as the file is (neither frozen) and with the winner's settings.
    """
    levels = bench.levels((8, 16, 32, 64))
    directory = bench.made("resnet18")
    model = directory / "1" / "model.pt"
    seen = all_of(bench, model, (PLAIN, FOR_INFERENCE, CHANNELS_LAST, BOTH))
    finalists = seen[:FINALISTS]
    settings = finalists[0].settings
    few = next(candidate for candidate in seen if candidate.batch <= max(1, levels[0] // PROCESSORS))
    layout = CHANNELS_LAST.toml if "--channels-last" in settings.flags else ""
    tuned, plain = (bench.repository("resnet18", directory, toml) for toml in (layout, ""))
    bare = {finalist: [] for finalist in {*finalists, few}}
    ours, alone = {c: [] for c in levels}, {c: [] for c in levels}
    loops = {"as the file is": ([], []), finalists[0].settings.name: ([], [])}
    window = bench.seconds * LONGER
    with bench.serve(tuned) as server, bench.serve(plain) as without:
        for number in range(bench.rounds):
            for finalist in bare:
                bare[finalist].append(finalist.rate(bench, model, bench.seconds))
            for clients in levels:
                for one, rates in ((server, ours), (without, alone)):
                    level = bench.load(one.url, ["--model", "resnet18"], clients, seconds=window)
                    rates[clients].append(level["requests_per_second"])
            beside_python(bench, model, finalists[0], loops, number)
        notes = [f"ours: {server.plan()}; nothing configured: {without.plan()}"]
    winner = max(finalists, key=lambda finalist: sum(bare[finalist]))
    row = Row("resnet18", [f"best bare loop: {winner}", *notes])
    for how, rates, goal in (("", ours, at_least(0.95)), (", nothing configured", alone, None)):
        row.figures += [
            ratio(f"of the bare loop, {clients} clients{how}", rates[clients], bare[winner], ("ours, images/s", "bare loop"), goal)
            for clients in levels
        ]
    row.figures.append(ratio(f"of the bare loop with batches of {few.batch}, {levels[0]} clients", ours[levels[0]], bare[few],
                             ("ours, images/s", str(few))))  # fmt: skip
    for name, (mine, theirs) in loops.items():
        if theirs:
            row.figures.append(ratio(f"the bare loop over Python's, {name}", mine, theirs, ("bare loop", "Python's"), at_least(0.95)))
    return row


def bf16(bench: Bench) -> Row:
    """The same with BF16 and channels-last asked for, 8 to 32 clients.

    Over the bare loop with the same settings at its best batch and plan, and over the bare FP32 loop with
    channels-last. The second has a goal only if the processor has AMX; without instructions for BF16 (AMX, AVX-512)
    nothing is measured.
    """
    flags = Path("/proc/cpuinfo").read_text()
    amx = "amx_bf16" in flags
    if not amx and "avx512_bf16" not in flags:
        raise Unmeasurable("this processor has no instructions for BF16")
    levels = bench.levels((8, 16, 32))
    directory = bench.made("resnet18")
    model = directory / "1" / "model.pt"
    same, wide = best_of_all(bench, model, (BF16,)), best_of_all(bench, model, (CHANNELS_LAST,))[:1]
    ours, bare = {c: [] for c in levels}, {f: [] for f in (*same, *wide)}
    with bench.serve(bench.repository("resnet18", directory, BF16.toml)) as server:
        plan = server.plan()
        for _ in range(bench.rounds):
            for finalist in bare:
                bare[finalist].append(finalist.rate(bench, model, bench.seconds))
            for clients in levels:
                level = bench.load(server.url, ["--model", "resnet18"], clients, seconds=bench.seconds * LONGER)
                ours[clients].append(level["requests_per_second"])
    winner = max(same, key=lambda finalist: sum(bare[finalist]))
    processor = "AMX" if amx else "AVX-512 without AMX"
    row = Row("resnet18-bf16", [processor, f"best bare loop: {winner}", f"FP32: {wide[0]}", f"ours: {plan}"])
    goal = at_least(2.5) if amx else None
    for clients in levels:
        row.figures += [
            ratio(f"of the bare loop, {clients} clients", ours[clients], bare[winner], ("ours, images/s", "bare loop"), at_least(0.9)),
            ratio(f"over the FP32 loop, {clients} clients", ours[clients], bare[wide[0]], ("ours, images/s", "FP32"), goal),
        ]
    return row


def best_of_all(bench: Bench, model: Path, all_settings: tuple[Settings, ...]) -> list[Candidate]:
    """The best few of all."""
    return all_of(bench, model, all_settings)[:FINALISTS]


def all_of(bench: Bench, model: Path, all_settings: tuple[Settings, ...]) -> list[Candidate]:
    """A short look at every batch and plan, the best first."""
    plans = sorted({f"1x{PROCESSORS}", f"{PROCESSORS}x1"})
    seen = {}
    for settings in all_settings:
        for measured in run(bench, model, settings, BATCHES, plans, bench.seconds / 5):
            plan = f"{measured['instances']}x{measured['threads']}"
            seen[Candidate(settings, measured["batch"], plan)] = measured["items_per_second"]
    return sorted(seen, key=seen.get, reverse=True)


def run(bench: Bench, model: Path, settings: Settings, batches, plans, seconds: float) -> list[dict]:
    return bench.bare("rate", model, "--shape", SHAPE, *settings.flags, "--batch", ",".join(map(str, batches)),
                      "--plan", ",".join(plans), "--seconds", seconds)  # fmt: skip


def beside_python(bench: Bench, model: Path, winner: Candidate, loops: dict, number: int) -> None:
    """One loop beside one loop, because an interpreter runs one thread at a time; in turn as the file is and with the
    winner's settings."""
    if not bench.python:
        return
    program = ROOT / "scripts" / "models" / "loop.py"
    kinds = (("as the file is", ("--unfrozen",)), (winner.settings.name, winner.settings.flags))
    name, flags = kinds[number % len(kinds)]
    common = ["--shape", SHAPE, "--batch", 8, "--plan", f"1x{PROCESSORS}", "--seconds", bench.seconds / 2, *flags]
    mine, theirs = loops[name]
    mine.append(bench.bare("rate", model, *common)[0]["items_per_second"])
    theirs.append(lines([bench.python, program, model, *common])[0]["items_per_second"])
