"""The run folder: what is where, and files that are whole or absent."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imseg.data.files.atomic import writing_into
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


class _Inside:
    """A place in the folder of a run."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __get__(self, folder: RunFolder, kind: type[RunFolder]) -> Path:
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
        there = next(each for each in (self.path, *self.path.absolute().parents) if each.exists())
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
        appended = (self.log, self.path / ".lock")
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
