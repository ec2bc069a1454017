"""Foreground or background: one sigmoid output."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Int64, UInt8
from torch import Tensor

from imseg.ops import inconsistency, overlap
from imseg.ops.memory_layout import PixelMask
from imseg.tasks import base
from imseg.types import VOID

Labels = UInt8[Tensor, "b 1 h w"]
"""0 is background, 1 foreground."""


class PooledIoU(base.EpochMeter):
    """Foreground IoU over all pixels of the validation set together."""

    def count(self, probabilities: base.Outputs, target: Labels) -> Int64[Tensor, "2"]:
        """Return the pixels of intersection and union."""
        valid = target != VOID
        predicted = (probabilities > base.THRESHOLD) & valid
        truth = (target == 1) & valid
        return torch.stack([(predicted & truth).sum(), (predicted | truth).sum()])

    def score(self, sums: Int64[Tensor, "2"]) -> float:
        """Return the IoU, 0..1."""
        shared, union = sums.tolist()
        return float(shared / (union + overlap.EPSILON))


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary(base.Task):
    """The task with two kinds of pixels; 0 is background, 1 foreground inside.

    ``paper``: score two empty masks 0, as the reference does, instead of 1.
    """

    moves_views = True

    def errors(self, logits: base.Outputs, target: Labels) -> Float[Tensor, "b 1 h w"]:
        """Return the squared error between probability and target."""
        return (self.probabilities(logits) - (target == 1).float()).square()

    def pool(
        self, probabilities: Float[Tensor, "v b 1 h w"], *, how: base.Pool, of: base.Origin
    ) -> Labels:
        """Return foreground; under ``paper`` where all say so. One half is enough for a view."""
        rule: base.Pool = "unanimous" if how == "paper" else how
        return base.pool_foreground(probabilities, how=rule, at_threshold=of == "views")

    def exceeds_inconsistency(self, labels: Labels, inconsistent: PixelMask) -> base.SomeImages:
        """Return where there is foreground, and more of it than inconsistent pixels."""
        foreground = labels.sum(dim=(1, 2, 3), dtype=torch.long)
        return (foreground > 0) & (foreground > inconsistent.sum(dim=(1, 2, 3)))

    def survives(self, labels: Labels, kernel: int) -> base.SomeImages:
        """Return where foreground is left after an erosion."""
        return inconsistency.erode(labels == 1, kernel).any(dim=3).any(dim=2)[:, 0]

    def meter(self) -> PooledIoU:
        """Return an empty meter of the pooled foreground IoU."""
        return PooledIoU()

    def sums(
        self,
        predicted: Labels,
        target: Labels,
        *,
        rows: slice = overlap.WHOLE,
        size: tuple[int, int] | None = None,
    ) -> base.Sums:
        """Return the pixels of the foreground and of its rim."""
        rim = overlap.rim_width(size or (target.shape[2], target.shape[3]))
        masks = [each[:, 0] for each in (predicted == 1, target == 1, target != VOID)]
        rims = overlap.rim_pixels(*masks[:2], valid=masks[2], rim=rim, rows=rows)
        return self.counts(predicted[:, :, rows], target[:, :, rows]), rims

    def scores_of(self, sums: base.Sums) -> dict[str, base.PerImage]:
        """Return foreground IoU, Dice, boundary IoU and pixel accuracy of each image."""
        counts, rims = sums
        return {
            "iou": overlap.iou_of(counts, empty=0.0 if self.paper else 1.0),
            "dice": overlap.dice_of(counts),
            "boundary_iou": overlap.iou_of(rims),
            "accuracy": overlap.accuracy_of(counts),
        }

    def counts(self, predicted: Labels, target: Labels) -> Int[Tensor, "b n n"]:
        """Return pixel counts of background and foreground."""
        valid = (target != VOID)[:, 0]
        return overlap.pixels_of((predicted == 1)[:, 0], (target == 1)[:, 0], valid=valid)

    def dataset_scores(self, tally: Int[Tensor, "n n"]) -> dict[str, Any]:
        """Return scores over all pixels; ``iou`` and ``dice`` are those of the foreground."""
        scores = base.from_confusion(self.spec, tally)
        name = self.spec.names[1]
        scores["dice"] = scores["dice_per_class"][name]
        return {"iou": scores["iou_per_class"][name], **scores}

    def precision(self, tally: Int[Tensor, "n n"]) -> float | None:
        """Return the share of predicted foreground that is foreground."""
        predicted = tally[:, 1].sum().item()
        return tally[1, 1].item() / predicted if predicted else None

    def strata(self, targets: Labels) -> list[frozenset[int]]:
        """Return the quarter of the images each belongs to by its share of foreground."""
        return base.quarters((targets == 1).sum(dim=(1, 2, 3)).tolist())
