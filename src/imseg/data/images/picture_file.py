"""Which decoder reads a picture file, and what its header says; TIFF files page by page."""

import itertools
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import UnidentifiedImageError, features

from imseg.data.files.atomic import open_plain
from imseg.data.images import decoding, tiff_pages
from imseg.data.images.tiff_pages import PALETTE, TiffPage
from imseg.errors import ImsegError, import_extra
from imseg.types import Pages, Pixels

MAX_CHANNELS = 64
"""Most channels of a picture."""

PAGES_HINT = (
    'set pages = "channels" in imseg.toml if they are the channels of one picture; if they are '
    'planes (Z or time), set pages to "first", to "max" (the maximum over all) or to the number of '
    "one plane (1 is the first). Or save each page as a file of its own."
)
"""What to try where a file has several pages."""

_TURNED = frozenset({5, 6, 7, 8})
_ORIENTATION = 0x0112
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG2000 = b"\xff\x4f\xff\x51"
_HEAD = 26
# Channels, and whether the last is alpha, of PNG files with colors or alpha.
_PNG_COLORS = {2: (3, False), 4: (1, True), 6: (3, True)}
_JPEG2000_COLORS = {1: (1, False), 2: (1, True), 3: (3, False), 4: (3, True)}
_NO_RGB = {8: "LAB", 9: "LAB", 10: "LAB", 32844: "LogLuv", 32845: "LogLuv"}
"""Meanings of the numbers that cannot be shown as they stand, as coded in TIFF."""
_MOVING = frozenset({"GIF", "PNG", "WEBP"})
_CODECS = {"WEBP": ("webp", "WebP"), "JPEG2000": ("jpg_2000", "JPEG 2000")}
_ROWS = 8
_FAR = 1 << 16
_CODING_STYLE = b"\xff\x52\x00"  # a marker of JPEG 2000, and the first byte of its length
_WHOLE = frozenset({"PNG", "PPM"})  # Pillow keeps their 16 bits in 32


