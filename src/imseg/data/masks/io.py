"""Mask files: values, colors or numbers, just as they lie in the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from imseg.data.images.decoding import Decoded, decode_pillow, unreadable
from imseg.data.images.picture_file import decode_file
from imseg.data.masks.encoding import UnknownMaskValues, encode, pack_colors
from imseg.errors import ImsegError
from imseg.ops.objects import disc_radii, draw_discs, find_centers
from imseg.types import VOID, Color, LabeledImage, Target, TargetSpec

MaskForm = Literal["values", "colors", "numbers"]
"""What a mask file holds: a whole number, a color or a measurement for each pixel."""

_GRAY_TO_COLOR = 0x010101
_DEEP_STEP = 257
_LARGEST = 2**63 - 1
_LARGEST_WHOLE = 1 << 24  # beyond it, float32 leaves whole numbers out


@dataclass(frozen=True, slots=True)
class MaskFile:
    """What a mask file holds."""

    values: npt.NDArray[Any]
    """``h w``: whole numbers from 0 (values), packed colors (int32), or float32 (numbers)."""
    form: MaskForm
    """What the values are."""
    palette: tuple[Color, ...] | None = None
    """Of an indexed file, the color of each index; the values are the indices."""


def read_mask(path: Path) -> MaskFile:
    """Return what a mask file holds, upright.

    A 1-bit file gives 0 and 255, an indexed file its indices, a gray RGB file its gray value. Other
    whole numbers are as they stand, with 8, 16 or 32 bits. Pixels that are fully transparent count
    as 0 (black), whatever color an editor has left below them, unless all of the mask is
    transparent; half transparent ones count as the color they have.

    Raises:
        ImsegError: If the file cannot be read, has several pages or channels that are no color, or
            holds whole numbers below 0.
    """
    return _mask(path, decode_file(path, pages_hint="save each page as a file of its own."))


def mask_of(picture: Pillow.Image, name: str) -> MaskFile:
    """Return what an open Pillow picture holds as a mask; ``name`` is used in errors."""
    return _mask(Path(name), decode_pillow(Path(name), picture))


def as_packed_colors(values: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Return gray values 0..255 as packed colors, for a gray mask among colored ones."""
    return values.astype(np.int32) * _GRAY_TO_COLOR


def resize_mask(mask: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Return an ``h w`` mask at another (height, width), by nearest neighbor."""
    if mask.shape == size:
        return mask
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for new, old in zip(size, mask.shape, strict=True)
    )
    resized: npt.NDArray[Any] = mask[rows[:, None], columns[None, :]]
    return resized


def are_whole(values: npt.NDArray[Any]) -> bool:
    """Return whether floats are whole numbers from 0 up, as some programs save label images."""
    if not values.size or not np.isfinite(values).all():
        return False
    if values.min() < 0 or values.max() > _LARGEST_WHOLE:
        return False
    return bool(np.array_equal(values, np.rint(values)))


def _mask(path: Path, decoded: Decoded) -> MaskFile:
    values = decoded.values
    if decoded.palette is not None:
        return MaskFile(values[..., 0], "values", decoded.palette)
    if decoded.alpha is not None:
        values = _seen(values, decoded.alpha)
    if values.shape[2] == 3 and values.dtype in (np.uint8, np.uint16):
        return _color_mask(path, values)
    if values.shape[2] > 1:
        reason = f"has {values.shape[2]} channels"
        raise unreadable(path, reason, "save a mask with one number, or one color, per pixel.")
    values = values[..., 0]
    if values.dtype.kind == "f":
        # Beyond the largest float32 is infinity, which counts as unknown, like what is no number.
        with np.errstate(over="ignore", invalid="ignore"):
            return MaskFile(values.astype(np.float32, copy=False), "numbers")
    if values.dtype.kind == "i" and values.min(initial=0) < 0:
        reason = f"holds whole numbers below 0 ({values.min()})"
        hint = "save class values from 0 to 65535, or measurements as a float TIFF."
        raise unreadable(path, reason, hint)
    if values.dtype == np.uint64 and values.max(initial=0) > _LARGEST:
        reason = f"holds whole numbers that need all of 64 bits ({values.max()})"
        hint = "save class values from 0 to 65535, or measurements as a float TIFF."
        raise unreadable(path, reason, hint)
    return MaskFile(values, "values")


def _seen(values: npt.NDArray[Any], alpha: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return ``h w c`` values with 0 where nothing is seen of them."""
    hidden = alpha == 0
    # Some programs write an alpha channel and leave it at 0: then it means nothing.
    if not hidden.any() or hidden.all():
        return values
    return np.where(hidden[..., None], values.dtype.type(0), values)


def _color_mask(path: Path, values: npt.NDArray[Any]) -> MaskFile:
    first = values[..., :1]
    if np.array_equal(first, values[..., 1:2]) and np.array_equal(first, values[..., 2:]):
        return MaskFile(values[..., 0], "values")
    if values.dtype == np.uint16:
        small = values // _DEEP_STEP
        if not np.array_equal(small * _DEEP_STEP, values):
            reason = "holds colors that need 16 bits per channel"
            raise unreadable(path, reason, "save it with 8 bits per channel.")
        values = small
    # Not above: encoding brings PyTorch, a second or more that reading a picture can do without.
    from imseg.data.masks.encoding import pack_colors

    return MaskFile(pack_colors(values), "colors")


def load_target(
    pair: LabeledImage,
    spec: TargetSpec,
    size: tuple[int, int] | None = None,
    *,
    read: Callable[[Path], MaskFile] = read_mask,
) -> Target:
    """Return the target of a picture, ``t h w``, in the numbering inside.

    Args:
        pair: A picture and its mask.
        spec: What mask values mean.
        size: Height and width to resize to, by nearest neighbor; None keeps the mask's own.
        read: Returns what a mask file holds.

    Raises:
        ImsegError: If a file cannot be read or holds unknown values.
    """
    values = drawn = load_values(pair, spec, read)
    if size is not None:
        values = _resized(drawn, size)
    try:
        target = encode(values, spec)
    except UnknownMaskValues as error:
        name = str(pair.mask) if isinstance(pair.mask, Path) else f"The mask of {pair.name}"
        raise ImsegError(
            f"{name} holds unknown values.", expected=error.expected, got=error.got, hint=error.hint
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


def load_values(
    pair: LabeledImage, spec: TargetSpec, read: Callable[[Path], MaskFile] = read_mask
) -> npt.NDArray[Any]:
    """Return the file values of a mask: ``h w``, or ``t h w`` planes in the order of the spec.

    Raises:
        ImsegError: If a file cannot be read, or is of another kind than the spec's.
    """
    mask = pair.mask
    if isinstance(mask, Path):
        return _of_file(read(mask), mask, spec)
    if isinstance(mask, Mapping):
        return np.stack([_of_file(read(mask[name]), mask[name], spec) for name in spec.names])
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
