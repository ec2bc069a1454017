"""Losses and scores that several kinds of targets share."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from imseg.ops import overlap
from imseg.types import VOID, TargetSpec


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


def weighted_mean(
    values: Float[Tensor, "b t h w"],
    target: UInt8[Tensor, "b t h w"],
    weight: Float[Tensor, "b 1 h w"] | None,
    *,
    has_void: bool,
) -> Float[Tensor, ""]:
    """Return the mean over pixels that count; 0 where none does."""
    weight = _without_void(weight, target, has_void=has_void)
    return values.mean() if weight is None else mean_by(values, weight)


def mass_of(
    target: UInt8[Tensor, "b t h w"],
    weight: Float[Tensor, "b 1 h w"] | None,
    *,
    has_void: bool,
) -> Float[Tensor, ""]:
    """Return the sum of weights that ``weighted_mean`` divides by: the pixels that count."""
    weight = _without_void(weight, target, has_void=has_void)
    if weight is None:
        return torch.full((), float(target.numel()), device=target.device)
    return weight.expand_as(target).sum()


def _without_void(
    weight: Float[Tensor, "b 1 h w"] | None, target: UInt8[Tensor, "b t h w"], *, has_void: bool
) -> Float[Tensor, "b #t h w"] | None:
    """Return weights that are 0 where the target is void; None if all pixels count."""
    if not has_void:
        return weight
    counted = (target != VOID).float()
    return counted if weight is None else weight * counted


def mean_by(
    values: Float[Tensor, "b t h w"], weight: Float[Tensor, "b #t h w"]
) -> Float[Tensor, ""]:
    """Return the weighted mean; 0 where nothing has a weight."""
    weight = weight.expand_as(values)
    return (values * weight).sum() / weight.sum().clamp(min=1.0)
