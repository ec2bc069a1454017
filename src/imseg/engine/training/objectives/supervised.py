"""The objective of most networks: give each image its target."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from imseg.engine.inference.predictor import BATCH, in_halves
from imseg.engine.loading.loader import BatchLoader
from imseg.engine.loading.samples import Batch
from imseg.engine.training import label_facts
from imseg.engine.training.objectives import objective
from imseg.ops.tiling import Stitcher, join
from imseg.tasks import Planes, Task
from imseg.tasks.base import known_in
from imseg.tasks.collapse import sole_value

if TYPE_CHECKING:
    from imseg.engine.training.job import TrainJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervised(objective.Objective):
    """Labels and pseudo-labels alike: every image has a target."""

    kind = "supervised"

    def __str__(self) -> str:
        return "every image has a target"

    def open(self, job: TrainJob) -> SupervisedAtWork:
        """Return the objective at work on a job's images."""
        return SupervisedAtWork(job, job.task)


class SupervisedAtWork(objective.ObjectiveAtWork):
    """Learns to give each image its target; the best epoch is kept by the meter of the task.

    Args:
        job: Samples, recipe and seed.
        task: What a pixel is.
    """

    def __init__(self, job: TrainJob, task: Task) -> None:
        super().__init__(job)
        self._task = task
        self._loss = label_facts.loss_of(job, task)
        validation = replace(
            job.validation, copies=None, inconsistent=None, qualities=None, ignores=False
        )
        # Kept for all epochs, and with it, where there is room, its images on the device.
        self._validation = BatchLoader((validation,), job.compute)

    def loss(self, network: objective.Forward, batch: Batch) -> Float[Tensor, "*t"]:
        """Return the terms of the loss of the recipe over a batch."""
        return self._loss.terms(network(batch.images), batch.targets, batch.weight)

    def mass(self, batch: Batch) -> Float[Tensor, "*t"]:
        """Return by what the terms of a piece of a batch are weighted."""
        return self._loss.masses(batch.targets, batch.weight)

    def rare(self) -> Int64[Tensor, "n"] | None:
        """Return the numbers of samples that show what is rare; None: all are alike."""
        rows = label_facts.rare_rows(self._job, self._task)
        return None if rows is None else self._loader.numbers_of(rows)

    def validation_batches(self) -> Iterator[Batch]:
        """Return the validation images as they are, with their targets, in their order."""
        return self._validation.feed(torch.arange(len(self._validation)).split(BATCH))

    def score(self, network: nn.Module) -> float:
        """Return the score that the task chooses epochs by."""
        meter = self._task.meter()
        for probabilities, truth in self._predictions(network):
            meter.update(probabilities, truth)
        return meter.value()

    def validate(self, network: nn.Module) -> objective.ValidationResult:
        """Return mean scores over the validation images, at working size."""
        collected: dict[str, list[Tensor]] = {}
        outputs, said, true = (
            objective.OutputRange(),
            objective.OutputRange(),
            objective.OutputRange(),
        )
        for probabilities, truth in self._whole_images(self._predictions(network)):
            predicted = self._task.discretize(probabilities)
            outputs.add(probabilities)
            said.add(predicted)
            true.add(truth, known_in(truth))
            for name, values in self._task.image_scores(predicted, truth).items():
                collected.setdefault(name, []).append(values)
        # Read when all is known, not batch by batch.
        every = {name: torch.cat(each).cpu() for name, each in collected.items()}
        scores = {name: each.nanmean().item() for name, each in every.items()}
        ranked = every[self._task.metric.key].tolist()
        sole = sole_value(self._task.spec, *said.ends) if true.widest > 0 else ""
        doubt = f"predicts {sole} on all validation images" if sole else ""
        return objective.ValidationResult(
            scores=scores,
            dead=objective.death(outputs, true),
            doubt=doubt,
            each=tuple(round(one, 6) if math.isfinite(one) else None for one in ranked),
        )

    def _whole_images(
        self, found: Iterator[tuple[Float[Tensor, "b k h w"], Planes]]
    ) -> Iterator[tuple[Float[Tensor, "b k h w"], Planes]]:
        """Yield what was found image by image, where it was found tile by tile."""
        mosaic = self._job.validation.mosaic
        if mosaic is None:
            yield from found
            return
        tiling = mosaic.tiling
        tiles = (tile for some, truth in found for tile in zip(some, truth, strict=True))
        for size in mosaic.sizes:
            mine = list(itertools.islice(tiles, tiling.count(size)))
            stitcher = Stitcher(tiling, size)
            stitcher.add(torch.stack([said for said, _ in mine]))
            truth = join(torch.stack([true for _, true in mine]), tiling, size)
            yield stitcher.result()[None], truth[None]

    def _predictions(self, network: nn.Module) -> Iterator[tuple[Float[Tensor, "b k h w"], Planes]]:
        """Yield probabilities of the validation images and the truth, batch after batch."""
        network.eval()
        for batch in self.validation_batches():
            with torch.inference_mode(), self._job.compute.applied():
                probabilities = in_halves(
                    lambda some: self._task.probabilities(network(some)), batch.images
                )
            yield probabilities, batch.targets
