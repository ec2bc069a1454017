"""One process at a time in a run folder."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from imseg.errors import ImsegError

try:
    import fcntl
except ImportError:  # no such locks on Windows; two processes there are not told apart
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder; the system lets go of it when the process ends, however it ends.

    Args:
        folder: An existing folder that can be written to.

    Raises:
        ImsegError: If another process holds it.
    """
    place = folder / ".lock"
    with place.open("a+", encoding="utf-8") as stream:
        if fcntl is not None:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                stream.seek(0)
                raise ImsegError(
                    f"{folder} is being trained by another process.",
                    expected="one process a run.",
                    got=f"process {stream.read().strip() or 'unknown'} is at work.",
                    hint="wait for it, stop it, or --out with another folder.",
                ) from error
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        try:
            yield
        finally:
            place.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a run folder now."""

    pid: int
    """Number of the process."""
    host: str
    """Name of its machine."""
    since: str
    """Date and time, UTC."""


def owner_of(folder: Path) -> Owner | None:
    """Return who holds a run folder now, or None; nothing is locked or written.

    Args:
        folder: The folder, which may be missing.
    """
    place = folder / ".lock"
    try:
        pid = int(place.read_text(encoding="utf-8"))
        since = datetime.fromtimestamp(place.stat().st_mtime, UTC)
    except (OSError, ValueError):
        return None
    if fcntl is None:
        return None  # nothing is held there, and asking after a process would end it
    try:
        os.kill(pid, 0)  # asks whether there is such a process
    except ProcessLookupError:
        return None
    except OSError:
        pass  # it is somebody else's
    return Owner(pid, platform.node(), since.isoformat(timespec="seconds"))
