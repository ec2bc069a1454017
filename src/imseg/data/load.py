"""Pictures as bytes, from files and from arrays alike, just as a run has learned to read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imseg.data.decoding import in_own_type
from imseg.data.image_io import read_image, to_channels
from imseg.data.ranges import apply_ranges
from imseg.errors import ImsegError
from imseg.types import Bytes, Image, Pixels, Reading

_DEPTHS = {"uint8": "8 bits", "uint16": "16 bits", "float32": "32-bit floats"}


def load_pixels(image: Image, reading: Reading) -> Bytes:
    """Return the pixels of a picture as bytes, ``h w c``, with ``reading.channels`` channels.

    Without ranges, bytes stay as they are; gray is repeated to become color, and color becomes
    lightness where a run is gray. With ranges, each channel is scaled by its own.

    Args:
        image: A file or an array.
        reading: How the pictures of the data set become bytes.

    Raises:
        ImsegError: If the file cannot be read, or has another depth or other channels.
    """
    if isinstance(image.pixels, Path):
        name, pixels = str(image.pixels), read_image(image.pixels, pages=reading.pages)
    else:
        name, pixels = image.name, in_own_type(image.pixels)
        pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    if str(pixels.dtype) != reading.depth:
        raise _unlike(name, pixels, reading)
    channels = pixels.shape[2]
    if reading.low is not None and reading.high is not None:
        if channels != reading.channels:
            raise _unlike(name, pixels, reading)
        return apply_ranges(pixels, reading.low, reading.high)
    if pixels.dtype != np.uint8:
        raise ValueError(f"{reading.depth} pixels need ranges to become bytes")
    if channels != reading.channels and {channels, reading.channels} != {1, 3}:
        raise _unlike(name, pixels, reading)
    return to_channels(pixels, reading.channels)


def _unlike(name: str, pixels: Pixels, reading: Reading) -> ImsegError:
    return ImsegError(
        f"{name} is not of the kind that the pictures for training are.",
        expected=_in_words(reading.channels, reading.depth),
        got=_in_words(pixels.shape[2], str(pixels.dtype)),
        hint="save it as they are saved, with the same channels and depth.",
    )


def _in_words(channels: int, depth: str) -> str:
    plural = "" if channels == 1 else "s"
    return f"{channels} channel{plural}, {_DEPTHS.get(depth, depth)} ({depth})."
