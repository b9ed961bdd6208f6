"""Tests of what scripts/compare does between measurements: python3 -m unittest discover -s scripts/peers -t scripts"""

import copy
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree as xml
from pathlib import Path

from peers import page, plots, process, results, servers
from peers.machine import Trouble
from peers.measure import score
from peers.models import nested


def level(clients: int, rate: float, **changed: object) -> dict:
    plain = {"clients": clients, "offered": None, "rate": rate, "goodput": None, "p50_ms": 1.0, "p99_ms": 2.0, "requests": 100}
    return plain | {"errors": {}, "generator_cpu": 0.1, "generator_lag_ms": None, "foreign": 0.0} | changed


def one_round(rate: float) -> dict:
    overload = level(None, rate, offered=2 * rate, goodput=rate * 0.9, errors={"status 503": 50}) | {"capacity": rate, "queue": 9}
    levels = [level(1, rate / 4), level(32, rate)]
    return {"cold_seconds": 0.5, "memory": 100e6, "levels": levels, "overload": overload}


def server(name: str, rates: list[float]) -> dict:
    sweep = [{"setting": f"{name}, {way}", "levels": [level(1, 5), level(32, rates[0])], "failed": None} for way in "ab"]
    entry = {"failed": None, "setting": f"{name}, a", "sweep": sweep, "rounds": [one_round(rate) for rate in rates]}
    size = {"own": 1e6, "torch": 2e6, "java": 0}
    return {"name": name, "title": name.title(), "bound": "none", "models": {"m": entry}, "version": "1", "installed": size}


def made() -> dict:
    plan = {"rounds": 3, "seconds": 2.0, "clients": [1, 32], "swept": True}
    bare = [{"items_per_second": rate, "batch": 8, "instances": 2, "threads": 1} for rate in (90, 100, 300)]
    machine = {"date": "2026-01-02", "processor": "p", "processors": 2, "memory_gib": 4, "system": "Debian", "python": "3", "commit": "c"}
    return {
        "command": "scripts/compare",
        "machine": machine,
        "plan": plan,
        "models": [{"name": "m", "title": "M", "limit_seconds": 1.0, "bare": bare}],
        "servers": [server("ours", [40, 50, 60]), server("theirs", [20, 25, 90])],
    }


class Figures(unittest.TestCase):
    def test_figures_are_medians_over_rounds_beside_the_median_of_the_bare_loop(self) -> None:
        found = made()
        cell = results.Cell(found["servers"][1], found["models"][0])
        self.assertEqual(cell.best(), (25, 32))
        self.assertEqual(cell.of_bare(25), 0.25)
        rate, part = cell.goodput()
        self.assertAlmostEqual(rate, 22.5)
        self.assertAlmostEqual(part, 0.9)

    def test_the_best_setting_is_good_at_both_ends(self) -> None:
        self.assertGreater(score([level(1, 10), level(32, 90)]), score([level(1, 1), level(32, 100)]))
        self.assertEqual(score([level(1, 0), level(32, 100)]), 0)
        self.assertEqual(score([]), 0)

    def test_what_could_not_be_had_is_told(self) -> None:
        found = made()
        self.assertEqual(results.remarks(found), [])
        theirs = found["servers"][1]["models"]["m"]
        theirs["failed"] = "it ended with 1"
        theirs["rounds"][0]["levels"][0]["errors"] = {"status 500": 3}
        theirs["rounds"][1]["levels"][0]["foreign"] = 0.5
        said = "\n".join(results.remarks(found))
        for words in ("it ended with 1", "3 × status 500", "0.50 of a processor"):
            self.assertIn(words, said)


