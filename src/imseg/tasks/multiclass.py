"""One of several classes: softmax over the classes and output 0, "inconsistent"."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from imseg.ops import inconsistency, overlap
from imseg.ops.memory_layout import PixelMask
from imseg.tasks import base
from imseg.types import INCONSISTENT, VOID

Labels = UInt8[Tensor, "b 1 h w"]
"""Classes from 1 on; 0 is "inconsistent"."""


class RunningSoftMeanIoU(base.EpochMeter):
    """The reference's soft mIoU: mean over all outputs in a batch, then mean over batches.

    A class that is absent from a batch and predicted nowhere would give 0/0; the reference then has
    no score at all, and so have we: such a batch makes the value not a number.
    """

    def count(self, probabilities: base.Outputs, target: Labels) -> Float[Tensor, "2"]:
        """Return the soft mIoU of the batch, and 1 for the batch."""
        truth = one_hot(target, probabilities.shape[1])
        shared, union = overlap.soft_overlap(probabilities * (target != VOID), truth)
        mean = (shared / union).mean()
        return torch.stack([mean, torch.ones_like(mean)])

    def score(self, sums: Float[Tensor, "2"]) -> float:
        """Return the mean over batches, 0..1."""
        total, batches = sums.tolist()
        return float(total / batches)


class PooledSoftMeanIoU(base.EpochMeter):
    """Soft mIoU over all validation pixels together, of the classes that occur in the truth."""

    def count(self, probabilities: base.Outputs, target: Labels) -> Float[Tensor, "3 k"]:
        """Return soft intersection, soft union and true pixels of each output."""
        valid = (target != VOID).float()
        truth = one_hot(target, probabilities.shape[1])
        among_classes = probabilities.clone()
        among_classes[:, INCONSISTENT] = 0
        among_classes = among_classes / among_classes.sum(dim=1, keepdim=True).clamp(min=1e-12)
        shared, union = overlap.soft_overlap(among_classes * valid, truth * valid)
        return torch.stack([shared, union, truth.sum(dim=(0, 2, 3)).double()])

    def score(self, sums: Float[Tensor, "3 k"]) -> float:
        """Return the mean over the classes in the truth, 0..1."""
        shared, union, true = sums
        chosen = true > 0
        chosen[INCONSISTENT] = False
        return (shared[chosen] / union[chosen]).mean().item() if chosen.any() else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiclass(base.Task):
    """The task with one class a pixel; ``spec.values[i]`` is class ``i + 1`` inside.

    ``paper``: let output 0 compete wherever a prediction is made discrete, as the reference does.
    """

    grows_labels = True
    dice_over_batch = True

    @property
    def metric(self) -> base.Metric:
        """IoU: mean over the classes in the truth, then over images."""
        return base.Metric(key="iou", label="IoU", pooled_key="miou")

    def probabilities(self, logits: base.Outputs) -> base.Outputs:
        """Return the probability of each output."""
        return torch.softmax(logits.float(), dim=1)

    def discretize(self, probabilities: base.Outputs) -> Labels:
        """Return the likeliest class; output 0 is left out unless ``paper``."""
        return self._greatest(probabilities[:, self._first :])

    def certainty(self, probabilities: base.Outputs) -> Float[Tensor, "b 1 h w"]:
        """Return the probability of the likeliest class."""
        return probabilities[:, self._first :].amax(dim=1, keepdim=True)

    def errors(self, logits: base.Outputs, target: Labels) -> Float[Tensor, "b 1 h w"]:
        """Return the cross-entropy over all outputs, output 0 included."""
        classes = target[:, 0].long()
        if self.spec.has_void:
            classes = torch.where(classes == VOID, 0, classes)
        return functional.cross_entropy(logits.float(), classes, reduction="none").unsqueeze(1)

    def cross_entropy(
        self, logits: base.Outputs, target: Labels, known: base.Counted
    ) -> tuple[Float[Tensor, "b 1 h w"], Sequence[base.Areas]]:
        """Return the cross-entropy over all outputs, and the areas of every output."""
        chances = torch.log_softmax(logits.float(), dim=1)
        classes = _numbers(target)
        errors = -chances.gather(1, classes)
        said = chances.exp()
        right = torch.exp(-errors)
        if known is not None:
            said, right = said * known, right * known
        both = _by_class(right, classes, outputs=logits.shape[1])
        return errors, [both, said.sum(dim=(2, 3)), self.true_areas(target, known)]

    def true_areas(self, target: Labels, known: base.Counted) -> base.Areas:
        """Return the pixels of each output of each image that count."""
        ones = torch.ones_like(target, dtype=torch.float32) if known is None else known
        return _by_class(ones.expand(target.shape), _numbers(target), outputs=self.spec.outputs)

    def shown(self, target: Labels) -> Bool[Tensor, "b k"]:
        """Return which classes each target shows anywhere."""
        found = super(Multiclass, self).shown(target)
        found[:, INCONSISTENT] = False
        return found

    def vote(self, votes: UInt8[Tensor, "v b 1 h w"]) -> tuple[Labels, PixelMask]:
        """Return the class all teachers agree on, and where they do not."""
        return inconsistency.agree_on_class(votes)

    def pool(
        self, probabilities: Float[Tensor, "v b k h w"], *, how: base.Pool, of: base.Origin
    ) -> Labels:
        """Return the class of the greatest mean probability, or the one that most say.

        Of several classes that as many say it is the one of the greatest mean probability.

        Raises:
            ImsegError: If the vote is to be unanimous.
        """
        base.check_pool(self.spec, how)
        competing = probabilities[:, :, self._first :]
        merit = competing.mean(dim=0)
        if how == "majority":
            # Means decide between equal counts and never outweigh a vote: they lie less than 1
            # apart.
            for said in competing.argmax(dim=2, keepdim=True):
                merit.scatter_add_(1, said, torch.ones_like(merit[:, :1]))
        return self._greatest(merit)

    def grow_labels(self, labels: Labels) -> Labels:
        """Return labels dilated by 3x3, class after class."""
        return inconsistency.dilate_classes(labels, classes=self.spec.outputs)

    def meter(self) -> base.EpochMeter:
        """Return an empty meter of soft mIoU."""
        return RunningSoftMeanIoU() if self.paper else PooledSoftMeanIoU()

    def sums(
        self,
        predicted: Labels,
        target: Labels,
        *,
        rows: slice = overlap.WHOLE,
        size: tuple[int, int] | None = None,
    ) -> base.Sums:
        """Return the pixels by class, and those of the rim of each class."""
        rim = overlap.rim_width(size or (target.shape[2], target.shape[3]))
        guess, truth, valid = predicted[:, 0], target[:, 0], (target != VOID)[:, 0]
        rims = [
            overlap.rim_pixels(guess == index, truth == index, valid=valid, rim=rim, rows=rows)
            for index in range(self.spec.outputs)
        ]
        counts = self.counts(predicted[:, :, rows], target[:, :, rows])
        return counts, torch.stack(rims, dim=1)

    def scores_of(self, sums: base.Sums) -> dict[str, base.PerImage]:
        """Return IoU, Dice, boundary IoU (means over the classes in the truth) and accuracy."""
        matrices, rims = sums
        by_class = {
            "iou": overlap.iou_by_class(matrices),
            "dice": overlap.dice_by_class(matrices),
            "boundary_iou": overlap.iou_of(rims),
        }
        means = {name: overlap.mean_over_present(each, matrices) for name, each in by_class.items()}
        return {**means, "accuracy": overlap.accuracy_of(matrices)}

    def counts(self, predicted: Labels, target: Labels) -> Int[Tensor, "b k k"]:
        """Return pixel counts by class; output 0 has a row and a column of its own."""
        valid = (target != VOID)[:, 0]
        return overlap.confusion_matrices(
            predicted[:, 0], target[:, 0], classes=self.spec.outputs, valid=valid
        )

    def tally_of(self, counts: Int[Tensor, "b k k"]) -> Int[Tensor, "n n"]:
        """Return summed pixel counts; output 0 is among them under ``paper`` alone."""
        return counts.sum(dim=0)[self._first :, self._first :]

    def dataset_scores(self, tally: Int[Tensor, "n n"]) -> dict[str, Any]:
        """Return scores over all pixels by the user's class names."""
        if not self.paper:
            return base.from_confusion(self.spec, tally)
        ious, dices = overlap.iou_by_class(tally)[1:], overlap.dice_by_class(tally)[1:]
        return {
            "miou": ious.nanmean().item(),
            "dice": dices.nanmean().item(),
            "accuracy": (tally.diagonal().sum() / tally.sum().clamp(min=1)).item(),
            "iou_per_class": base.by_name(self.spec, ious),
            "dice_per_class": base.by_name(self.spec, dices),
        }

    def precision(self, tally: Int[Tensor, "n n"]) -> float | None:
        """Return the share of pixels whose class is right, of those that are given one."""
        first = INCONSISTENT + 1 if self.paper else 0
        given = tally[:, first:].sum().item()
        return tally.diagonal()[first:].sum().item() / given if given else None

    def strata(self, targets: Labels) -> list[frozenset[int]]:
        """Return the classes on each image."""
        present = (target.unique().tolist() for target in targets)
        return [frozenset(values) - {INCONSISTENT, VOID} for values in present]

    @property
    def _first(self) -> int:
        """The first output that competes."""
        return INCONSISTENT if self.paper else INCONSISTENT + 1

    def _greatest(self, merit: Float[Tensor, "b _ h w"]) -> Labels:
        """Return the class of the greatest merit, of those that compete."""
        return (merit.argmax(dim=1, keepdim=True) + self._first).to(torch.uint8)


def _numbers(target: Labels) -> Int64[Tensor, "b 1 h w"]:
    """Return classes as indices; void, which counts nowhere, as 0."""
    return target.long().masked_fill(target == VOID, 0)


def _by_class(
    values: Float[Tensor, "b 1 h w"], classes: Int64[Tensor, "b 1 h w"], *, outputs: int
) -> base.Areas:
    """Return the sum of the values of each class of each image."""
    sums = torch.zeros(len(values), outputs, dtype=values.dtype, device=values.device)
    return sums.scatter_add(1, classes.flatten(1), values.flatten(1))


def one_hot(target: Labels, outputs: int) -> Float[Tensor, "b k h w"]:
    """Return one plane an output, 1 where the target has its number; void is in none."""
    numbers = torch.arange(outputs, device=target.device).reshape(1, -1, 1, 1)
    return (target == numbers).float()
