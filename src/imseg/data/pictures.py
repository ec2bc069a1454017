"""Pictures to be segmented, and masks drawn upon pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imseg.data.encoding import colorize
from imseg.data.image_io import SUFFIXES, to_channels
from imseg.errors import ImsegError, and_more
from imseg.types import INCONSISTENT, Bytes, Image, TargetSpec

_OPACITY = 0.4
_HATCH = np.array([255, 0, 255], dtype=np.uint8)


def list_images(place: Path) -> list[Image]:
    """Return a picture, or the pictures of a folder (not of its subfolders), sorted by name.

    Args:
        place: A file or a folder.

    Raises:
        ImsegError: If there is none, or if masks of two pictures would get the same name.
    """
    if place.is_file():
        return [Image(place.name, place)]
    if not place.is_dir():
        raise ImsegError(
            f"There is no picture or folder {place}.",
            expected="a picture, or a folder of pictures.",
            hint="check the name.",
        )
    listed = [path for path in sorted(place.iterdir()) if not path.name.startswith(".")]
    found = [
        Image(path.name, path)
        for path in listed
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    folders = [path.name for path in listed if path.is_dir()]
    if not found:
        raise ImsegError(
            f"{place} holds no pictures.",
            expected="files that end in " + ", ".join(sorted(SUFFIXES)) + ".",
            got="no such file." if not folders else f"folders: {and_more(folders)}.",
            hint=f"name one of the folders: {place / folders[0]}" if folders else None,
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


def draw_overlay(pixels: Bytes, target: Bytes, spec: TargetSpec) -> Bytes:
    """Return a picture with its mask laid over it: tinted areas with solid outlines.

    Args:
        pixels: ``h w c``.
        target: ``h w`` in inside numbering. The first class of a binary target is left clear.
        spec: Colors of the classes.
    """
    base = to_channels(pixels, 3)
    colors = colorize(target, spec)
    tinted = (base * (1 - _OPACITY) + colors * _OPACITY).astype(np.uint8)
    covered = target != INCONSISTENT
    drawn = np.where(covered[..., None], tinted, base)
    return np.where((_outline(target) & covered)[..., None], colors, drawn)


def draw_inconsistency(pixels: Bytes, inconsistent: npt.NDArray[np.bool_]) -> Bytes:
    """Return a picture, dimmed, with inconsistent pixels in magenta."""
    dimmed = (to_channels(pixels, 3) * 0.6).astype(np.uint8)
    return np.where(inconsistent[..., None], _HATCH, dimmed)


def _outline(target: Bytes) -> npt.NDArray[np.bool_]:
    """Return the pixels that touch another value above, below, left or right."""
    edge = np.zeros(target.shape, dtype=bool)
    vertical, horizontal = target[1:] != target[:-1], target[:, 1:] != target[:, :-1]
    edge[1:] |= vertical
    edge[:-1] |= vertical
    edge[:, 1:] |= horizontal
    edge[:, :-1] |= horizontal
    return edge
