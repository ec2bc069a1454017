"""About how long a run has still to go, by what its own networks took."""

from __future__ import annotations

import heapq
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from imseg.approaches.runs.record import command_in, no_run
from imseg.approaches.runs.recovery import Recovery, age_of, read_log
from imseg.approaches.runs.run_files import Provenance, RunSummary
from imseg.approaches.runs.stage_progress import StageProgress, stages_of, total_steps
from imseg.engine.storage.lock import Owner, owner_of
from imseg.engine.storage.run_folder import RunFolder


def seconds_left(
    stages: Sequence[StageProgress], log: Iterable[Mapping[str, Any]], *, workers: int
) -> float | None:
    """Return about how many seconds are left; None as long as no network says how fast it goes.

    Networks that are not finished take as long a step as those of their stage, else as those of the
    stage before by the operations of a step. Between stages it takes as long as it took so far.

    Args:
        stages: How far each has come.
        log: The events of the run, oldest first.
        workers: Networks side by side.
    """
    left, pace = 0.0, _first_pace(stages)
    if pace is None:
        return None
    for stage in stages:
        own = _pace(stage)
        if own is not None and not stage.planned.scores_masks:
            pace = own
        each = (pace if own is None else own) * stage.planned.operations
        left += _side_by_side([steps * each for steps in stage.steps_left], workers)
    unlabeled = [
        stage
        for stage in stages
        if stage.is_generation and stage.steps_left and stage.pseudo_labels is None
    ]
    return left + len(unlabeled) * _between(log)


def _first_pace(stages: Sequence[StageProgress]) -> float | None:
    """Return the pace that is known first, of networks that make masks where it is known."""
    ordered = sorted(stages, key=lambda stage: stage.planned.scores_masks)
    return next((found for stage in ordered if (found := _pace(stage)) is not None), None)


def _pace(stage: StageProgress) -> float | None:
    """Return seconds per step, divided by its operations; None where no network says."""
    spent = [(each.seconds, each.steps) for each in stage.trained if each.seconds > 0]
    spent = spent or [(each.seconds, each.step) for each in stage.saved if each.seconds > 0]
    steps = sum(count for _, count in spent)
    seconds = sum(passed for passed, _ in spent)
    return seconds / steps / stage.planned.operations if steps else None


def _side_by_side(seconds: Sequence[float], workers: int) -> float:
    """Return how long pieces of work take if each goes to the worker that is free first."""
    busy = [0.0] * max(1, workers)
    for each in sorted(seconds, reverse=True):
        heapq.heapreplace(busy, busy[0] + each)
    return max(busy)


def _between(log: Iterable[Mapping[str, Any]]) -> float:
    """Return the seconds between the end of a stage and the next one's first step, on average.

    Pseudo-labels are made then, and copies counted.
    """
    gaps: list[float] = []
    ended: float | None = None
    for entry in log:
        if not isinstance(entry.get("at"), int | float):
            continue
        if entry["event"] == "StageFinished":
            ended = float(entry["at"])
        elif entry["event"] == "Planned":
            if ended is not None and not entry.get("first"):
                gaps.append(float(entry["at"]) - ended)
            ended = None  # with ``first`` another call of the command begins
    return statistics.fmean(gaps) if gaps else 0.0


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
    """Seconds since; None where the log does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """How far a run has come."""

    path: Path
    """Its folder."""
    state: RunState
    """Whether it is finished, or a process is at work."""
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
    """About how long it has still to go while a process is at work; None where it is not known."""
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
            **{name: getattr(self, name) for name in ("state", "approach", "seed", "data")},
            "owner": self.owner and asdict(self.owner),
            "stages": [stage.as_dict() for stage in self.stages],
            "steps_done": done,
            "steps": steps,
            "notes": [asdict(note) for note in self.notes],
            **{name: getattr(self, name) for name in ("seconds_left", "damaged")},
            **{name: getattr(self, name) for name in ("command", "untouched")},
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
    recovery = Recovery(folder)
    record, log = recovery.record(), read_log(folder)
    finished = recovery.content(folder.summary, RunSummary.read) is not None
    provenance = recovery.content(folder.provenance, Provenance.read)
    stages: tuple[StageProgress, ...] = ()
    left = None
    if record is not None and (facts := recovery.facts(record.plan)) is not None:
        stages = stages_of(recovery, record.plan, facts, held=owner is not None, finished=finished)
        left = seconds_left(stages, log, workers=record.plan.workers)
    return RunStatus(
        path=folder.path,
        state="finished" if finished else "stopped" if owner is None else "under way",
        owner=owner,
        approach=None if record is None else record.plan.approach.name,
        seed=None if record is None else record.plan.seed,
        data=None if record is None else record.data,
        stages=stages,
        seconds_left=None if finished else left,
        notes=_notes(log),
        damaged=tuple(recovery.damaged),
        command=None if provenance is None else command_in(provenance.command),
        untouched=_untouched(folder),
    )


def _check_there(folder: RunFolder, owner: Owner | None) -> None:
    own = (folder.experiment, folder.provenance, folder.target, folder.data, folder.cache)
    if owner is None and not any(path.exists() for path in own):
        raise no_run(folder.path, expected="the folder of a run or a comparison, finished or not.")


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
