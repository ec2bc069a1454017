"""Data-set scores that binary and multiclass targets share."""

from __future__ import annotations

import math
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from imseg.ops import overlap
from imseg.types import TargetSpec


def by_name(spec: TargetSpec, values: Float[Tensor, "n"]) -> dict[str, float | None]:
    """Return one number a class by its name; None where the class is neither true nor predicted."""
    pairs = zip(spec.names, values.tolist(), strict=True)
    return {name: None if math.isnan(value) else value for name, value in pairs}


def from_confusion(spec: TargetSpec, matrix: Int[Tensor, "n n"]) -> dict[str, Any]:
    """Return what the field reports from one confusion matrix over all images.

    Returns:
        ``miou`` and ``dice``: means over the classes that occur in truth or prediction (background
        included); ``accuracy``; ``iou_per_class`` and ``dice_per_class`` by class name.
    """
    ious, dices = overlap.iou_by_class(matrix), overlap.dice_by_class(matrix)
    total = matrix.sum().item()
    return {
        "miou": ious.nanmean().item() if total else None,
        "dice": dices.nanmean().item() if total else None,
        "accuracy": matrix.diagonal().sum().item() / total if total else None,
        "iou_per_class": by_name(spec, ious),
        "dice_per_class": by_name(spec, dices),
    }
