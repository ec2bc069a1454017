"""The loop: train a stage, rank its networks, let the best teach the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from jaxtyping import Bool, Float
from torch import Tensor

from imseg.approaches.methods.approach import Approach
from imseg.approaches.planning.duration import PSEUDO_LABELS, SCORERS
from imseg.approaches.running.context import RunContext
from imseg.approaches.running.mask_scoring import MaskScoring
from imseg.approaches.running.stage import EarlyStopping, Stage, handed_on, spent
from imseg.approaches.running.teachers import SpreadLabels, Teachers, drop_pieces
from imseg.components import labeling
from imseg.components.consensus import Everything, PseudoLabelBatch
from imseg.engine.loading.samples import Copies, InitialWeights, SampleSet
from imseg.engine.training import label_facts, seeds
from imseg.engine.training.job import TrainJob
from imseg.errors import TrainingFailed


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
        self._labeler = PseudoLabeler(context, self._mask_scoring, self._early_stopping, watch)

    def run(self) -> list[Stage]:
        """Return the start and the generations: one of their networks is that of the run.

        Raises:
            TrainingFailed: If too few networks of a stage could be trained.
        """
        context, approach = self._context, self._context.approach
        least = max(1, context.plan.teachers)
        stages = [context.from_labels("start", approach.first, least=least)]
        self._mask_scoring.begin(stages[0])
        for number in range(1, approach.generations + 1):
            if self._early_stopping.is_spent(stages):
                context.note(spent(stages, approach.patience, approach.generations))
                break
            stage = self._attempt(number, stages)
            if stage is None:
                break
            stages.append(stage)
        return stages

    def _attempt(self, number: int, stages: list[Stage]) -> Stage | None:
        """Return a generation, or None: where the start may be handed over it may fail."""
        try:
            return self._generation(number, stages)
        except TrainingFailed as failure:
            if not self._context.approach.keeps_start:
                raise
            self._context.note(f"{failure} The run ends with the start.", warning=True)
            return None

    def _generation(self, number: int, stages: list[Stage]) -> Stage | None:
        """Return a generation, trained now or earlier; None if there is nothing to learn from."""
        context, approach, name = self._context, self._context.approach, f"generation-{number}"
        earlier = context.finished(name)
        if earlier is not None:
            return earlier
        teachers = approach.pseudo_label.teachers if approach.pseudo_label else 1
        teacher_stage = self._early_stopping.teacher_stage(stages, teachers)
        if teacher_stage is not stages[-1]:
            context.note(handed_on(teacher_stage, stages[-1], teachers))
        found = None
        if approach.pseudo_label is not None:
            found = self._labeler.labels(number, stages)
            if not self._is_worth_learning(name, found):
                return None
        is_last = number == approach.generations
        least = 1 if is_last else max(1, context.plan.teachers)
        jobs, counts = self._jobs(name, found, teacher_stage), found.counts if found else None
        return context.finish(context.train(name, jobs, least=least, described=counts))

    def _is_worth_learning(self, name: str, found: PseudoLabelResult) -> bool:
        """Return whether a generation goes on with its labels; if not, or in doubt, say why."""
        context = self._context
        if found.labels.admitted == 0:
            text = f"{name}: {NONE_ADMITTED}. The run ends with the stage before."
            context.note(f"{text} {_instead(context.approach)}", warning=True)
            return False
        if not found.lost:
            return True
        text = f"{name}: the pseudo-labels have collapsed: {found.lost}."
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

    def _jobs(self, name: str, found: PseudoLabelResult | None, teachers: Stage) -> list[TrainJob]:
        context, approach = self._context, self._context.approach
        samples = context.labels_of(approach) + ((found.labels.part,) if found else ())
        initial = None
        if approach.objective.continues_start:
            best = teachers.best
            initial = InitialWeights(weights=context.folder.weights(best.name), digest=best.job)
        return context.jobs(name, samples, initial=initial)


def _instead(approach: Approach) -> str:
    """Return what to try where no image was admitted."""
    if approach.carry:
        return "--thresholds with lower scores takes more masks; more labels make better ones."
    longer = "Teachers that train longer (--max-steps, --effort standard) agree more"
    if approach.selection == Everything():
        return f"{longer}."
    return f"{longer}; --select all takes the images as they are."


NONE_ADMITTED = "no unlabeled image was admitted"
"""What is wrong where there is nothing to learn from."""

Watch = Callable[[str], labeling.Observer]
"""Gives who looks at the pseudo-labels of a generation; see ``approaches/running/auditing.py``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoLabelResult:
    """What a generation learns from unlabeled images, and what was wrong with it."""

    labels: labeling.PseudoLabels
    """The pseudo-labels."""
    lost: str = ""
    """Why they are of little use, in words; empty where they are not."""
    before: str = ""
    """The same of labels that another stage made before, which these replace."""

    @property
    def counts(self) -> labeling.LabelCounts:
        """What is kept in the run."""
        return self.labels.counts(collapsed=self.lost or self.before or None)