class Page(unittest.TestCase):
    def variants(self) -> list[dict]:
        failed, unmeasured = made(), made()
        failed["servers"].append({"name": "x", "title": "X", "failed": "no | such\npackage", "models": {}, "version": "2"})
        unmeasured["servers"][1]["models"]["m"] |= {"rounds": [], "setting": None, "failed": "it said nothing"}
        return [made(), failed, unmeasured]

    def test_every_table_is_a_table(self) -> None:
        for found in self.variants():
            text = page.page(found) + "\n\n" + page.short(found)
            tables = [block for block in text.replace("\\|", "").split("\n\n") if block.startswith("|")]
            self.assertGreater(len(tables), 6)
            for block in tables:
                widths = {line.count("|") for line in block.strip().splitlines()}
                self.assertEqual(len(widths), 1, block)

    def test_plots_are_whole_and_show_every_server(self) -> None:
        for found in self.variants():
            for plot in (plots.throughput, plots.latency, plots.costs):
                text = "".join(xml.fromstring(plot(found)).itertext())
                for one in found["servers"]:
                    self.assertIn(one["title"], text)
                self.assertNotIn("nan", text.lower())

    def test_the_readme_keeps_all_but_what_stands_between_the_marks(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            readme = Path(folder) / "README.md"
            readme.write_text(f"before\n\n{page.BEGIN}\nold\n{page.END}\n\nafter\n")
            for _ in range(2):
                page.into_readme(made(), readme)
                text = readme.read_text()
                self.assertTrue(text.startswith(f"before\n\n{page.BEGIN}\n| server") and text.endswith(f"{page.END}\n\nafter\n"))
                self.assertNotIn("old", text)
            readme.write_text("no marks")
            self.assertRaises(Trouble, page.into_readme, made(), readme)

    def test_what_was_measured_is_not_changed_by_showing_it(self) -> None:
        found = made()
        before = copy.deepcopy(found)
        page.page(found), page.short(found)
        self.assertEqual(found, before)


class Settings(unittest.TestCase):
    def test_each_peer_is_tried_at_three_settings_or_more(self) -> None:
        for processors in (1, 2, 8):
            for peer in servers.PEERS.values():
                told = [str(setting) for setting in peer(Path("/venv")).settings(processors, 16)]
                self.assertGreaterEqual(len(told), 3)
                if processors > 1:
                    self.assertEqual(len(set(told)), len(told), told)

    def test_rows_are_nested_by_their_shape(self) -> None:
        self.assertEqual(nested([1, 2, 3, 4], (4,)), [1, 2, 3, 4])
        self.assertEqual(nested([1, 2, 3, 4], (2, 1, 2)), [[[1, 2]], [[3, 4]]])


# Starts a process that leaves its session, its parent and its signals behind.
ESCAPES = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    print("away", flush=True)
time.sleep(60)
"""


class Processes(unittest.TestCase):
    def running(self, program: str, folder: str) -> process.Running:
        return process.Running([sys.executable, "-c", program], {}, Path(folder) / "log", Path(folder))

    def test_nothing_is_left_of_a_server(self) -> None:
        process.own_orphans()
        with tempfile.TemporaryDirectory() as folder:
            with self.running(ESCAPES, folder) as running:
                until = time.monotonic() + 10
                while ("away" not in running.last_words() or len(process.below_us()) != 2) and time.monotonic() < until:
                    time.sleep(0.01)
                self.assertEqual(len(process.below_us()), 2)
                self.assertGreater(running.memory(), 1e6)
            self.assertEqual(process.below_us(), [])

    def test_one_that_ends_early_says_why(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            with self.running("print('thinking'); raise SystemExit('no such model')", folder) as running:
                with self.assertRaisesRegex(Trouble, "ended with 1 before it answered: no such model"):
                    running.first_answer(lambda: False, 20)

    def test_one_that_never_answers_is_not_waited_for(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            with self.running("import time; time.sleep(60)", folder) as running:
                with self.assertRaisesRegex(Trouble, "no good answer within 0 s: it said nothing"):
                    running.first_answer(lambda: False, 0.2)


if __name__ == "__main__":
    unittest.main()
