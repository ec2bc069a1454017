"""Pictures as bytes, from files and from arrays alike, just as a run has learned to read them."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from imseg.data.files.atomic import publish
from imseg.data.files.listing import counted, has_odd_name
from imseg.data.images.decoding import SUFFIXES, in_own_type
from imseg.data.images.picture_file import read_image, to_channels
from imseg.data.images.ranges import apply_ranges
from imseg.data.masks.colors import colorize, colorize_objects, covered
from imseg.errors import ImsegError, and_more, shown
from imseg.types import Bytes, Color, Image, Pixels, Reading, Target, TargetSpec

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


_MAX_INT32 = 2**31 - 1


def write_png(
    path: Path, array: npt.NDArray[Any], *, palette: Sequence[Color] | None = None
) -> None:
    """Write an array as a PNG file.

    Args:
        path: Where to; an existing file is replaced.
        array: ``h w`` of unsigned 8 or 16 bits, or ``h w 3`` of unsigned 8 bits.
        palette: For ``h w`` of 8 bits: the color of each value from 0 on, at most 256. The file is
            an indexed one then, with as many bits as the palette needs.

    Raises:
        ValueError: If the array has another shape or type, or values beyond the palette.
        ImsegError: If the file cannot be written.
    """
    gray = array.ndim == 2 and array.dtype in (np.uint8, np.uint16)
    colored = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    if not gray and not colored:
        raise ValueError(f"cannot write {array.dtype} of shape {array.shape} as PNG")
    picture = Pillow.fromarray(np.ascontiguousarray(array))
    if palette is None:
        _write(path, picture, "PNG", {})
        return
    if array.dtype != np.uint8 or colored or not array.max(initial=0) < len(palette) <= 256:
        raise ValueError(f"{len(palette)} colors do not fit {array.dtype} up to {array.max()}")
    picture.putpalette([part for color in palette for part in color])
    _write(path, picture, "PNG", {})


def write_tiff(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as a TIFF file with lossless compression.

    Args:
        path: Where to; an existing file is replaced.
        array: ``h w`` of float32 or of whole numbers from 0 to 2,147,483,647, such as the numbers
            of objects. They are written with 32 bits, or 8 or 16 if that is their unsigned type.

    Raises:
        ValueError: If the array has another shape, type or range.
        ImsegError: If the file cannot be written.
    """
    if array.ndim != 2 or (array.dtype != np.float32 and array.dtype.kind not in "ui"):
        raise ValueError(f"cannot write {array.dtype} of shape {array.shape} as TIFF")
    if array.dtype.kind in "ui" and array.dtype not in (np.uint8, np.uint16):
        if array.size and not 0 <= array.min() <= array.max() <= _MAX_INT32:
            raise ValueError(f"numbers from {array.min()} to {array.max()} do not fit")
        array = array.astype(np.int32)
    picture = Pillow.fromarray(np.ascontiguousarray(array))
    _write(path, picture, "TIFF", {"compression": "tiff_adobe_deflate"})


def _write(path: Path, picture: Pillow.Image, kind: str, options: dict[str, Any]) -> None:
    stream = io.BytesIO()
    picture.save(stream, format=kind, **options)
    publish(path, stream.getvalue())


_OPACITY = 0.4
_HATCH = np.array([255, 0, 255], dtype=np.uint8)


def list_images(place: Path) -> list[Image]:
    """Return a picture, or the pictures of a folder (not of its subfolders), sorted by name.

    Args:
        place: A file or a folder.

    Raises:
        ImsegError: If there is none, or if masks of two pictures would get the same name.
    """
    try:
        return _listed(place)
    except OSError as error:
        raise ImsegError(
            f"{place} cannot be looked into.",
            expected="a picture, or a folder of pictures, that you may read.",
            got=f"{error.strerror or error}.",
            hint="check the name, and the permissions.",
        ) from error


