"""The page in docs/, and the short table in the README."""

import re
from pathlib import Path

from . import plots
from .machine import Trouble
from .results import Cell, bare_rate, remarks

PLOTS = {"compare-throughput.svg": plots.throughput, "compare-latency.svg": plots.latency, "compare-costs.svg": plots.costs}
BEGIN, END = "<!-- scripts/compare writes from here -->", "<!-- to here -->"
NONE = "–"


def write(results: dict, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in PLOTS.items():
        (folder / name).write_text(plot(results))
    (folder / "compare.md").write_text(page(results))


def into_readme(results: dict, readme: Path) -> None:
    """Rewrites what stands between the two marks, and nothing else."""
    text = readme.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise Trouble(f"{readme} has no place for the table: expected one line '{BEGIN}' and one line '{END}' below it")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{short(results)}{END}{after}")


def short(results: dict) -> str:
    """What the README shows."""
    setting = "the best of its settings" if results["plan"]["swept"] else "the first of its settings (a quick run)"
    return (
        f"{short_table(results)}\n"
        f"Measured by `{results['command']}` on {when_and_where(results)}. One row a request, FP32, the same file for all, "
        f"each server at {setting} and by the leanest form that it takes. In brackets: of the rows a "
        "second that a bare loop over libtorch makes in the same run. [docs/compare.md](docs/compare.md) has the rest, and says how.\n\n"
        "![Rates of all servers beside bare libtorch](docs/compare-throughput.svg)\n"
    )


def short_table(results: dict) -> str:
    columns = ["server"]
    for model in results["models"]:
        columns += [f"{model['title']}, requests/s", "p99 at 32 clients"]
        columns += ["in time at 2×"] if model["limit_seconds"] else []
    columns += ["first answer", "memory", "installed"]
    rows = []
    for server in results["servers"]:
        row = [server["title"]]
        if server.get("failed"):
            rows.append([*row, f"not measured: {server['failed']}"])
            continue
        for model in results["models"]:
            cell = Cell(server, model)
            row += [best(cell), f"{milliseconds(cell.at(32, 'p99_ms'))} ms"]
            row += [goodput_part(cell)] if model["limit_seconds"] else []
        last = Cell(server, results["models"][-1])
        rows.append([*row, seconds(last.cold()), megabytes(last.memory()), installed(server)])
    return table(columns, rows)


def page(results: dict) -> str:
    parts = [
        f"# Cresset beside other servers\n\n{introduction(results)}\n",
        short_table(results),
        "![Rates](compare-throughput.svg)\n\n![Latencies](compare-latency.svg)\n",
    ]
    parts += [of_model(results, model) for model in results["models"]]
    parts.append("![In time under overload, first answer, memory](compare-costs.svg)\n")
    parts += [overload(results), costs(results), sweep(results), how(results), told(results), versions(results)]
    return "\n".join(part for part in parts if part)


def when_and_where(results: dict) -> str:
    machine = results["machine"]
    memory = f", {machine['memory_gib']} GiB" if machine["memory_gib"] else ""
    return f"{machine['date']}, {machine['processors']} processors ({machine['processor']}){memory}, the generator among them"


def introduction(results: dict) -> str:
    plan = results["plan"]
    quick = "" if plan["swept"] else "\n\n**A quick run: each server took one setting, the first of its list; nothing was swept.**"
    rounds = f"{plan['rounds']} rounds" if plan["rounds"] != 1 else "One round"
    return (
        f"Written by `{results['command']}` on {when_and_where(results)}, {results['machine']['system']}. "
        f"{rounds} of {plan['seconds']:g} s a level, interleaved; figures are medians over rounds. On a shared machine rates mean "
        f"little; ratios within one run do.{quick}"
    )


def of_model(results: dict, model: dict) -> str:
    bare = bare_rate(model)
    clients = results["plan"]["clients"]
    loop = max(model["bare"], key=lambda run: run["items_per_second"])
    rates = [[server["title"], *[of_bare(Cell(server, model), each) for each in clients]] for server in measured(results)]
    times = [[server["title"], *[p50_and_p99(Cell(server, model), each) for each in clients]] for server in measured(results)]
    heads = [f"{each} client{'s' * (each > 1)}" for each in clients]
    return (
        f"## {model['title']}\n\nBare libtorch: {bare:,.0f} rows a second (batch {loop['batch']}, {loop['instances']} × "
        f"{loop['threads']} threads).\n\nRequests a second, and as a part of that:\n\n{table(['server', *heads], rates)}\n"
        f"p50 / p99, ms:\n\n{table(['server', *heads], times)}"
    )


def overload(results: dict) -> str:
    loaded = [model for model in results["models"] if model["limit_seconds"]]
    if not loaded:
        return ""
    limits = ", ".join(f"{model['limit_seconds']:g} s for the {model['title']}" for model in loaded)
    columns = ["server", "its bound"]
    for model in loaded:
        columns += [f"{model['title']}: in time/s", "of its capacity", "refused or failed"]
    rows = []
    for server in measured(results):
        row = [server["title"], server["bound"]]
        for model in loaded:
            cell = Cell(server, model)
            good = cell.goodput()
            loads = [one["overload"] for one in cell.rounds if one["overload"]]
            failed = sum(sum(load["errors"].values()) for load in loads)
            share = failed / sum(load["requests"] for load in loads) if loads and any(load["requests"] for load in loads) else None
            row += [rate(good[0]) if good else NONE, goodput_part(cell), f"{share:.0%}" if share is not None else NONE]
        rows.append(row)
    return (
        "## Twice the load that it can bear\n\nAn open loop (Poisson) at twice the best rate of the same round, and how many answers "
        f"came within {limits} of when they were due. Where a server can bound what waits, it is started with as many as it answers in half "
        f"that time. For the MLP it isn't measured: a refusal costs about what an answer does, and at twice the rate the machine, generator "
        f"included, is busy with HTTP alone.\n\n{table(columns, rows)}"
    )


def costs(results: dict) -> str:
    columns = ["server"]
    for model in results["models"]:
        columns += [f"{model['title']}: first answer", "memory"]
    rows = []
    for server in measured(results):
        row = [server["title"]]
        for model in results["models"]:
            cell = Cell(server, model)
            row += [seconds(cell.cold()), megabytes(cell.memory())]
        rows.append([*row, installed(server)])
    return (
        "## Start, memory, size\n\nFrom the start of the process to the first good answer, files in the page cache; memory of all its processes "
        "after the load at the most clients, shared pages counted once (PSS); on disk, what is the server's own and, behind the plus, "
        "libtorch or PyTorch (PyPI's is the CUDA build, whose libraries a CPU needs to import it) and Java.\n\n"
        f"{table([*columns, 'installed'], rows)}"
    )


def sweep(results: dict) -> str:
    parts = []
    for model in results["models"]:
        rows = []
        for server in measured(results):
            cell = Cell(server, model)
            for tried in cell.entry["sweep"]:
                chosen = "**" if tried["setting"] == cell.entry["setting"] else ""
                if tried["failed"]:
                    rates = [tried["failed"], ""]
                else:
                    rates = [rate(level["rate"]) for level in tried["levels"]]
                rows.append([server["title"], f"{chosen}{tried['setting']}{chosen}", *rates])
            if not cell.entry["sweep"] and cell.entry["setting"]:
                rows.append([server["title"], f"**{cell.entry['setting']}**", NONE, NONE])
        parts.append(f"{model['title']}, requests a second:\n\n{table(['server', 'setting', '1 client', '32 clients'], rows)}")
    return "## Settings\n\nEach was tried at these, and kept the one in bold: the best geometric mean of both rates.\n\n" + "\n".join(parts)


def how(_: dict) -> str:
    return (
        "## How\n\n"
        "- Every server loads the same TorchScript file; the peers freeze it and warm it up as Cresset does. Before it is timed, "
        "one answer of each is compared with PyTorch's, within 1e-4 of the largest element.\n"
        "- All are loaded by `cresset bench`, on the machine that serves. Access logs are off.\n"
        "- Each takes the leanest form that it can: raw bytes both ways for FastAPI, mosec, TorchServe and LitServe (in code of "
        "ours, `scripts/peers/serving`), the Open Inference Protocol in binary or over gRPC for PyTriton and Cresset.\n"
        "- FastAPI forms no batches. PyTriton is Triton's core in front of Python, not its PyTorch backend, which has no wheel.\n"
        "- One setting serves all concurrencies. Cresset is as it comes, with its own plan of threads.\n"
    )


def told(results: dict) -> str:
    said = remarks(results)
    said += [f"{server['title']} could not be installed: {server['failed']}" for server in results["servers"] if server.get("failed")]
    return "## To be known\n\n" + "".join(f"- {line}\n" for line in said) if said else ""


def versions(results: dict) -> str:
    rows = [[server["title"], server["version"]] for server in results["servers"]]
    return f"## Versions\n\n{table(['server', 'version'], rows)}"


def measured(results: dict) -> list[dict]:
    return [server for server in results["servers"] if not server.get("failed")]


def best(cell: Cell) -> str:
    found = cell.best()
    return with_ratio(found[0], cell) if found else NONE


def of_bare(cell: Cell, clients: int) -> str:
    return with_ratio(cell.at(clients, "rate"), cell)


def with_ratio(value: float | None, cell: Cell) -> str:
    ratio = cell.of_bare(value)
    return f"{rate(value)} ({ratio:.2f})" if value is not None and ratio is not None else NONE


def p50_and_p99(cell: Cell, clients: int) -> str:
    return f"{milliseconds(cell.at(clients, 'p50_ms'))} / {milliseconds(cell.at(clients, 'p99_ms'))}"


def rate(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def milliseconds(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def goodput_part(cell: Cell) -> str:
    found = cell.goodput()
    return f"{found[1]:.0%}" if found else NONE


def seconds(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f} s"


def megabytes(value: float | None) -> str:
    return NONE if value is None else f"{value / 1e6:,.0f} MB"


def installed(server: dict) -> str:
    size = server["installed"]
    rest = [f"{value / 1e6:,.0f}" for value in (size["torch"], size["java"]) if value]
    return f"{size['own'] / 1e6:,.0f} + {' + '.join(rest)} MB"


def table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *rows]
    return "".join("| " + " | ".join(cells(line, len(columns))) + " |\n" for line in lines)


def cells(row: list[str], count: int) -> list[str]:
    # A bar would end the cell, and a line the row.
    clean = [re.sub(r"\s+", " ", str(cell)).replace("|", "\\|") for cell in row]
    return clean + [""] * (count - len(clean))
