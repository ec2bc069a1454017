"""Where the time of a run goes: seconds by activity, for ``summary.json``."""

from __future__ import annotations

from collections.abc import Sequence

from imseg.engine import clock
from imseg.engine.clock import Clock
from imseg.engine.job import Trained

TRAINING, AUGMENTATION, VALIDATION = "training", "augmentation", "validation"
PSEUDO_LABELS, JUDGES, FILES, OTHER = "pseudo-labels", "judges", "files", "other"
ACTIVITIES = (TRAINING, AUGMENTATION, VALIDATION, PSEUDO_LABELS, JUDGES, FILES, OTHER)
"""Steps of networks that segment; making their batches; looking at validation images; asking
teachers; all that judges of masks cost, their training included; decoding pictures and looking for
changed ones; the rest: starting processes, counting operations, writing networks."""

_OF_MEMBER = {
    clock.STEPS: TRAINING,
    clock.BATCHES: AUGMENTATION,
    clock.VALIDATION: VALIDATION,
    clock.OTHER: OTHER,
}


def add_stage(
    into: Clock, seconds: float, trained: Sequence[Trained], *, whole: str | None = None
) -> None:
    """Add the time of a stage, shared out as its networks spent theirs.

    Args:
        into: The clock of the run.
        seconds: What the stage took, from begin to end.
        trained: Its networks, which may have been trained side by side.
        whole: The activity that gets all of it; None to share it out.
    """
    spent: dict[str, float] = {}
    for network in trained:
        for activity, each in network.clock.items():
            spent[activity] = spent.get(activity, 0.0) + each
    total = sum(spent.values())
    if whole is not None or not total:
        into.add(whole or OTHER, seconds)
        return
    for activity, each in spent.items():
        into.add(_OF_MEMBER[activity], seconds * each / total)


def as_summary(run: Clock) -> dict[str, float]:
    """Return the seconds of every activity; together they are what the run took."""
    seconds = clock.with_rest(run.seconds, run.passed, OTHER)
    return {name: round(seconds.get(name, 0.0), 2) for name in ACTIVITIES}
