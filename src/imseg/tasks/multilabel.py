"""Any of several labels a pixel: one sigmoid output a plane; cell centers are discs.

A plane named ``position`` marks the middle of each cell by a disc. It weighs more in the loss, is
redrawn after every vote and before every score, counts cells and is no area.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from imseg.ops import inconsistency, markers, overlap
from imseg.tasks.base import Metric, Origin, Pool
from imseg.tasks.scores import THRESHOLD, by_name, mean_by, pool_foreground, quarters
from imseg.types import VOID, Bytes, TargetSpec

POSITION_WEIGHT = 3.0
"""How much more the plane of cell centers counts in the loss than any other."""


@dataclass(slots=True)
class MeanLoss:
    """The loss over all validation pixels, negated: the epoch with the least is kept."""

    task: Multilabel
    # The sum stays where the batches are until it is asked for: reading it makes a GPU wait.
    total: Float[Tensor, ""] | float = 0.0
    images: int = field(default=0)

    def update(
        self, probabilities: Float[Tensor, "b t h w"], target: UInt8[Tensor, "b t h w"]
    ) -> None:
        """Add a batch."""
        count = len(target)
        self.total = self.total + self.task.error(probabilities, target, None).double() * count
        self.images += count

    def value(self) -> float:
        """Return minus the mean loss so far."""
        return -float(self.total) / max(self.images, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Multilabel:
    """The task with any number of labels a pixel; ``spec.names[i]`` is plane ``i``."""

    spec: TargetSpec
    """Names and colors of the planes."""
    paper: bool = False
    """Draw discs and score empty planes as the reference does."""
    unweighted: bool = False
    """All planes weigh the same in the loss; else that of cell centers weighs more."""

    @property
    def metric(self) -> Metric:
        """IoU: mean over the area planes, then over images."""
        return Metric(key="iou", label="IoU")

    @property
    def zero_is_nothing(self) -> bool:
        """0 is background."""
        return True

    @property
    def grows_labels(self) -> bool:
        """Each area by itself."""
        return True

    @property
    def moves_views(self) -> bool:
        """Views differ in their values alone."""
        return False

    def probabilities(self, logits: Float[Tensor, "b t h w"]) -> Float[Tensor, "b t h w"]:
        """Return the probability of each label."""
        return torch.sigmoid(logits.float())

    def discretize(self, probabilities: Float[Tensor, "b t h w"]) -> UInt8[Tensor, "b t h w"]:
        """Return 1 where a probability is above one half; cell centers are redrawn as discs."""
        return self._with_discs((probabilities > THRESHOLD).to(torch.uint8), scoring=True)

    def hard_prediction(self, probabilities: Float[Tensor, "b t h w"]) -> UInt8[Tensor, "b t h w"]:
        """Return 1 where a probability is one half or above, as the reference votes."""
        return (probabilities >= THRESHOLD).to(torch.uint8)

    def loss(
        self,
        logits: Float[Tensor, "b t h w"],
        target: UInt8[Tensor, "b t h w"],
        weight: Float[Tensor, "b 1 h w"] | None,
    ) -> Float[Tensor, ""]:
        """Return the mean squared error between probability and target, by plane weight."""
        return self.error(self.probabilities(logits), target, weight)

    def error(
        self,
        probabilities: Float[Tensor, "b t h w"],
        target: UInt8[Tensor, "b t h w"],
        weight: Float[Tensor, "b 1 h w"] | None,
    ) -> Float[Tensor, ""]:
        """Return the loss of probabilities."""
        error = (probabilities - (target == 1).float()).square()
        return mean_by(error, self._weights(error, target, weight))

    def mass(
        self, target: UInt8[Tensor, "b t h w"], weight: Float[Tensor, "b 1 h w"] | None
    ) -> Float[Tensor, ""]:
        """Return the pixels that count in the loss, by plane weight."""
        like = target.float()
        return self._weights(like, target, weight).expand_as(like).sum()

    def _weights(
        self,
        like: Float[Tensor, "b t h w"],
        target: UInt8[Tensor, "b t h w"],
        weight: Float[Tensor, "b 1 h w"] | None,
    ) -> Float[Tensor, "#b t #h #w"]:
        """Return how much each pixel of each plane counts."""
        by_plane = self._plane_weights(like)
        if self.spec.void is not None:
            by_plane = by_plane * (target != VOID).float()
        return by_plane if weight is None else by_plane * weight

    def vote(
        self, votes: UInt8[Tensor, "v b t h w"]
    ) -> tuple[UInt8[Tensor, "b t h w"], Bool[Tensor, "b t h w"]]:
        """Return for each label what all teachers say, and where some but not all say it."""
        return inconsistency.agree_on_foreground(votes)

    def pool(
        self, probabilities: Float[Tensor, "v b t h w"], *, how: Pool, of: Origin
    ) -> UInt8[Tensor, "b t h w"]:
        """Return labels; under ``paper`` teachers' mean, views where all say so.

        One half is enough for a teacher that is alone.
        """
        as_published: Pool = "unanimous" if of == "views" else "mean"
        rule = as_published if how == "paper" else how
        return pool_foreground(probabilities, how=rule, at_threshold=of == "one")

    def grow_labels(self, labels: UInt8[Tensor, "b t h w"]) -> UInt8[Tensor, "b t h w"]:
        """Return labels whose areas are dilated by 3x3, each plane by itself."""
        grown = labels.clone()
        for plane in self.spec.areas:
            one = labels[:, plane : plane + 1].bool()
            grown[:, plane : plane + 1] = inconsistency.dilate(one, 3).to(torch.uint8)
        return grown

    def redraw(self, labels: UInt8[Tensor, "b t h w"]) -> UInt8[Tensor, "b t h w"]:
        """Return labels of teachers whose cell centers are spaced discs."""
        return self._with_discs(labels, scoring=False)

    def exceeds_inconsistency(
        self, labels: UInt8[Tensor, "b t h w"], inconsistent: Bool[Tensor, "b t h w"]
    ) -> Bool[Tensor, "b"]:
        """Return true for every image: the paper admits all of them."""
        return torch.ones(labels.shape[0], dtype=torch.bool, device=labels.device)

    def survives(self, labels: UInt8[Tensor, "b t h w"], kernel: int) -> Bool[Tensor, "b"]:
        """Return true for every image: the paper drops none of them."""
        return torch.ones(labels.shape[0], dtype=torch.bool, device=labels.device)

    def meter(self) -> MeanLoss:
        """Return an empty meter of the loss."""
        return MeanLoss(self)

    def image_scores(
        self, predicted: UInt8[Tensor, "b t h w"], target: UInt8[Tensor, "b t h w"]
    ) -> dict[str, Float[Tensor, "b"]]:
        """Return IoU, Dice and boundary IoU (means over areas), IoU by plane, errors of counting.

        ``miou`` is the mean over all planes, ``cell_count_error`` the sum over area planes of the
        differences between cells predicted and true.
        """
        valid = target != VOID
        guess, truth = predicted == 1, target == 1
        empty = 0.0 if self.paper else 1.0
        planes = range(self.spec.planes)
        ious = [
            overlap.iou(guess[:, t], truth[:, t], valid=valid[:, t], empty=empty) for t in planes
        ]
        areas = self.spec.areas
        dices = [overlap.dice(guess[:, t], truth[:, t], valid=valid[:, t]) for t in areas]
        rims = [overlap.boundary_iou(guess[:, t], truth[:, t], valid=valid[:, t]) for t in areas]
        scores = {
            "iou": torch.stack([ious[t] for t in areas]).mean(dim=0),
            "dice": torch.stack(dices).mean(dim=0),
            "boundary_iou": torch.stack(rims).mean(dim=0),
            "miou": torch.stack(ious).mean(dim=0),
        }
        if self.spec.position is not None and self.spec.coding != "objects":
            scores["cell_count_error"] = self._count_error(predicted, target)
        return scores | {f"iou_{name}": ious[t] for t, name in enumerate(self.spec.names)}

    def tally(
        self, predicted: UInt8[Tensor, "b t h w"], target: UInt8[Tensor, "b t h w"]
    ) -> Int[Tensor, "t 2 2"]:
        """Return pixel counts by truth (row) and prediction (column) of each plane."""
        return torch.stack(
            [
                overlap.confusion_matrix(
                    predicted[:, t], target[:, t], classes=2, valid=target[:, t] != VOID
                )
                for t in range(self.spec.planes)
            ]
        )

    def dataset_scores(self, tally: Int[Tensor, "t 2 2"]) -> dict[str, Any]:
        """Return scores over all pixels; ``iou`` and ``dice`` are means over the area planes."""
        ious = overlap.iou_by_class(tally)[:, 1]
        dices = overlap.dice_by_class(tally)[:, 1]
        areas = list(self.spec.areas)
        return {
            "iou": _mean(ious[areas]),
            "miou": _mean(ious),
            "dice": _mean(dices[areas]),
            "iou_per_class": by_name(self.spec, ious),
            "dice_per_class": by_name(self.spec, dices),
        }

    def precision(self, tally: Int[Tensor, "t 2 2"]) -> float | None:
        """Return the share of what the area planes predict that is there."""
        areas = tally[list(self.spec.areas)]
        predicted = areas[:, :, 1].sum().item()
        return areas[:, 1, 1].sum().item() / predicted if predicted else None

    def known(self, truth: UInt8[Tensor, "b t h w"]) -> Bool[Tensor, "b 1 h w"]:
        """Return where the truth is not void."""
        return (truth != VOID).any(dim=1, keepdim=True)

    def blank(
        self, truth: UInt8[Tensor, "b t h w"], where: Bool[Tensor, "b 1 h w"]
    ) -> UInt8[Tensor, "b t h w"]:
        """Return the truth, void in some places too."""
        return truth.masked_fill(where, VOID)

    def strata(self, targets: UInt8[Tensor, "b t h w"]) -> list[frozenset[int]]:
        """Return for each image and label the quarter of the images by how much it shows of it."""
        found: list[frozenset[int]] = [frozenset()] * len(targets)
        for plane in self.spec.areas:
            groups = quarters((targets[:, plane] == 1).sum(dim=(1, 2)).tolist())
            shift = plane * 16
            found = [
                before | {group + shift for group in here}
                for before, here in zip(found, groups, strict=True)
            ]
        return found

    def _with_discs(
        self, labels: UInt8[Tensor, "b t h w"], *, scoring: bool
    ) -> UInt8[Tensor, "b t h w"]:
        plane = self.spec.position
        if plane is None:
            return labels
        drawn = labels.clone()
        drawn[:, plane] = markers.redraw(labels[:, plane], paper=self.paper, scoring=scoring)
        return drawn

    def _plane_weights(self, like: Float[Tensor, "b t h w"]) -> Float[Tensor, "1 t 1 1"]:
        weights = torch.ones(1, self.spec.planes, 1, 1, device=like.device)
        if self.spec.position is not None and not self.unweighted:
            weights[0, self.spec.position] = POSITION_WEIGHT
        return weights

    def _count_error(
        self, predicted: UInt8[Tensor, "b t h w"], target: UInt8[Tensor, "b t h w"]
    ) -> Float[Tensor, "b"]:
        """Return how many cells too many or too few are seen, summed over the area planes."""
        counted = [
            [self._count(planes) for planes in (batch == 1).byte().cpu().numpy()]
            for batch in (predicted.masked_fill(target == VOID, 0), target)
        ]
        errors = [float(abs(here - there).sum()) for here, there in zip(*counted, strict=True)]
        return torch.tensor(errors, dtype=torch.double)

    def _count(self, planes: Bytes) -> npt.NDArray[np.int64]:
        """Return how many cells there are of each kind."""
        return markers.count_cells(
            planes[list(self.spec.areas)], planes[self.spec.position], paper=self.paper
        )


def _mean(values: Float[Tensor, "n"]) -> float | None:
    mean = values.nanmean().item()
    return None if mean != mean else mean
