"""The loop: train a stage, rank its networks, let the best teach the next."""

from __future__ import annotations

from dataclasses import dataclass

from imseg.approaches.methods.approach import Approach
from imseg.approaches.running.context import RunContext
from imseg.approaches.running.mask_scoring import MaskScoring
from imseg.approaches.running.pseudo_labeling import (
    NONE_ADMITTED,
    PseudoLabeler,
    PseudoLabelResult,
    Watch,
)
from imseg.approaches.running.stage import EarlyStopping, Stage, handed_on, spent
from imseg.components.consensus import Everything
from imseg.engine.loading.samples import InitialWeights
from imseg.engine.training.job import TrainJob


@dataclass(frozen=True, slots=True)
class Stages:
    """Everything that was trained."""

    candidates: tuple[Stage, ...]
    """The start and the generations: one of their networks is that of the run."""
    aside: tuple[Stage, ...] = ()
    """Stages that helped: mask scorers and those whose predictions they learned from."""


class Generations:
    """Runs an approach inside a run folder, continuing after whatever is already there.

    Args:
        context: What everything is made with.
        watch: Looks at pseudo-labels and changes nothing.
    """

    def __init__(self, context: RunContext, *, watch: Watch | None = None) -> None:
        self._context = context
        self._mask_scoring = MaskScoring(context)
        self._early_stopping = EarlyStopping(context.approach.patience)
        self._teaching = PseudoLabeler(context, self._mask_scoring, self._early_stopping, watch)

    def run(self) -> Stages:
        """Return all stages.

        Raises:
            TrainingFailed: If too few networks of a stage could be trained.
        """
        approach = self._context.approach
        stages = [self._start(approach.first)]
        self._mask_scoring.begin(stages[0])
        for number in range(1, approach.generations + 1):
            if self._early_stopping.is_spent(stages):
                patience, total = self._context.approach.patience, approach.generations
                self._context.note(spent(stages, patience, total))
                break
            stage = self._generation(number, stages)
            if stage is None:
                break
            stages.append(stage)
        return Stages(tuple(stages), tuple(self._mask_scoring.trained))

    def _start(self, first: Approach) -> Stage:
        """Return the start, trained now or earlier."""
        context = self._context
        metric = context.task.metric
        earlier = context.finished("start", metric)
        if earlier is not None:
            return earlier
        jobs = context.jobs("start", context.labels_of(first))
        least = max(1, context.plan.teachers)
        return context.finish(context.train("start", jobs, metric=metric, least=least, before=0))

    def _generation(self, number: int, stages: list[Stage]) -> Stage | None:
        """Return a generation, trained now or earlier; None if there is nothing to learn from."""
        context, approach, name = self._context, self._context.approach, f"generation-{number}"
        metric = context.task.metric
        earlier = context.finished(name, metric)
        if earlier is not None:
            return earlier
        teachers = approach.pseudo_label.teachers if approach.pseudo_label else 1
        teaching = self._early_stopping.teaching(stages, teachers)
        if teaching is not stages[-1]:
            context.note(handed_on(teaching, stages[-1], teachers))
        taught = None
        if approach.pseudo_label is not None:
            taught = self._teaching.labels(number, stages)
            if not self._is_worth_learning(name, taught):
                return None
        left = approach.generations - number
        stage = context.train(
            name,
            self._jobs(number, taught, teaching),
            metric=metric,
            least=max(1, context.plan.teachers) if left else 1,
            before=sum(s.steps for s in (*stages, *self._mask_scoring.trained)),
            described=taught.counts if taught is not None else None,
        )
        return context.finish(stage)

    def _is_worth_learning(self, name: str, taught: PseudoLabelResult) -> bool:
        """Return whether a generation goes on with its labels; if not, or in doubt, say why."""
        context = self._context
        if taught.admitted == 0:
            hint = _instead(context.approach)
            context.note(
                f"{name}: {NONE_ADMITTED}. The run ends with the stage before. {hint}", warning=True
            )
            return False
        if not taught.lost:
            return True
        text = f"{name}: the pseudo-labels have collapsed: {taught.lost}."
        if not context.approach.patience:
            context.note(f"{text} Without --patience the run goes on with them.", warning=True)
            return True
        context.note(
            f"{text} The run ends with the stage before. More labels, or teachers that train longer"
            " (--max-steps, --effort standard), help; where unlabeled images truly show no more,"
            " --patience 0 learns from them all the same.",
            warning=True,
        )
        return False

    def _jobs(
        self, number: int, taught: PseudoLabelResult | None, teaching: Stage
    ) -> list[TrainJob]:
        context, approach = self._context, self._context.approach
        samples = context.labels_of(approach) + ((taught.labels.part,) if taught else ())
        initial = None
        if approach.objective.continues_start:
            best = teaching.best
            initial = InitialWeights(weights=context.folder.weights(best.name), digest=best.job)
        return context.jobs(f"generation-{number}", samples, initial=initial)


def _instead(approach: Approach) -> str:
    """Return what to try where no image was admitted."""
    if approach.carry:
        return "--thresholds with lower scores takes more masks; more labels make better ones."
    if approach.selection == Everything():
        return "Teachers that train longer (--max-steps, --effort standard) agree more."
    return (
        "Teachers that train longer (--max-steps, --effort standard) agree more; --select all"
        " takes the images as they are."
    )
