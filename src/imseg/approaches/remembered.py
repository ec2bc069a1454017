"""What the folder of a run knows about its data and its past, whatever of it is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imseg.approaches.plan import Plan
from imseg.approaches.record import Record, read_record
from imseg.approaches.schedule import Facts
from imseg.data.splits import held_out
from imseg.engine.runs import RunFolder
from imseg.engine.sealed import read_json, read_toml
from imseg.errors import ImsegError
from imseg.tasks import Metric, task_for
from imseg.types import TargetSpec


@dataclass(frozen=True)
class Memory:
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

    def content(
        self, path: Path, read: Callable[[Path], dict[str, Any]] = read_json
    ) -> dict[str, Any] | None:
        """Return the content of a file; None where it is not there, or damaged, which is kept."""
        if not path.exists():
            return None
        try:
            return read(path)
        except ImsegError as error:
            if path.exists():  # else it went away meanwhile, as files of a training do
                self.tell(error.what)
            return None

    def record(self) -> Record | None:
        """Return the settings of the run, from their second copy where the first is damaged."""
        self.content(self.folder.experiment, read_toml)
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
        target = self.content(self.folder.target)
        reading = {} if target is None else target.get("reading", {})
        return Facts(
            task=plan.task,
            labeled=labeled if chosen_by else labeled - held_out(labeled),
            validation=chosen_by or held_out(labeled),
            unlabeled=unlabeled,
            channels=int(reading.get("channels", 1)),
            outputs=1 if target is None else TargetSpec.from_dict(target).outputs,
            typical_size=plan.image_size,
        )

    def _counts(self) -> tuple[int, int, int] | None:
        """Return labeled, validation and unlabeled pictures, from two places."""
        pictures = self.content(self.folder.data)
        if pictures is not None:
            return len(pictures["labeled"]), len(pictures["val"]), len(pictures["unlabeled"])
        known = self.content(self.folder.provenance)
        if known is None:
            return None
        data = known["data"]
        return len(data["labeled"]), len(data["validation"]), int(data["unlabeled"])

    def metric(self, plan: Plan) -> Metric | None:
        """Return what networks are ranked by; None where no file knows."""
        target = self.content(self.folder.target)
        if target is None:
            return None
        return task_for(TargetSpec.from_dict(target), paper=plan.paper).metric


def read_log(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the events of a run's log, oldest first, without lines that were torn."""
    return list(_entries(folder.log))


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
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
