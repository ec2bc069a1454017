"""What pictures and masks turn out to be: each is decoded once, and only a few numbers are kept."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from imseg.data.image_io import UnreadablePicture, hash_pixels, read_image, read_mask
from imseg.types import Bytes, Image, LabeledImage

Progress = Callable[[int, int], None]
"""Called with (done, total) after each file."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_MAX_COUNTED = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskFacts:
    """What a mask turned out to be."""

    name: str
    """A path relative to the data folder, or ``masks of labeled[3]``."""
    size: tuple[int, int]
    """Height and width in pixels."""
    counts: Mapping[int, int]
    """Pixels by value; of more than 1024 values the most frequent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a picture, and its mask if it has one, turned out to be."""

    name: str
    """A path relative to the data folder, or ``labeled[3]``."""
    size: tuple[int, int]
    """Height and width in pixels."""
    channels: int
    """1 (gray) or 3."""
    digest: str
    """Equal for pictures of equal content."""
    mask: MaskFacts | None = None
    """The mask, where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The facts about every readable picture, by split."""

    labeled: tuple[Facts, ...] = ()
    """Pairs to learn from."""
    unlabeled: tuple[Facts, ...] = ()
    """Pictures alone."""
    val: tuple[Facts, ...] = ()
    """Pairs to choose by."""
    test: tuple[Facts, ...] = ()
    """Pairs for the final score."""

    def splits(self) -> dict[str, tuple[Facts, ...]]:
        """Return the facts by the name of the split."""
        names = ("labeled", "unlabeled", "val", "test")
        return {name: getattr(self, name) for name in names}

    @property
    def channels(self) -> int:
        """Channels that all pictures can be given without loss: 1 if all are gray, else 3."""
        every = itertools.chain.from_iterable(self.splits().values())
        return max((facts.channels for facts in every), default=3)

    def label_counts(self) -> Counter[int]:
        """Return the pixels of each mask value over all labeled masks."""
        return total_counts(self.labeled)


def total_counts(split: Iterable[Facts]) -> Counter[int]:
    """Return the pixels of each mask value over a split."""
    total: Counter[int] = Counter()
    for facts in split:
        if facts.mask is not None:
            total.update(facts.mask.counts)
    return total


def image_facts(name: str, pixels: Bytes, mask: MaskFacts | None = None) -> Facts:
    """Return the facts about ``h w c`` pixels."""
    height, width, channels = pixels.shape
    return Facts(
        name=name, size=(height, width), channels=channels, digest=hash_pixels(pixels), mask=mask
    )


def mask_facts(name: str, mask: npt.NDArray[Any]) -> MaskFacts:
    """Return the facts about an ``h w`` mask of integers."""
    if mask.dtype == np.uint8:
        histogram = np.bincount(mask.ravel(), minlength=256)
        values = np.flatnonzero(histogram)
        numbers = histogram[values]
    else:
        values, numbers = np.unique(mask, return_counts=True)
    if len(values) > _MAX_COUNTED:
        frequent = np.sort(np.argsort(-numbers, kind="stable")[:_MAX_COUNTED])
        values, numbers = values[frequent], numbers[frequent]
    height, width = mask.shape
    counts = dict(zip(values.tolist(), numbers.tolist(), strict=True))
    return MaskFacts(name=name, size=(height, width), counts=counts)


def inspect(entry: Image | LabeledImage, root: Path) -> Facts | list[tuple[str, UnreadablePicture]]:
    """Return the facts about one entry, or for each file that cannot be read its name and why."""
    image = entry.image if isinstance(entry, LabeledImage) else entry
    problems: list[tuple[str, UnreadablePicture]] = []
    mask = facts = None
    if isinstance(entry, LabeledImage):
        mask_name = f"mask of {entry.name}"
        if isinstance(entry.mask, Path):
            mask_name = relative_name(entry.mask, root)
        try:
            values = read_mask(entry.mask) if isinstance(entry.mask, Path) else entry.mask
            mask = mask_facts(mask_name, values)
        except UnreadablePicture as error:
            problems.append((mask_name, error))
    try:
        pixels = read_image(image.pixels) if isinstance(image.pixels, Path) else image.pixels
        facts = image_facts(image.name, pixels, mask)
    except UnreadablePicture as error:
        problems.append((image.name, error))
    return problems if problems or facts is None else facts


def relative_name(path: Path, root: Path) -> str:
    """Return a path relative to the data folder, with slashes, if it is inside it."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def map_in_threads(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Iterator[_Result]:
    """Yield the results in the order of the items; decoding pictures runs side by side.

    Args:
        function: Called once for each item, in a thread.
        items: What to work on.
        workers: Threads; None takes one a core, at most 8.
        progress: Called in the calling thread, once for each result.
    """
    threads = workers or min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        try:
            for done, result in enumerate(pool.map(function, items), start=1):
                if progress is not None:
                    progress(done, len(items))
                yield result
        finally:
            # Without this, an error or Ctrl-C would first wait for everything still queued.
            pool.shutdown(wait=False, cancel_futures=True)
