"""A command looked at from outside while it runs: memory, handles and threads of its processes.

Linux only: elsewhere nobody tells this about another process.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

EVERY = 1.0
"""Seconds between two looks."""
MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One process at one moment. Bytes, unless it says otherwise."""

    at: float
    """Seconds since the command was started."""
    pid: int
    worker: bool
    """Whether it is a training process, not the command itself."""
    phase: str
    """What was going on."""
    done: int
    """How much of the work was done, in whatever is counted."""
    resident: int
    """All memory in use (RSS)."""
    own: int
    """What only this process can give back: resident without pages of files (RssAnon)."""
    share: int
    """Resident, with what is shared with other processes in parts (PSS)."""
    handles: int
    """Open file descriptors."""
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A command that ended, and what was seen of it."""

    looks: tuple[Look, ...]
    seconds: float
    output: str
    """What it wrote to stdout."""

    def of(self, *, worker: bool) -> list[Look]:
        """Return what was seen of the command itself, or of the processes it has started."""
        return [look for look in self.looks if look.worker == worker]


def watched(command: Sequence[str], log: Path, progress: Callable[[], tuple[str, int]]) -> Watched:
    """Run a command to its end and look at it once a second.

    Args:
        command: Program and arguments.
        log: Where its stderr goes.
        progress: Says what is going on and how much is done.

    Raises:
        SystemExit: If it fails.
    """
    looks: list[Look] = []
    began = time.monotonic()
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        while process.poll() is None:
            phase, done = progress()
            passed = round(time.monotonic() - began, 2)
            for pid in (process.pid, *descendants(process.pid)):
                worker = pid != process.pid
                if worker and b"imseg.engine.workers.worker" not in _command(pid):
                    continue
                look = _look(pid, at=passed, worker=worker, phase=phase, done=done)
                looks += [look] if look else []
            with suppress(subprocess.TimeoutExpired):
                process.wait(EVERY)
        output = process.stdout.read()
        process.stdout.close()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text()[-4000:]}")
    return Watched(looks=tuple(looks), seconds=time.monotonic() - began, output=output)


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have started."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children = [int(child) for child in (task / "children").read_text().split()]
            found += [each for child in children for each in (child, *descendants(child))]
    return found


def _look(pid: int, *, at: float, worker: bool, phase: str, done: int) -> Look | None:
    """Return what can be seen of a process now; None if it is gone."""
    try:
        status = _numbers(Path(f"/proc/{pid}/status"))
        shares = _numbers(Path(f"/proc/{pid}/smaps_rollup"))
        return Look(
            at=at,
            pid=pid,
            worker=worker,
            phase=phase,
            done=done,
            resident=status["VmRSS"] * 1024,
            own=status["RssAnon"] * 1024,
            share=shares["Pss"] * 1024,
            handles=sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
            threads=status["Threads"],
        )
    except (OSError, KeyError):
        return None


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _numbers(path: Path) -> dict[str, int]:
    """Return the lines ``Name: 123 kB`` of a file of /proc."""
    found = {}
    for line in path.read_text().splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            found[name] = int(words[0])
    return found
