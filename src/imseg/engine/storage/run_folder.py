"""The run folder: what is where, whole or absent, and one process at a time in it."""

import errno
import json
import os
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from imseg.data.files.atomic import read_bounded, writing_into
from imseg.data.files.listing import leads_out
from imseg.errors import ImsegError, and_more

STAGE_NAME = "(start|scorer-start|scorers|generation-[1-9][0-9]{0,5})"
"""The names of stages, as a pattern; none leads out of the run."""
NETWORK_NAME = f"{STAGE_NAME}/network-(0|[1-9][0-9]{{0,5}})"
"""The names of networks, as a pattern."""

SETTINGS_FILE = "comparison.toml"
"""What was asked of a comparison, and what was settled."""
RESULT_FILE = "comparison.json"
"""What a comparison found."""
LOCK_FILE = ".lock"
"""Which process holds a run folder."""


class _Inside:
    """A place in the folder of a run."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __get__(self, folder: "RunFolder", kind: "type[RunFolder]") -> Path:
        return folder.path.joinpath(*self._names)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Names of the files of a run.

    ``experiment.toml`` (resolved settings), ``provenance.json``, ``target.json`` (what mask values
    mean), ``data.json`` (which pictures), ``facts.json`` (what their files turned out to be);
    ``start/`` and ``generation-K/`` with
    ``network-J.safetensors``, ``network-J.json``, ``audit.json`` where hidden masks are named, and
    last ``DONE``; ``scorer-start/`` and ``scorers/`` (with ``judgment.json``) of approaches with
    mask scorers; ``summary.json`` when all is done; ``log.jsonl``; ``cache/`` meanwhile.
    """

    path: Path
    """The folder."""

    experiment = _Inside("experiment.toml")
    """Resolved settings."""
    target = _Inside("target.json")
    """What mask values mean."""
    data = _Inside("data.json")
    """Which pictures there were, by their content."""
    facts = _Inside("facts.json")
    """What is known of the files of the data, by their sizes and times."""
    provenance = _Inside("provenance.json")
    """Versions, machine, command and data hashes."""
    summary = _Inside("summary.json")
    """Scores and costs; present when the run is finished."""
    log = _Inside("log.jsonl")
    """One line of JSON per event."""
    cache = _Inside("cache")
    """Decoded images and pseudo-labels; can be deleted, is made again."""
    judgment = _Inside("scorers", "judgment.json")
    """How far mask scorers can be trusted, and from which score on a mask is good."""

    def audit(self, stage: str) -> Path:
        """Return what a comparison of a generation's pseudo-labels with hidden masks found."""
        return self.stage(stage) / "audit.json"

    def stage(self, name: str) -> Path:
        """Return the folder of ``start`` or ``generation-K``."""
        return self.path / name

    def done(self, stage: str) -> Path:
        """Return the last file of a stage: its ranking."""
        return self.stage(stage) / "DONE"

    def weights(self, network: str) -> Path:
        """Return the weights of ``generation-K/network-J``."""
        return self.path / f"{network}.safetensors"

    def open_for_writing(self) -> None:
        """Make the folder.

        Raises:
            ImsegError: If it cannot be made or written to, or holds something that is not a run.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # Named like what is swept away, should the process be killed just here.
            with tempfile.NamedTemporaryFile(dir=self.path, prefix=".probe.", suffix=".tmp"):
                pass
        except OSError as error:
            raise self._not_writable(str(error.strerror or error)) from error
        self._refuse_strangers()
        self.check_links()

    def check_place(self) -> None:
        """Check what ``open_for_writing`` checks, as far as that goes without writing.

        Raises:
            ImsegError: See there.
        """
        places = (self.path, *self.path.absolute().parents)
        try:
            there = next(place for place in places if place.exists())
        except OSError as error:  # a name that is too long
            raise self._not_writable(str(error.strerror or error)) from error
        reason = "File exists" if there == self.path else "Not a directory"
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise self._not_writable("Permission denied" if there.is_dir() else reason)
        if self.path.exists():
            self._refuse_strangers()
            self.check_links()

    def check_links(self) -> None:
        """Check that what is written into the folder stays in it; it may itself be a link.

        Links to files elsewhere are fine: they are replaced, not followed.

        Raises:
            ImsegError: If a folder in it, or a file that is appended to, is a link.
        """
        appended = (self.log, self.path / LOCK_FILE)
        links = (path for path in self.path.rglob("*") if path.is_symlink())
        led = [path for path in links if path in appended or path.is_dir() or not path.exists()]
        astray = [str(path) for path in led if leads_out(path, self.path)]
        if astray:
            raise ImsegError(
                f"{self.path} has links that lead out of it.",
                expected="a run whose files are all in its folder.",
                got=and_more(astray),
                hint="move what they lead to into the folder; the folder itself may be a link.",
            )

    def _not_writable(self, why: str) -> ImsegError:
        return ImsegError(
            f"The run cannot be written to {self.path}.",
            expected="a folder that can be made and written to.",
            got=why,
            hint="--out with another folder.",
        )

    def _refuse_strangers(self) -> None:
        strangers = sorted(p.name for p in self.path.iterdir() if not p.name.startswith("."))
        known = (self.log, self.cache, self.target, self.data, self.facts, self.provenance)
        own = {path.name for path in known}
        if set(strangers) - own and not self.experiment.exists():
            raise ImsegError(
                f"{self.path} is not empty and is not a run.",
                expected="a new or empty folder, or the folder of the run to continue.",
                got=", ".join(strangers[:4]),
                hint="--out with another folder.",
            )

    def write_log(self, entry: Mapping[str, Any]) -> None:
        """Append a line to the log; a torn last line does no harm.

        Raises:
            ImsegError: If it cannot be written.
        """
        with writing_into(self.path), self.log.open("a+b") as stream:
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, end - 1))
            torn = stream.read(1) not in (b"", b"\n")  # a process was killed while it wrote
            stream.write(b"\n" * torn + json.dumps(entry).encode() + b"\n")

    def drop_cache(self) -> None:
        """Delete what can be made again."""
        shutil.rmtree(self.cache, ignore_errors=True)


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
    place = folder / LOCK_FILE
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
    owner = _read_owner(folder / LOCK_FILE)
    if owner is None or not _lives(owner, folder / LOCK_FILE, now=time.time()):
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
