"""How far a comparison has come, run by run. Nothing is locked, written or changed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imseg.approaches.runs.record import Recovery
from imseg.approaches.runs.run_status import RunState, RunStatus, status_of
from imseg.comparison.participants import participants_of
from imseg.comparison.result import ComparisonRecord
from imseg.engine.storage.lock import Owner, owner_of
from imseg.engine.storage.run_folder import RESULT_FILE, SETTINGS_FILE, RunFolder
from imseg.engine.storage.sealed import read_json
from imseg.errors import ImsegError


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonStatus:
    """How far a comparison has come."""

    path: Path
    """Its folder."""
    state: RunState
    """Whether it is finished, under way in some process, or stopped."""
    owner: Owner | None
    """The process that works on it now; None if there is none."""
    runs: Mapping[str, RunStatus | None]
    """Each run by its place, such as ``seed-0/im``, in the order of training; None: not begun."""
    seconds_left: float | None
    """About how long it has still to go; None where that is not known."""
    damaged: tuple[str, ...]
    """What is wrong with files, those of all runs, in words that name them."""
    command: str | None
    """What continues it; None where it was not begun by a command."""

    @property
    def finished(self) -> int:
        """Runs that are finished."""
        return sum(run is not None and run.state == "finished" for run in self.runs.values())

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "comparison": str(self.path),
            "state": self.state,
            "owner": None if self.owner is None else asdict(self.owner),
            "runs": {
                name: None if run is None else run.as_dict() for name, run in self.runs.items()
            },
            "finished": self.finished,
            "seconds_left": self.seconds_left,
            "damaged": list(self.damaged),
            "command": self.command,
        }


def is_comparison(path: Path) -> bool:
    """Return whether a folder is that of a comparison."""
    return (path / SETTINGS_FILE).exists()


def comparison_status(path: str | Path) -> ComparisonStatus:
    """Return how far a comparison has come.

    Args:
        path: Its folder, in which another process may be at work.
    """
    folder = Path(path)
    owner = owner_of(folder)
    memory = Recovery(RunFolder(folder))
    record = memory.content(folder / SETTINGS_FILE, ComparisonRecord.read)
    runs = {name: _run(folder / name) for name in _places(folder, record)}
    begun = [run for run in runs.values() if run is not None]
    for wrong in [wrong for run in begun for wrong in run.damaged]:
        memory.tell(wrong)
    result = memory.content(folder / RESULT_FILE, read_json)
    all_done = bool(runs) and all(run and run.state == "finished" for run in runs.values())
    finished = result is not None and all_done
    return ComparisonStatus(
        path=folder,
        state="finished" if finished else "stopped" if owner is None else "under way",
        owner=owner,
        runs=runs,
        seconds_left=None if finished else _left(runs),
        damaged=tuple(memory.damaged),
        command=next((run.command for run in reversed(begun) if run.command), None),
    )


def _places(folder: Path, record: ComparisonRecord | None) -> list[str]:
    """Return the places of all runs: those that were planned, else those that are there."""
    there = [path for path in sorted(folder.glob("seed-*/*")) if path.is_dir()]
    planned = []
    if record is not None:
        rows = participants_of(record.approaches, matched=record.matched)
        planned = [f"seed-{seed}/{row.name}" for seed in record.seeds for row in rows]
    return list(dict.fromkeys([*planned, *(f"{path.parent.name}/{path.name}" for path in there)]))


def _run(path: Path) -> RunStatus | None:
    """Return how far a run has come; None if it is not begun."""
    try:
        return status_of(path)
    except ImsegError:
        return None


def _left(runs: Mapping[str, RunStatus | None]) -> float | None:
    """Return about how many seconds are left: a run that is not begun takes as long as its like.

    None where one is not known.
    """
    spent: dict[str, list[float]] = {}
    for name, run in runs.items():
        if run is not None and run.state == "finished":
            seconds = [each.seconds for stage in run.stages for each in stage.trained]
            spent.setdefault(name.partition("/")[2], []).append(sum(seconds))
    left = 0.0
    for name, run in runs.items():
        if run is None:
            like = spent.get(name.partition("/")[2])
            seconds_left = statistics.fmean(like) if like else None
        else:
            seconds_left = 0.0 if run.state == "finished" else run.seconds_left
        if seconds_left is None:
            return None
        left += seconds_left
    return left
