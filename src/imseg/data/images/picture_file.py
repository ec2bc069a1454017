"""Which decoder reads a picture file, and what its header says; TIFF files page by page."""

import logging
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from imseg.data.files.atomic import open_plain
from imseg.data.images import decoding
from imseg.errors import import_extra
from imseg.types import Pixels

MAX_CHANNELS = 64
"""Most channels of a picture."""

_TURNED = frozenset({5, 6, 7, 8})
_ORIENTATION = 0x0112
_PNG = b"\x89PNG\r\n\x1a\n"
_HEAD = 26
# Channels, and whether the last is alpha, of PNG files with colors or alpha.
_PNG_COLORS = {2: (3, False), 4: (1, True), 6: (3, True)}

_MOST_PAGES = 1024
_MOST_ENTRIES = 1024  # of a page; real ones have a few dozen
_VERSIONS = frozenset({b"*\0", b"\0*", b"+\0", b"\0+"})
_GRAY, _RGB, PALETTE, _CMYK, _YCBCR = frozenset({0, 1}), 2, 3, 5, 6
_NO_RGB = {8: "LAB", 9: "LAB", 10: "LAB", 32844: "LogLuv", 32845: "LogLuv"}
"""Meanings of the numbers that cannot be shown as they stand, as coded in TIFF."""
_NOT_A_PICTURE = 1 | 4
"""Bits of the subfile type: a smaller copy of another page, or its transparency."""
_PER_SAMPLE = {1: "uint", 2: "int", 3: "float", 4: "uint"}
_ROWS = 8
PAGES_HINT = 'set pages = "channels" in imseg.toml, or save each page as a file of its own.'
"""What to try where a file has several pages."""

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
    def suits_pillow(self) -> bool:
        """Whether Pillow returns exactly these numbers.

        It gives wrong numbers, without an error, for deep colors (8 of 16 bits are left), signed
        bytes, compressed numbers with the high byte first, gray planes, and channels beyond RGB.
        It does not open BigTIFF with the high byte first.
        """
        file = self.source.parent
        little = file.byteorder == "<"
        if file.is_bigtiff and not little:
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


def _is_tiff(head: bytes) -> bool:
    """Return whether a file that begins so is a TIFF file."""
    return head[:2] in (b"II", b"MM") and head[2:4] in _VERSIONS


