"""Consistency: labeled images, and the same output for two augmented views of unlabeled ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from imseg.engine.inference.predictor import in_halves
from imseg.engine.loading.order import epochs
from imseg.engine.loading.samples import UnlabeledViews
from imseg.engine.loading.views import ViewLoader, Views
from imseg.engine.training import seeds
from imseg.engine.training.objectives import objective
from imseg.engine.training.objectives.supervised import SupervisedAtWork
from imseg.engine.training.operations import flops_of
from imseg.engine.training.recipe import Recipe
from imseg.options import option
from imseg.tasks import task_for
from imseg.types import TargetSpec

if TYPE_CHECKING:
    from imseg.engine.training.job import TrainJob


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoViews(objective.Objective):
    """Labels, and the same output for two views of an unlabeled image.

    Source: METHOD, "Consistency Loss".
    """

    kind = "two-views"
    epochs_factor = 2
    uses_unlabeled = True
    continues_start = True

    weight: float = option(
        1.0,
        "Weight of the difference between two views, beside 1 for labeled images.",
        group="method",
        name="consistency_weight",
        low=0,
        high=1e6,
        expected="a number that is not negative.",
    )
    """How much the difference of the views counts, beside 1 for labeled images."""
    ramp: int = option(
        0,
        "Epochs over which that weight rises.",
        group="method",
        name="consistency_ramp",
        low=0,
        expected="0 epochs or more.",
    )
    """Epochs over which the weight rises; 0: it is the same in all."""
    level: objective.Level = option(
        "mid",
        "How strongly views are augmented: low, mid, high.",
        group="method",
        name="consistency_level",
    )
    """How strongly views are augmented."""

    def __post_init__(self) -> None:
        if self.weight < 0 or self.ramp < 0:
            raise ValueError("weight and ramp cannot be negative")

    def __str__(self) -> str:
        rising = f", rising over {self.ramp} epochs" if self.ramp else ""
        return (
            f"two views of an unlabeled image ({self.level} augmentation) are to give the same"
            f" output, with weight {self.weight:g}{rising}"
        )

    def unlabeled_views(
        self, views: UnlabeledViews, strengths: objective.ViewStrengths
    ) -> UnlabeledViews:
        """Return unlabeled images with both views augmented at this level."""
        return replace(views, strength=strengths.levels[self.level])

    def workload(self, recipe: Recipe, amounts: objective.Amounts) -> objective.Workload:
        """Return how much a training is: passes over labeled and unlabeled images in turn."""
        labeled = recipe.steps_per_epoch(amounts.samples)
        pairs = recipe.steps_per_epoch(amounts.unlabeled)
        share = pairs / (labeled + pairs)
        return objective.Workload(
            steps=recipe.limited(recipe.epochs * (labeled + pairs)),
            epoch=(labeled + pairs) // 2 or 1,  # validated after either pass
            images=share * recipe.mean_batch(amounts.unlabeled)
            + (1 - share) * recipe.mean_batch(amounts.samples),
            passes=1 + share,
        )

    def weight_in(self, epoch: int) -> float:
        """Return how much the difference of views counts in an epoch, counted from 1."""
        return self.weight * (min(1.0, epoch / self.ramp) if self.ramp > 0 else 1.0)

    def open(self, job: TrainJob) -> TwoViewsAtWork:
        """Return the objective at work on a job's images."""
        return TwoViewsAtWork(job, self)


class TwoViewsAtWork(SupervisedAtWork):
    """Learns from labels, and to give the same output for two views of an image.

    An epoch is a pass over the labeled images and a pass over the unlabeled ones, with one
    optimizer. Kept is the pass after which the loss on validation is least.

    Args:
        job: Samples, unlabeled images, recipe and seed.
        value: Weight and ramp.
    """

    def __init__(self, job: TrainJob, value: TwoViews) -> None:
        paper = job.recipe.paper
        # Here the reference lets all planes weigh the same.
        super().__init__(job, task_for(TargetSpec.from_dict(job.target), paper=paper, even=paper))
        if job.unlabeled is None:
            raise ValueError("two views need unlabeled images")
        self._value = value
        self._views = ViewLoader(
            job.unlabeled,
            job.compute,
            seed=job.seed,
            paper=paper,
            limits=job.recipe.augmentation.limits,
        )
        self._labeled_steps = self._paired_steps = 0

    def passes(self, skipped: int = 0, within: int = 0) -> Iterator[Iterator[objective.AnyStep]]:
        """Yield the steps of the passes after those that are skipped.

        Labeled and unlabeled ones in turn, until all steps are made.
        """
        left = self._job.steps
        recipe = replace(self._job.recipe, max_steps=None, validate_every=1)
        order = seeds.generator(self._job.seed, "order")
        unlabeled_order = seeds.generator(self._job.seed, "unlabeled order")
        labeled_epochs = self.labeled_epochs(recipe, order)
        unlabeled_epochs = epochs(len(self._views), recipe, unlabeled_order)
        both = zip(labeled_epochs, unlabeled_epochs, strict=True)
        number = 0
        for epoch, (labeled, unlabeled) in enumerate(both, 1):
            labeled = labeled[:left]
            left -= len(labeled)
            unlabeled = unlabeled[:left]
            left -= len(unlabeled)
            self._labeled_steps += len(labeled)
            self._paired_steps += len(unlabeled)
            paired = partial(self._paired, weight=self._value.weight_in(epoch))
            for batches, loader, steps in (
                (labeled, self._loader, self.steps),
                (unlabeled, self._views, paired),
            ):
                if not batches:
                    continue
                todo = objective.remaining(
                    batches, number, skipped=skipped, within=within, loader=loader
                )
                if todo is not None:
                    yield steps(todo)
                number += 1

    def score(self, network: nn.Module) -> float:
        """Return minus the mean loss of the validation images."""
        network.eval()
        total: Float[Tensor, ""] | float = 0.0
        samples = 0
        for batch in self.validation_batches():
            with torch.inference_mode(), self._job.compute.applied():
                loss = self._task.loss(in_halves(network, batch.images), batch.targets, None)
                total = total + loss.double() * len(batch)
            samples += len(batch)
        return -float(total) / samples

    def flops(self, network: nn.Module) -> float:
        """Return floating point operations of all passes so far; both views of an image count."""
        recipe = self._job.recipe
        labeled = self._labeled_steps * recipe.mean_batch(self._job.images)
        paired = self._paired_steps * recipe.mean_batch(len(self._views))
        step = next(self._paired([torch.tensor([0, 0])], weight=1.0))
        of_pair = flops_of(step, network, self._job.compute) / 2
        return self.flops_of_sample(network) * labeled + of_pair * paired

    def _paired(self, batches: list[Tensor], *, weight: float) -> Iterator[objective.AnyStep]:
        return (
            objective.Step(views, partial(self._difference, weight=weight), objective.by_number)
            for views in self._views.feed(batches)
        )

    def _difference(
        self, network: objective.Forward, views: Views, *, weight: float
    ) -> Float[Tensor, ""]:
        """Return the weighted mean squared difference of the outputs; both views are learned."""
        one, other = (self._task.probabilities(network(view)) for view in views)
        return functional.mse_loss(one, other) * weight
