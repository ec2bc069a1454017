"""Decodes TIFF files: plane by plane, with Pillow where it returns the numbers as they are."""

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from imseg.data.images import decoding, tiff_pages
from imseg.data.images.tiff_pages import PALETTE, TiffPage
from imseg.errors import import_extra
from imseg.types import Pages, Pixels

MAX_CHANNELS = 64
"""Most channels of a picture."""

_NO_RGB = {8: "LAB", 9: "LAB", 10: "LAB", 32844: "LogLuv", 32845: "LogLuv"}
"""Meanings of the numbers that cannot be shown as they stand, as coded in TIFF."""
_ROWS = 8


def chosen_planes(path: Path, file: BinaryIO, wanted: Pages, hint: str) -> list[list[TiffPage]]:
    """Return the planes of a TIFF file that become one picture, of any size.

    Args:
        path: What to call the file in errors.
        file: The open file.
        wanted: What several pages are.
        hint: What to try where there may be one only.

    Raises:
        UnreadablePicture: With the reason.
    """
    planes = tiff_pages.choose(path, tiff_pages.read_pages(path, file), wanted, hint)
    first = planes[0][0]
    for page in itertools.chain.from_iterable(planes):
        if page.numbers == "other":
            raise decoding.unreadable(path, "holds complex numbers", "save their magnitude.")
        if page.photometric == PALETTE and not page.suits_pillow:
            reason = f"has a palette and {page.samples} x {page.bits} bits"
            raise decoding.unreadable(path, reason, "save it with 8 bits, or without the palette.")
        if page.photometric in _NO_RGB:
            reason = f"has {_NO_RGB[page.photometric]} colors"
            raise decoding.unreadable(path, reason, "convert it to RGB.")
        if page.kind != first.kind:
            other = f"page {page.source.index + 1} is {_in_words(page)}"
            reason = f"has pages of different kinds: the first is {_in_words(first)}, {other}"
            raise decoding.unreadable(path, reason, "save each page as a file of its own.")
    channels = sum(page.channels for page in planes[0])
    if channels > MAX_CHANNELS:
        reason = f"has {channels} channels, which is more than {MAX_CHANNELS}"
        raise decoding.unreadable(path, reason, "keep the channels that show what is to be found.")
    return planes


def checked_planes(path: Path, file: BinaryIO, wanted: Pages, hint: str) -> list[list[TiffPage]]:
    """Return the planes of a TIFF file that become one picture without too much memory.

    Arguments and errors are those of ``chosen_planes``.
    """
    planes = chosen_planes(path, file, wanted, hint)
    first, depth = planes[0][0], sum(page.bytes_per_pixel for page in planes[0])
    decoding.check_size(path, first.height, first.width, depth=depth)
    return planes


def decode(
    path: Path, file: BinaryIO, planes: Sequence[Sequence[TiffPage]]
) -> Iterator[decoding.Decoded]:
    """Yield what checked planes hold, the pages of each one after the other as channels.

    Raises:
        ImsegError: If imagecodecs is needed and not installed.
        Exception: Whatever the decoders raise for broken files.
    """
    pages = list(itertools.chain.from_iterable(planes))
    picture = _open_with_pillow(file) if all(page.suits_pillow for page in pages) else None
    if picture is None:
        decoded = _with_tifffile(path, file, pages)
    else:
        decoded = _with_pillow(path, picture, pages)
    for plane in planes:
        parts = list(itertools.islice(decoded, len(plane)))
        together = len(parts) > 1
        yield decoding.Decoded(side_by_side(parts)) if together else parts[0]


def side_by_side(decoded: Sequence[decoding.Decoded]) -> Pixels:
    """Return ``h w c`` pixels from parts that hold one or more channels each."""
    parts = [decoding.as_pixels(one) for one in decoded]
    height, width, _ = parts[0].shape
    whole = np.empty((height, width, sum(part.shape[2] for part in parts)), parts[0].dtype)
    # A few rows at a time stay in the processor's cache: several times faster with many parts.
    for start in range(0, height, _ROWS):
        rows = slice(start, start + _ROWS)
        np.concatenate([part[rows] for part in parts], axis=2, out=whole[rows])
    return whole


def _in_words(page: TiffPage) -> str:
    return f"{page.width}x{page.height}, {page.depth}, {page.channels} channels"