def _checked_planes(path: Path, file: BinaryIO, wanted: Pages, hint: str) -> list[list[TiffPage]]:
    """Return the planes of a TIFF file that become one picture without too much memory.

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
    depth = sum(page.bytes_per_pixel for page in planes[0])
    decoding.check_size(path, first.height, first.width, depth=depth)
    channels = sum(page.channels for page in planes[0])
    if channels > MAX_CHANNELS:
        reason = f"has {channels} channels, which is more than {MAX_CHANNELS}"
        raise decoding.unreadable(path, reason, "keep the channels that show what is to be found.")
    return planes


def _decode_tiff(
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
        yield decoding.Decoded(_side_by_side(parts)) if together else parts[0]


def _side_by_side(decoded: Sequence[decoding.Decoded]) -> Pixels:
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
            yield _arranged(page, _read_plane(page), axes=page.source.axes)
            continue
        _check_segments(path, file, page)
        try:
            values = page.source.asarray(maxworkers=1)
        except (ImportError, ValueError) as error:
            if isinstance(error, ValueError) and "imagecodecs" not in str(error):
                raise
            import_extra("imagecodecs", extra="microscopy", purpose=f"to read {path}")
            reason = f"is compressed in a way that cannot be read here ({error})"
            raise decoding.unreadable(path, reason, "save it again with LZW or without.") from error
        yield _arranged(page, values, axes=page.source.axes)


def _read_plane(page: TiffPage) -> npt.NDArray[Any]:
    """Return one of the planes that follow a single header, uncompressed and without gaps."""
    source = page.source
    file, dtype = source.parent.filehandle, np.dtype(source.dtype)
    file.seek(source.dataoffsets[0] + (page.plane or 0) * source.nbytes)
    values = np.frombuffer(file.read(source.nbytes), dtype.newbyteorder(source.parent.byteorder))
    return values.reshape(source.shape)


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
    if page.numbers == "uint" and page.bits < 8:
        # From black to white like bytes, as Pillow reads them.
        values = values.astype(np.uint8) * np.uint8(255 // (2**page.bits - 1))
    if not page.alpha:
        return decoding.Decoded(values, inverting=page.inverting)
    kept = [place for place in range(page.samples) if place not in page.alpha]
    alpha = values[..., page.alpha[0]]
    return decoding.Decoded(values[..., kept], alpha, inverting=page.inverting)


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


def probe(path: Path, *, pages: Pages = "refuse", hint: str = PAGES_HINT) -> ImageInfo:
    """Return size, channels and depth of a picture, from its header.

    Args:
        path: A picture file.
        pages: What several pages in the file are.
        hint: What to try where they are refused.

    Raises:
        ImsegError: If the file cannot be opened, is not a picture, or is too large.
    """
    with decoding.errors_named(path), open_plain(path) as file:
        head = file.read(_HEAD)
        if tiff_pages.is_tiff(head):
            found = _checked_planes(path, file, pages, hint)[0]
            first, channels = found[0], sum(page.channels for page in found)
            return _info((first.height, first.width), channels, first.depth, first.orientation)
        with _opened(path, file, head) as picture:
            _frames(path, picture, pages, hint)
            channels, depth = decoding.channels_of(picture.mode)
            if (deep := _deep_colors(head, file, picture)) is not None:
                channels, depth = deep[0], "uint16"
            # Some versions of Pillow keep 16 bits in 32.
            elif picture.format in _WHOLE and depth == "float32" and picture.mode == "I":
                depth = "uint16"
            stored = picture.height, picture.width
            return _info(stored, channels, depth, _orientation_of(picture))


def _info(stored: tuple[int, int], channels: int, depth: str, orientation: int) -> ImageInfo:
    height, width = reversed(stored) if orientation in _TURNED else stored
    return ImageInfo(height, width, channels, depth, orientation)


def _orientation_of(picture: Pillow.Image) -> int:
    """Return the EXIF number of an open picture; 1 if it has none that means something."""
    found = picture.getexif().get(_ORIENTATION, 1)
    return found if found in range(1, 9) else 1


def decode_planes(
    path: Path, *, pages: Pages = "refuse", hint: str = PAGES_HINT
) -> Iterator[decoding.Decoded]:
    """Yield what a picture file holds, upright, in its own type.

    That is one picture, unless ``pages`` asks for the maximum over several planes.

    Args:
        path: A picture file; what it is shows in its content, not its name.
        pages: What several pages in the file are.
        hint: What to try where they are refused.

    Raises:
        ImsegError: If the file cannot be read, is too large, or needs a library that is missing.
    """
    with decoding.errors_named(path), open_plain(path) as file:
        head = file.read(_HEAD)
        if tiff_pages.is_tiff(head):
            planes = _checked_planes(path, file, pages, hint)
            for decoded in _decode_tiff(path, file, planes):
                yield replace(decoded, orientation=planes[0][0].orientation)
            return
        with _opened(path, file, head) as picture:
            frames = _frames(path, picture, pages, hint)
            if (deep := _deep_colors(head, file, picture)) is not None:
                yield _decode_deep(path, file, picture, *deep)
                return
            for frame in frames:
                picture.seek(frame)
                picture.load()  # what follows the pixels may say how they are turned
                orientation = _orientation_of(picture)
                shown = decoding.upright(picture)
                if picture.format == "GIF" and shown.mode == "P":
                    # Each file has its own palette, so an index means nothing beyond its file.
                    shown = shown.convert("RGBA" if "transparency" in shown.info else "RGB")
                decoded = decoding.decode_pillow(path, shown)
                if picture.format in _WHOLE and decoded.values.dtype == np.int32:
                    decoded = decoding.Decoded(decoded.values.astype(np.uint16))
                yield replace(decoded, orientation=orientation)


@contextmanager
def _opened(path: Path, file: BinaryIO, head: bytes) -> Iterator[Pillow.Image]:
    """Open a picture that is no TIFF file, if it is not too large."""
    if head.startswith(_PNG) and len(head) == _HEAD:
        # Before Pillow opens it: from half its own limit on, Pillow prints a warning.
        width, height = struct.unpack(">II", head[16:24])
        decoding.check_size(path, height, width)
    if (missing := _missing_codec(head)) is not None:
        reason = f"is a {missing} file, which the Pillow that is installed cannot read"
        raise decoding.unreadable(path, reason, "pip install --upgrade pillow, or save it as PNG.")
    file.seek(0)
    # By file, not by name: Pillow maps named files.
    with Pillow.open(file, formats=decoding.FORMATS) as picture:
        decoding.check_size(path, picture.height, picture.width)
        yield picture


def _missing_codec(head: bytes) -> str | None:
    """Return the format of a file that begins so, if Pillow was built without it."""
    webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    jpeg2000 = head.startswith(_JPEG2000) or head[4:8] == b"jP  "
    for is_one, (codec, name) in ((webp, _CODECS["WEBP"]), (jpeg2000, _CODECS["JPEG2000"])):
        if is_one and not features.check(codec):
            return name
    return None


def _frames(path: Path, picture: Pillow.Image, wanted: Pages, hint: str) -> Sequence[int]:
    """Return which pictures of a GIF, PNG or WebP file are read: a moving one is a stack.

    Raises:
        UnreadablePicture: If there are several and none can be chosen.
    """
    if picture.format not in _MOVING or not getattr(picture, "is_animated", False):
        return (0,)
    count = getattr(picture, "n_frames", 1)
    if wanted in ("refuse", "channels"):
        raise decoding.unreadable(path, f"is a film of {count} pictures", hint)
    return tiff_pages.chosen(path, count, wanted)


def _deep_colors(head: bytes, file: BinaryIO, picture: Pillow.Image) -> tuple[int, bool] | None:
    """Return channels and whether there is alpha, of a file that Pillow reads with fewer bits."""
    if head.startswith(_PNG):
        return _PNG_COLORS.get(head[25]) if len(head) == _HEAD and head[24] == 16 else None
    if picture.format != "JPEG2000":
        return None
    file.seek(0)
    start = file.read(_FAR)
    place = start.find(_JPEG2000)
    if place < 0 or len(start) < place + 43:
        return None
    count, bits = struct.unpack(">HB", start[place + 40 : place + 43])
    # A sign is the highest bit; with one channel of 16 bits Pillow is exact.
    exact = bits + 1 == 8 or (count == 1 and bits + 1 == 16)
    return None if exact or not 8 <= bits < 16 else _JPEG2000_COLORS.get(count)


def _decode_deep(
    path: Path, file: BinaryIO, picture: Pillow.Image, channels: int, has_alpha: bool
) -> decoding.Decoded:
    """Return a PNG or JPEG 2000 in its full depth, of which Pillow would leave 8 bits."""
    kind = "PNG" if picture.format == "PNG" else "JPEG 2000"
    purpose = f"to read {path}, a color {kind} with 16 bits per channel"
    imagecodecs = import_extra("imagecodecs", extra="microscopy", purpose=purpose)
    decoding.check_size(path, picture.height, picture.width, depth=2 * (channels + has_alpha))
    file.seek(0)
    decode = imagecodecs.png_decode if kind == "PNG" else imagecodecs.jpeg2k_decode
    values = np.asarray(decode(file.read()))
    values = values[..., None] if values.ndim == 2 else values
    if values.dtype != np.uint16 or values.ndim != 3 or values.shape[2] < channels + has_alpha:
        raise ValueError(f"{values.dtype} of shape {values.shape}")
    orientation = _orientation_of(picture)
    values = decoding.turned(values, orientation)
    alpha = values[..., channels] if has_alpha else None
    return decoding.Decoded(values[..., :channels], alpha, orientation=orientation)


def lossy_coding(path: Path) -> str | None:
    """Return the coding of a file, in words, if it changes values a little; else None.

    WebP and JPEG 2000 may be with or without loss, which the start of the file tells.
    """
    how = decoding.lossy_suffix(path.name)
    if how in (None, "JPEG"):
        return how
    try:
        with open_plain(path) as file:
            start = file.read(_FAR)
    except (OSError, ImsegError):
        return None
    if start.startswith(b"RIFF"):
        return how if _has_chunk(start, b"VP8 ") else None
    # The last byte of the marker with the coding style: 0 is the wavelet that rounds.
    place = start.find(_CODING_STYLE)
    return how if place >= 0 and start[place + 13 : place + 14] == b"\0" else None


def _has_chunk(start: bytes, name: bytes) -> bool:
    """Return whether a RIFF file that begins so has a chunk of that name."""
    place = 12
    while place + 8 <= len(start):
        if start[place : place + 4] == name:
            return True
        size = int.from_bytes(start[place + 4 : place + 8], "little")
        place += 8 + size + size % 2
    return False


class UprightPicture(NamedTuple):
    """The pixels of a picture file, and what was done to them."""

    pixels: Pixels
    """``h w c``, upright."""
    inverting: bool
    """Whether the file says that 0 is to be shown as white."""
    orientation: int
    """The EXIF number: how the pixels were turned; 1: they were not."""


def read_upright(path: Path, *, pages: Pages = "refuse") -> UprightPicture:
    """Return the pixels of a picture, and how the file asks to show them.

    Args:
        path: A picture file.
        pages: What several pages in the file are; see ``read_image``.

    Raises:
        ImsegError: If the file cannot be read as such a picture.
    """
    inverting, orientation = False, 1
    pixels: Pixels | None = None
    for decoded in decode_planes(path, pages=pages):
        inverting |= decoded.inverting > 0
        orientation = decoded.orientation
        plane = decoding.as_pixels(decoded)
        # Unlike np.maximum, it prefers a number to "not a number".
        pixels = plane if pixels is None else np.fmax(pixels, plane)
    if pixels is None:
        raise decoding.damaged(path, "no picture found")
    return UprightPicture(pixels, inverting, orientation)


def read_image(path: Path, *, channels: int | None = None, pages: Pages = "refuse") -> Pixels:
    """Return the pixels of a picture as ``h w c``, upright, without alpha, palettes expanded.

    They have the file's own type: uint8, uint16, or float32 for all other numbers. 1-bit pictures
    give 0 and 255; CMYK and YCbCr become RGB. Numbers of more than 8 bits are as they stand, even
    where the file says that 0 is to be shown as white.

    Args:
        path: A picture file.
        channels: 1 or 3 to make an 8-bit picture gray or colored; None leaves it as it is.
        pages: What several pages in the file are: refused; the channels of one picture, in the
            order of the file; or planes, of which one, or the maximum over all, is the picture.

    Raises:
        ImsegError: If the file cannot be read as such a picture.
    """
    pixels = read_upright(path, pages=pages).pixels
    if channels is None or pixels.shape[2] == channels:
        return pixels
    if pixels.dtype != np.uint8 or {pixels.shape[2], channels} != {1, 3}:
        reason = f"has {pixels.shape[2]} channels of {pixels.dtype}"
        hint = "convert it to gray or color with 8 bits per channel."
        raise decoding.unreadable(path, reason, hint)
    return decoding.to_channels(pixels, channels)
