"""Losses and scores that several kinds of targets share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from imseg.errors import ImsegError
from imseg.ops import overlap
from imseg.tasks.base import Pool
from imseg.types import INCONSISTENT, VOID, TargetSpec


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
    target: UInt8[Tensor, "b t h w"], weight: Float[Tensor, "b 1 h w"] | None, *, has_void: bool
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


GROUPS = 4
"""Groups into which images are sorted by how much they show."""


def quarters(amounts: Sequence[float]) -> list[frozenset[int]]:
    """Return for each image its quarter (0..3) by an amount of something; none where it is 0."""
    marked = sorted(
        (i for i, amount in enumerate(amounts) if amount > 0 or amount < 0),
        key=lambda i: amounts[i],
    )
    found = {index: rank * GROUPS // len(marked) for rank, index in enumerate(marked)}
    return [frozenset({found[i]}) if i in found else frozenset() for i in range(len(amounts))]


THRESHOLD = 0.5
"""There is something where its probability is above this (or, where the paper says so, at it)."""

POSSIBLE: dict[str, tuple[Pool, ...]] = {
    "binary": ("paper", "mean", "majority", "unanimous"),
    "multiclass": ("paper", "mean", "majority"),
    "multilabel": ("paper", "mean", "majority", "unanimous"),
    "regression": ("paper", "mean"),
}
"""How opinions about each kind of target can be pooled."""


def check_pool(spec: TargetSpec, how: Pool) -> None:
    """Refuse a way of pooling that does not go with the kind of target.

    Args:
        spec: What mask values mean.
        how: The way.

    Raises:
        ImsegError: If it is none of ``POSSIBLE``.
    """
    possible = POSSIBLE[spec.kind]
    if how in possible:
        return
    if spec.kind == "multiclass":
        # A pixel without a unanimous class would be taught as output 0, with nothing to blame.
        what = "Networks cannot vote unanimously on classes: where they differ there is no label."
        hint = "--approach im, which masks those pixels; or --vote majority."
    else:
        what = f"There is no {how} vote on numbers: hardly two networks say the same one."
        hint = "--vote mean."
    raise ImsegError(what, expected=f"a vote that is {' or '.join(possible)}.", got=how, hint=hint)


def pool_foreground(
    probabilities: Float[Tensor, "v b t h w"], *, how: Pool, at_threshold: bool
) -> UInt8[Tensor, "b t h w"]:
    """Return 1 where the opinions together say that there is something, plane by plane.

    Args:
        probabilities: Of the same pixels, 0..1.
        how: ``mean``, ``majority`` (more than half) or ``unanimous``.
        at_threshold: Whether a probability of exactly one half says so too.
    """
    if how == "mean":
        probabilities = probabilities.mean(dim=0, keepdim=True)
    says = probabilities >= THRESHOLD if at_threshold else probabilities > THRESHOLD
    needed = len(says) if how == "unanimous" else len(says) // 2 + 1
    return (says.sum(dim=0) >= needed).to(torch.uint8)


def pool_classes(
    probabilities: Float[Tensor, "v b k h w"], *, how: Pool, reserved_too: bool
) -> UInt8[Tensor, "b 1 h w"]:
    """Return the class on which the opinions settle.

    Args:
        probabilities: Of the same pixels, 0..1.
        how: ``mean``, or ``majority``: the class that most say; of several such classes the one of
            the greatest mean probability.
        reserved_too: Whether output 0, "inconsistent", competes.
    """
    first = INCONSISTENT if reserved_too else INCONSISTENT + 1
    merit = probabilities[:, :, first:].mean(dim=0)
    if how == "majority":
        said = probabilities[:, :, first:].argmax(dim=2, keepdim=True)
        # Means decide between equal counts and never outweigh a vote: they lie less than 1 apart.
        for one in said:
            merit.scatter_add_(1, one, torch.ones_like(merit[:, :1]))
    return (merit.argmax(dim=1, keepdim=True) + first).to(torch.uint8)