def _open_with_pillow(file: BinaryIO) -> Pillow.Image | None:
    """Return an open TIFF file; None if Pillow does not know its coding."""
    file.seek(0)
    try:
        return Pillow.open(file, formats=("TIFF",))
    except (UnidentifiedImageError, KeyError):
        return None


def _with_pillow(
    path: Path, picture: Pillow.Image, pages: Sequence[TiffPage]
) -> Iterator[decoding.Decoded]:
    with picture:
        for page in pages:
            picture.seek(page.source.index)
            found = decoding.decode_pillow(path, decoding.upright(picture))
            values = found.values
            if page.numbers == "uint" and page.bits == 32:
                # Pillow reads the same 32 bits as signed numbers.
                values = values.view(np.uint32)
            if page.inverting and values.dtype == np.uint8:
                # Pillow has turned bytes around, and deeper numbers not.
                values = np.uint8(255) - values
            yield replace(found, values=values, inverting=page.inverting)


def _with_tifffile(
    path: Path, file: BinaryIO, pages: Sequence[TiffPage]
) -> Iterator[decoding.Decoded]:
    for page in pages:
        if page.plane is not None:
            yield arranged(page, _read_plane(page), axes=page.source.axes)
            continue
        check_segments(path, file, page)
        with codecs_named(path):
            values = page.source.asarray(maxworkers=1)
        yield arranged(page, values, axes=page.source.axes)


@contextmanager
def codecs_named(path: Path) -> Iterator[None]:
    """Turn it into an error that names the library if a coding cannot be read without one."""
    try:
        yield
    except (ImportError, ValueError) as error:
        if isinstance(error, ValueError) and "imagecodecs" not in str(error):
            raise
        import_extra("imagecodecs", extra="microscopy", purpose=f"to read {path}")
        reason = f"is compressed in a way that cannot be read here ({error})"
        raise decoding.unreadable(path, reason, "save it again with LZW or without.") from error


def _read_plane(page: TiffPage) -> npt.NDArray[Any]:
    """Return one of the planes that follow a single header, uncompressed and without gaps."""
    source = page.source
    file, dtype = source.parent.filehandle, np.dtype(source.dtype)
    file.seek(source.dataoffsets[0] + (page.plane or 0) * source.nbytes)
    values = np.frombuffer(file.read(source.nbytes), dtype.newbyteorder(source.parent.byteorder))
    return values.reshape(source.shape)


def check_segments(path: Path, file: BinaryIO, page: TiffPage) -> None:
    """Refuse strips and tiles that tifffile would fill up with zeros, or that burst."""
    size, found = file.seek(0, os.SEEK_END), page.source
    offsets, counts = found.dataoffsets, found.databytecounts
    if not offsets or len(offsets) != len(counts):
        raise decoding.damaged(path, f"{len(offsets)} strips or tiles, {len(counts)} sizes")
    if any(start + count > size for start, count in zip(offsets, counts, strict=True)):
        raise decoding.damaged(path, "pixels are missing at its end")
    room = page.height * page.width * page.bytes_per_pixel
    tile = (found.tilewidth or 1) * (found.tilelength or 1) * (found.tiledepth or 1)
    if sum(counts) > 2 * room + (1 << 16) or tile * page.bytes_per_pixel > decoding.MAX_BYTES:
        raise decoding.damaged(path, "strips or tiles are far larger than its pixels")


def arranged(
    page: TiffPage, values: npt.NDArray[Any], *, axes: str, rows: int | None = None
) -> decoding.Decoded:
    """Return the values of a page, or so many rows of it, ``h w c`` and upright, without alpha."""
    if axes.startswith("S"):
        values = np.moveaxis(values, 0, -1)
    if values.ndim == 2:
        values = values[..., None]
    if values.shape != (rows or page.height, page.width, page.samples):
        raise ValueError(f"pixels of shape {values.shape}")
    values = decoding.turned(values, page.orientation)
    if page.numbers == "uint" and page.bits < 8:
        # From black to white like bytes, as Pillow reads them.
        values = values.astype(np.uint8) * np.uint8(255 // (2**page.bits - 1))
    if not page.alpha:
        return decoding.Decoded(values, inverting=page.inverting)
    kept = [place for place in range(page.samples) if place not in page.alpha]
    alpha = values[..., page.alpha[0]]
    return decoding.Decoded(values[..., kept], alpha, inverting=page.inverting)
