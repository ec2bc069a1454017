"""Targets as colors, for people to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.palette import BLACK, GRAY, distinct_colors
from imseg.types import INCONSISTENT, VOID, Bytes, TargetSpec

_SCALE = np.array(
    [(28, 16, 68), (79, 18, 123), (129, 37, 129), (181, 54, 122), (229, 80, 100), (251, 135, 97),
     (254, 194, 135), (252, 253, 191)],
    np.float32,
)  # fmt: skip
"""Colors from low to high numbers; lightness rises all the way, for gray prints too."""


def colorize(target: npt.NDArray[Any], spec: TargetSpec) -> Bytes:
    """Return a ``t h w`` target as ``h w 3`` colors.

    "Inconsistent" and "none of the labels" are black, void is gray. Where labels overlap, the later
    one is seen. Numbers run from dark violet (``spec.low``) to pale yellow (``spec.high``).
    """
    match spec.kind:
        case "multilabel":
            return _paint_planes(target, spec)
        case "regression":
            return _paint_numbers(target[0])
        case _:
            colors = np.zeros((256, 3), np.uint8)
            colors[INCONSISTENT] = BLACK
            colors[VOID] = GRAY
            first = spec.first_index
            colors[first : first + len(spec.values)] = spec.colors
            painted: Bytes = colors[target[0]]
            return painted


def covered(target: npt.NDArray[Any], spec: TargetSpec) -> npt.NDArray[np.bool_]:
    """Return where a ``t h w`` target shows something (``h w``): not background, not void."""
    found: npt.NDArray[np.bool_]
    if spec.kind == "regression":
        found = np.isfinite(target[0])
    else:
        found = (target != INCONSISTENT).any(axis=0)
    return found


def ends_of_scale(spec: TargetSpec) -> tuple[str, str] | None:
    """Return what the darkest and the lightest color mean; None where colors stand for names."""
    if spec.kind != "regression":
        return None
    return f"{spec.low:.4g}", f"{spec.high:.4g} {spec.unit}".rstrip()


def scale_bar(height: int, width: int) -> Bytes:
    """Return the colors of numbers from low (left) to high (right), ``height width 3``."""
    return _paint_numbers(np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1)))


def colorize_objects(labels: npt.NDArray[Any]) -> Bytes:
    """Return an ``h w`` label image as ``h w 3``: neighbors in numbering differ in color."""
    colors = np.array((BLACK, *distinct_colors(40)), np.uint8)
    painted: Bytes = colors[np.where(labels > 0, (labels - 1) % 40 + 1, 0)]
    return painted


def _paint_planes(target: npt.NDArray[Any], spec: TargetSpec) -> Bytes:
    painted = np.zeros((*target.shape[1:], 3), np.uint8)
    for plane, color in zip(target, spec.colors, strict=True):
        painted[plane == VOID] = GRAY
        painted[plane == 1] = color
    return painted


def _paint_numbers(numbers: npt.NDArray[Any]) -> Bytes:
    known = np.isfinite(numbers)
    places = np.clip(np.where(known, numbers, 0), 0, 1) * (len(_SCALE) - 1)
    below = np.minimum(places.astype(np.int64), len(_SCALE) - 2)
    share = (places - below)[..., None]
    mixed = _SCALE[below] * (1 - share) + _SCALE[below + 1] * share
    return np.where(known[..., None], np.rint(mixed), np.array(GRAY)).astype(np.uint8)
