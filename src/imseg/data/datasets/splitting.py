"""Which images are labeled, unlabeled, for validation and for test: the same on every machine."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from imseg.data.images.picture_file import probe
from imseg.errors import ImsegError, and_more
from imseg.types import Color

Item = TypeVar("Item")
"""Whatever belongs to an image: its files, or where to find it."""

Parts = Mapping[str, Mapping[str, Item]]
"""The images of ``training`` and, where the source has them, ``validation`` and ``test``."""


def refuse_bad_share(labeled: float) -> None:
    """Refuse a labeled share that is no share.

    Raises:
        ImsegError: If it is not between 0 and 1.
    """
    if not 0 < labeled < 1:
        raise ImsegError(
            "The labeled share of the training images is out of range.",
            expected="a number between 0 and 1, both excluded.",
            got=f"{labeled}.",
            hint="--labeled 0.1 for one image in ten.",
        )


def share_of(share: float, total: int, *, round_up: bool = False) -> int:
    """Return how many of ``total`` images a share is, rounded down or up.

    The share counts as it is written: in binary, 0.29 of 100 would be 28. Rounded up, at least one
    image stays outside the share.
    """
    exact = Fraction(str(share)) * total
    return min(math.ceil(exact), total - 1) if round_up else math.floor(exact)


def divide(
    items: Mapping[str, Item], count: int, *, key: str
) -> tuple[dict[str, Item], dict[str, Item]]:
    """Return ``count`` items drawn by ``key``, and the others, both sorted by name.

    A larger count draws the items of a smaller one and more.
    """
    # Of the random module only random() is promised to stay the same in later versions of Python.
    numbers = random.Random(key)
    drawn = {name: numbers.random() for name in sorted(items)}
    first = set(sorted(drawn, key=drawn.__getitem__)[:count])
    return (
        {name: items[name] for name in sorted(items) if name in first},
        {name: items[name] for name in sorted(items) if name not in first},
    )


def split_parts(
    parts: Parts[Item], *, labeled: float, seed: int, round_up: bool = False
) -> tuple[dict[str, dict[str, Item]], list[str]]:
    """Return the images of each split of a data folder, and notes on what the source did not split.

    Official validation and test parts stay what they are. Without a test part a third of the
    validation images is for validation and two thirds are for test; without a validation part a
    tenth of the training images, rounded up, is for validation; without either, a fifth of the
    training images, rounded down, is for test first. A seeded share of the training images that
    remain is labeled; a larger share contains the images of a smaller one.

    Args:
        parts: Images by name, for each part that the source has.
        labeled: Share of the training images that keep their masks, between 0 and 1.
        seed: Chooses among the images.
        round_up: Whether the share is rounded up, and not down.

    Raises:
        ImsegError: If there are too few images.
    """
    notes: list[str] = []
    training: Mapping[str, Item] = parts["training"]
    validation = parts.get("validation")
    if "test" in parts:
        test = parts["test"]
    elif validation is None:
        _refuse_fewer(training, 4, "labeled, unlabeled, validation and test")
        test, training = divide(training, max(1, len(training) // 5), key=f"{seed}/test")
        notes.append("No test images come with the data: a fifth of all images is for test.")
    else:
        _refuse_fewer(validation, 2, "validation and test", noun="validation image")
        third = max(1, len(validation) // 3)
        validation, test = divide(validation, third, key=f"{seed}/validation")
        notes.append(
            "No test images come with the data: of the official validation images a third is for"
            " validation, and two thirds are for test."
        )
    if validation is None:
        _refuse_fewer(training, 3, "labeled, unlabeled and validation")
        tenth = -(-len(training) // 10)
        validation, training = divide(training, tenth, key=f"{seed}/validation")
        notes.append(
            "No validation images come with the data: a tenth of the training images is for"
            " validation."
        )
    _refuse_fewer(training, 2, "labeled and unlabeled")
    count = share_of(labeled, len(training), round_up=round_up)
    refuse_no_labeled(count, labeled, total=len(training))
    first, rest = divide(training, count, key=f"{seed}/training")
    splits = {"labeled": first, "unlabeled": rest, "val": validation, "test": test}
    return {
        split: {name: images[name] for name in sorted(images)} for split, images in splits.items()
    }, notes


def refuse_no_labeled(count: int, labeled: float, *, total: int) -> None:
    """Refuse a share that is no image.

    Raises:
        ImsegError: If ``count``, which is ``labeled`` of ``total``, is 0.
    """
    if count < 1:
        raise ImsegError(
            "The labeled share leaves no labeled image.",
            expected=f"at least 1 of the {total} training images.",
            got=f"{labeled} of {total}, rounded down to 0.",
            hint=f"--labeled {min(0.5, 2 / max(1, total)):.2g}",
        )


def _refuse_fewer(
    images: Mapping[str, Item], least: int, splits: str, *, noun: str = "image"
) -> None:
    if len(images) < least:
        some = f"{len(images)} {noun}{'' if len(images) == 1 else 's'}"
        raise ImsegError(
            f"{some} cannot be split into {splits}.",
            expected=f"at least {least} {noun}s.",
            got=f"{and_more(list(images)) or 'none'}.",
            hint="name the folder that holds the whole download.",
        )


Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

ClassNames = Mapping[int, tuple[str, Color]] | Mapping[str, tuple[str, Color]]
"""Name and color of each mask value or label."""

SPLITS = ("labeled", "unlabeled", "val", "test")
"""The splits of a data folder, in the order in which they are written and counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedCounts:
    """What a prepared data folder holds, in images."""

    source: str
    """What it was made from, for example ``ISIC 2017``."""
    labeled: int
    """Images with a mask to learn from."""
    unlabeled: int
    """Images whose masks are in ``hidden/masks``."""
    val: int
    """Images to choose by."""
    test: int
    """Images for the final score."""
    figures: Mapping[str, int] = field(default_factory=dict)
    """Whatever else was counted, such as ``impure_pixels``."""
    notes: tuple[str, ...] = ()
    """What is worth knowing about this preparation, in sentences."""


