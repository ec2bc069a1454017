"""What objectives share that have labeled and unlabeled images in one batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from imseg.engine.loading.samples import UnlabeledViews
from imseg.engine.loading.views import ViewLoader
from imseg.engine.training.objectives import objective
from imseg.engine.training.objectives.supervised import SupervisedAtWork
from imseg.engine.training.recipe import Recipe
from imseg.ops.photometric import Strength
from imseg.options import option

if TYPE_CHECKING:
    from imseg.engine.training.job import TrainJob

DECAY = 0.99
"""How much of an averaged teacher stays at each step, as in trainings of some hundred steps."""
STEEPNESS = 5.0
"""How late the weight of unlabeled images rises: it begins with ``exp(-5)`` of its full value."""
WEIGHT: Mapping[str, Any] = {
    "help": "Weight of unlabeled images, beside 1 for labeled ones.",
    "group": "method", "name": "teacher_weight", "low": 0, "high": 1e6,
}  # fmt: skip
"""What is declared about the option ``teacher_weight``."""
RAMP: Mapping[str, Any] = {
    "help": "Share of the optimizer steps over which that weight rises.",
    "group": "method", "name": "teacher_ramp", "low": 0, "high": 1,
}  # fmt: skip
"""What is declared about the option ``teacher_ramp``."""
WITHOUT_GRADIENT = 1 / 3
"""Cost of a pass that only predicts, as a share of a pass forward and backward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedObjective(objective.Objective):
    """Labeled and unlabeled images in one batch.

    Who labels an unlabeled image sees a weak view of it, who learns a strong one.
    """

    uses_unlabeled = True

    labeled: float = option(
        0.5,
        "Share of labeled images in a batch.",
        group="method",
        name="labeled_share",
        low=0.01,
        high=0.99,
    )
    """Share of labeled images in a batch."""

    def unlabeled_views(
        self, views: UnlabeledViews, strengths: objective.ViewStrengths
    ) -> UnlabeledViews:
        """Return unlabeled images, weakly augmented for the teacher, strongly for the student."""
        return replace(views, strength=Strength(), other=strengths.strongest)

    def workload(self, recipe: Recipe, amounts: objective.Amounts) -> objective.Workload:
        """Return how much a training is: epochs over the labeled images."""
        labeled, unlabeled = self.divided(recipe)
        work = objective.by_epochs(labeled, amounts.samples)
        images = work.images + unlabeled.batch_size
        share = unlabeled.batch_size / images
        return replace(work, images=images, passes=1 + share * WITHOUT_GRADIENT)

    def divided(self, recipe: Recipe) -> tuple[Recipe, Recipe]:
        """Return the recipes of the labeled and the unlabeled part of a batch."""
        count = max(1, min(recipe.batch_size - 1, round(recipe.batch_size * self.labeled)))
        others = max(1, recipe.batch_size - count)
        return replace(recipe, batch_size=count), replace(recipe, batch_size=others)


class MixedAtWork(SupervisedAtWork):
    """Makes the views of unlabeled images, beside the batches of labeled ones.

    Args:
        job: Samples, unlabeled images, recipe and seed.
        views: Of an unlabeled image, the weak one among them.
    """

    def __init__(self, job: TrainJob, *, views: int = 2) -> None:
        super().__init__(job, job.task)
        if job.unlabeled is None:
            raise ValueError(f"{job.objective.kind} needs unlabeled images")
        self._views = ViewLoader(
            job.unlabeled,
            job.compute,
            seed=job.seed,
            paper=job.recipe.paper,
            limits=job.recipe.augmentation.limits,
            plain_first=True,
            count=views,
        )


def risen(share: float) -> float:
    """Return how much of a weight there is after a share of the steps over which it rises, 0..1.

    Source: Laine and Aila 2017, arXiv 1610.02242.
    """
    return math.exp(-STEEPNESS * max(0.0, 1 - share) ** 2)


def shares_of(sizes: Sequence[int], labeled: int, samples: int) -> tuple[list[int], list[int]]:
    """Return how many labeled and how many other samples are in pieces of a batch.

    Args:
        sizes: Samples of each piece.
        labeled: Labeled samples of the batch.
        samples: All of them.
    """
    ends = torch.tensor(sizes).cumsum(0)
    known = (ends * labeled / samples).round().long()
    counts = known.diff(prepend=known.new_zeros(1)).tolist()
    return counts, [size - count for size, count in zip(sizes, counts, strict=True)]
