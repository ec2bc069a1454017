"""The pages of a TIFF file as channels: with Pillow, or with tifffile what Pillow cannot read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from imseg.data.decoding import (
    MAX_BYTES,
    Decoded,
    as_pixels,
    check_size,
    damaged,
    decode_pillow,
    turned,
    unreadable,
    upright,
)
from imseg.data.tiff_header import NO_RGB, PALETTE, Page
from imseg.errors import import_extra
from imseg.types import Pixels

PAGES_HINT = 'set pages = "channels" in imseg.toml, or save each page as a file of its own.'
"""What to try where a file has several pages."""

_ROWS = 8

# The same damage is told in the error that names the file; this only keeps it off the screen.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def check_pages(
    path: Path, pages: Sequence[Page], *, as_channels: bool, hint: str = PAGES_HINT
) -> None:
    """Refuse pages that cannot become one picture, or only with too much memory.

    Args:
        path: What to call the file in errors.
        pages: What ``read_pages`` found.
        as_channels: Whether there may be several.
        hint: What to try where there may not.

    Raises:
        UnreadablePicture: With the reason.
    """
    first = pages[0]
    if len(pages) > 1 and not as_channels:
        raise unreadable(path, f"has {len(pages)} pages", hint)
    for page in pages:
        if page.numbers == "other":
            raise unreadable(path, "holds complex numbers", "save their magnitude.")
        if page.photometric == PALETTE and not page.suits_pillow:
            reason = f"has a palette and {page.samples} x {page.bits} bits"
            raise unreadable(path, reason, "save it with 8 bits, or without the palette.")
        if page.photometric in NO_RGB:
            raise unreadable(path, f"has {NO_RGB[page.photometric]} colors", "convert it to RGB.")
        if page.kind != first.kind:
            other = f"page {page.index + 1} is {_in_words(page)}"
            reason = f"has pages of different kinds: the first is {_in_words(first)}, {other}"
            raise unreadable(path, reason, "save each page as a file of its own.")
    depth = sum(page.bytes_a_pixel for page in pages)
    check_size(path, first.height, first.width, depth=depth)


def decode_tiff(path: Path, file: BinaryIO, pages: Sequence[Page]) -> Decoded:
    """Return what checked pages hold, one after the other as channels.

    Args:
        path: What to call the file in errors.
        file: The open file.
        pages: What ``read_pages`` found.

    Raises:
        ImsegError: If tifffile or imagecodecs is needed and not installed.
        Exception: Whatever the decoders raise for broken files.
    """
    decoded = None
    if all(page.suits_pillow for page in pages):
        decoded = _with_pillow(path, file, pages)
    if decoded is None:
        decoded = _with_tifffile(path, file, pages)
    if len(decoded) == 1:
        return decoded[0]
    return Decoded(_side_by_side([as_pixels(one) for one in decoded]))


def _side_by_side(parts: Sequence[Pixels]) -> Pixels:
    """Return ``h w c`` pixels from parts that hold one or more channels each."""
    height, width, _ = parts[0].shape
    whole = np.empty((height, width, sum(part.shape[2] for part in parts)), parts[0].dtype)
    # A few rows at a time stay in the processor's cache: several times faster with many parts.
    for start in range(0, height, _ROWS):
        rows = slice(start, start + _ROWS)
        np.concatenate([part[rows] for part in parts], axis=2, out=whole[rows])
    return whole


def _in_words(page: Page) -> str:
    return f"{page.width}x{page.height}, {page.depth}, {page.channels} channels"


def _with_pillow(path: Path, file: BinaryIO, pages: Sequence[Page]) -> list[Decoded] | None:
    """Return the pages, or None if Pillow does not know their coding."""
    file.seek(0)
    try:
        picture = Pillow.open(file, formats=("TIFF",))
    except (UnidentifiedImageError, KeyError):
        return None
    decoded = []
    with picture:
        for page in pages:
            picture.seek(page.index)
            found = decode_pillow(path, upright(picture))
            if page.numbers == "uint" and page.bits == 32:
                # Pillow reads the same 32 bits as signed numbers.
                found = Decoded(found.values.view(np.uint32))
            decoded.append(found)
    return decoded


def _with_tifffile(path: Path, file: BinaryIO, pages: Sequence[Page]) -> list[Decoded]:
    tifffile = import_extra("tifffile", extra="microscopy", purpose=f"to read {path}")
    file.seek(0)
    decoded = []
    with tifffile.TiffFile(file) as opened:
        for page in pages:
            found = opened.pages[page.index]
            _check_segments(path, file, page, found)
            try:
                values = found.asarray(maxworkers=1)
            except (ImportError, ValueError) as error:
                if isinstance(error, ValueError) and "imagecodecs" not in str(error):
                    raise
                import_extra("imagecodecs", extra="microscopy", purpose=f"to read {path}")
                reason = f"is compressed in a way that cannot be read here ({error})"
                raise unreadable(path, reason, "save it again with LZW or without.") from error
            decoded.append(_arranged(page, values, axes=found.axes))
    return decoded


def _check_segments(path: Path, file: BinaryIO, page: Page, found: Any) -> None:
    """Refuse strips and tiles that tifffile would fill up with zeros, or that burst.

    Args:
        path: What to call the file in errors.
        file: The open file.
        page: What its header says.
        found: The same page as tifffile sees it.
    """
    size = file.seek(0, 2)
    offsets, counts = found.dataoffsets, found.databytecounts
    if not offsets or len(offsets) != len(counts):
        raise damaged(path, f"{len(offsets)} strips or tiles, {len(counts)} sizes")
    if any(start + count > size for start, count in zip(offsets, counts, strict=True)):
        raise damaged(path, "pixels are missing at its end")
    room = page.height * page.width * page.bytes_a_pixel
    tile = (found.tilewidth or 1) * (found.tilelength or 1) * (found.tiledepth or 1)
    if sum(counts) > 2 * room + (1 << 16) or tile * page.bytes_a_pixel > MAX_BYTES:
        raise damaged(path, "strips or tiles are far larger than its pixels")


def _arranged(page: Page, values: npt.NDArray[Any], *, axes: str) -> Decoded:
    """Return the values of a page, ``h w c`` and upright, without alpha."""
    if axes.startswith("S"):
        values = np.moveaxis(values, 0, -1)
    if values.ndim == 2:
        values = values[..., None]
    if values.shape != (page.height, page.width, page.samples):
        raise ValueError(f"pixels of shape {values.shape}")
    values = turned(values, page.orientation)
    if not page.alpha:
        return Decoded(values)
    kept = [place for place in range(page.samples) if place not in page.alpha]
    return Decoded(values[..., kept], values[..., page.alpha[0]])
