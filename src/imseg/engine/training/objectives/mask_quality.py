"""The objective of mask scorers (EvalNet): say how good the mask of an image is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from imseg.engine.inference.evaluator import rank_correlation
from imseg.engine.inference.predictor import BATCH, scorer_logits
from imseg.engine.loading import loader, samples
from imseg.engine.training.objectives import objective
from imseg.tasks.quality import IOU, Quality, quality_for

if TYPE_CHECKING:
    from imseg.engine.training.job import TrainJob


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskQuality(objective.Objective):
    """Masks of known quality: a mask scorer learns to tell it.

    Source: METHOD, "EvalNet".
    """

    kind = "mask-quality"

    def __str__(self) -> str:
        return "masks of known quality"

    def open(self, job: TrainJob) -> MaskQualityAtWork:
        """Return the objective at work on a job's masks."""
        return MaskQualityAtWork(job, quality_for(job.task))


class MaskQualityAtWork(objective.ObjectiveAtWork):
    """Learn to say how good a mask is.

    The best epoch is that of the least mean absolute error of the IoU; of the least loss where the
    scorer also says which classes are present.

    Args:
        job: Parts with qualities (validation too), recipe and seed.
        quality: What a mask scorer scores.

    Raises:
        ValueError: If the validation part has no qualities.

    Source: METHOD, "EvalNet".
    """

    def __init__(self, job: TrainJob, quality: Quality) -> None:
        if job.validation.qualities is None:
            raise ValueError("a mask scorer is validated by masks of known quality")
        super().__init__(job)
        self._quality = quality
        self._validation = loader.BatchLoader(
            (job.validation,), job.compute, seed=job.seed, paper=job.recipe.paper
        )

    def score(self, network: nn.Module) -> float:
        """Return minus the error or the loss by which the best epoch is kept."""
        logits, wanted = self._scored(network)
        return -(
            self._iou_error(logits, wanted)
            if logits.shape[1] == 1
            else self._mean_loss(logits, wanted)
        )

    def validate(self, network: nn.Module) -> objective.ValidationResult:
        """Return how far what the mask scorer says is from the truth, over the validation samples.

        Returns:
            Whether it looks at the masks, and scores. ``iou_error``: mean absolute error of the IoU
            over samples and outputs; ``loss``; ``score_error`` and ``rank_correlation`` (Spearman)
            of the score by which copies are counted, whatever the mask scorer is for; ``samples``.
        """
        logits, wanted = self._scored(network)
        said = self._quality.probabilities(logits)
        scores, truth = (
            self._quality.score(each[None], amplification=True) for each in (said, wanted)
        )
        found = {
            "iou_error": self._iou_error(logits, wanted),
            "loss": self._mean_loss(logits, wanted),
            "score_error": (scores - truth).abs().mean().item(),
            "rank_correlation": rank_correlation(scores.numpy(), truth.numpy()),
            "samples": float(len(logits)),
        }
        outputs, true = objective.OutputRange(), objective.OutputRange()
        outputs.add(said.flatten(1))
        true.add(wanted.flatten(1))
        return objective.ValidationResult(scores=found, dead=objective.death(outputs, true))

    def flops(self, network: nn.Module) -> float:
        """Return floating point operations of the whole training."""
        seen = self._job.steps * self._job.recipe.mean_batch(len(self._loader))
        return self.flops_of_sample(network) * seen

    def loss(self, network: objective.Forward, batch: samples.Batch) -> Float[Tensor, ""]:
        """Return the loss of what a mask scorer says about a batch."""
        assert batch.qualities is not None
        return self._quality.loss(self._logits(network, batch), batch.qualities)

    def _logits(self, network: objective.Forward, batch: samples.Batch) -> Float[Tensor, "b r k"]:
        return scorer_logits(
            network, batch.images, batch.targets, quality=self._quality, compute=self._job.compute
        )

    def _scored(self, network: nn.Module) -> tuple[Float[Tensor, "b r k"], Float[Tensor, "b r k"]]:
        """Return what the network says about the validation samples and what it should, on CPU."""
        network.eval()
        self._validation.forget_looks()  # so that every epoch sees the same copies
        logits, wanted = [], []
        numbers = torch.arange(len(self._validation))
        for batch in self._validation.feed(numbers.split(BATCH)):
            assert batch.qualities is not None
            wanted.append(batch.qualities)
            with torch.inference_mode(), self._job.compute.applied():
                logits.append(self._logits(network, batch))
        return torch.cat(logits).cpu(), torch.cat(wanted).cpu()

    def _iou_error(self, logits: Float[Tensor, "b r k"], wanted: Float[Tensor, "b r k"]) -> float:
        said = self._quality.probabilities(logits)
        return (said - wanted)[:, IOU].abs().mean().item()

    def _mean_loss(self, logits: Float[Tensor, "b r k"], wanted: Float[Tensor, "b r k"]) -> float:
        return self._quality.loss(logits, wanted).item()
