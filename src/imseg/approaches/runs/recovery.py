"""What the folder of a run knows about its data and its past, whatever of it is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.runs.record import Record, read_record, record_in
from imseg.data.folder.scan import held_out
from imseg.engine.storage.run_folder import RunFolder
from imseg.engine.storage.sealed import read_json, read_toml
from imseg.errors import ImsegError
from imseg.tasks import Metric, task_for
from imseg.types import TargetSpec

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

    def meaning(
        self,
        path: Path,
        of: Callable[[dict[str, Any]], Found],
        *,
        read: Callable[[Path], dict[str, Any]] = read_json,
    ) -> Found | None:
        """Return what the content of a file says; None where it is not there or says nothing.

        Args:
            path: The file.
            of: Gives what is wanted from its content.
            read: Reads it.
        """
        content = self.content(path, read)
        if content is None:
            return None
        try:
            return of(content)
        except (AttributeError, KeyError, TypeError, ValueError):
            self.tell(f"{path} is not as imseg writes it.")
            return None

    def record(self) -> Record | None:
        """Return the settings of the run, from their second copy where the first is damaged."""
        first = self.meaning(self.folder.experiment, record_in, read=read_toml)
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
        known = self.meaning(
            self.folder.target,
            lambda target: (
                int(target.get("reading", target)["channels"]),
                TargetSpec.from_dict(target).outputs,
            ),
        )
        channels, outputs = known or (1, 1)
        return Facts(
            task=plan.task,
            labeled=labeled if chosen_by else labeled - held_out(labeled),
            validation=chosen_by or held_out(labeled),
            unlabeled=unlabeled,
            channels=channels,
            outputs=outputs,
            typical_size=plan.image_size,
        )

    def _counts(self) -> tuple[int, int, int] | None:
        """Return labeled, validation and unlabeled pictures, from two places."""
        return self.meaning(
            self.folder.data,
            lambda told: (len(told["labeled"]), len(told["val"]), len(told["unlabeled"])),
        ) or self.meaning(self.folder.provenance, lambda told: _counted(told["data"]))

    def metric(self, plan: Plan) -> Metric | None:
        """Return what networks are ranked by; None where no file knows."""
        return self.meaning(
            self.folder.target,
            lambda told: task_for(TargetSpec.from_dict(told), paper=plan.paper).metric,
        )


def _counted(data: Mapping[str, Any]) -> tuple[int, int, int]:
    return len(data["labeled"]), len(data["validation"]), int(data["unlabeled"])


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
