"""Masks of single objects as one label image, in which each object has a number of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.files.listing import counted
from imseg.data.masks.io import read_mask
from imseg.errors import ImsegError

_LARGE = 0.9
"""Share of an image from which on what a file marks is hardly an object."""

_MOST_NUMBERED = 64
"""Greatest value of a file that numbers several objects; what is above marks one object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """A label image, and how much of the masks it does not show."""

    labels: npt.NDArray[Any]
    """``h w``: 0, or the number of the object; 16 bits where these are enough, else 32."""
    overlapping: int
    """Pixels that belong to several objects."""
    covered: int
    """Objects that are not to be seen at all, because others cover them."""
    copies: int
    """Objects that are equal to an earlier one; all but one of equal objects are covered."""
    empty: int
    """Masks without an object."""
    backgrounds: tuple[Path, ...] = ()
    """Files that are called background, or cover more than 90 % of the image."""

    def __str__(self) -> str:
        told = [counted(len(np.unique(self.labels[self.labels > 0])), "object")]
        if self.overlapping:
            told.append(f"{counted(self.overlapping, 'pixel')} of several, the smallest on top")
        if self.covered:
            copies = f", {counted(self.copies, 'equal copy', 'equal copies')} among them"
            told.append(
                f"{counted(self.covered, 'object')} wholly covered by others and lost"
                + copies * bool(self.copies)
            )
        return "; ".join(told)


def merge_objects(masks: Sequence[npt.NDArray[np.bool_]]) -> Merged:
    """Return masks of single objects as one label image.

    Object ``k`` is the ``k``-th mask. Where masks overlap, the smaller object is on top, and of two
    equally large ones the later: a small object on a large one would vanish otherwise.

    Args:
        masks: ``h w`` each, at least one.
    """
    merged = np.zeros(masks[0].shape, np.uint16 if len(masks) < 2**16 else np.uint32)
    taken, several = np.zeros((2, *masks[0].shape), bool)
    areas = [int(np.count_nonzero(mask)) for mask in masks]
    for index in sorted(range(len(masks)), key=lambda each: (-areas[each], each)):
        mask = masks[index]
        merged[mask] = index + 1
        several |= taken & mask
        taken |= mask
    seen = set(np.unique(merged).tolist())
    # Of objects that do not touch, none equals another.
    shown = [mask for mask, area in zip(masks, areas, strict=True) if area] if several.any() else []
    return Merged(
        labels=merged,
        overlapping=int(np.count_nonzero(several)),
        covered=sum(area > 0 and index + 1 not in seen for index, area in enumerate(areas)),
        copies=len(shown) - len({np.packbits(mask).tobytes() for mask in shown}),
        empty=areas.count(0),
    )


def objects_in(values: npt.NDArray[Any]) -> list[npt.NDArray[np.bool_]]:
    """Return the objects in a mask file that is meant to hold one, each as a mask; none if empty.

    Small numbers are of different objects. Of greater ones, such as a smeared 255, those above half
    of the greatest are the object.

    Args:
        values: ``h w``.
    """
    found = np.unique(values[values != 0])
    if len(found) < 2 or found[-1] <= _MOST_NUMBERED:
        return [values == each for each in found]
    return [values > found[-1] / 2]


def merge_files(files: Sequence[Path], size: tuple[int, int]) -> Merged:
    """Return files with the masks of single objects as one label image.

    Args:
        files: Masks of one image; none if nothing is on it.
        size: Height and width of the image, which count if there are no files.

    Raises:
        ImsegError: If a file cannot be read, if their sizes differ, or if most of several masks
            cover more than half of the image, as those do in which the background is marked.
    """
    masks: list[npt.NDArray[np.bool_]] = []
    backgrounds = []
    for path in files:
        values = read_mask(path).values
        found = objects_in(values)
        masks += found
        named = "background" in path.stem.lower()
        if found and (named or any(mask.mean() > _LARGE for mask in found)):
            backgrounds.append(path)
        if masks and masks[0].shape != values.shape:
            sizes = " and ".join("{1}x{0}".format(*each.shape) for each in (masks[0], values))
            raise ImsegError(
                f"the masks of its objects have different sizes, {path.name}: {sizes}",
                hint="export all masks at the size of the image.",
            )
    merged = merge_objects(masks or [np.zeros(size, bool)])
    large = sum(2 * np.count_nonzero(mask) > mask.size for mask in masks)
    if large > max(1, len(masks) // 2):
        raise ImsegError(
            "most of its masks cover more than half of the image, as if backgrounds were marked",
            hint="exchange black and white in them.",
        )
    return replace(merged, backgrounds=tuple(backgrounds))
