"""Picture files that appear whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from imseg.data.whole_files import publish
from imseg.types import Color

_MAX_INT32 = 2**31 - 1


def write_png(
    path: Path, array: npt.NDArray[Any], *, palette: Sequence[Color] | None = None
) -> None:
    """Write an array as a PNG file.

    Args:
        path: Where to; an existing file is replaced.
        array: ``h w`` of unsigned 8 or 16 bits, or ``h w 3`` of unsigned 8 bits.
        palette: For ``h w`` of 8 bits: the color of each value from 0 on, at most 256. The file is
            an indexed one then, with as many bits as the palette needs.

    Raises:
        ValueError: If the array has another shape or type, or values beyond the palette.
        ImsegError: If the file cannot be written.
    """
    gray = array.ndim == 2 and array.dtype in (np.uint8, np.uint16)
    colored = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    if not gray and not colored:
        raise ValueError(f"cannot write {array.dtype} of shape {array.shape} as PNG")
    picture = Pillow.fromarray(np.ascontiguousarray(array))
    if palette is None:
        _write(path, picture, "PNG", {})
        return
    if array.dtype != np.uint8 or colored or not array.max(initial=0) < len(palette) <= 256:
        raise ValueError(f"{len(palette)} colors do not fit {array.dtype} up to {array.max()}")
    picture.putpalette([part for color in palette for part in color])
    _write(path, picture, "PNG", {})


def write_tiff(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as a TIFF file with lossless compression.

    Args:
        path: Where to; an existing file is replaced.
        array: ``h w`` of float32 or of whole numbers from 0 to 2,147,483,647, such as the numbers
            of objects. They are written with 32 bits, or 8 or 16 if that is their unsigned type.

    Raises:
        ValueError: If the array has another shape, type or range.
        ImsegError: If the file cannot be written.
    """
    if array.ndim != 2 or (array.dtype != np.float32 and array.dtype.kind not in "ui"):
        raise ValueError(f"cannot write {array.dtype} of shape {array.shape} as TIFF")
    if array.dtype.kind in "ui" and array.dtype not in (np.uint8, np.uint16):
        if array.size and not 0 <= array.min() <= array.max() <= _MAX_INT32:
            raise ValueError(f"numbers from {array.min()} to {array.max()} do not fit")
        array = array.astype(np.int32)
    picture = Pillow.fromarray(np.ascontiguousarray(array))
    _write(path, picture, "TIFF", {"compression": "tiff_adobe_deflate"})


def _write(path: Path, picture: Pillow.Image, kind: str, options: dict[str, Any]) -> None:
    stream = io.BytesIO()
    picture.save(stream, format=kind, **options)
    publish(path, stream.getvalue())
