"""Pictures of any size, a few rows at a time: TIFF files by their strips or tiles.

What cannot be read so is decoded whole, within the limits of ``decoding.check_size``: PNG and JPEG
files, palettes, turned pictures, the maximum over planes, and TIFF files that are one compressed
strip.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import tifffile

from imseg.data.files.atomic import open_plain
from imseg.data.images import decoding, picture_file, tiff_decoding, tiff_pages
from imseg.data.images.image_files import as_bytes, load_pixels
from imseg.data.images.picture_file import ImageInfo
from imseg.data.images.tiff_pages import TiffPage
from imseg.ops.tiling import Size
from imseg.types import Bytes, Image, Pages, Pixels, Reading

AT_ONCE = 1 << 23
"""Bytes of a file without strips or tiles that are read at once."""
MOST_AT_ONCE = 1 << 28
"""Bytes of the widest row of strips or tiles that is decoded at once."""

_HINT = picture_file.PAGES_HINT
_PHOTOMETRIC = frozenset({0, 1, 2})
_YCBCR, _JPEG = 6, 7
_BITS = frozenset({8, 16, 32, 64})
_REDUCED, _TRANSPARENCY = 1, 4
_MOST_LEVELS = 32


def probe(path: Path, *, pages: Pages = "refuse", hint: str = _HINT) -> ImageInfo:
    """Return size, channels and depth of a picture that may be of any size if rows can be read.

    Args:
        path: A picture file.
        pages: What several pages in the file are.
        hint: What to try where they are refused.

    Raises:
        ImsegError: If the file cannot be opened, is not a picture, or is too large to be decoded
            whole and cannot be read otherwise.
    """
    with decoding.errors_named(path), open_plain(path) as file:
        if tiff_pages.is_tiff(file.read(4)):
            planes = tiff_decoding.chosen_planes(path, file, pages, hint)
            if _has_rows(planes):
                for page in planes[0]:
                    _check_whole(path, file, page)
                first, channels = planes[0][0], sum(page.channels for page in planes[0])
                return ImageInfo(first.height, first.width, channels, first.depth)
    return picture_file.probe(path, pages=pages, hint=hint)


ONE_PAGE = (
    "save the page that is to be predicted as a file of its own, because the run was trained on"
    " pictures of one page. Or set pages in the imseg.toml of its data folder, and train again."
)
"""What to try where a picture to predict has several pages."""


def size_of(image: Image, reading: Reading) -> Size:
    """Return height and width of a picture that may be of any size if its rows can be read.

    Raises:
        ImsegError: As ``probe``.
    """
    if isinstance(image.pixels, Path):
        return probe(image.pixels, pages=reading.pages, hint=ONE_PAGE).size
    return image.pixels.shape[0], image.pixels.shape[1]


@dataclass(frozen=True, slots=True)
class PictureRows:
    """A picture as it is read from top to bottom."""

    size: Size
    """Height and width of what is read: of the picture, or of a smaller copy in its file."""
    chunks: Iterator[Bytes]
    """``n w c``, as networks read pictures; together they have all rows."""


def read_rows(image: Image, reading: Reading, *, least: Size | None = None) -> PictureRows:
    """Return a picture as it is read from top to bottom, or a smaller copy that its file has.

    Args:
        image: A file or an array.
        reading: How pictures become bytes.
        least: Height and width that are enough: the smallest copy (of a pyramid) with as many
            pixels is read. None: the picture itself is.

    Raises:
        ImsegError: If the file cannot be read; while rows are read, too.
    """
    path = image.pixels
    if isinstance(path, Path):
        with decoding.errors_named(path), open_plain(path) as file:
            if tiff_pages.is_tiff(file.read(4)):
                planes = tiff_decoding.chosen_planes(path, file, reading.pages, _HINT)
                if _has_rows(planes):
                    level = _level_of(planes[0], least)
                    page = _at_level(planes[0], level)[0]
                    stored = _tiff_chunks(path, reading.pages, level)
                    chunks = (as_bytes(each, reading, image.name) for each in stored)
                    return PictureRows((page.height, page.width), chunks)
    pixels = load_pixels(image, reading)
    return PictureRows((pixels.shape[0], pixels.shape[1]), iter([pixels]))


def stored_rows(
    path: Path, *, pages: Pages = "refuse"
) -> tuple[TiffPage, Iterator[decoding.Decoded]] | None:
    """Return the one page of a TIFF file, and its rows from top to bottom as they lie in the file.

    None for other files, and where rows cannot be read so.

    Args:
        path: A picture file.
        pages: What several pages in the file are.

    Raises:
        ImsegError: If the file cannot be read; while rows are read, too.
    """
    with decoding.errors_named(path), open_plain(path) as file:
        if not tiff_pages.is_tiff(file.read(4)):
            return None
        planes = tiff_decoding.chosen_planes(path, file, pages, _HINT)
        if not _has_rows(planes) or len(planes[0]) > 1:
            return None
        _check_whole(path, file, planes[0][0])
    return planes[0][0], _stored_chunks(path, pages)


def _stored_chunks(path: Path, pages: Pages) -> Iterator[decoding.Decoded]:
    with decoding.errors_named(path), open_plain(path) as file:
        (page,) = tiff_decoding.chosen_planes(path, file, pages, _HINT)[0]
        yield from _page_chunks(path, file, page)


def only_by_rows(path: Path, *, pages: Pages = "refuse") -> bool:
    """Return whether a picture is too large to be decoded whole, but its rows can be read."""
    try:
        picture_file.probe(path, pages=pages)
    except decoding.UnreadablePicture:
        with suppress(decoding.UnreadablePicture):
            probe(path, pages=pages)
            return True
    return False


def pixel_rows(path: Path, *, pages: Pages = "refuse") -> Iterator[Pixels]:
    """Yield the rows of a picture that can be read so, ``n w c``, as ``read_image`` has them.

    Raises:
        ImsegError: If the file cannot be read.
    """
    return _tiff_chunks(path, pages, 0)


def _tiff_chunks(path: Path, pages_are: Pages, level: int) -> Iterator[Pixels]:
    """Yield the rows of a TIFF file, or of a smaller copy in it, in the type of the file."""
    with decoding.errors_named(path), open_plain(path) as file:
        planes = tiff_decoding.chosen_planes(path, file, pages_are, _HINT)
        pages = _at_level(planes[0], level)
        parts = [_page_chunks(path, file, page) for page in pages]
        for decoded in zip(*parts, strict=True):
            together = len(decoded) > 1
            yield (
                tiff_decoding.side_by_side(decoded) if together else decoding.as_pixels(decoded[0])
            )


def _has_rows(planes: Sequence[Sequence[TiffPage]]) -> bool:
    """Return whether the rows of a TIFF file can be read one after the other."""
    if len(planes) != 1:
        return False
    return len({_rows_at_once(page) for page in planes[0]}) == 1 and all(map(_fits, planes[0]))


def _fits(page: TiffPage) -> bool:
    source = page.source
    known = page.photometric in _PHOTOMETRIC or (
        page.photometric == _YCBCR and int(source.compression) == _JPEG
    )
    whole = page.orientation == 1 and page.bits in _BITS and source.imagedepth == 1
    whole &= page.plane is None or _is_plain(page)
    at_once = _rows_at_once(page) * page.width * page.bytes_per_pixel
    return known and whole and page.numbers != "other" and at_once <= MOST_AT_ONCE


def _is_plain(page: TiffPage) -> bool:
    """Return whether a page lies in its file without coding, strips or tiles."""
    source = page.source
    together = page.samples == 1 or source.planarconfig == 1
    plain = source.compression == 1 and source.predictor == 1 and source.is_contiguous
    return together and (page.plane is not None or plain)


def _rows_at_once(page: TiffPage) -> int:
    """Return how many rows are decoded together."""
    if _is_plain(page):
        return max(1, AT_ONCE // (page.width * page.samples * page.bits // 8))
    source = page.source
    return int(source.tilelength if source.is_tiled else min(source.rowsperstrip, page.height))


def _page_chunks(path: Path, file: BinaryIO, page: TiffPage) -> Iterator[decoding.Decoded]:
    """Yield the rows of a page from top to bottom."""
    _check_whole(path, file, page)
    axes = "YXS" if page.samples > 1 else "YX"
    step = _rows_at_once(page)
    for top in range(0, page.height, step):
        count = min(step, page.height - top)
        with tiff_decoding.codecs_named(path):
            values = _plain(page, top, count) if _is_plain(page) else _decoded(page, top, count)
        yield tiff_decoding.arranged(page, values, axes=axes, rows=count)


def _check_whole(path: Path, file: BinaryIO, page: TiffPage) -> None:
    """Refuse a page whose pixels are not all in the file.

    Raises:
        UnreadablePicture: If they are not.
    """
    if not _is_plain(page):
        tiff_decoding.check_segments(path, file, page)
        return
    source = page.source
    end = source.dataoffsets[0] + ((page.plane or 0) + 1) * source.nbytes
    if file.seek(0, os.SEEK_END) < end:
        raise decoding.damaged(path, "pixels are missing at its end")


def _plain(page: TiffPage, top: int, count: int) -> npt.NDArray[Any]:
    """Return rows that lie in the file as they are."""
    source = page.source
    dtype = np.dtype(source.dtype).newbyteorder(source.parent.byteorder)
    wide, start = page.width * page.samples, source.dataoffsets[0]
    handle = source.parent.filehandle
    handle.seek(start + (page.plane or 0) * source.nbytes + top * wide * dtype.itemsize)
    content = handle.read(count * wide * dtype.itemsize)
    if len(content) < count * wide * dtype.itemsize:
        raise ValueError("pixels are missing at its end")
    shape = (count, page.width, page.samples) if page.samples > 1 else (count, page.width)
    return np.frombuffer(content, dtype).reshape(shape)


def _decoded(page: TiffPage, top: int, count: int) -> npt.NDArray[Any]:
    """Return the rows of one row of tiles, or of one strip."""
    source, handle = page.source, page.source.parent.filehandle
    across = -(-page.width // source.tilewidth) if source.is_tiled else 1
    down = -(-page.height // _rows_at_once(page))
    planes = page.samples if source.planarconfig == 2 else 1
    extra: dict[str, Any] = {"_fullsize": source.is_tiled}
    if int(source.compression) in (6, _JPEG):
        extra |= {"jpegtables": source.jpegtables, "jpegheader": source.jpegheader}
    shape = (count, page.width, page.samples)
    values = np.full(shape, source.nodata, np.dtype(source.dtype))
    row = top // _rows_at_once(page)
    for plane, column in itertools.product(range(planes), range(across)):
        index = (plane * down + row) * across + column
        if not source.databytecounts[index]:
            continue  # a tile that was never written
        handle.seek(source.dataoffsets[index])
        content = handle.read(source.databytecounts[index])
        segment, place, _ = source.decode(content, index, **extra)
        if segment is None:
            continue
        left = place[3]
        part = segment[0, :count, : page.width - left]
        last = slice(plane, plane + 1) if planes > 1 else slice(None)
        values[: part.shape[0], left : left + part.shape[1], last] = part
    return values[..., 0] if page.samples == 1 else values


def _level_of(pages: Sequence[TiffPage], least: Size | None) -> int:
    """Return which of the levels of a pyramid is the smallest with enough pixels; 0: the picture.

    Args:
        pages: The pages of the picture; only one alone may have smaller copies.
        least: Height and width that are enough.
    """
    if least is None or len(pages) > 1 or pages[0].plane is not None:
        return 0
    levels = _levels(pages[0])
    enough = [
        number
        for number, page in enumerate(levels)
        if page.height >= least[0] and page.width >= least[1]
    ]
    return min(enough, key=lambda number: levels[number].height, default=0)


def _at_level(pages: Sequence[TiffPage], level: int) -> Sequence[TiffPage]:
    return [_levels(pages[0])[level]] if level else pages


def _levels(page: TiffPage) -> list[TiffPage]:
    """Return a page and its smaller copies that can be read by rows, as pyramids have them.

    They lie below it, or follow it up to the next page that is a picture of its own. Labels and
    overviews of slides are no copies: sides of a copy are the page's, divided by a whole number.
    """
    source = page.source
    below = cast("Iterator[tifffile.TiffPage]", iter(source.pages or ()))
    beside = itertools.takewhile(
        lambda other: bool(other.subfiletype & _REDUCED),
        itertools.islice(
            cast("Iterator[tifffile.TiffPage]", iter(source.parent.pages)), source.index + 1, None
        ),
    )
    found = [page]
    for other in itertools.islice(itertools.chain(below, beside), _MOST_LEVELS):
        if not other.subfiletype & _REDUCED or other.subfiletype & _TRANSPARENCY:
            continue
        smaller = tiff_pages.described(other)
        step = round(page.width / smaller.width)
        sides = ((page.height, smaller.height), (page.width, smaller.width))
        divided = step > 1 and all(abs(own / step - least) <= 1 for own, least in sides)
        if smaller.kind[2:] == page.kind[2:] and divided and _fits(smaller):
            found.append(smaller)
    return found
