"""About how long a run has still to go, by what its own networks took."""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from imseg.approaches.progress_of_stages import StageProgress


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
        if own is not None and not stage.planned.judges:
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
    """Return the pace that is known first, rather of networks that make masks than of judges."""
    ordered = sorted(stages, key=lambda stage: stage.planned.judges)
    return next((found for stage in ordered if (found := _pace(stage)) is not None), None)


def _pace(stage: StageProgress) -> float | None:
    """Return seconds a step, divided by its operations; None where no network says."""
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
