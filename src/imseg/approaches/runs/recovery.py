"""What the folder of a run knows about its data and its past, whatever of it is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.runs.record import read_record
from imseg.approaches.runs.run_files import DataContents, Provenance, Record, read_target
from imseg.data.files.atomic import read_bounded
from imseg.data.folder.scan import held_out
from imseg.engine.storage.run_folder import RunFolder
from imseg.engine.storage.sealed import OtherVersion
from imseg.errors import ImsegError
from imseg.tasks import Metric, task_for

Found = TypeVar("Found")


@dataclass(frozen=True)
class Recovery:
    """Reads the files of a run folder, and keeps what is wrong with them.

    Attributes:
        folder: The run; nothing in it is changed.
        damaged: What is wrong with files, in words that name them.
    """

    folder: RunFolder
    damaged: list[str] = field(default_factory=list)

    def tell(self, wrong: str) -> None:
        """Keep what is wrong with a file, once."""
        if wrong not in self.damaged:
            self.damaged.append(wrong)

    def content(self, path: Path, read: Callable[[Path], Found]) -> Found | None:
        """Return the content of a file; None where it is not there, or damaged, which is kept.

        Args:
            path: The file.
            read: Reads it.

        Raises:
            OtherVersion: If another version of imseg wrote it.
        """
        if not path.exists():
            return None
        try:
            return read(path)
        except OtherVersion:
            raise
        except ImsegError as error:
            if path.exists():  # else it went away meanwhile, as files of a training do
                self.tell(error.what)
            return None

    def record(self) -> Record | None:
        """Return the settings of the run, from their second copy where the first is damaged."""
        first = self.content(self.folder.experiment, Record.read)
        if first is not None:
            return first
        try:
            return read_record(self.folder)
        except ImsegError as error:
            self.tell(error.what)
            return None

    def facts(self, plan: Plan) -> Facts | None:
        """Return how many pictures the run began with; None where no file knows.

        Channels and outputs are 1 where no file knows them: they do not change what is planned.
        """
        counts = self._counts()
        if counts is None:
            return None
        labeled, chosen_by, unlabeled = counts
        target = self.content(self.folder.target, read_target)
        return Facts(
            task=plan.task,
            labeled=labeled if chosen_by else labeled - held_out(labeled),
            validation=chosen_by or held_out(labeled),
            unlabeled=unlabeled,
            channels=target[1].channels if target else 1,
            outputs=target[0].outputs if target else 1,
            typical_size=plan.image_size,
        )

    def _counts(self) -> tuple[int, int, int] | None:
        """Return labeled, validation and unlabeled pictures, from two places."""
        data = self.content(self.folder.data, DataContents.read)
        if data is not None:
            return len(data.labeled), len(data.val), len(data.unlabeled)
        told = self.content(self.folder.provenance, Provenance.read)
        if told is None:
            return None
        return len(told.data.labeled), len(told.data.validation), told.data.unlabeled

    def metric(self, plan: Plan) -> Metric | None:
        """Return what networks are ranked by; None where no file knows."""
        target = self.content(self.folder.target, read_target)
        return task_for(target[0], paper=plan.paper).metric if target else None


def read_log(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the events of a run's log, oldest first, without lines that were torn."""
    return list(_entries(folder.log))


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = read_bounded(path).decode("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and "event" in entry:
            yield entry


def age_of(time: str | None) -> float | None:
    """Return the seconds since a date and time of ours; None if it cannot be read."""
    try:
        then = datetime.fromisoformat(time or "")
        return max(0.0, (datetime.now(UTC) - then).total_seconds())
    except (TypeError, ValueError):
        return None
