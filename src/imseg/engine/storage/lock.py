"""One process at a time in a run folder, on one machine or on several that share a disk."""

from __future__ import annotations

import errno
import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from imseg.data.files.atomic import read_bounded, writing_into
from imseg.errors import ImsegError

NAME = ".lock"
BEAT = 20.0
"""Seconds between two signs of life of an owner."""
SILENT = 120.0
"""Seconds without a sign of life after which an owner on another machine is taken for dead."""
PATIENCE = 0.2
"""Seconds for which the lock is asked for: its owner may be removing the file just now."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a run folder."""

    pid: int
    """Its process."""
    host: str
    """The name of its machine."""
    since: str
    """When it began, with the time zone."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, on this machine."""
        return self.host == platform.node()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder; a process that ends lets go of it, however it ends.

    Args:
        folder: An existing folder that can be written to.

    Raises:
        ImsegError: If another process holds it, here or on another machine, or it cannot be
            written to.
    """
    place = folder / NAME
    with writing_into(folder):
        lock = _take(place)
    try:
        with writing_into(folder):
            now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
            place.write_text(json.dumps(asdict(Owner(os.getpid(), platform.node(), now))))
        gone = threading.Event()
        beats = threading.Thread(target=_beat, args=(place, gone), daemon=True)
        beats.start()
        try:
            yield
        finally:
            gone.set()
            beats.join()
            place.unlink(missing_ok=True)
    finally:
        lock.release()


def owner_of(folder: Path) -> Owner | None:
    """Return who is at work in a run folder now, without disturbing the work; None: no process."""
    owner = _read_owner(folder / NAME)
    if owner is None or not _lives(owner, folder / NAME, now=time.time()):
        return None
    return owner


def _take(place: Path) -> FileLock:
    """Return the lock of a run folder, held by this process where the disk has locks."""
    lock = FileLock(place, timeout=PATIENCE, poll_interval=PATIENCE / 4, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise _refusal(place.parent, _read_owner(place)) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    owner = _read_owner(place)
    # Where there are locks, an owner on this machine that has none is dead; its number may live on.
    foreign = owner is not None and not (lock.is_locked and owner.is_here)
    if owner and foreign and _lives(owner, place, _time_of_disk(place.parent)):
        lock.release()
        raise _refusal(place.parent, owner)
    return lock


def _lives(owner: Owner, place: Path, now: float) -> bool:
    """Return whether an owner seems to be alive, by its process here or by its last sign."""
    if owner.is_here and os.name == "posix":
        return _runs(owner.pid)
    try:
        return now - place.stat().st_mtime < SILENT
    except OSError:
        return False  # it has removed the file


def _time_of_disk(folder: Path) -> float:
    """Return what time it is for a disk; clocks differ from machine to machine."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".time.", suffix=".tmp") as now:
        return os.fstat(now.fileno()).st_mtime


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it belongs to another user
    return True


def _beat(place: Path, gone: threading.Event) -> None:
    while not gone.wait(BEAT):
        with suppress(OSError):
            os.utime(place)


def _read_owner(place: Path) -> Owner | None:
    try:
        return TypeAdapter(Owner).validate_json(read_bounded(place))
    except (OSError, ValueError):
        return None


def _refusal(folder: Path, owner: Owner | None) -> ImsegError:
    return ImsegError(
        f"{folder} is being trained by another process.",
        expected="one process per run.",
        got=f"{owner or 'an unknown process'} is at work.",
        hint="wait for it, stop it, or --out with another folder.",
    )
