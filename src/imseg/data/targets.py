"""From a labeled picture to its encoded target, from files and from arrays alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.encoding import UnknownMaskValues, encode, pack_colors
from imseg.data.image_io import MaskFile, as_packed_colors, read_mask, resize_mask
from imseg.data.mask_io import are_whole
from imseg.errors import ImsegError
from imseg.ops.markers import disc_radii, draw_discs, find_centers
from imseg.types import VOID, LabeledImage, Target, TargetSpec


def load_target(
    pair: LabeledImage, spec: TargetSpec, size: tuple[int, int] | None = None
) -> Target:
    """Return the target of a picture, ``t h w``, in the numbering inside.

    Args:
        pair: A picture and its mask.
        spec: What mask values mean.
        size: Height and width to resize to, by nearest neighbor; None keeps the mask's own.

    Raises:
        ImsegError: If a file cannot be read or holds unknown values.
    """
    values = drawn = load_values(pair, spec)
    if size is not None:
        values = _resized(drawn, size)
    try:
        target = encode(values, spec)
    except UnknownMaskValues as error:
        name = str(pair.mask) if isinstance(pair.mask, Path) else f"The mask of {pair.name}"
        raise ImsegError(
            f"{name} holds unknown values.",
            expected=error.expected,
            got=error.got,
            hint=error.hint,
        ) from error
    if spec.coding == "planes" and spec.position is not None and values.shape != drawn.shape:
        _place_discs(target[spec.position], drawn[spec.position], spec)
    return target


def _place_discs(plane: npt.NDArray[Any], marked: npt.NDArray[Any], spec: TargetSpec) -> None:
    """Draw the discs of a plane anew at another size: shrunk with the picture they would vanish."""
    known = (marked != 0) if spec.void is None else (marked != 0) & (marked != spec.void)
    # Erosion parts discs that touch, but loses points and very small ones.
    centers = max((find_centers(known, eroded=eroded) for eroded in (True, False)), key=len)
    scale = np.array(plane.shape) / np.array(marked.shape)
    places = np.floor((centers + 0.5) * scale).astype(np.int64)
    discs = draw_discs(places, disc_radii(places), plane.shape)
    plane[plane != VOID] = discs[plane != VOID]


def load_values(pair: LabeledImage, spec: TargetSpec) -> npt.NDArray[Any]:
    """Return the file values of a mask: ``h w``, or ``t h w`` planes in the order of the spec.

    Raises:
        ImsegError: If a file cannot be read, or is of another kind than the spec's.
    """
    mask = pair.mask
    if isinstance(mask, Path):
        return _of_file(read_mask(mask), mask, spec)
    if isinstance(mask, Mapping):
        return np.stack([_of_file(read_mask(mask[name]), mask[name], spec) for name in spec.names])
    if spec.coding == "colors" and mask.ndim == 3:
        return pack_colors(mask)
    return mask


def _of_file(found: MaskFile, path: Path, spec: TargetSpec) -> npt.NDArray[Any]:
    if spec.coding == "colors" and found.form == "values":
        return as_packed_colors(found.values)
    form = {"colors": "colors", "numbers": "numbers"}.get(spec.coding, "values")
    if found.form == form or (form == "numbers" and found.form == "values"):
        return found.values
    if form == "values" and found.form == "numbers" and are_whole(found.values):
        return found.values.astype(np.int32)
    holds = {"values": "whole numbers", "colors": "colors", "numbers": "fractions"}
    raise ImsegError(
        f"{path} is not a mask of the kind that the others are.",
        expected=f"{holds[form]}.",
        got=f"{holds[found.form]}.",
        hint="save all masks in the same way.",
    )


def _resized(values: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    if values.ndim == 3:
        return np.stack([resize_mask(plane, size) for plane in values])
    return resize_mask(values, size)
