"""Pictures to be segmented, and masks drawn upon pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.image_io import SUFFIXES
from imseg.data.listing import counted, has_odd_name
from imseg.data.paint import colorize, colorize_objects, covered
from imseg.errors import ImsegError, and_more, shown
from imseg.types import Bytes, Image, Target, TargetSpec

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
            expected="one picture a stem.",
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
