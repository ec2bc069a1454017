"""What a training really takes, watched from outside: memory of its processes, and its cache."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

EVERY = 0.25
"""Seconds between two looks."""
SELDOM = 8
"""Looks after which the memory of all together is added up: that holds the processes up."""


class Watch:
    """Looks at the training processes that this process has started, and at a folder, meanwhile.

    Linux only: elsewhere nobody keeps the peak of another process.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.memory = 0
        """Peak bytes of the largest training process; of this process, if it trains itself."""
        self.together = 0
        """Peak bytes of all processes at the same time; what they share is counted once."""
        self.disk = 0
        """Peak bytes of the folder."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        looks = 0
        while not self._over.wait(EVERY):
            looks += 1
            workers = [pid for pid in children() if b"imseg.engine.workers.worker" in command(pid)]
            for pid in workers or ["self"]:
                self.memory = max(self.memory, number("status", pid, "VmHWM"))
            if looks % SELDOM:
                continue
            everyone = sum(number("smaps_rollup", pid, "Pss") for pid in ["self", *workers])
            self.together = max(self.together, everyone)
            self.disk = max(self.disk, size_of(self._folder))


def children() -> list[str]:
    """Return the processes that this one has started."""
    found: list[str] = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            found += (task / "children").read_text().split()
    if found:
        return found
    own = str(Path("/proc/self").resolve().name)
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with suppress(OSError, IndexError):
                if (place / "stat").read_text().rpartition(")")[2].split()[1] == own:
                    found.append(place.name)
    return found


def command(pid: str) -> bytes:
    """Return what a process was started as."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def number(file: str, pid: str, name: str) -> int:
    """Return a number of a process in bytes; 0 if the process is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    total = 0
    with suppress(OSError):
        for path in folder.rglob("*"):
            with suppress(OSError):
                total += path.stat().st_size if path.is_file() else 0
    return total
