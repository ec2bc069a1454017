"""How far a run has come: finished, under way or stopped. Nothing is locked, written or disturbed.

What was made by others at the same moment may be seen or not; every file is seen whole.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from imseg.approaches.progress_of_stages import StageProgress, stages_of, total_steps
from imseg.approaches.provenance import command_in
from imseg.approaches.salvage import Memory, age_of, read_log
from imseg.approaches.time_left import seconds_left
from imseg.engine.lock import Owner, owner_of
from imseg.engine.runs import RunFolder
from imseg.errors import ImsegError

RunState = Literal["finished", "under way", "stopped"]
"""``under way``: a process is at work in the folder now."""
NOTES = 5
"""Notes of the log that are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogNote:
    """What a training told."""

    text: str
    """One or two sentences."""
    warning: bool
    """Whether it deserves attention."""
    age: float | None
    """Seconds since; None in logs of early versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """How far a run has come."""

    path: Path
    """Its folder."""
    state: RunState
    """Whether it is finished, or somebody is at it."""
    owner: Owner | None = None
    """Who is at work in it now."""
    approach: str | None = None
    """What is trained; None where no file knows, or not yet."""
    seed: int | None = None
    """The root of randomness."""
    data: str | None = None
    """Name of the data folder."""
    stages: tuple[StageProgress, ...] = ()
    """How far each stage has come; none where the plan is not known."""
    seconds_left: float | None = None
    """About how long it has still to go, if somebody is at it; None where nobody can say."""
    notes: tuple[LogNote, ...] = ()
    """What was told last, oldest first."""
    damaged: tuple[str, ...] = ()
    """What is wrong with files, in words that name them."""
    command: str | None = None
    """What continues it; None where it was not begun by a command."""
    untouched: float | None = None
    """Seconds since anything was written; None if nothing was."""

    @property
    def steps(self) -> tuple[int, int]:
        """Optimizer steps that are done, and all of them."""
        return total_steps(self.stages)

    @property
    def current(self) -> StageProgress | None:
        """The stage that is next to be finished; None where there is none."""
        open_ones = [each for each in self.stages if each.state not in ("done", "left out")]
        return open_ones[0] if open_ones else None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        done, steps = self.steps
        return {
            "run": str(self.path),
            "state": self.state,
            "owner": None if self.owner is None else asdict(self.owner),
            "approach": self.approach,
            "seed": self.seed,
            "data": self.data,
            "stages": [stage.as_dict() for stage in self.stages],
            "steps_done": done,
            "steps": steps,
            "seconds_left": self.seconds_left,
            "notes": [asdict(note) for note in self.notes],
            "damaged": list(self.damaged),
            "command": self.command,
            "untouched": self.untouched,
        }


def status_of(path: str | Path) -> RunStatus:
    """Return how far a run has come.

    Args:
        path: Its folder, in which another process may be at work.

    Raises:
        ImsegError: If there is no run.
    """
    folder = RunFolder(Path(path))
    owner = owner_of(folder.path)
    _check_there(folder, owner)
    memory = Memory(folder)
    record, log = memory.record(), read_log(folder)
    finished = memory.meaning(folder.summary, lambda told: told["network"]) is not None
    command = memory.meaning(folder.provenance, command_in)
    stages: tuple[StageProgress, ...] = ()
    left = None
    if record is not None:
        facts = memory.facts(record.plan)
        if facts is not None:
            stages = stages_of(
                memory, record.plan, facts, held=owner is not None, finished=finished
            )
            left = seconds_left(stages, log, workers=record.plan.workers)
    return RunStatus(
        path=folder.path,
        state="finished" if finished else "stopped" if owner is None else "under way",
        owner=owner,
        approach=None if record is None else record.plan.approach,
        seed=None if record is None else record.plan.seed,
        data=None if record is None else record.data,
        stages=stages,
        seconds_left=None if finished else left,
        notes=_notes(log),
        damaged=tuple(memory.damaged),
        command=command,
        untouched=_untouched(folder),
    )


def _check_there(folder: RunFolder, owner: Owner | None) -> None:
    own = (folder.experiment, folder.provenance, folder.target, folder.data, folder.cache)
    if owner is None and not any(path.exists() for path in own):
        raise ImsegError(
            f"There is no run in {folder.path}.",
            expected="the folder of a run or a comparison, finished or not.",
            got="no experiment.toml." if folder.path.is_dir() else "no such folder.",
            hint="check the folder's name.",
        )


def _notes(log: list[dict[str, Any]]) -> tuple[LogNote, ...]:
    told = [entry for entry in log if entry["event"] == "Note"][-NOTES:]
    return tuple(
        LogNote(
            text=str(entry.get("text", "")),
            warning=bool(entry.get("warning")),
            age=age_of(entry.get("time")),
        )
        for entry in told
    )


def _untouched(folder: RunFolder) -> float | None:
    """Return the seconds since the log or a file of a network was written."""
    written = []
    for path in (folder.log, *folder.path.glob("*/network-*")):
        try:
            written.append(path.stat().st_mtime)
        except OSError:
            continue  # it went away meanwhile
    return max(0.0, time.time() - max(written)) if written else None
