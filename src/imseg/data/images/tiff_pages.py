"""What the headers of a TIFF file say: its pages, and which of them are planes or channels."""

import logging
import math
import os
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import tifffile

from imseg.data.images import decoding
from imseg.data.images.pixel_size import pixel_size_of
from imseg.types import Pages

PALETTE = 3
"""How TIFF codes that pixels are indices of colors."""

_ORIENTATION = 0x0112
_MOST_PAGES = 1024
_MOST_ENTRIES = 1024  # of a page; real ones have a few dozen
_VERSIONS = frozenset({b"*\0", b"\0*", b"+\0", b"\0+"})
_WHITE_IS_ZERO, _GRAY, _RGB, _CMYK, _YCBCR = 0, frozenset({0, 1}), 2, 5, 6
_FAX = frozenset({2, 3, 4, 32771})
_NOT_A_PICTURE = 1 | 4
"""Bits of the subfile type: a smaller copy of another page, or its transparency."""
_MOST_TEXT = 1 << 20
_PER_SAMPLE = {1: "uint", 2: "int", 3: "float", 4: "uint"}

# The same damage is told in the error that names the file; this only keeps it off the screen.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True, kw_only=True)
class TiffPage:
    """What the header of a page says."""

    height: int
    """Pixels, as stored."""
    width: int
    """Pixels, as stored."""
    samples: int
    """Numbers per pixel, alpha included."""
    bits: int
    """Bits per number."""
    numbers: str
    """``uint``, ``int``, ``float`` or ``other`` (complex)."""
    photometric: int
    """What the first numbers mean, as coded in TIFF."""
    alpha: tuple[int, ...] = ()
    """Which of the numbers say how opaque the pixel is."""
    orientation: int = 1
    """The EXIF number."""
    plane: int | None = None
    """Which plane it is of those that follow one header; None: it has a header of its own."""
    source: tifffile.TiffPage = field(repr=False, compare=False)
    """The page of the open file."""

    @property
    def channels(self) -> int:
        """Channels of the picture, palettes expanded, CMYK as RGB."""
        if self.photometric == PALETTE or (self.photometric == _CMYK and self.suits_pillow):
            return 3
        return self.samples - len(self.alpha)

    @property
    def depth(self) -> str:
        """The type of its pixels: uint8, uint16 or float32."""
        if self.numbers == "uint" and self.bits <= 16:
            return "uint8" if self.bits <= 8 else "uint16"
        return "float32"

    @property
    def kind(self) -> tuple[object, ...]:
        """What all pages must have in common to be channels of one picture."""
        return self.height, self.width, self.channels, self.depth, self.orientation

    @property
    def bytes_per_pixel(self) -> int:
        """Memory per pixel, in the type of the file and, where that differs, also as float32."""
        stored = -(-self.bits // 8)
        kept = self.depth != "float32" or (self.numbers, self.bits) == ("float", 32)
        return self.samples * (stored if kept else stored + 4)

    @property
    def pixel_size(self) -> float | None:
        """Micrometers on a side of a pixel, as far as the file says so."""
        return pixel_size_of(self.source)

    @property
    def inverting(self) -> int:
        """Bits per number if 0 is to be shown as white; 0 if not.

        Fax codings always are so, and mean black and white, not 0 and 1: they do not count.
        """
        white = self.photometric == _WHITE_IS_ZERO and self.channels == 1
        return 0 if not white or int(self.source.compression) in _FAX else self.bits

    @property
    def suits_pillow(self) -> bool:
        """Whether Pillow returns exactly these numbers.

        It gives wrong numbers, without an error, for deep colors (8 of 16 bits are left), signed
        bytes, compressed numbers with the high byte first, gray planes, and channels beyond RGB.
        It does not open BigTIFF with the high byte first.
        """
        file = self.source.parent
        little = file.byteorder == "<"
        if (file.is_bigtiff and not little) or self.plane is not None:
            return False
        if self.numbers == "uint" and self.bits <= 8:
            known = self.photometric in {*_GRAY, _RGB, PALETTE, _CMYK, _YCBCR}
            base = {_RGB: 3, _YCBCR: 3, _CMYK: 4}.get(self.photometric, 1)
            alone = self.samples == base or (self.samples == base + 1 and len(self.alpha) == 1)
            # Planes of color are fine; planes with alpha are not.
            return known and alone and not (self.source.planarconfig == 2 and self.alpha)
        if self.samples > 1 or self.photometric not in _GRAY:
            return False
        if self.numbers == "uint":
            return self.bits <= 16 or (self.bits == 32 and little)
        plain = little or self.source.compression == 1
        return plain and (self.numbers, self.bits) in {("int", 16), ("int", 32), ("float", 32)}


def is_tiff(head: bytes) -> bool:
    """Return whether a file that begins so is a TIFF file."""
    return head[:2] in (b"II", b"MM") and head[2:4] in _VERSIONS


def read_pages(path: Path, file: BinaryIO) -> list[TiffPage]:
    """Return what the headers say about the pages that are pictures of their own.

    Smaller copies of a page, as in pyramids, and transparency masks are left out. Planes that
    follow a single header, as ImageJ stores large stacks, are pages like any others.

    Args:
        path: What to call the file in errors.
        file: The open file; it is a TIFF file, and stays open while the pages are in use.

    Raises:
        UnreadablePicture: If there is no such page, or more than can be told.
        Exception: Whatever tifffile raises for broken headers.
    """
    file.seek(0)
    opened = tifffile.TiffFile(file)
    found: dict[int, tifffile.TiffPage] = {}
    for page in cast("Iterable[tifffile.TiffPage]", opened.pages):
        if page.offset in found:
            break
        if len(found) == _MOST_PAGES:
            raise too_many_pages(path)
        if (entries := _entries(opened, page)) > _MOST_ENTRIES:
            raise SyntaxError(f"a page with {entries} entries")
        found[page.offset] = page
    if not found:
        raise decoding.damaged(path, "no page found")
    if _nextdescribed(opened, page) not in (0, *found):
        raise decoding.damaged(path, "a page is missing")
    pages = list(found.values())
    pictures = [page for page in pages if not page.subfiletype & _NOT_A_PICTURE] or pages[:1]
    if len(pictures) > 1:
        return [described(page) for page in pictures]
    only, planes = described(pictures[0]), _planes_under(opened, pictures[0], path)
    return [replace(only, plane=plane) for plane in range(planes)] if planes > 1 else [only]


def _planes_under(opened: tifffile.TiffFile, page: tifffile.TiffPage, path: Path) -> int:
    """Return how many planes follow the only header of a file.

    Raises:
        UnreadablePicture: If some of them are missing, or they are stored as one volume.
    """
    if page.imagedepth > 1:
        reason = f"stores {page.imagedepth} planes as one volume"
        raise decoding.unreadable(path, reason, "save it again with a page for each plane.")
    told = 1
    if opened.is_imagej:
        told = (opened.imagej_metadata or {}).get("images", 1)
    elif opened.is_stk:
        told = (opened.stk_metadata or {}).get("NumberPlanes", 1)
    elif opened.is_shaped and opened.shaped_metadata:
        told = math.prod(opened.shaped_metadata[0].get("shape", ())) // max(1, page.size)
    if not isinstance(told, int) or told < 2 or page.compression != 1 or not page.is_contiguous:
        return 1
    there = (opened.filehandle.size - page.dataoffsets[0]) // page.nbytes
    if there < 2:
        # Of a stack that another program has cut down to one page, and left its description.
        return 1
    if there < told:
        raise decoding.damaged(path, f"{there} of {told} planes are there")
    if told > _MOST_PAGES:
        raise too_many_pages(path)
    return told


def too_many_pages(path: Path) -> decoding.UnreadablePicture:
    """Return the error for a file with more pages than are looked at."""
    hint = "save the pages that belong to one picture as a file of their own."
    return decoding.unreadable(path, f"has more than {_MOST_PAGES} pages", hint)


def axes_of(pages: Sequence[TiffPage]) -> dict[str, int]:
    """Return how many times (T), depths (Z) and channels (C) the pages of a file are.

    The last axis changes from page to page. Where the file does not say, or what it says does not
    fit its pages, they are planes without a name: one axis ``P``.
    """
    opened, count = pages[0].source.parent, len(pages)
    axes: dict[str, int] = {}
    if opened.is_imagej:
        said = opened.imagej_metadata or {}
        names = {"T": "frames", "Z": "slices", "C": "channels"}
        axes = {axis: said.get(name, 1) for axis, name in names.items()}
    elif opened.is_ome:
        text = (opened.ome_metadata or "")[:_MOST_TEXT]
        order = re.search(r'DimensionOrder="XY([CZT]{3})"', text)
        sizes = dict(re.findall(r'Size([CZT])="(\d{1,9})"', text))
        if order and text.count("<Pixels ") == 1:
            axes = {axis: int(sizes.get(axis, 1)) for axis in reversed(order[1])}
            axes["C"] = max(1, axes["C"] // pages[0].samples)
    axes = {axis: size for axis, size in axes.items() if isinstance(size, int) and size > 1}
    return axes if math.prod(axes.values()) == count else {"P": count}


def find_planes(pages: Sequence[TiffPage]) -> list[list[TiffPage]]:
    """Return the planes of a file in their order, each with its channels.

    Channels belong together where there are several depths or times; else each page is a plane.
    """
    axes = axes_of(pages)
    order = np.arange(len(pages)).reshape(tuple(axes.values()))
    if "C" in axes and len(axes) > 1:
        order = np.moveaxis(order, list(axes).index("C"), -1).reshape(-1, axes["C"])
    else:
        order = order.reshape(-1, 1)
    return [[pages[place] for place in places] for places in order.tolist()]


def choose(path: Path, pages: Sequence[TiffPage], wanted: Pages, hint: str) -> list[list[TiffPage]]:
    """Return the planes of which the maximum is the picture (mostly one), each with its channels.

    Args:
        path: What to call the file in errors.
        pages: All pages.
        wanted: What several pages are.
        hint: What to try where several are refused.

    Raises:
        UnreadablePicture: If there are several pages and none can be chosen.
    """
    count = len(pages)
    if count == 1 or wanted == "channels":
        return [list(pages)]
    axes = axes_of(pages)
    if wanted == "refuse":
        raise decoding.unreadable(path, f"has {count} pages{_in_words(axes)}", hint)
    planes = find_planes(pages)
    if {"T", "Z"} <= axes.keys() and wanted == "max":
        reason = f"has {count} pages{_in_words(axes)}, of which the maximum means nothing"
        hint = "save each time as a file of its own, or set pages to the number of one plane."
        raise decoding.unreadable(path, reason, hint)
    return [planes[place] for place in chosen(path, len(planes), wanted)]


def chosen(path: Path, count: int, wanted: Pages) -> range:
    """Return which planes of a stack are read, from 0.

    Raises:
        UnreadablePicture: If it has no such plane.
    """
    if wanted == "max":
        return range(count)
    number = wanted if isinstance(wanted, int) else 1
    if number > count:
        reason = f"has {count} planes, but pages = {number} asks for another"
        raise decoding.unreadable(path, reason, f"set pages to a number from 1 to {count}.")
    return range(number - 1, number)


def _in_words(axes: dict[str, int]) -> str:
    names = {"T": "times", "Z": "depths (Z)", "C": "channels"}
    parts = [f"{size} {names[axis]}" for axis, size in axes.items() if axis in names]
    return f" ({' x '.join(parts)})" if parts else ""


def _entries(opened: tifffile.TiffFile, page: tifffile.TiffPage) -> int:
    """Return how many entries a header has; the file stands at the first of them."""
    form, file = opened.tiff, opened.filehandle
    file.seek(page.offset)
    entries: int = struct.unpack(form.tagnoformat, file.read(form.tagnosize))[0]
    return entries


def _nextdescribed(opened: tifffile.TiffFile, page: tifffile.TiffPage) -> int:
    """Return where a header says that the next one is; 0: it is the last."""
    form, file = opened.tiff, opened.filehandle
    file.seek(_entries(opened, page) * form.tagsize, os.SEEK_CUR)
    place: int = struct.unpack(form.offsetformat, file.read(form.offsetsize))[0]
    return place


def described(page: tifffile.TiffPage) -> TiffPage:
    """Return what the header of a page says."""
    height, width, bits = page.imagelength, page.imagewidth, page.bitspersample
    samples, photometric = page.samplesperpixel, int(page.photometric)
    if not isinstance(bits, int) or min(height, width, samples, bits) < 1:
        raise SyntaxError(f"{width} x {height} pixels, {samples} samples of {bits} bits")
    base = {_RGB: 3, _YCBCR: 3, _CMYK: 4}.get(photometric, 1)
    extra = samples - base
    # Without a word about it, one number beyond red, green and blue is alpha in all programs.
    silent = (2,) if extra == 1 and photometric == _RGB else ()
    kinds = (page.extrasamples or silent)[: max(extra, 0)]
    orientation = page.tags.valueof(_ORIENTATION, 1)
    return TiffPage(
        height=height,
        width=width,
        samples=samples,
        bits=bits,
        numbers=_PER_SAMPLE.get(page.sampleformat, "other"),
        photometric=photometric,
        alpha=tuple(base + place for place, kind in enumerate(kinds) if kind != 0),
        orientation=orientation if orientation in range(1, 9) else 1,
        source=page,
    )
