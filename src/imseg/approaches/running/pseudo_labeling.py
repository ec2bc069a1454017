"""From a finished stage to what the next generation learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from imseg.approaches.planning.duration import PSEUDO_LABELS, SCORERS
from imseg.approaches.running.context import RunContext
from imseg.approaches.running.mask_scoring import MaskScoring
from imseg.approaches.running.stage import EarlyStopping, Stage, made_again
from imseg.components.consensus import PseudoLabelBatch, TeacherBatch
from imseg.components.labeling import (
    LabelCensus,
    LabelCounts,
    Observer,
    PanelFor,
    PseudoLabels,
    census_of,
    pseudo_label,
    used_before,
)
from imseg.data.cache.store import open_array
from imseg.engine.loading.samples import Copies, SampleSet
from imseg.engine.training import seeds
from imseg.tasks import Planes
from imseg.types import Bytes

Kept = Callable[[int, int], tuple[Planes, Bool[Tensor, "b"]]]
"""Gives the labels of so many images from a row on, and which of them have one."""

NONE_ADMITTED = "no unlabeled image was admitted"
"""What is wrong where there is nothing to learn from."""

Watch = Callable[[str], Observer]
"""Gives who looks at the pseudo-labels of a generation; see ``approaches/running/auditing.py``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoLabelResult:
    """What a generation learns from unlabeled images, and what was wrong with it."""

    labels: PseudoLabels
    """The pseudo-labels."""
    lost: str = ""
    """Why they are of little use, in words; empty where they are not."""
    before: str = ""
    """The same of labels that another stage made before, which these replace."""

    @property
    def admitted(self) -> int:
        """Images used."""
        return self.labels.admitted

    @property
    def counts(self) -> LabelCounts:
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
            taught = self._plain(number, stages, watched=True)
        made = taught.labels
        with self.context.clock.on(SCORERS):
            made = replace(made, part=self._with_copies(number, made.part))
        self.context.note(_in_words(name, made))
        return replace(taught, labels=made)

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
        teaching = self.early_stopping.teaching(stages, teachers)
        first = self._by(teaching, number, stages, watched=watched)
        other = self.early_stopping.instead(teaching, stages, teachers) if first.lost else None
        if other is None:
            return first
        if watched:
            text = made_again(f"generation-{number}", first.lost, teaching, other)
            self.context.note(text, warning=True)
        second = self._by(other, number, stages, watched=watched)
        return replace(second, before=f"{first.lost} (labels of {teaching.name})")

    @cached_property
    def _drawn(self) -> Float[Tensor, "t n"]:
        """The census of the labels that people made."""
        return census_of(self.context.data.labeled, self.context.spec)

    def _by(
        self, teaching: Stage, number: int, stages: Sequence[Stage], *, watched: bool
    ) -> PseudoLabelResult:
        """Return pseudo-labels that the networks of a stage make."""
        context, approach, name = self.context, self.context.approach, f"generation-{number}"
        store, labeler = context.data.unlabeled, approach.pseudo_label
        if store is None or labeler is None:
            raise ValueError(f"{approach.name} has no unlabeled images to label")
        networks = context.load(teaching.ranked[: labeler.teachers])
        kept = self._kept(number, stages) if approach.carry else None
        variety = LabelCensus(context.spec)
        looks: list[Observer] = [variety]
        if watched and self.watch is not None:
            looks.append(self.watch(name))
        made = pseudo_label(
            store.images,
            store.digest,
            teacher_batch_for=self._seats(number, networks, kept),
            labeler=labeler,
            select=approach.selection,
            task=context.task,
            folder=context.folder.cache / name,
            progress=lambda done, total: context.working(f"{name}: pseudo-labels", done, total),
            observe=_each(looks),
        )
        return PseudoLabelResult(
            labels=made, lost=variety.lost(self._drawn) if made.admitted else NONE_ADMITTED
        )

    def _seats(self, number: int, teachers: list[nn.Module], kept: Kept | None) -> PanelFor:
        """Return who seats teachers in front of images."""
        plan, task = self.context.plan, self.context.task
        bench = self.mask_scoring.bench() if self.context.approach.carry else None

        def seat(start: int, images: Bytes) -> TeacherBatch:
            rows = range(start, start + len(images))
            return TeacherBatch(
                task=task,
                teachers=teachers,
                images=images,
                compute=plan.whole_machine,
                seeds=tuple(seeds.derive(plan.seed, "views", number, row) for row in rows),
                strength=plan.strengths.views,
                rotate=plan.rotate,
                bench=bench,
                kept=None if kept is None else kept(start, len(images)),
            )

        return seat

    def _kept(self, number: int, stages: Sequence[Stage]) -> Kept | None:
        """Return what gives the labels of the generation before, and which images have one.

        A run that goes on without them, because its cache was deleted, makes them again.
        """
        if number == 1:
            return None
        folder = self.context.folder.cache / f"generation-{number - 1}"
        store = self.context.data.unlabeled
        digest = store.digest if store is not None else ""
        if used_before(folder, digest) is None:
            self._plain(number - 1, stages[: number - 1])
        found = used_before(folder, digest)
        if found is None:
            raise ValueError(f"{folder} lost its labels")
        path, rows = found
        labels = open_array(path)
        used = torch.zeros(len(labels), dtype=torch.bool)
        used[rows] = True

        def keep(start: int, count: int) -> tuple[Planes, Bool[Tensor, "b"]]:
            here = slice(start, start + count)
            return torch.from_numpy(labels[here].copy()), used[here]

        return keep

    def _with_copies(self, number: int, part: SampleSet) -> SampleSet:
        """Return the part with as many disturbed copies as the approach wants."""
        amplification, plan = self.context.approach.amplification, self.context.plan
        if amplification is None or not part.indices:
            return part
        appraisal = None
        if self.context.approach.has_thresholds:
            appraisal = self.mask_scoring.appraisal(part)
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


def _each(observers: Sequence[Observer]) -> Observer:
    """Return all observers as one."""

    def observe(start: int, agreement: PseudoLabelBatch, admitted: Bool[Tensor, "b"]) -> None:
        for observer in observers:
            observer(start, agreement, admitted)

    return observe


def _in_words(name: str, made: PseudoLabels) -> str:
    text = f"{name}: {made.admitted} of {made.images} unlabeled images admitted"
    if made.part.inconsistent is not None:
        text += f", {made.inconsistent_share:.1%} of their pixels inconsistent"
    counts = made.part.copies.counts if made.part.copies is not None else None
    if counts is not None:
        tally = ", ".join(f"{counts.count(n)} x {n}" for n in sorted(set(counts)))
        text += f"; copies: {tally}"
    return text
