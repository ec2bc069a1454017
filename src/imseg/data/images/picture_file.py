"""Which decoder reads a picture file, and what its header says."""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import SEEK_CUR
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image as Pillow
from PIL import features

from imseg.data.files.atomic import open_plain
from imseg.data.images import decoding, tiff_decoding, tiff_pages
from imseg.errors import ImsegError, import_extra
from imseg.types import Pages, Pixels

PAGES_HINT = (
    'set pages = "channels" in imseg.toml if they are the channels of one picture; if they are '
    'planes (Z or time), set pages to "first", to "max" (the maximum over all) or to the number of '
    "one plane (1 is the first). Or save each page as a file of its own."
)
"""What to try where a file has several pages."""

_TURNED = frozenset({5, 6, 7, 8})
_ORIENTATION = 0x0112
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_NOTES = frozenset({b"eXIf", b"iTXt", b"tEXt", b"zTXt"})
_JPEG2000 = b"\xff\x4f\xff\x51"
_HEAD = 26
# Channels, and whether the last is alpha, of PNG files with colors or alpha.
_PNG_COLORS = {2: (3, False), 4: (1, True), 6: (3, True)}
_JPEG2000_COLORS = {1: (1, False), 2: (1, True), 3: (3, False), 4: (3, True)}
_MOVING = frozenset({"GIF", "PNG", "WEBP"})
_CODECS = {"WEBP": ("webp", "WebP"), "JPEG2000": ("jpg_2000", "JPEG 2000")}
_FAR = 1 << 16
_CODING_STYLE = b"\xff\x52\x00"  # a marker of JPEG 2000, and the first byte of its length
_WHOLE = frozenset({"PNG", "PPM"})  # Pillow keeps their 16 bits in 32


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
            found = tiff_decoding.checked_planes(path, file, pages, hint)[0]
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
            return _info(stored, channels, depth, _orientation_of(picture, file))


def _info(stored: tuple[int, int], channels: int, depth: str, orientation: int) -> ImageInfo:
    height, width = reversed(stored) if orientation in _TURNED else stored
    return ImageInfo(height, width, channels, depth, orientation)


def _orientation_of(picture: Pillow.Image, file: BinaryIO | None = None) -> int:
    """Return the EXIF number of an open picture; 1 if it has none that means something.

    Args:
        picture: Open, or decoded.
        file: Its file, if pixels are not to be decoded for that: Pillow decodes a PNG file, as the
            number may follow the pixels.
    """
    begins_with_it = file is not None and picture.format == "PNG" and _ends_with_pixels(file)
    exif = Pillow.Image.getexif(picture) if begins_with_it else picture.getexif()
    found = exif.get(_ORIENTATION, 1)
    return found if found in range(1, 9) else 1


def _ends_with_pixels(file: BinaryIO) -> bool:
    """Return whether a PNG file is whole, and says nothing about its pixels after them."""
    place, after = file.tell(), False
    file.seek(len(_PNG))
    try:
        while len(start := file.read(8)) == 8:
            size, kind = struct.unpack(">I4s", start)
            if kind == b"IEND":
                return True
            if after and kind in _PNG_NOTES:
                return False
            after |= kind == b"IDAT"
            file.seek(size + 4, SEEK_CUR)
        return False
    finally:
        file.seek(place)


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
            planes = tiff_decoding.checked_planes(path, file, pages, hint)
            turn, size = planes[0][0].orientation, planes[0][0].pixel_size
            for decoded in tiff_decoding.decode(path, file, planes):
                yield replace(decoded, orientation=turn, pixel_size=size)
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
    orientation = _orientation_of(picture, file)
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
    pixel_size: float | None
    """Micrometers on a side of a pixel; None: the file does not say."""


def read_upright(path: Path, *, pages: Pages = "refuse") -> UprightPicture:
    """Return the pixels of a picture, and how the file asks to show them.

    Args:
        path: A picture file.
        pages: What several pages in the file are; see ``read_image``.

    Raises:
        ImsegError: If the file cannot be read as such a picture.
    """
    inverting, orientation, pixel_size = False, 1, None
    pixels: Pixels | None = None
    for decoded in decode_planes(path, pages=pages):
        inverting |= decoded.inverting > 0
        orientation, pixel_size = decoded.orientation, decoded.pixel_size
        plane = decoding.as_pixels(decoded)
        # Unlike np.maximum, it prefers a number to "not a number".
        pixels = plane if pixels is None else np.fmax(pixels, plane)
    if pixels is None:
        raise decoding.damaged(path, "no picture found")
    return UprightPicture(pixels, inverting, orientation, pixel_size)


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
