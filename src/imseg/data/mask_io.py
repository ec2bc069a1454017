"""Mask files: values, colors or numbers, just as they lie in the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from imseg.data.decoding import Decoded, decode_pillow, unreadable
from imseg.data.picture_file import decode_file
from imseg.types import Color

Form = Literal["values", "colors", "numbers"]
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
    form: Form
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
        raise unreadable(path, reason, "save a mask with one number, or one color, a pixel.")
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
    # Some programs write an alpha channel and leave it at 0: then it says nothing.
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
            reason = "holds colors that need 16 bits a channel"
            raise unreadable(path, reason, "save it with 8 bits a channel.")
        values = small
    # Not above: encoding brings PyTorch, a second or more that reading a picture can do without.
    from imseg.data.encoding import pack_colors

    return MaskFile(pack_colors(values), "colors")
