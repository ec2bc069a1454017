"""Image files as pixels, and what is done to pixels; the way in to the rooms for picture files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from imseg.data.decoding import (
    SUFFIXES,
    UnreadablePicture,
    as_pixels,
    decode_pillow,
    unreadable,
)
from imseg.data.mask_io import MaskFile, as_packed_colors, mask_of, read_mask, resize_mask
from imseg.data.picture_file import MAX_CHANNELS, ImageInfo, decode_file, probe
from imseg.data.picture_out import write_png, write_tiff
from imseg.types import Bytes, Pixels

__all__ = [
    "MAX_CHANNELS",
    "SUFFIXES",
    "ImageInfo",
    "MaskFile",
    "UnreadablePicture",
    "as_packed_colors",
    "hash_pixels",
    "is_gray",
    "mask_of",
    "pixels_of",
    "probe",
    "read_image",
    "read_mask",
    "resize_image",
    "resize_mask",
    "to_channels",
    "write_png",
    "write_tiff",
]


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
    pixels = as_pixels(decode_file(path, pages=pages))
    if channels is None or pixels.shape[2] == channels:
        return pixels
    if pixels.dtype != np.uint8 or {pixels.shape[2], channels} != {1, 3}:
        reason = f"has {pixels.shape[2]} channels of {pixels.dtype}"
        raise unreadable(path, reason, "convert it to gray or color with 8 bits a channel.")
    return to_channels(pixels, channels)


def pixels_of(picture: Pillow.Image, name: str) -> Pixels:
    """Return the pixels (``h w c``) of an open Pillow picture; ``name`` is used in errors."""
    return as_pixels(decode_pillow(Path(name), picture))


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
