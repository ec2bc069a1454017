"""What a target amounts to: areas, or a mean; in numbers and in words."""

from __future__ import annotations

import numpy as np

from imseg.ops.markers import count_cells
from imseg.types import VOID, Target, TargetSpec


def areas_of(target: Target, spec: TargetSpec) -> dict[str, int]:
    """Return the pixels of each class or label of a ``t h w`` target by its name.

    A map of numbers has no areas: nothing is returned.
    """
    if spec.kind == "regression":
        return {}
    if spec.kind == "multilabel":
        planes = (target == 1).sum(axis=(1, 2)).tolist()
        return {name: planes[i] for i, name in enumerate(spec.names) if i != spec.position}
    counts = np.bincount(target[target != VOID].reshape(-1), minlength=256).tolist()
    return {name: counts[index + spec.first_index] for index, name in enumerate(spec.names)}


def counts_of(target: Target, spec: TargetSpec) -> dict[str, int]:
    """Return the cells of each label of a ``t h w`` target, where a plane marks their centers."""
    if spec.position is None:
        return {}
    shown = (target == 1).astype(np.uint8)
    counts = count_cells(shown[list(spec.areas)], shown[spec.position])
    return {spec.names[i]: int(n) for i, n in zip(spec.areas, counts, strict=True)}


def numbers_of(target: Target, spec: TargetSpec) -> dict[str, float]:
    """Return the mean, least and greatest number of a target in the user's unit.

    Nothing is returned for other kinds of targets, or where no pixel is known.
    """
    known = target[np.isfinite(target)] if spec.kind == "regression" else np.zeros(0)
    if not known.size:
        return {}
    numbers = known.astype(np.float64) * (spec.high - spec.low) + spec.low
    return {"mean": numbers.mean(), "least": numbers.min(), "greatest": numbers.max()}


def in_words(target: Target, spec: TargetSpec) -> str:
    """Return what a ``t h w`` target shows, in a few words."""
    if spec.kind == "regression":
        numbers = numbers_of(target, spec)
        if not numbers:
            return "nothing known"
        return f"{numbers['least']:.4g} to {numbers['greatest']:.4g} {spec.unit}".rstrip()
    names = [name for name, pixels in areas_of(target, spec).items() if pixels]
    return (", ".join(names) or "none") if len(names) <= 3 else f"{len(names)} classes"
