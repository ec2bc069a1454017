"""The lesson of Consistency Loss: labeled images, and unlabeled ones seen twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from imseg.engine.inference.predictor import in_halves
from imseg.engine.loading.loader import epochs
from imseg.engine.loading.views import Pairs, Views
from imseg.engine.training import seeds
from imseg.engine.training.job import Job
from imseg.engine.training.objectives.objective import (
    AnyStep,
    Forward,
    Step,
    ValidationResult,
    by_number,
    flops_of,
    made_before,
    mean_batch,
)
from imseg.engine.training.objectives.supervised import Segmentation
from imseg.engine.training.sample_set import UnlabeledViews
from imseg.tasks import Task


class LabelsAndViews:
    """Learn from labels, and to say the same about two views of an image.

    An epoch is a pass over the labeled images and a pass over the unlabeled ones, with one
    optimizer. Kept is the pass after which the loss on validation is least.

    Args:
        job: Parts, recipe and seed.
        task: What a pixel is.
        unlabeled: What the second pass of each epoch learns from.

    Source: METHOD, "Consistency Loss".
    """

    def __init__(self, job: Job, task: Task, unlabeled: UnlabeledViews) -> None:
        self._job = job
        self._task = task
        self._unlabeled = unlabeled
        self._labels = Segmentation(job, task)
        self._pairs = Pairs(unlabeled, job.compute, seed=job.seed, paper=job.recipe.paper)
        self._labeled_steps = self._paired_steps = 0

    def passes(self, skipped: int = 0, within: int = 0) -> Iterator[Iterator[AnyStep]]:
        """Yield the steps of the passes after those that are skipped.

        Labeled and unlabeled ones in turn, until all steps are made.
        """
        left = self._job.steps
        recipe = replace(self._job.recipe, max_steps=None)
        order = seeds.generator(self._job.seed, "order")
        unlabeled_order = seeds.generator(self._job.seed, "unlabeled order")
        labeled_epochs = epochs(self._job.images, recipe, order)
        unlabeled_epochs = epochs(len(self._pairs), recipe, unlabeled_order)
        both = zip(labeled_epochs, unlabeled_epochs, strict=True)
        number = 0
        for epoch, (labeled, unlabeled) in enumerate(both, 1):
            labeled = labeled[:left]
            left -= len(labeled)
            unlabeled = unlabeled[:left]
            left -= len(unlabeled)
            self._labeled_steps += len(labeled)
            self._paired_steps += len(unlabeled)
            paired = partial(self._paired, weight=self.weight_in(epoch))
            for batches, skip, steps in (
                (labeled, self._labels.skip, self._labels.steps),
                (unlabeled, self._pairs.skip, paired),
            ):
                if not batches:
                    continue
                before = made_before(number, len(batches), skipped=skipped, within=within)
                skip(batches[:before])
                if number >= skipped:
                    yield steps(batches[before:])
                number += 1

    def weight_in(self, epoch: int) -> float:
        """Return how much the difference of views counts in an epoch, counted from 1."""
        ramp = self._unlabeled.ramp
        return self._unlabeled.weight * (min(1.0, epoch / ramp) if ramp > 0 else 1.0)

    def score(self, network: nn.Module) -> float:
        """Return minus the mean loss of the validation images."""
        network.eval()
        total: Float[Tensor, ""] | float = 0.0
        samples = 0
        for batch in self._labels.validation_batches():
            with torch.inference_mode(), self._job.compute.applied():
                loss = self._task.loss(in_halves(network, batch.images), batch.targets, None)
                total = total + loss.double() * len(batch)
            samples += len(batch)
        return -float(total) / samples

    def examine(self, network: nn.Module) -> ValidationResult:
        """Return mean scores over the validation images, at working size, and whether it looks."""
        return self._labels.examine(network)

    def flops(self, network: nn.Module) -> float:
        """Return floating point operations of all passes so far; both views of an image count."""
        recipe = self._job.recipe
        labeled = self._labeled_steps * mean_batch(recipe, self._job.images)
        paired = self._paired_steps * mean_batch(recipe, len(self._pairs))
        step = next(self._paired([torch.tensor([0, 0])], weight=1.0))
        of_pair = flops_of(step, network, self._job.compute) / 2
        return self._labels.flops_of_sample(network) * labeled + of_pair * paired

    def _paired(self, batches: list[Tensor], *, weight: float) -> Iterator[AnyStep]:
        return (
            Step(views, partial(self._difference, weight=weight), by_number)
            for views in self._pairs.feed(batches)
        )

    def _difference(self, network: Forward, views: Views, *, weight: float) -> Float[Tensor, ""]:
        """Return the weighted mean squared difference of the outputs; both views are taught."""
        one, other = (self._task.probabilities(network(view)) for view in views)
        return functional.mse_loss(one, other) * weight
