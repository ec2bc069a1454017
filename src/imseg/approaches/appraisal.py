"""How good the pseudo-labels of a part are: what judges say, or what the truth says."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from imseg.approaches.stage import Stage
from imseg.approaches.workshop import Workshop
from imseg.data.store import gather, open_array
from imseg.engine.judge import judge_masks
from imseg.engine.part import Part
from imseg.engine.predictor import BATCH
from imseg.stages.label import pseudo_label
from imseg.stages.panel import Bench, Panel
from imseg.stages.select import Everything
from imseg.tasks import Task
from imseg.tasks.quality import quality_for
from imseg.types import Bytes


@dataclass(frozen=True)
class JudgedQuality:
    """What judges say about pseudo-labels."""

    workshop: Workshop
    """Told how the work goes on."""
    part: Part
    """The pseudo-labels."""
    bench: Bench
    """The judges."""

    @property
    def thresholds(self) -> tuple[float, float]:
        """The scores above which a mask is good, and very good."""
        return self.bench.thresholds

    def scores(self) -> Float[Tensor, "b"]:
        """Return the mean IoU that the judges expect."""
        shop, bench = self.workshop, self.bench
        judged = judge_masks(
            bench.judges,
            # As judges have learned: black in image and 0 in mask, whatever students see.
            replace(self.part, blocks_input=True, blocks_output=True, block_color="black"),
            bench.quality,
            shop.plan.whole_machine,
            progress=lambda done, total: shop.working("judging masks", done, total),
        )
        return bench.quality.score(judged, amplification=True)


@dataclass(frozen=True)
class TrueQuality:
    """What the hidden truth says about pseudo-labels: for the oracle alone."""

    workshop: Workshop
    """Has the hidden masks."""
    part: Part
    """The pseudo-labels."""
    thresholds: tuple[float, float]
    """The scores above which a mask is good, and very good."""

    def scores(self) -> Float[Tensor, "b"]:
        """Return the true mean IoU.

        Raises:
            ValueError: If there are no hidden masks.
        """
        hidden = self.workshop.material.hidden
        if hidden is None:
            raise ValueError("the oracle needs the hidden masks")
        return true_scores(self.workshop.task, self.part, hidden)


def true_scores(task: Task, part: Part, truth: Part) -> Float[Tensor, "b"]:
    """Return the true mean IoU of the used pseudo-labels of a part, the truth blanked in the mask.

    Args:
        task: What a pixel is.
        part: Pseudo-labels with their masks, row by row as the truth.
        truth: Where the true targets of the same images are.
    """
    quality = quality_for(task)
    labels, targets = open_array(part.targets), open_array(truth.targets)
    masks = open_array(part.inconsistent) if part.inconsistent is not None else None
    found = []
    for start in range(0, len(part.indices), BATCH):
        rows = np.array(part.indices[start : start + BATCH])
        here = torch.from_numpy(gather(labels, rows))
        blocked = torch.zeros_like(here[:, :1], dtype=torch.bool)
        if masks is not None:
            blocked = torch.from_numpy(gather(masks, rows)).bool()
        found.append(quality.true_score(here, blocked, torch.from_numpy(gather(targets, rows))))
    return torch.cat(found)


def consensus_on_validation(shop: Workshop, start: Stage) -> Part:
    """Return what the best start networks agree on about the validation images, all of them used.

    Args:
        shop: What everything is made with.
        start: Whose networks are asked.
    """
    labeler, validation = shop.approach.pseudo_label, shop.material.validation
    if labeler is None:
        raise ValueError(f"{shop.approach.name} makes no pseudo-labels")
    teachers = shop.load(start.ranked[: labeler.teachers])

    def seat(first: int, images: Bytes) -> Panel:
        return Panel(
            task=shop.task,
            teachers=teachers,
            images=images,
            numerics=shop.plan.whole_machine,
            seeds=tuple(range(first, first + len(images))),
            strength=shop.plan.strengths.views,
            rotate=shop.plan.rotate,
        )

    made = pseudo_label(
        validation.images,
        validation.digest,
        panel_for=seat,
        labeler=labeler,
        select=Everything(),
        task=shop.task,
        folder=shop.folder.cache / "judges" / "consensus",
        progress=lambda done, total: shop.working("consensus on validation images", done, total),
    )
    return replace(made.part, indices=validation.indices)
