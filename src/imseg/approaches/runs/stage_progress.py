"""How far each stage of a run has come, by what lies in its folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.stages import StagePlan, planned_stages, unlabeled_used
from imseg.approaches.running.mask_scoring import scorers_metric
from imseg.approaches.runs.recovery import Recovery
from imseg.approaches.runs.run_files import StageDone
from imseg.components.labeling import admitted_in
from imseg.engine.storage.trained_files import read_known
from imseg.engine.training.checkpoint import path_of, read_saved
from imseg.engine.training.job import Trained
from imseg.tasks import Metric

StageState = Literal["done", "under way", "begun", "not begun", "left out"]
"""``under way``: a process is at it. ``begun``: none is. ``left out``: the run ended before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedNetwork:
    """A network that is not finished and has a checkpoint."""

    network: str
    """Its place in the run."""
    step: int
    """Optimizer steps that are kept."""
    steps: int
    """Optimizer steps of the whole training."""
    age: float
    """Seconds since it was written."""
    seconds: float
    """Wall time of the steps that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageProgress:
    """How far a stage has come."""

    planned: StagePlan
    """What was planned, if all pseudo-labels are admitted."""
    state: StageState
    """Whether it is done."""
    trained: tuple[Trained, ...]
    """Finished networks."""
    failed: tuple[str, ...] = ()
    """Why networks are missing that could not be trained."""
    saved: tuple[SavedNetwork, ...] = ()
    """Networks with a checkpoint."""
    metric: Metric | None = None
    """What they are ranked by; None where no file knows."""
    pseudo_labels: tuple[int, int] | None = None
    """Admitted and all pseudo-labels; None where there are none, or not yet."""

    @property
    def is_generation(self) -> bool:
        """Whether it learns from unlabeled images."""
        return self.planned.is_generation

    @property
    def best(self) -> Trained | None:
        """The finished network with the best score; None where there is none."""
        metric = self.metric
        if metric is None:
            return None
        scored = [network for network in self.trained if metric.key in network.scores]
        return max(scored, key=lambda network: metric.merit(network.scores), default=None)

    @property
    def steps_of_each(self) -> int:
        """Optimizer steps of a network: as far as they are known of those that have begun."""
        known = [*(each.steps for each in self.saved), *(each.steps for each in self.trained)]
        return known[0] if known else self.planned.steps

    @property
    def steps_done(self) -> int:
        """Optimizer steps that are kept."""
        return sum(each.steps for each in self.trained) + sum(each.step for each in self.saved)

    @property
    def steps_left(self) -> list[int]:
        """Optimizer steps that are left of each network that is not finished."""
        if self.state in ("done", "left out"):
            return []
        begun = [each.steps - each.step for each in self.saved]
        fresh = max(0, self.planned.networks - len(self.trained) - len(self.saved))
        return begun + [self.steps_of_each] * fresh

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        best, metric, labels = self.best, self.metric, self.pseudo_labels
        return {
            "name": self.planned.name,
            "state": self.state,
            "networks": self.planned.networks,
            "done": [network.name for network in self.trained],
            "failed": list(self.failed),
            "best": None if best is None else best.name,
            "score": None if best is None or metric is None else best.scores[metric.key],
            "metric": None if metric is None else metric.key,
            "checkpoints": [asdict(each) for each in self.saved],
            "pseudo_labels": labels and {"admitted": labels[0], "images": labels[1]},
            "steps_done": self.steps_done,
            "steps": self.steps_done + sum(self.steps_left),
        }


def stages_of(
    recovery: Recovery, plan: Plan, facts: Facts, *, held: bool, finished: bool
) -> tuple[StageProgress, ...]:
    """Return how far each planned stage has come.

    Args:
        recovery: Reads the run.
        plan: What is to be done.
        facts: What the data is like.
        held: Whether a process is at work in the run.
        finished: Whether the run is finished.
    """
    found: list[StageProgress] = []
    metric, idle = recovery.metric(plan), finished or not held
    for planned in planned_stages(plan, facts):
        stage = _stage(
            recovery,
            planned,
            metric=scorers_metric(plan) if planned.scores_masks else metric,
            images=unlabeled_used(plan, facts),
            at_work=not idle,
            finished=finished,
        )
        idle = idle or stage.state == "under way"
        found.append(stage)
    return tuple(found)


def _stage(
    recovery: Recovery,
    planned: StagePlan,
    *,
    metric: Metric | None,
    images: int,
    at_work: bool,
    finished: bool,
) -> StageProgress:
    """Return how far a stage has come.

    Args:
        recovery: Reads the run.
        planned: The stage.
        metric: What its networks are ranked by.
        images: Unlabeled images that its networks learn from.
        at_work: Whether a process is at work in the run and the stages before are done.
        finished: Whether the run is finished.
    """
    folder, name = recovery.folder, planned.name
    done = recovery.content(folder.done(name), StageDone.read)
    names = [f"{name}/network-{number}" for number in range(planned.networks)]
    ranked = done.ranking if done else ()
    known = {each: _known(recovery, each, expected=each in ranked) for each in names}
    trained = tuple(each for each in known.values() if each)
    left = [each for each, network in known.items() if not network]
    saved = tuple(there for each in left if (there := _saved(recovery, each)))
    counts = done.pseudo_labels if done else None
    labels = (counts.admitted, counts.images) if counts else None
    if done is None and (admitted := admitted_in(folder.cache / name)) is not None:
        labels = (admitted, images)
    state: StageState = "left out" if finished else "not begun"
    if done and len(trained) == len(ranked):
        state = "done"
    elif at_work:
        state = "under way"
    elif trained or saved or labels:
        state = "begun"
    return StageProgress(
        planned=planned,
        state=state,
        trained=trained,
        failed=done.failed if done else (),
        saved=saved,
        metric=metric,
        pseudo_labels=labels,
    )


def _known(recovery: Recovery, network: str, *, expected: bool) -> Trained | None:
    """Return a finished network, whose weights are not looked at; what is missing is kept."""
    weights = recovery.folder.weights(network)
    scores = weights.with_suffix(".json")
    known = read_known(weights, tell=recovery.tell)
    if known is None and not weights.exists() and (expected or scores.exists()):
        recovery.tell(f"{weights} is missing.")
    if known is None and not scores.exists() and expected:
        recovery.tell(f"{scores} is missing.")
    return known


def _saved(recovery: Recovery, network: str) -> SavedNetwork | None:
    path = path_of(recovery.folder.weights(network))
    try:
        written = path.stat().st_mtime
    except OSError:
        return None
    found = read_saved(path)
    if found is None:
        if path.exists():
            recovery.tell(f"{path} is damaged.")
        return None
    return SavedNetwork(
        network=network,
        step=found.steps,
        steps=found.of,
        age=max(0.0, time.time() - written),
        seconds=found.passed,
    )


def total_steps(stages: Sequence[StageProgress]) -> tuple[int, int]:
    """Return the optimizer steps that are done, and all of them."""
    done = sum(stage.steps_done for stage in stages)
    return done, done + sum(sum(stage.steps_left) for stage in stages)
