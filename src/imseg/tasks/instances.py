"""Objects told apart: from the planes of a multilabel target to a label image and its scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from imseg.ops.objects import Matches, match_objects, object_planes, separate
from imseg.tasks.base import Origin, Pool, Task
from imseg.tasks.multilabel import Multilabel
from imseg.tasks.scores import THRESHOLD
from imseg.types import OBJECT_PLANES, POSITION, TargetSpec

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

    def vote(
        self, votes: UInt8[Tensor, "v b 3 h w"]
    ) -> tuple[UInt8[Tensor, "b 3 h w"], Bool[Tensor, "b 3 h w"]]:
        """Return area that all teachers see, borders that any sees, the best one's centers.

        The centers of several teachers would lie side by side, and cut objects in two.
        """
        unanimous, disputed = Multilabel.vote(self, votes)
        inconsistent = torch.zeros_like(disputed)
        inconsistent[:, AREA] = disputed[:, AREA]
        return _with_marks(unanimous, votes), inconsistent

    def pool(
        self, probabilities: Float[Tensor, "v b 3 h w"], *, how: Pool, of: Origin
    ) -> UInt8[Tensor, "b 3 h w"]:
        """Return the area that the opinions give together, any borders, the first one's centers.

        Rims of a pixel or two hardly ever meet: a mean or a majority would lose them.
        """
        pooled = Multilabel.pool(self, probabilities, how=how, of=of)
        return _with_marks(pooled, self.hard_prediction(probabilities))

    def discretize(self, probabilities: Float[Tensor, "b 3 h w"]) -> UInt8[Tensor, "b 3 h w"]:
        """Return 1 where a probability is above one half, centers as they are predicted."""
        return (probabilities > THRESHOLD).to(torch.uint8)

    def redraw(self, labels: UInt8[Tensor, "b 3 h w"]) -> UInt8[Tensor, "b 3 h w"]:
        """Return the planes of the objects that labels show."""
        drawn = []
        for area, border, position in labels.cpu().numpy().astype(np.float32):
            drawn.append(object_planes(separate(area, border, position)))
        stacked = np.stack(drawn) if drawn else np.zeros(tuple(labels.shape), np.uint8)
        return torch.from_numpy(stacked).to(labels.device)


def _with_marks(
    labels: UInt8[Tensor, "b 3 h w"], votes: UInt8[Tensor, "v b 3 h w"]
) -> UInt8[Tensor, "b 3 h w"]:
    marked = labels.clone()
    marked[:, BORDER] = votes[:, :, BORDER].amax(dim=0)
    marked[:, CENTERS] = votes[0, :, CENTERS]
    return marked


def tells_apart(spec: TargetSpec) -> bool:
    """Return whether predictions are label images of objects."""
    return spec.coding == "objects"


def find_objects(task: Task, probabilities: Float[Tensor, "1 t h w"]) -> npt.NDArray[np.int32]:
    """Return a label image (``h w``; 0 is background, objects are 1..k) from probabilities.

    Centers are taken as they are predicted: discs that were spaced anew lose crowded objects.
    """
    planes = dict(zip(task.spec.names, probabilities[0].cpu().numpy(), strict=True))
    centers = (planes[POSITION] > THRESHOLD).astype(np.uint8)
    return separate(planes["area"], planes["border"], centers)


def compare_objects(
    predicted: npt.NDArray[Any], truth: npt.NDArray[Any], *, void: int | None
) -> Matches:
    """Return how many objects of two label images are the same."""
    outside = None if void is None else truth == void
    known = truth if outside is None else np.where(outside, 0, truth)
    return match_objects(predicted, known, threshold=MATCHED, void_mask=outside)


def object_scores(counts: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, float]:
    """Return scores of (true positive, false positive, false negative) objects.

    Returns:
        ``object_f1`` (2 tp / (2 tp + fp + fn)) and ``object_ap`` (tp / (tp + fp + fn), the average
        precision at one threshold of the Data Science Bowl), both at IoU .5; 1 where there is no
        object on either side.
    """
    right, extra, missed = counts
    everything = right + extra + missed
    return {
        "object_f1": 2 * right / (everything + right) if everything else 1.0,
        "object_ap": right / everything if everything else 1.0,
    }
