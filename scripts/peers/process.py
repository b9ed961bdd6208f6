"""A server as processes: started, watched, measured, and ended to the last of them.

What a server starts may leave its group and its session, and outlive who started it. Here all of them stay
below this process (`own_orphans`), so that a server is whatever runs below us while no load does.
"""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from .machine import Trouble

# Of prctl(2).
PR_SET_CHILD_SUBREAPER = 36
TICKS = os.sysconf("SC_CLK_TCK")


def own_orphans() -> None:
    """Who loses its parent below us becomes our child instead of init's."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise Trouble("this kernel can't make us the parent of orphans (prctl), so that nothing could be cleaned up")


class Running:
    """A server, ended with the block whatever happens in it."""

    # A server that was asked to end may take so long; nothing is under way then.
    GRACE = 2.0

    def __init__(self, command: list, environment: dict, log: Path, folder: Path) -> None:
        self.command = [str(word) for word in command]
        self.environment, self.log, self.folder = environment, log, folder

    def __enter__(self) -> "Running":
        with open(self.log, "wb") as log:
            self.started = time.monotonic()
            self.process = subprocess.Popen(
                self.command,
                env=os.environ | self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def first_answer(self, answers: Callable[[], bool], limit: float) -> float:
        """Seconds from its start to its first good answer."""
        while not answers():
            if self.process.poll() is not None:
                raise Trouble(f"it ended with {self.process.returncode} before it answered: {self.last_words()}")
            if time.monotonic() - self.started > limit:
                raise Trouble(f"it gave no good answer within {limit:.0f} s: {self.last_words()}")
            time.sleep(0.005)
        return time.monotonic() - self.started

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip()[:300] if lines else "it said nothing"

    def memory(self) -> int:
        """Bytes of all its processes, with what they share counted once (PSS)."""
        total = 0
        for pid in below_us():
            try:
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
            except OSError:
                pass  # It has just ended.
        return total

    def __exit__(self, *_: object) -> None:
        signal_all(signal.SIGTERM)
        until = time.monotonic() + self.GRACE
        while time.monotonic() < until and (self.process.poll() is None or below_us()):
            reap()
            time.sleep(0.01)
        # New ones may come while the old are killed, and one that comes while we look may not be seen.
        none_seen = 0
        for _ in range(100):
            none_seen = 0 if signal_all(signal.SIGKILL) else none_seen + 1
            if none_seen == 2:
                break
            time.sleep(0.02)
            self.process.poll()
            reap()
        self.process.wait()


def signal_all(number: int) -> bool:
    """Whether there was anyone to hear it."""
    heard = below_us()
    for pid in heard:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
    return bool(heard)


def reap() -> None:
    """Takes leave of orphans that have ended."""
    for pid in children(os.getpid()):
        if state(pid) == "Z":
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass


def below_us() -> list[int]:
    """All processes that we, or those below us, started and that run."""
    parents = {pid: int(fields[1]) for pid in pids() if (fields := stat(pid)) and fields[0] != "Z"}
    found, known = [], {os.getpid()}
    while new := [pid for pid, parent in parents.items() if parent in known and pid not in known]:
        found += new
        known.update(new)
    return found


def children(parent: int) -> list[int]:
    return [pid for pid in pids() if (fields := stat(pid)) and int(fields[1]) == parent]


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def stat(pid: int) -> list[str] | None:
    """State, parent and what follows them; none where it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def state(pid: int) -> str | None:
    fields = stat(pid)
    return fields[0] if fields else None


def processor_seconds() -> float:
    """What all below us have used until now."""
    return sum((int(fields[11]) + int(fields[12])) / TICKS for pid in below_us() if (fields := stat(pid)))


def machine_seconds() -> float:
    """What the whole machine has used until now, we included."""
    words = Path("/proc/stat").read_text().split(None, 9)[1:9]
    user, nice, system, _idle, _wait, irq, soft, stolen = map(int, words)
    return (user + nice + system + irq + soft + stolen) / TICKS