def _listed(place: Path) -> list[Image]:
    if place.is_file():
        _refuse_odd([place])
        return [Image(place.name, place)]
    if not place.is_dir():
        raise ImsegError(
            f"There is no picture or folder {place}.",
            expected="a picture, or a folder of pictures.",
            hint="check the name.",
        )
    listed = [path for path in sorted(place.iterdir()) if not path.name.startswith(".")]
    files = [path for path in listed if path.suffix.lower() in SUFFIXES and not path.is_dir()]
    _refuse_odd(files)
    found = [Image(path.name, path) for path in files]
    folders = [path.name for path in listed if path.is_dir()]
    if not found:
        raise ImsegError(
            f"{place} holds no pictures.",
            expected="files that end in " + ", ".join(sorted(SUFFIXES)) + ".",
            got="no such file." if not folders else f"folders: {and_more(folders)}.",
            hint=f"name one of the folders: {shown(place / folders[0])}" if folders else None,
        )
    stems = Counter(Path(image.name).stem for image in found)
    doubled = [stem for stem, count in stems.items() if count > 1]
    if doubled:
        raise ImsegError(
            f"Pictures in {place} would get masks of the same name.",
            expected="one picture per stem.",
            got=and_more([f"{stem}.*" for stem in doubled]),
            hint="rename or move one of each.",
        )
    return found


def _refuse_odd(files: Sequence[Path]) -> None:
    """Refuse names that garble, links that lead nowhere, and pipes, which might never end."""
    if odd := [path.name for path in files if has_odd_name(path)]:
        raise ImsegError(
            f"{counted(len(odd), 'picture')} would get a mask with control characters in its name.",
            expected="names of printable characters.",
            got=and_more(odd) + ".",
            hint="rename them.",
        )
    if broken := [str(path) for path in files if not path.is_file()]:
        raise ImsegError(
            f"{counted(len(broken), 'picture')} cannot be opened.",
            expected="files, or links to files.",
            got=and_more(broken) + ".",
            hint="mend the links, or remove them.",
        )


def as_color(pixels: Bytes) -> Bytes:
    """Return stored ``h w c`` pixels as ``h w 3``: of more than three channels the first three.

    Two channels become red and green.
    """
    channels = pixels.shape[2]
    if channels == 1:
        return np.repeat(pixels, 3, axis=2)
    if channels == 2:
        return np.concatenate([pixels, np.zeros_like(pixels[..., :1])], axis=2)
    return pixels[..., :3]


def draw_overlay(pixels: Bytes, target: Target, spec: TargetSpec) -> Bytes:
    """Return a picture with its mask laid over it: tinted areas with solid outlines.

    Maps of numbers hide the picture; void shows it.

    Args:
        pixels: ``h w c``.
        target: ``t h w`` in inside numbering. What is 0 in all planes is left clear.
        spec: Colors of the classes.
    """
    base = as_color(pixels)
    colors = colorize(target, spec)
    shown = covered(target, spec)
    if spec.kind == "regression":
        return np.where(shown[..., None], colors, base)
    tinted = (base * (1 - _OPACITY) + colors * _OPACITY).astype(np.uint8)
    drawn = np.where(shown[..., None], tinted, base)
    return np.where((_outline(colors) & shown)[..., None], colors, drawn)


def draw_objects(pixels: Bytes, labels: npt.NDArray[Any]) -> Bytes:
    """Return a picture with the objects of an ``h w`` label image, each in a color of its own."""
    base, colors = as_color(pixels), colorize_objects(labels)
    shown = labels > 0
    tinted = (base * (1 - _OPACITY) + colors * _OPACITY).astype(np.uint8)
    drawn = np.where(shown[..., None], tinted, base)
    numbers = np.stack([labels & 255, (labels >> 8) & 255, (labels >> 16) & 255], axis=2)
    return np.where((_outline(numbers.astype(np.uint8)) & shown)[..., None], colors, drawn)


def draw_inconsistency(pixels: Bytes, inconsistent: npt.NDArray[np.bool_]) -> Bytes:
    """Return a picture, dimmed, with inconsistent pixels in magenta."""
    dimmed = (as_color(pixels) * 0.6).astype(np.uint8)
    return np.where(inconsistent[..., None], _HATCH, dimmed)


def _outline(colors: Bytes) -> npt.NDArray[np.bool_]:
    """Return the pixels of ``h w 3`` that touch another color above, below, left or right."""
    edge = np.zeros(colors.shape[:2], dtype=bool)
    vertical = (colors[1:] != colors[:-1]).any(axis=2)
    horizontal = (colors[:, 1:] != colors[:, :-1]).any(axis=2)
    edge[1:] |= vertical
    edge[:-1] |= vertical
    edge[:, 1:] |= horizontal
    edge[:, :-1] |= horizontal
    return edge
