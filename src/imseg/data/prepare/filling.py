"""Writing the pictures of a data folder: every split, on all cores, hidden truth apart."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from imseg.data.image_io import probe
from imseg.data.prepare.summary import Progress
from imseg.errors import ImsegError

Item = TypeVar("Item")
"""Whatever belongs to a source image."""


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one source image."""

    stems: tuple[str, ...]
    """Stems of the images written."""
    figures: Mapping[str, int] = field(default_factory=dict)
    """Counts; they are added up over all source images."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What is to be said about a stem in ``splits.json``."""


Make = Callable[[str, Item, Path, Path], Made]
"""Writes a source image (its name, what belongs to it) to a folder of images and one of masks."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What was written to a data folder."""

    splits: dict[str, list[str]]
    """Stems of the images in each split."""
    figures: dict[str, int]
    """Counts, added up."""
    details: dict[str, dict[str, Any]]
    """What is to be said about the stems of each split, as far as there is anything."""


def fill(
    folder: Path,
    splits: Mapping[str, Mapping[str, Item]],
    make: Make[Item],
    *,
    progress: Progress | None = None,
) -> Filled:
    """Write the pictures of every split; the masks of unlabeled images go to ``hidden/masks``.

    Args:
        folder: The data folder.
        splits: What belongs to each source image, by split and name.
        make: Called for each source image, on several threads at once.
        progress: Called after each source image.

    Raises:
        ImsegError: If ``make`` raises it.
    """
    places = {split: _places(folder, split) for split in splits}
    work = [(split, name, item) for split, items in splits.items() for name, item in items.items()]
    filled = Filled({split: [] for split in splits}, {}, {split: {} for split in splits})
    counted: Counter[str] = Counter()
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        made = pool.map(lambda each: make(each[1], each[2], *places[each[0]]), work)
        for done, ((split, _, _), one) in enumerate(zip(work, made, strict=True), start=1):
            filled.splits[split] += one.stems
            filled.details[split].update(one.details)
            counted.update(one.figures)
            if progress is not None:
                progress("writing images", done, len(work))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    filled.figures.update(sorted(counted.items()))
    return filled


def copy_picture(source: Path, target: Path) -> None:
    """Copy a picture file as it is, after a look at its header.

    Raises:
        ImsegError: If it is no picture, has too many pixels, or cannot be copied.
    """
    probe(source)
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise ImsegError(
            f"{source} could not be copied.",
            expected="a readable file, and room for its copy.",
            got=f"{error.strerror or error}.",
            hint="free some disk space, or unpack the download again.",
        ) from error


def copy_pair(name: str, pair: tuple[Path, Path], images: Path, masks: Path) -> Made:
    """Copy an image and its mask under the name ``name``; their formats stay."""
    for source, place in zip(pair, (images, masks), strict=True):
        copy_picture(source, place / f"{name}{source.suffix.lower()}")
    return Made((name,))


def _places(folder: Path, split: str) -> tuple[Path, Path]:
    """Make and return the folders of images and of masks of a split."""
    images = folder / split / "images"
    masks = folder / ("hidden" if split == "unlabeled" else split) / "masks"
    for place in (images, masks):
        place.mkdir(parents=True)
    return images, masks
