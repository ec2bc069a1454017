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
from typing import TextIO

from imseg.data.files.atomic import writing_into
from imseg.errors import ImsegError

try:
    import fcntl
except ImportError:  # no such locks on Windows: there, whether its owner lives says it all
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
BEAT = 20.0
"""Seconds between two signs of life of an owner."""
SILENT = 120.0
"""Seconds without a sign of life after which an owner on another machine is taken for dead."""
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
        stream = _take(place)
    with stream:
        with writing_into(folder):
            stream.truncate(0)
            now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
            stream.write(json.dumps(asdict(Owner(os.getpid(), platform.node(), now))))
            stream.flush()
        gone = threading.Event()
        beats = threading.Thread(target=_beat, args=(place, gone), daemon=True)
        beats.start()
        try:
            yield
        finally:
            gone.set()
            beats.join()
            place.unlink(missing_ok=True)


def owner_of(folder: Path) -> Owner | None:
    """Return who is at work in a run folder now, without disturbing anybody; None if nobody is."""
    place = folder / NAME
    try:
        owner = _owner(place.read_text(encoding="utf-8"))
    except OSError:
        return None
    if owner is None or not _lives(owner, place, now=time.time()):
        return None
    return owner


def _take(place: Path) -> TextIO:
    """Return the lock file, held by this process."""
    while True:
        stream = place.open("a+", encoding="utf-8")
        try:
            exclusive = _lock(stream)
            stream.seek(0)
            owner = _owner(stream.read())
            # Where there are locks, who is here and has none is dead; its number may live on.
            foreign = owner is not None and not (exclusive and owner.is_here)
            now = _time_of_disk(place.parent) if foreign else 0.0
            if exclusive is False or (owner is not None and foreign and _lives(owner, place, now)):
                raise _refusal(place.parent, owner)
            with suppress(FileNotFoundError):
                if os.fstat(stream.fileno()).st_ino == place.stat().st_ino:
                    return stream
        except BaseException:
            stream.close()
            raise
        stream.close()  # its owner has removed it in between: what was taken is nobody's file


def _lock(stream: TextIO) -> bool | None:
    """Lock a file for this process; return False if another one has, None if there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return None if error.errno in _NO_LOCKS else False
    return True


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
        pass  # it is somebody else's
    return True


def _beat(place: Path, gone: threading.Event) -> None:
    while not gone.wait(BEAT):
        with suppress(OSError):
            os.utime(place)


def _owner(text: str) -> Owner | None:
    try:
        said = json.loads(text)
        return Owner(int(said["pid"]), str(said["host"]), str(said["since"]))
    except (ValueError, KeyError, TypeError):
        return None


def _refusal(folder: Path, owner: Owner | None) -> ImsegError:
    return ImsegError(
        f"{folder} is being trained by another process.",
        expected="one process a run.",
        got=f"{owner or 'an unknown process'} is at work.",
        hint="wait for it, stop it, or --out with another folder.",
    )
