"""Any of several labels a pixel: one sigmoid output a plane; cell centers are discs.

A plane named ``position`` marks the middle of each cell by a disc. It weighs more in the loss, is
redrawn after every vote and before every score, counts cells and is no area.

Objects told apart are such planes too: from these planes to a label image, and its scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from imseg.ops import inconsistency, objects, overlap, same_objects
from imseg.tasks import base
from imseg.types import OBJECT_PLANES, POSITION, VOID, TargetSpec

Labels = UInt8[Tensor, "b t h w"]
"""1 where a plane has its label, else 0."""

AROUND = 256
"""Rows above and below others that are looked at with them: objects and discs cut there may count
otherwise than whole ones."""

POSITION_WEIGHT = 3.0
"""How much more the plane of cell centers counts in the loss than any other."""


class MeanLoss(base.EpochMeter):
    """The loss over all validation pixels, negated: the epoch with the least is kept.

    Args:
        task: Whose loss it is.
    """

    def __init__(self, task: "Multilabel") -> None:
        super().__init__()
        self._task = task

    def count(self, probabilities: base.Outputs, target: Labels) -> Float[Tensor, "2"]:
        """Return the summed losses of the images, and how many they are."""
        mean = self._task.error(probabilities, target, None).double()
        return torch.stack([mean * len(target), torch.full_like(mean, len(target))])

    def score(self, sums: Float[Tensor, "2"]) -> float:
        """Return minus the mean loss."""
        total, images = sums.tolist()
        return float(-total / images)


@dataclass(frozen=True, slots=True, kw_only=True)
class Multilabel(base.Task):
    """The task with any number of labels a pixel; ``spec.names[i]`` is plane ``i``.

    ``paper``: draw discs and score empty planes as the reference does.
    """

    unweighted: bool = False
    """All planes weigh the same in the loss; else that of cell centers weighs more."""

    grows_labels = True

    def discretize(self, probabilities: base.Outputs) -> Labels:
        """Return 1 where a probability is above one half; cell centers are redrawn as discs."""
        return self._with_discs(base.Task.discretize(self, probabilities), scoring=True)

    def hard_prediction(self, probabilities: base.Outputs) -> Labels:
        """Return 1 where a probability is one half or above, as the reference votes."""
        return (probabilities >= base.THRESHOLD).to(torch.uint8)

    def errors(self, logits: base.Outputs, target: Labels) -> Float[Tensor, "b t h w"]:
        """Return the squared error between probability and target."""
        return _squared_errors(self.probabilities(logits), target)

    def error(
        self, probabilities: base.Outputs, target: Labels, weight: base.Weight
    ) -> base.Scalar:
        """Return the loss of probabilities."""
        errors = _squared_errors(probabilities, target)
        return base.mean_by(errors, self.counted(target, weight))

    def counted(self, target: Labels, weight: base.Weight) -> Float[Tensor, "#b t #h #w"]:
        """Return how much each pixel counts in the loss, by plane: centers more than the others."""
        by_plane = torch.ones(1, self.spec.planes, 1, 1, device=target.device)
        if self.spec.position is not None and not self.unweighted:
            by_plane[0, self.spec.position] = POSITION_WEIGHT
        counted = base.Task.counted(self, target, weight)
        return by_plane if counted is None else by_plane * counted

    def pool(
        self, probabilities: Float[Tensor, "v b t h w"], *, how: base.Pool, of: base.Origin
    ) -> Labels:
        """Return labels; under ``paper`` teachers' mean, views where all say so.

        One half is enough for a teacher that is alone.
        """
        as_published: base.Pool = "unanimous" if of == "views" else "mean"
        rule = as_published if how == "paper" else how
        return base.pool_foreground(probabilities, how=rule, at_threshold=of == "one")

    def grow_labels(self, labels: Labels) -> Labels:
        """Return labels whose areas are dilated by 3x3, each plane by itself."""
        grown, areas = labels.clone(), list(self.spec.areas)
        grown[:, areas] = inconsistency.dilate(labels[:, areas].bool(), 3).to(torch.uint8)
        return grown

    def redraw(self, labels: Labels) -> Labels:
        """Return labels of teachers whose cell centers are spaced discs."""
        return self._with_discs(labels, scoring=False)

    def meter(self) -> MeanLoss:
        """Return an empty meter of the loss."""
        return MeanLoss(self)

    def reach(self, size: tuple[int, int]) -> int:
        """Return how many rows are looked at around others, for rims and for whole discs."""
        return max(AROUND, overlap.rim_width(size))

    def sums(
        self,
        predicted: Labels,
        target: Labels,
        *,
        rows: slice = overlap.WHOLE,
        size: tuple[int, int] | None = None,
    ) -> base.Sums:
        """Return the pixels of each plane, of the rims of areas, and cells predicted and true."""
        rim = overlap.rim_width(size or (target.shape[2], target.shape[3]))
        rims = [
            overlap.rim_pixels(
                predicted[:, t] == 1, target[:, t] == 1, valid=target[:, t] != VOID, rim=rim,
                rows=rows,
            )
            for t in self.spec.areas
        ]  # fmt: skip
        found = self.counts(predicted[:, :, rows], target[:, :, rows]), torch.stack(rims, dim=1)
        return (*found, self._cells(predicted, target, rows)) if self._counts_cells else found

    def scores_of(self, sums: base.Sums) -> dict[str, base.PerImage]:
        """Return IoU, Dice and boundary IoU (means over areas), IoU by plane, errors of counting.

        ``miou`` is the mean over all planes, ``cell_count_error`` the sum over area planes of the
        differences between cells predicted and true.
        """
        ious = overlap.iou_of(sums[0], empty=0.0 if self.paper else 1.0).unbind(1)
        dices, areas = overlap.dice_of(sums[0]).unbind(1), self.spec.areas
        scores = {
            "iou": torch.stack([ious[t] for t in areas]).mean(dim=0),
            "dice": torch.stack([dices[t] for t in areas]).mean(dim=0),
            "boundary_iou": torch.stack(overlap.iou_of(sums[1]).unbind(1)).mean(dim=0),
            "miou": torch.stack(ious).mean(dim=0),
        }
        if self._counts_cells:
            here, there = sums[2].unbind(1)
            scores["cell_count_error"] = (here - there).abs().sum(dim=1).double()
        return scores | {f"iou_{name}": ious[t] for t, name in enumerate(self.spec.names)}

    def counts(self, predicted: Labels, target: Labels) -> Int[Tensor, "b t 2 2"]:
        """Return pixel counts by truth (row) and prediction (column) of each plane."""
        return overlap.pixels_of(predicted == 1, target == 1, valid=target != VOID)

    def dataset_scores(self, tally: Int[Tensor, "t 2 2"]) -> dict[str, Any]:
        """Return scores over all pixels; ``iou`` and ``dice`` are means over the area planes."""
        ious = overlap.iou_by_class(tally)[:, 1]
        dices = overlap.dice_by_class(tally)[:, 1]
        areas = list(self.spec.areas)
        return {
            "iou": _mean(ious[areas]),
            "miou": _mean(ious),
            "dice": _mean(dices[areas]),
            "iou_per_class": base.by_name(self.spec, ious),
            "dice_per_class": base.by_name(self.spec, dices),
        }

    def precision(self, tally: Int[Tensor, "t 2 2"]) -> float | None:
        """Return the share of what the area planes predict that is there."""
        areas = tally[list(self.spec.areas)]
        predicted = areas[:, :, 1].sum().item()
        return areas[:, 1, 1].sum().item() / predicted if predicted else None

    def strata(self, targets: Labels) -> list[frozenset[int]]:
        """Return for each image and label the quarter of the images by how much it shows of it."""
        found: list[frozenset[int]] = [frozenset()] * len(targets)
        for plane in self.spec.areas:
            groups = base.quarters((targets[:, plane] == 1).sum(dim=(1, 2)).tolist())
            shift = plane * 16
            found = [
                before | {group + shift for group in here}
                for before, here in zip(found, groups, strict=True)
            ]
        return found

    def _with_discs(self, labels: Labels, *, scoring: bool) -> Labels:
        plane = self.spec.position
        if plane is None:
            return labels
        drawn = labels.clone()
        drawn[:, plane] = objects.redraw(labels[:, plane], paper=self.paper, scoring=scoring)
        return drawn

    @property
    def _counts_cells(self) -> bool:
        return self.spec.position is not None and self.spec.coding != "objects"

    def _cells(self, predicted: Labels, target: Labels, rows: slice) -> Int[Tensor, "b 2 n"]:
        """Return how many cells with centers in some rows are predicted and true, by area plane."""
        areas, position = list(self.spec.areas), self.spec.position
        counted = [
            [
                objects.count_cells(planes[areas], planes[position], rows, paper=self.paper)
                for planes in (batch == 1).byte().cpu().numpy()
            ]
            for batch in (predicted.masked_fill(target == VOID, 0), target)
        ]
        return torch.from_numpy(np.stack([np.stack(each) for each in counted], axis=1))


def _mean(values: Float[Tensor, "n"]) -> float | None:
    return None if values.isnan().all() else values.nanmean().item()


def _squared_errors(probabilities: base.Outputs, target: Labels) -> Float[Tensor, "b t h w"]:
    return (probabilities - (target == 1).float()).square()


MATCHED = 0.5
"""Two objects are the same from this IoU on."""


AREA, BORDER, CENTERS = (OBJECT_PLANES.index(name) for name in ("area", "border", POSITION))


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects(Multilabel):
    """The planes of objects: area, border and position, of which the last two follow from objects.

    Teachers hardly ever draw a thin rim or a small disc on the very same pixels. Where they differ
    about these alone they do not doubt what is there, so only the area is inconsistent; border and
    position of a pseudo-label are drawn anew from the objects that the teachers see together.
    """

    def vote(self, votes: UInt8[Tensor, "v b 3 h w"]) -> tuple[Labels, Bool[Tensor, "b 3 h w"]]:
        """Return area that all teachers see, borders that any sees, the best one's centers.

        The centers of several teachers would lie side by side, and cut objects in two.
        """
        unanimous, disputed = Multilabel.vote(self, votes)
        inconsistent = torch.zeros_like(disputed)
        inconsistent[:, AREA] = disputed[:, AREA]
        return _with_marks(unanimous, votes), inconsistent

    def pool(
        self, probabilities: Float[Tensor, "v b 3 h w"], *, how: base.Pool, of: base.Origin
    ) -> Labels:
        """Return the area that the opinions give together, any borders, the first one's centers.

        Rims of a pixel or two hardly ever meet: a mean or a majority would lose them.
        """
        pooled = Multilabel.pool(self, probabilities, how=how, of=of)
        return _with_marks(pooled, self.hard_prediction(probabilities))

    def discretize(self, probabilities: base.Outputs) -> Labels:
        """Return 1 where a probability is above one half, centers as they are predicted."""
        return base.Task.discretize(self, probabilities)

    def redraw(self, labels: Labels) -> Labels:
        """Return the planes of the objects that labels show."""
        drawn = labels.cpu().numpy().copy()
        for place, planes in enumerate(drawn.astype(np.float32)):
            drawn[place] = objects.object_planes(objects.separate(*planes))
        return torch.from_numpy(drawn).to(labels.device)


def _with_marks(labels: Labels, votes: UInt8[Tensor, "v b 3 h w"]) -> Labels:
    marked = labels.clone()
    marked[:, BORDER] = votes[:, :, BORDER].amax(dim=0)
    marked[:, CENTERS] = votes[0, :, CENTERS]
    return marked


def tells_apart(spec: TargetSpec) -> bool:
    """Return whether predictions are label images of objects."""
    return spec.coding == "objects"


def find_objects(task: base.Task, probabilities: Float[Tensor, "1 t h w"]) -> npt.NDArray[np.int32]:
    """Return a label image (``h w``; 0 is background, objects are 1..k) from probabilities.

    Centers are taken as they are predicted: discs that were spaced anew lose crowded objects.
    """
    planes = dict(zip(task.spec.names, probabilities[0].cpu().numpy(), strict=True))
    centers = (planes[POSITION] > base.THRESHOLD).astype(np.uint8)
    return objects.separate(planes["area"], planes["border"], centers)


def object_scores(counts: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, float]:
    """Return scores of (true positive, false positive, false negative) objects.

    Returns:
        ``object_f1`` (2 tp / (2 tp + fp + fn)) and ``object_ap`` (tp / (tp + fp + fn), the average
        precision at one threshold of the Data Science Bowl), both at IoU .5; 1 where there is no
        object on either side.
    """
    matches = same_objects.Matches(*(int(count) for count in counts))
    return {"object_f1": matches.f1, "object_ap": matches.ap}
