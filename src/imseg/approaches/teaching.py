"""From a finished stage to what the next generation learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from imseg.approaches.controller import Controller
from imseg.approaches.judging import Judging
from imseg.approaches.stage import Stage
from imseg.approaches.timing import JUDGES, PSEUDO_LABELS
from imseg.approaches.workshop import Workshop
from imseg.data.store import open_array
from imseg.engine import seeds
from imseg.engine.part import Copies, Part
from imseg.stages.label import Observer, PanelFor, PseudoLabels, pseudo_label, used_before
from imseg.stages.panel import Panel
from imseg.tasks import Planes
from imseg.types import Bytes

Kept = Callable[[int, int], tuple[Planes, Bool[Tensor, "b"]]]
"""Gives the labels of so many images from a row on, and which of them have one."""

Watch = Callable[[str], Observer]
"""Gives who looks at the pseudo-labels of a generation; see ``approaches/auditing.py``."""


@dataclass(frozen=True)
class Teaching:
    """Makes pseudo-labels for the generations of a run."""

    workshop: Workshop
    """What everything is made with."""
    judging: Judging
    """Who says how good labels are."""
    controller: Controller
    """Says which stage teaches."""
    watch: Watch | None = None
    """Looks on."""

    def labels(self, number: int, stages: Sequence[Stage]) -> PseudoLabels:
        """Return what a generation learns from unlabeled images.

        Args:
            number: Of the generation, from 1.
            stages: All stages before it, the start first.
        """
        name = f"generation-{number}"
        observe = self.watch(name) if self.watch is not None else None
        with self.workshop.clock.on(PSEUDO_LABELS):
            made = self._plain(number, stages, observe)
        with self.workshop.clock.on(JUDGES):
            made = replace(made, part=self._with_copies(number, made.part))
        self.workshop.note(_in_words(name, made))
        return made

    def _plain(
        self, number: int, stages: Sequence[Stage], observe: Observer | None = None
    ) -> PseudoLabels:
        """Return pseudo-labels without copies."""
        shop, approach, name = self.workshop, self.workshop.approach, f"generation-{number}"
        store, labeler = shop.material.unlabeled, approach.pseudo_label
        if store is None or labeler is None:
            raise ValueError(f"{approach.name} has no unlabeled images to label")
        teaching = self.controller.teaching(stages, labeler.teachers)
        networks = shop.load(teaching.ranked[: labeler.teachers])
        kept = self._kept(number, stages) if approach.carry else None
        return pseudo_label(
            store.images,
            store.digest,
            panel_for=self._seats(number, networks, kept),
            labeler=labeler,
            select=approach.select,
            task=shop.task,
            folder=shop.folder.cache / name,
            progress=lambda done, total: shop.working(f"{name}: pseudo-labels", done, total),
            observe=observe,
        )

    def _seats(self, number: int, teachers: list[nn.Module], kept: Kept | None) -> PanelFor:
        """Return who seats teachers in front of images."""
        plan, task = self.workshop.plan, self.workshop.task
        bench = self.judging.bench() if self.workshop.approach.carry else None

        def seat(start: int, images: Bytes) -> Panel:
            rows = range(start, start + len(images))
            return Panel(
                task=task,
                teachers=teachers,
                images=images,
                numerics=plan.whole_machine,
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
        folder = self.workshop.folder.cache / f"generation-{number - 1}"
        store = self.workshop.material.unlabeled
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

    def _with_copies(self, number: int, part: Part) -> Part:
        """Return the part with as many disturbed copies as the approach wants."""
        augment, plan = self.workshop.approach.augment, self.workshop.plan
        if augment is None or not part.indices:
            return part
        appraisal = None
        if self.workshop.approach.has_thresholds:
            appraisal = self.judging.appraisal(part)
        counts = augment.copies(len(part.indices), appraisal)
        largest = max(counts)
        copies = Copies(
            count=largest,
            counts=None if min(counts) == largest else counts,
            strength=plan.strength_in(number),
            rotate=plan.rotate,
            seed=seeds.derive(plan.seed, "copies", number),
            plain=augment.keep_plain,
            fresh=augment.fresh,
            reblock=augment.reblock,
        )
        return replace(part, copies=copies)


def _in_words(name: str, made: PseudoLabels) -> str:
    text = f"{name}: {made.admitted} of {made.images} unlabeled images admitted"
    if made.part.inconsistent is not None:
        text += f", {made.inconsistent_share:.1%} of their pixels inconsistent"
    counts = made.part.copies.counts if made.part.copies is not None else None
    if counts is not None:
        tally = ", ".join(f"{counts.count(n)} x {n}" for n in sorted(set(counts)))
        text += f"; copies: {tally}"
    return text
