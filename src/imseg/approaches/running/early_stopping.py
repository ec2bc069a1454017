"""Which generation teaches the next, and when there is nothing more to gain.

Source: docs/decisions/0015-the-controller.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imseg.approaches.running.stage import Stage


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """Decides between generations by their scores on validation images.

    Without patience nothing is decided: each generation teaches the next, to the last.
    """

    patience: int
    """Generations without a rise after which a run ends; 0: never."""

    def teaching(self, stages: Sequence[Stage], teachers: int | None) -> Stage:
        """Return the stage whose best networks teach the next generation.

        Args:
            stages: All finished ones, the start first.
            teachers: How many of its best networks teach; None for all.
        """
        if not self.patience:
            return stages[-1]
        # Of equals the later one: what it has learned from the unlabeled images is not lost.
        return max(reversed(stages), key=lambda stage: stage.mean_merit(teachers))

    def instead(
        self, teaching: Stage, stages: Sequence[Stage], teachers: int | None
    ) -> Stage | None:
        """Return the next best stage, to teach where the labels of the best one are of no use.

        None where there is no other, or nothing is decided.

        Args:
            teaching: The stage whose labels are of no use.
            stages: All finished ones, the start first.
            teachers: How many of its best networks teach; None for all.
        """
        others = [stage for stage in stages if stage is not teaching]
        return self.teaching(others, teachers) if self.patience and others else None

    def is_spent(self, stages: Sequence[Stage]) -> bool:
        """Return whether the last generations, as many as there is patience, brought no rise."""
        if not self.patience or len(stages) <= self.patience:
            return False
        before = max(stage.merit for stage in stages[: -self.patience])
        return all(stage.merit <= before for stage in stages[-self.patience :])


def handed_on(teaching: Stage, last: Stage, teachers: int | None) -> str:
    """Return why the last generation does not teach the next one."""
    key, count = last.metric, teachers or 0
    who = f"the {count} best networks of" if count > 1 else "the best network of" if count else ""
    numbers = [stage.metric.number(abs(stage.mean_merit(teachers))) for stage in (last, teaching)]
    return (
        f"{last.name} is worse on validation than {teaching.name} ({key.label} {numbers[0]} against"
        f" {numbers[1]}, {who or 'all networks of'} each), so {teaching.name} goes on teaching."
    )


def made_again(name: str, lost: str, teaching: Stage, other: Stage) -> str:
    """Return that pseudo-labels are made again by the networks of another stage, and why."""
    return (
        f"{name}: the pseudo-labels of {teaching.name} are of no use ({lost}), so those of"
        f" {other.name} are made and learned from."
    )


def spent(stages: Sequence[Stage], patience: int, generations: int) -> str:
    """Return that a run ends early, and why."""
    best = max(stages, key=lambda stage: stage.merit)
    count = "1 generation" if patience == 1 else f"{patience} generations"
    return (
        f"{count} without a rise on validation (best: {best.name},"
        f" {best.metric.text(best.best.scores)}): the run ends after {stages[-1].name} of"
        f" {generations}. --patience 0 goes on to the end."
    )