def read_pages(path: Path, file: BinaryIO) -> list[TiffPage]:
    """Return what the headers say about the pages that are pictures of their own.

    Smaller copies of a page, as in pyramids, and transparency masks are left out.

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
            hint = "save the pages that belong to one picture as a file of their own."
            raise decoding.unreadable(path, f"has more than {_MOST_PAGES} pages", hint)
        if (entries := _entries(opened, page)) > _MOST_ENTRIES:
            raise SyntaxError(f"a page with {entries} entries")
        found[page.offset] = page
    if not found:
        raise decoding.damaged(path, "no page found")
    if _next_page(opened, page) not in (0, *found):
        raise decoding.damaged(path, "a page is missing")
    pages = list(found.values())
    pictures = [page for page in pages if not page.subfiletype & _NOT_A_PICTURE] or pages[:1]
    return [_page(page) for page in pictures]


def _entries(opened: tifffile.TiffFile, page: tifffile.TiffPage) -> int:
    """Return how many entries a header has; the file stands at the first of them."""
    form, file = opened.tiff, opened.filehandle
    file.seek(page.offset)
    entries: int = struct.unpack(form.tagnoformat, file.read(form.tagnosize))[0]
    return entries


def _next_page(opened: tifffile.TiffFile, page: tifffile.TiffPage) -> int:
    """Return where a header says that the next one is; 0: it is the last."""
    form, file = opened.tiff, opened.filehandle
    file.seek(_entries(opened, page) * form.tagsize, os.SEEK_CUR)
    place: int = struct.unpack(form.offsetformat, file.read(form.offsetsize))[0]
    return place


def _page(page: tifffile.TiffPage) -> TiffPage:
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
        orientation=orientation if isinstance(orientation, int) else 1,
        source=page,
    )


def _checked_pages(
    path: Path, file: BinaryIO, *, as_channels: bool, hint: str = PAGES_HINT
) -> list[TiffPage]:
    """Return the pages of a TIFF file if they can become one picture without too much memory.

    Args:
        path: What to call the file in errors.
        file: The open file.
        as_channels: Whether there may be several.
        hint: What to try where there may not.

    Raises:
        UnreadablePicture: With the reason.
    """
    pages = read_pages(path, file)
    first = pages[0]
    if len(pages) > 1 and not as_channels:
        raise decoding.unreadable(path, f"has {len(pages)} pages", hint)
    for page in pages:
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
    depth = sum(page.bytes_per_pixel for page in pages)
    decoding.check_size(path, first.height, first.width, depth=depth)
    channels = sum(page.channels for page in pages)
    if channels > MAX_CHANNELS:
        reason = f"has {channels} channels, which is more than {MAX_CHANNELS}"
        raise decoding.unreadable(path, reason, "keep the channels that show what is to be found.")
    return pages


def _decode_tiff(path: Path, file: BinaryIO, pages: Sequence[TiffPage]) -> decoding.Decoded:
    """Return what checked pages hold, one after the other as channels.

    Raises:
        ImsegError: If imagecodecs is needed and not installed.
        Exception: Whatever the decoders raise for broken files.
    """
    suits = all(page.suits_pillow for page in pages)
    decoded = _with_pillow(path, file, pages) if suits else None
    if decoded is None:
        decoded = _with_tifffile(path, file, pages)
    if len(decoded) == 1:
        return decoded[0]
    return decoding.Decoded(_side_by_side([decoding.as_pixels(one) for one in decoded]))


def _side_by_side(parts: Sequence[Pixels]) -> Pixels:
    """Return ``h w c`` pixels from parts that hold one or more channels each."""
    height, width, _ = parts[0].shape
    whole = np.empty((height, width, sum(part.shape[2] for part in parts)), parts[0].dtype)
    # A few rows at a time stay in the processor's cache: several times faster with many parts.
    for start in range(0, height, _ROWS):
        rows = slice(start, start + _ROWS)
        np.concatenate([part[rows] for part in parts], axis=2, out=whole[rows])
    return whole


def _in_words(page: TiffPage) -> str:
    return f"{page.width}x{page.height}, {page.depth}, {page.channels} channels"


def _with_pillow(
    path: Path, file: BinaryIO, pages: Sequence[TiffPage]
) -> list[decoding.Decoded] | None:
    """Return the pages, or None if Pillow does not know their coding."""
    file.seek(0)
    try:
        picture = Pillow.open(file, formats=("TIFF",))
    except (UnidentifiedImageError, KeyError):
        return None
    decoded = []
    with picture:
        for page in pages:
            picture.seek(page.source.index)
            found = decoding.decode_pillow(path, decoding.upright(picture))
            if page.numbers == "uint" and page.bits == 32:
                # Pillow reads the same 32 bits as signed numbers.
                found = decoding.Decoded(found.values.view(np.uint32))
            decoded.append(found)
    return decoded


def _with_tifffile(path: Path, file: BinaryIO, pages: Sequence[TiffPage]) -> list[decoding.Decoded]:
    decoded = []
    for page in pages:
        _check_segments(path, file, page)
        try:
            values = page.source.asarray(maxworkers=1)
        except (ImportError, ValueError) as error:
            if isinstance(error, ValueError) and "imagecodecs" not in str(error):
                raise
            import_extra("imagecodecs", extra="microscopy", purpose=f"to read {path}")
            reason = f"is compressed in a way that cannot be read here ({error})"
            raise decoding.unreadable(path, reason, "save it again with LZW or without.") from error
        decoded.append(_arranged(page, values, axes=page.source.axes))
    return decoded


def _check_segments(path: Path, file: BinaryIO, page: TiffPage) -> None:
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


def _arranged(page: TiffPage, values: npt.NDArray[Any], *, axes: str) -> decoding.Decoded:
    """Return the values of a page, ``h w c`` and upright, without alpha."""
    if axes.startswith("S"):
        values = np.moveaxis(values, 0, -1)
    if values.ndim == 2:
        values = values[..., None]
    if values.shape != (page.height, page.width, page.samples):
        raise ValueError(f"pixels of shape {values.shape}")
    values = decoding.turned(values, page.orientation)
    if not page.alpha:
        return decoding.Decoded(values)
    kept = [place for place in range(page.samples) if place not in page.alpha]
    return decoding.Decoded(values[..., kept], values[..., page.alpha[0]])


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the header of a picture file says."""

    height: int
    """Pixels, after the turn that the EXIF data asks for."""
    width: int
    """Pixels, after the turn that the EXIF data asks for."""
    channels: int
    """Without alpha, palettes expanded."""
    depth: str = "uint8"
    """The type of the pixels: uint8, uint16 or float32."""
    orientation: int = field(default=1, compare=False)
    """The EXIF number: how the file is turned on reading; 1: it is not."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


def probe(path: Path, *, pages: bool = False) -> ImageInfo:
    """Return size, channels and depth of a picture, from its header.

    Args:
        path: A PNG, JPEG, BMP or TIFF file.
        pages: Whether the pages of a TIFF file are channels of one picture; otherwise such files
            are refused.

    Raises:
        ImsegError: If the file cannot be opened, is not a picture, or is too large.
    """
    with decoding.errors_named(path), open_plain(path) as file:
        head = file.read(_HEAD)
        if _is_tiff(head):
            found = _checked_pages(path, file, as_channels=pages)
            first, channels = found[0], sum(page.channels for page in found)
            return _info((first.height, first.width), channels, first.depth, first.orientation)
        deep = _deep_colors(head)
        with _opened(path, file, head) as picture:
            channels, depth = decoding.channels_of(picture.mode)
            channels = deep[0] if deep else channels
            # Some versions of Pillow keep 16 bits in 32.
            if deep or (head.startswith(_PNG) and depth == "float32"):
                depth = "uint16"
            orientation = picture.getexif().get(_ORIENTATION)
            return _info((picture.height, picture.width), channels, depth, orientation)


def _info(stored: tuple[int, int], channels: int, depth: str, orientation: int | None) -> ImageInfo:
    height, width = reversed(stored) if orientation in _TURNED else stored
    return ImageInfo(height, width, channels, depth, orientation or 1)


def decode_file(
    path: Path, *, pages: bool = False, pages_hint: str = PAGES_HINT
) -> decoding.Decoded:
    """Return what a picture file holds, upright, in its own type.

    Args:
        path: A PNG, JPEG, BMP or TIFF file; what it is shows in its content, not its name.
        pages: Whether the pages of a TIFF file are channels of one picture; otherwise such files
            are refused.
        pages_hint: What to try then.

    Raises:
        ImsegError: If the file cannot be read, is too large, or needs a library that is missing.
    """
    with decoding.errors_named(path), open_plain(path) as file:
        head = file.read(_HEAD)
        if _is_tiff(head):
            found = _checked_pages(path, file, as_channels=pages, hint=pages_hint)
            return _decode_tiff(path, file, found)
        with _opened(path, file, head) as picture:
            if (deep := _deep_colors(head)) is not None:
                return _decode_deep_png(path, file, picture, *deep)
            decoded = decoding.decode_pillow(path, decoding.upright(picture))
            if head.startswith(_PNG) and decoded.values.dtype == np.int32:
                return decoding.Decoded(decoded.values.astype(np.uint16))
            return decoded


@contextmanager
def _opened(path: Path, file: BinaryIO, head: bytes) -> Iterator[Pillow.Image]:
    """Open a picture that is no TIFF file, if it is not too large."""
    if head.startswith(_PNG) and len(head) == _HEAD:
        # Before Pillow opens it: from half its own limit on, Pillow prints a warning.
        width, height = struct.unpack(">II", head[16:24])
        decoding.check_size(path, height, width)
    file.seek(0)
    # By file, not by name: Pillow maps named files.
    with Pillow.open(file, formats=decoding.FORMATS) as picture:
        decoding.check_size(path, picture.height, picture.width)
        yield picture


def _deep_colors(head: bytes) -> tuple[int, bool] | None:
    """Return channels and whether there is alpha, of a PNG with 16 bits for each; else None."""
    if len(head) < _HEAD or not head.startswith(_PNG) or head[24] != 16:
        return None
    return _PNG_COLORS.get(head[25])


def _decode_deep_png(
    path: Path, file: BinaryIO, picture: Pillow.Image, channels: int, has_alpha: bool
) -> decoding.Decoded:
    """Return a 16-bit color PNG in its full depth, of which Pillow would leave 8 bits."""
    purpose = f"to read {path}, a color PNG with 16 bits per channel"
    imagecodecs = import_extra("imagecodecs", extra="microscopy", purpose=purpose)
    decoding.check_size(path, picture.height, picture.width, depth=2 * (channels + has_alpha))
    file.seek(0)
    values = np.asarray(imagecodecs.png_decode(file.read()))
    if values.dtype != np.uint16 or values.ndim != 3 or values.shape[2] < channels + has_alpha:
        raise ValueError(f"{values.dtype} of shape {values.shape}")
    values = decoding.turned(values, picture.getexif().get(_ORIENTATION, 1))
    alpha = values[..., channels] if has_alpha else None
    return decoding.Decoded(values[..., :channels], alpha)


def read_image(path: Path, *, channels: int | None = None, pages: bool = False) -> Pixels:
    """Return the pixels of a picture as ``h w c``, upright, without alpha, palettes expanded.

    They have the file's own type: uint8, uint16, or float32 for all other numbers. 1-bit pictures
    give 0 and 255; CMYK and YCbCr become RGB. Numbers of more than 8 bits are as they stand, even
    where the file says that 0 is to be shown as white.

    Args:
        path: A PNG, JPEG, BMP or TIFF file.
        channels: 1 or 3 to make an 8-bit picture gray or colored; None leaves it as it is.
        pages: Whether the pages of a TIFF file are the channels of one picture, in the order of
            the file; otherwise a file with several pages is refused.

    Raises:
        ImsegError: If the file cannot be read as such a picture.
    """
    pixels = decoding.as_pixels(decode_file(path, pages=pages))
    if channels is None or pixels.shape[2] == channels:
        return pixels
    if pixels.dtype != np.uint8 or {pixels.shape[2], channels} != {1, 3}:
        reason = f"has {pixels.shape[2]} channels of {pixels.dtype}"
        hint = "convert it to gray or color with 8 bits per channel."
        raise decoding.unreadable(path, reason, hint)
    return decoding.to_channels(pixels, channels)
