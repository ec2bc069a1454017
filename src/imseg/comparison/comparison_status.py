"""How far a comparison has come, run by run. Nothing is locked, written or disturbed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imseg.approaches.runs.recovery import Recovery
from imseg.approaches.runs.run_status import RunState, RunStatus, status_of
from imseg.comparison.participants import participants_of
from imseg.engine.storage.lock import Owner, owner_of
from imseg.engine.storage.run_folder import RESULT_FILE, SETTINGS_FILE, RunFolder
from imseg.engine.storage.sealed import read_json, read_toml
from imseg.errors import ImsegError


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonStatus:
    """How far a comparison has come."""

    path: Path
    """Its folder."""
    state: RunState
    """Whether it is finished, or somebody is at it."""
    owner: Owner | None
    """Who is at work in it now."""
    runs: Mapping[str, RunStatus | None]
    """Each run by its place, such as ``seed-0/im``, in the order of training; None: not begun."""
    seconds_left: float | None
    """About how long it has still to go; None where nobody can say."""
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
    asked = memory.content(folder / SETTINGS_FILE, read_toml)
    runs = {name: _run(folder / name) for name in _places(folder, asked)}
    result = memory.content(folder / RESULT_FILE, read_json)
    done = all(run is not None and run.state == "finished" for run in runs.values())
    begun = [run for run in runs.values() if run is not None]
    for wrong in [wrong for run in begun for wrong in run.damaged]:
        memory.tell(wrong)
    finished = result is not None and bool(runs) and done
    return ComparisonStatus(
        path=folder,
        state="finished" if finished else "stopped" if owner is None else "under way",
        owner=owner,
        runs=runs,
        seconds_left=None if finished else _left(runs),
        damaged=tuple(memory.damaged),
        command=next((run.command for run in reversed(begun) if run.command), None),
    )


def _places(folder: Path, asked: Mapping[str, Any] | None) -> list[str]:
    """Return the places of all runs: those that were planned, else those that are there."""
    there = [
        f"{path.parent.name}/{path.name}"
        for path in sorted(folder.glob("seed-*/*"))
        if path.is_dir()
    ]
    if asked is None:
        return there
    rows = participants_of(asked["approaches"], matched=bool(asked.get("matched", True)))
    planned = [f"seed-{seed}/{row.name}" for seed in asked["seeds"] for row in rows]
    return planned + [name for name in there if name not in planned]


def _run(path: Path) -> RunStatus | None:
    """Return how far a run has come; None if it is not begun."""
    try:
        return status_of(path)
    except ImsegError:
        return None


def _left(runs: Mapping[str, RunStatus | None]) -> float | None:
    """Return about how many seconds are left; a run that is not begun takes as long as its like."""
    lefts: list[float | None] = []
    for name, run in runs.items():
        if run is None:
            like = [other for at, other in runs.items() if _row(at) == _row(name)]
            lefts.append(_mean([_spent(other) for other in like if other is not None]))
        elif run.state != "finished":
            lefts.append(run.seconds_left)
    known = [each for each in lefts if each is not None]
    return sum(known) if len(known) == len(lefts) else None


def _row(place: str) -> str:
    return place.partition("/")[2]


def _spent(run: RunStatus) -> float | None:
    """Return how long a finished run took, with one network after the other."""
    if run.state != "finished":
        return None
    return sum(each.seconds for stage in run.stages for each in stage.trained)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