@dataclass(frozen=True)
class PseudoLabeler:
    """Makes pseudo-labels for the generations of a run."""

    context: RunContext
    """What everything is made with."""
    mask_scoring: MaskScoring
    """Who says how good labels are."""
    early_stopping: EarlyStopping
    """Says which stage teaches."""
    watch: Watch | None = None
    """Looks on."""

    def labels(self, number: int, stages: Sequence[Stage]) -> PseudoLabelResult:
        """Return what a generation learns from unlabeled images.

        Args:
            number: Of the generation, from 1.
            stages: All stages before it, the start first.
        """
        name = f"generation-{number}"
        with self.context.clock.on(PSEUDO_LABELS):
            found = self._plain(number, stages, watched=True)
        made = found.labels
        with self.context.clock.on(SCORERS):
            part = replace(made.part, window=self.context.plan.window)
            made = replace(made, part=self._with_copies(number, part))
        self.context.note(_in_words(name, made))
        return replace(found, labels=made)

    def _plain(
        self, number: int, stages: Sequence[Stage], *, watched: bool = False
    ) -> PseudoLabelResult:
        """Return pseudo-labels without copies; made again by another stage if they collapsed.

        Args:
            number: Of the generation, from 1.
            stages: All stages before it, the start first.
            watched: Whether the audit looks on and the user is told; else they were made before.
        """
        labeler = self.context.approach.pseudo_label
        teachers = labeler.teachers if labeler is not None else None
        teacher_stage = self.early_stopping.teacher_stage(stages, teachers)
        first = self._by(teacher_stage, number, stages, watched=watched)
        other = self.early_stopping.instead(teacher_stage, stages, teachers) if first.lost else None
        if other is None:
            return first
        if watched:
            self.context.note(
                f"generation-{number}: the pseudo-labels of {teacher_stage.name} are of no use"
                f" ({first.lost}), so those of {other.name} are made and learned from.",
                warning=True,
            )
        second = self._by(other, number, stages, watched=watched)
        return replace(second, before=f"{first.lost} (labels of {teacher_stage.name})")

    @cached_property
    def _drawn(self) -> Float[Tensor, "t n"]:
        """The census of the labels that people made."""
        return label_facts.census_of(self.context.data.labeled, self.context.spec)

    def _by(
        self, teacher_stage: Stage, number: int, stages: Sequence[Stage], *, watched: bool
    ) -> PseudoLabelResult:
        """Return pseudo-labels that the networks of a stage make."""
        context, approach, name = self.context, self.context.approach, f"generation-{number}"
        store, labeler = context.data.unlabeled, approach.pseudo_label
        if store is None or labeler is None:
            raise ValueError(f"{approach.name} has no unlabeled images to label")
        networks = teacher_stage.ranked[: labeler.teachers]
        scorers = self.mask_scoring.asked if approach.carry else ()
        teachers = Teachers(
            generation=number,
            images=store.images.absolute(),
            digest=store.digest,
            networks=tuple(each.name for each in networks),
            scorers=tuple(each.name for each in scorers),
            jobs=tuple(each.job for each in (*networks, *scorers)),
            keep=approach.carry and number > 1,
        )
        if teachers.keep:
            self._make_sure_of(number - 1, stages)
        variety = labeling.LabelCensus(context.spec)
        looks: list[labeling.Observer] = [variety]
        if watched and self.watch is not None:
            looks.append(self.watch(name))
        folder = context.folder.cache / name
        made = labeling.pseudo_label(
            store.images,
            store.digest,
            ask=self._ask(teachers, folder),
            block=labeler.block,
            task=context.task,
            folder=folder,
            progress=context.working(f"{name}: pseudo-labels"),
            observe=_each(looks),
        )
        drop_pieces(folder)
        lost = variety.lost(self._drawn) if made.admitted else NONE_ADMITTED
        return PseudoLabelResult(labels=made, lost=lost)

    def _ask(self, teachers: Teachers, folder: Path) -> labeling.Ask:
        """Return who gives the images labels: this process, or the nodes of a cluster."""
        context, spread = self.context, self.context.executor.spread
        if spread is None:
            return context.ask(teachers)
        return SpreadLabels(context, teachers, folder=folder, spread=spread)

    def _make_sure_of(self, number: int, stages: Sequence[Stage]) -> None:
        """Make the labels of a generation again if its cache was deleted."""
        store, folder = self.context.data.unlabeled, self.context.folder.cache
        folder /= f"generation-{number}"
        if store is not None and not labeling.are_whole(folder, store.digest):
            self._plain(number, stages[:number])

    def _with_copies(self, number: int, part: SampleSet) -> SampleSet:
        """Return the part with as many augmented copies as the approach wants."""
        amplification, plan = self.context.approach.amplification, self.context.plan
        if amplification is None or not part.indices:
            return part
        scored = self.context.approach.has_thresholds
        appraisal = self.mask_scoring.appraisal(part) if scored else None
        counts = amplification.copies(len(part.indices), appraisal)
        largest = max(counts)
        copies = Copies(
            count=largest,
            counts=None if min(counts) == largest else counts,
            strength=plan.strength_in(number),
            rotate=plan.rotate,
            seed=seeds.derive(plan.seed, "copies", number),
            plain=amplification.keep_plain,
            fresh=amplification.fresh,
            reblock=amplification.reblock,
        )
        return replace(part, copies=copies)


def _each(observers: Sequence[labeling.Observer]) -> labeling.Observer:
    """Return all observers as one."""

    def observe(start: int, agreement: PseudoLabelBatch, admitted: Bool[Tensor, "b"]) -> None:
        for observer in observers:
            observer(start, agreement, admitted)

    return observe


def _in_words(name: str, made: labeling.PseudoLabels) -> str:
    what = "unlabeled images" if made.part.window is None else "tiles of unlabeled images"
    text = f"{name}: {made.admitted} of {made.images} {what} admitted"
    if made.part.inconsistent is not None:
        text += f", {made.inconsistent_share:.1%} of their pixels inconsistent"
    counts = made.part.copies.counts if made.part.copies is not None else None
    if counts is not None:
        tally = ", ".join(f"{counts.count(n)} x {n}" for n in sorted(set(counts)))
        text += f"; copies: {tally}"
    return text