def write_config(
    folder: Path, *, task: str, classes: ClassNames | None = None, void: int | None = None
) -> None:
    """Write ``imseg.toml``.

    Args:
        folder: The data folder.
        task: What a pixel is, in the words of ``imseg.toml``.
        classes: Names and colors; None: there is nothing to name.
        void: The mask value of pixels that do not count.
    """
    lines = [f'task = "{task}"']
    if void is not None:
        lines.append(f"void = {void}")
    if classes:
        lines += ["", "[classes]"]
        for value, (name, (red, green, blue)) in classes.items():
            color = f"#{red:02x}{green:02x}{blue:02x}"
            lines.append(f'{value} = {{ name = "{name}", color = "{color}" }}')
    (folder / "imseg.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_summary(
    folder: Path,
    *,
    source: str,
    options: Mapping[str, Any],
    splits: Mapping[str, Sequence[str]],
    details: Mapping[str, Any] | None = None,
    figures: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
) -> PreparedCounts:
    """Write ``splits.json`` and return the same in short.

    Args:
        folder: The data folder.
        source: What it was made from.
        options: What the user chose; ``seed`` and ``labeled_share`` among them.
        splits: Stems of the images in each split.
        details: Whatever else tells how the images came about, such as where they were cut out.
        figures: Counts that are no images.
        notes: Sentences for the user; they are not written.
    """
    record: dict[str, Any] = {"source": source, **options}
    if figures:
        record["figures"] = dict(figures)
    record["splits"] = {split: sorted(splits[split]) for split in SPLITS}
    record |= details or {}
    text = json.dumps(record, indent=1, ensure_ascii=True) + "\n"
    (folder / "splits.json").write_bytes(text.encode())
    return PreparedCounts(
        source=source,
        **{split: len(splits[split]) for split in SPLITS},
        figures=dict(figures or {}),
        notes=tuple(notes),
    )


Entry = TypeVar("Entry")
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


Make = Callable[[str, Entry, Path, Path], Made]
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
    splits: Mapping[str, Mapping[str, Entry]],
    make: Make[Entry],
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
