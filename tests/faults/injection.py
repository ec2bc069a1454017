"""Faults at every write: a child process that is killed there, or finds the disk full from then on.

A child is forked from a process that has loaded everything and computed nothing, so that a case
takes seconds. Writes are counted where Python or the system is asked: before a file is opened to be
written, brought to the disk, renamed or removed, and before a folder is made.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imseg.errors import ImsegError, TrainingFailed

KILLED, REFUSED, FAILED, CRASHED = "killed", "refused", "failed", "crashed"
_STATUS = {0: "done", 2: REFUSED, 3: FAILED, 4: CRASHED}
LONGEST = 300.0
"""Seconds after which a case is taken for hung."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended."""

    how: str
    """``done``, ``killed``, ``refused`` (one ImsegError), ``failed`` or ``crashed``."""
    said: str
    """What it said at the end."""
    writes: int
    """How many writes it came to."""


class Writes:
    """Counts the writes of this process below a folder, and lets one of them fail.

    Args:
        folder: Where writes count.
        at: The number of the write, from 1; 0: none.
        fault: ``kill`` or ``full``.
        tell: Where the running number is kept, so that it survives the process.
    """

    def __init__(self, folder: Path, *, at: int, fault: str, tell: int) -> None:
        self._folder = folder
        self._at, self._fault, self._tell = at, fault, tell
        self._count = 0
        self._full = False
        self._at_work = False

    def install(self) -> None:
        """Begin to count; this cannot be undone."""
        sys.addaudithook(self._heard)
        synced = os.fsync

        def fsync(handle: Any) -> None:
            self._write("fsync", "of a handle")
            synced(handle)

        os.fsync = fsync

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._at_work:
            return
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and isinstance(path, (str, os.PathLike)) and Path(path).is_absolute():
                self._write("open", path)
        elif event in ("os.rename", "os.remove", "os.mkdir"):
            self._write(event, arguments[0])

    def _write(self, what: str, path: str | os.PathLike[str]) -> None:
        place = Path(path)  # a relative one comes from a folder that is being removed
        if place.is_absolute() and self._folder not in place.parents:
            return
        self._at_work = True
        try:
            self._count += 1
            os.pwrite(self._tell, str(self._count).encode().ljust(20), 0)
            if self._count == self._at and self._fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            self._full |= self._count == self._at
            if self._full and what in ("open", "fsync", "os.mkdir"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        finally:
            self._at_work = False


def in_child(
    work: Callable[[], object],
    folder: Path,
    *,
    at: int = 0,
    fault: str = "kill",
    notes: Path | None = None,
) -> Ending:
    """Do some work in a forked process, with a fault at one of its writes.

    Args:
        work: What is done.
        folder: Where writes count.
        at: The number of the write, from 1; 0: none.
        fault: ``kill`` or ``full``.
        notes: Where the child says how it ended; beside the folder when None.
    """
    said, tell = ((notes or folder.parent) / f"{folder.name}.{name}" for name in ("said", "writes"))
    said.write_text("")
    tell.write_text("")
    child = os.fork()
    if child == 0:
        _work(work, said, Writes(folder, at=at, fault=fault, tell=os.open(tell, os.O_RDWR)))
    began = time.monotonic()
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        if time.monotonic() - began > LONGEST:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise TimeoutError(f"write {at} ({fault}): hung for {LONGEST:.0f} s")
        time.sleep(0.02)
    code = os.waitstatus_to_exitcode(status)
    how = KILLED if code == -signal.SIGKILL else _STATUS.get(code, f"ended with {code}")
    return Ending(how, said.read_text(), int(tell.read_text().strip() or 0))


def _work(work: Callable[[], object], said: Path, writes: Writes) -> None:
    """Work and end this process."""
    status, text = 0, ""
    try:
        writes.install()
        work()
    except ImsegError as error:
        status, text = 2, str(error)
    except TrainingFailed as error:
        status, text = 3, str(error)
    except BaseException:
        status, text = 4, traceback.format_exc()
    finally:
        said.write_text(text)
        os._exit(status)
