"""Which decoder reads a picture file, and what its header says."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from imseg.data.files.atomic import open_plain
from imseg.data.images import decoding
from imseg.data.images.tiff import PAGES_HINT, check_pages, decode_tiff, is_tiff, read_pages
from imseg.errors import import_extra
from imseg.types import Bytes, Pixels

MAX_CHANNELS = 64
"""Most channels of a picture."""

_TURNED = frozenset({5, 6, 7, 8})
_ORIENTATION = 0x0112
_PNG = b"\x89PNG\r\n\x1a\n"
_HEAD = 26
# Channels, and whether the last is alpha, of PNG files with colors or alpha.
_PNG_COLORS = {2: (3, False), 4: (1, True), 6: (3, True)}


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
        if is_tiff(head):
            found = read_pages(path, file)
            check_pages(path, found, as_channels=pages)
            channels = sum(page.channels for page in found)
            _check_channels(path, channels)
            first = found[0]
            height, width = first.height, first.width
            if first.orientation in _TURNED:
                height, width = width, height
            return ImageInfo(height, width, channels, first.depth)
        deep = _deep_colors(head)
        with _opened(path, file, head) as picture:
            width, height = picture.size
            if picture.getexif().get(_ORIENTATION) in _TURNED:
                width, height = height, width
            channels, depth = decoding.channels_of(picture.mode)
            if deep is not None:
                channels, depth = deep[0], "uint16"
            elif head.startswith(_PNG) and depth == "float32":
                # Some versions of Pillow keep 16 bits in 32.
                depth = "uint16"
            return ImageInfo(height, width, channels, depth)


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
        if is_tiff(head):
            found = read_pages(path, file)
            check_pages(path, found, as_channels=pages, hint=pages_hint)
            _check_channels(path, sum(page.channels for page in found))
            return decode_tiff(path, file, found)
        with _opened(path, file, head) as picture:
            if _deep_colors(head) is not None:
                return _decode_deep_png(path, file, picture, head)
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
    path: Path, file: BinaryIO, picture: Pillow.Image, head: bytes
) -> decoding.Decoded:
    """Return a 16-bit color PNG in its full depth, of which Pillow would leave 8 bits."""
    purpose = f"to read {path}, a color PNG with 16 bits per channel"
    imagecodecs = import_extra("imagecodecs", extra="microscopy", purpose=purpose)
    channels, has_alpha = _deep_colors(head) or (1, False)
    decoding.check_size(path, picture.height, picture.width, depth=2 * (channels + has_alpha))
    file.seek(0)
    values = np.asarray(imagecodecs.png_decode(file.read()))
    if values.dtype != np.uint16 or values.ndim != 3 or values.shape[2] < channels + has_alpha:
        raise ValueError(f"{values.dtype} of shape {values.shape}")
    values = decoding.turned(values, picture.getexif().get(_ORIENTATION, 1))
    alpha = values[..., channels] if has_alpha else None
    return decoding.Decoded(values[..., :channels], alpha)


def _check_channels(path: Path, channels: int) -> None:
    if channels > MAX_CHANNELS:
        reason = f"has {channels} channels, which is more than {MAX_CHANNELS}"
        raise decoding.unreadable(path, reason, "keep the channels that show what is to be found.")


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
        raise decoding.unreadable(
            path, reason, "convert it to gray or color with 8 bits per channel."
        )
    return to_channels(pixels, channels)


def pixels_of(picture: Pillow.Image, name: str) -> Pixels:
    """Return the pixels (``h w c``) of an open Pillow picture; ``name`` is used in errors."""
    return decoding.as_pixels(decoding.decode_pillow(Path(name), picture))


def to_channels(pixels: Bytes, channels: int) -> Bytes:
    """Return ``h w c`` pixels with 1 or 3 channels: gray is repeated, color becomes lightness."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    return np.asarray(Pillow.fromarray(np.ascontiguousarray(pixels)).convert("L"))[..., None]


def resize_image(pixels: Bytes, size: tuple[int, int]) -> Bytes:
    """Return ``h w c`` pixels at another (height, width): bilinear, smoothed when shrinking."""
    if pixels.shape[:2] == size:
        return pixels
    if pixels.shape[2] == 3:
        return _resized(pixels, size)
    # Each channel by itself: Pillow would take two or four channels for colors with alpha.
    channels = [_resized(pixels[..., index], size) for index in range(pixels.shape[2])]
    return np.stack(channels, axis=2)


def hash_pixels(pixels: Pixels) -> str:
    """Return the SHA-256 of ``h w c`` pixels and their shape; gray RGB counts as gray.

    The same picture saved as PNG and as BMP has one hash, on machines of either byte order.
    """
    if pixels.shape[2] == 3 and is_gray(pixels):
        pixels = pixels[..., :1]
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).data)
    return digest.hexdigest()


def is_gray(pixels: npt.NDArray[Any]) -> bool:
    """Return whether the first three channels of ``h w c`` pixels are equal everywhere."""
    first = pixels[..., 0]
    unknown = pixels.dtype.kind == "f"
    return all(np.array_equal(first, pixels[..., i], equal_nan=unknown) for i in (1, 2))


def _resized(pixels: Bytes, size: tuple[int, int]) -> Bytes:
    """Return ``h w`` or ``h w 3`` pixels at another (height, width)."""
    height, width = size
    picture = Pillow.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize((width, height), Pillow.Resampling.BILINEAR), np.uint8)
