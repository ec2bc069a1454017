"""The lesson of Consistency Loss: labeled images, and unlabeled ones seen twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from imseg.data.store import gather, open_array
from imseg.engine import seeds
from imseg.engine.batches import as_input, epochs, to_device
from imseg.engine.device import Numerics
from imseg.engine.job import Job
from imseg.engine.lessons.base import Step, flops_of, mean_batch
from imseg.engine.lessons.segmentation import Segmentation, stored_pairs
from imseg.engine.part import TwoViews
from imseg.engine.predictor import BATCH
from imseg.ops import disturb, photometric
from imseg.tasks import Task

Views = tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]
"""Two disturbed views of the same images, moved alike."""


class Pairs:
    """Unlabeled images under running numbers, each disturbed twice at every look.

    Args:
        unlabeled: Where they lie and how far they are pushed.
        numerics: Device and memory format of the views.
        seed: Of the disturbances.
        paper: Disturb as the reference does where it differs from us.
    """

    def __init__(
        self, unlabeled: TwoViews, numerics: Numerics, *, seed: int, paper: bool = False
    ) -> None:
        self._unlabeled = unlabeled
        self._numerics = numerics
        self._seed = seed
        self._paper = paper
        self._images = open_array(unlabeled.images)
        self._rows = torch.tensor(unlabeled.indices, dtype=torch.long)
        self._looks = torch.zeros(len(unlabeled.indices), dtype=torch.long)

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, numbers: Tensor) -> Views:
        """Return two views of the images with these running numbers.

        They depend on the image and on how often it was taken before, never on its neighbors.
        """
        rows, looks = self._rows[numbers], self._looks[numbers]
        self._looks[numbers] += 1
        stored = torch.from_numpy(gather(self._images, rows.numpy())).to(self._numerics.device)
        pixels = stored.permute(0, 3, 1, 2)
        names = list(zip(rows.tolist(), looks.tolist(), strict=True))
        first, second = (
            [seeds.derive(self._seed, "view", row, look, view) for row, look in names]
            for view in (0, 1)
        )
        draws = self._draw(first, square=pixels.shape[-1] == pixels.shape[-2])
        others = replace(draws, values=photometric.draw(second, self._unlabeled.strength))
        return self._view(pixels, draws), self._view(pixels, others)

    def _draw(self, names: list[int], *, square: bool) -> disturb.Draws:
        drawn = disturb.draw(
            names, self._unlabeled.strength, rotate=self._unlabeled.rotate, square=square
        )
        if self._unlabeled.moves:
            return drawn
        return replace(drawn, flip=drawn.flip & False, turns=drawn.turns * 0)

    def _view(
        self, pixels: UInt8[Tensor, "b c h w"], draws: disturb.Draws
    ) -> Float[Tensor, "b c h w"]:
        disturbed = disturb.apply(pixels, draws, order="view", paper=self._paper)
        return as_input(disturbed.images, self._numerics)


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

    def __init__(self, job: Job, task: Task, unlabeled: TwoViews) -> None:
        self._job = job
        self._task = task
        self._unlabeled = unlabeled
        self._labels = Segmentation(job, task)
        self._pairs = Pairs(unlabeled, job.numerics, seed=job.seed, paper=job.recipe.paper)
        self._labeled_steps = self._paired_steps = 0

    def passes(self) -> Iterator[Iterator[Step]]:
        """Yield the steps of the passes, labeled and unlabeled in turn, until all are made."""
        left = self._job.steps
        recipe = replace(self._job.recipe, max_steps=None)
        order = seeds.generator(self._job.seed, "order")
        unlabeled_order = seeds.generator(self._job.seed, "unlabeled order")
        labeled_epochs = epochs(self._job.images, recipe, order)
        unlabeled_epochs = epochs(len(self._pairs), recipe, unlabeled_order)
        both = zip(labeled_epochs, unlabeled_epochs, strict=True)
        for epoch, (labeled, unlabeled) in enumerate(both, 1):
            labeled = labeled[:left]
            left -= len(labeled)
            unlabeled = unlabeled[:left]
            left -= len(unlabeled)
            self._labeled_steps += len(labeled)
            self._paired_steps += len(unlabeled)
            if labeled:
                yield self._labels.steps(labeled)
            if unlabeled:
                yield self._paired(unlabeled, weight=self.weight_in(epoch))

    def weight_in(self, epoch: int) -> float:
        """Return how much the difference of views counts in an epoch, counted from 1."""
        ramp = self._unlabeled.ramp
        return self._unlabeled.weight * (min(1.0, epoch / ramp) if ramp > 0 else 1.0)

    def score(self, network: nn.Module) -> float:
        """Return minus the mean loss of the validation images."""
        network.eval()
        images, targets = stored_pairs(self._job.validation)
        numerics, total = self._job.numerics, 0.0
        with torch.inference_mode(), numerics.applied():
            for start in range(0, len(images), BATCH):
                logits = network(to_device(images[start : start + BATCH], numerics))
                truth = torch.from_numpy(targets[start : start + BATCH]).to(logits.device)
                total += self._task.loss(logits, truth, None).item() * len(truth)
        return -total / len(images)

    def scores(self, network: nn.Module) -> dict[str, float]:
        """Return mean scores over the validation images, at working size."""
        return self._labels.scores(network)

    def flops(self, network: nn.Module) -> float:
        """Return floating point operations of all passes so far; both views of an image count."""
        recipe = self._job.recipe
        labeled = self._labeled_steps * mean_batch(recipe, self._job.images)
        paired = self._paired_steps * mean_batch(recipe, len(self._pairs))
        step = next(self._paired([torch.tensor([0, 0])], weight=1.0))
        of_pair = flops_of(step, network, self._job.numerics) / 2
        return self._labels.flops_of_sample(network) * labeled + of_pair * paired

    def _paired(self, batches: list[Tensor], *, weight: float) -> Iterator[Step]:
        return (
            partial(self._difference, views=self._pairs.take(numbers), weight=weight)
            for numbers in batches
        )

    def _difference(self, network: nn.Module, *, views: Views, weight: float) -> Float[Tensor, ""]:
        """Return the weighted mean squared difference of the outputs; both views are taught."""
        one, other = (self._task.probabilities(network(view)) for view in views)
        return functional.mse_loss(one, other) * weight
