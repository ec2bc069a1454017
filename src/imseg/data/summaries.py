"""What the labeled masks of a folder show, in a few numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from imseg.data.encoding import value_text
from imseg.data.facts import Facts, MaskFacts
from imseg.types import POSITION, Color, TargetSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeSummary:
    """How large the pictures are, in pixels."""

    smallest: tuple[int, int]
    """Least height and least width."""
    median: tuple[int, int]
    """Median height and median width (the lower middle)."""
    largest: tuple[int, int]
    """Greatest height and greatest width."""
    all_equal: bool
    """Whether all pictures have one size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassSummary:
    """How much of a class or label the masks show."""

    key: str
    """What the masks know it by: a value, a color such as ``#00ff00``, or the name of a label."""
    name: str
    """The name of the class."""
    color: Color
    """Red, green, blue; 0..255."""
    share: float
    """Share of the pixels that are not void, 0..1, over all masks."""
    images: int
    """Images on which it occurs."""
    regions: int | None = None
    """Of the label of cell centers: how many there are (connected regions over all masks); None of
    others, and where scikit-image is not installed."""

    @property
    def text(self) -> str:
        """What to call it in messages: ``3 (road)``."""
        return self.key if self.key == self.name else f"{self.key} ({self.name})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSummary:
    """The objects in label images."""

    total: int
    """Objects in all masks."""
    fewest: int
    """Fewest objects in a mask."""
    median: float
    """Median of the objects in a mask."""
    most: int
    """Most objects in a mask."""
    area: float
    """Median of the objects' areas in pixels; 0 if there are no objects."""
    area_um2: float | None
    """The same in square micrometers; None if the size of a pixel is not known."""
    share: float
    """Share of the pixels that are in objects, 0..1, of those that are not void."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberSummary:
    """The measurements that a regression learns."""

    low: float
    """The least."""
    high: float
    """The greatest."""
    mean: float
    """The mean over all pixels that hold a number."""
    missing: float
    """Share of the pixels that are void or hold no number, 0..1."""
    unit: str
    """The unit, if the user gave it."""


def summarize_sizes(every: Sequence[Facts]) -> SizeSummary | None:
    """Return how large pictures are; None if there are none."""
    if not every:
        return None
    heights = sorted(facts.size[0] for facts in every)
    widths = sorted(facts.size[1] for facts in every)
    middle = (len(every) - 1) // 2
    return SizeSummary(
        smallest=(heights[0], widths[0]),
        median=(heights[middle], widths[middle]),
        largest=(heights[-1], widths[-1]),
        all_equal=len({facts.size for facts in every}) == 1,
    )


def summarize_classes(split: Sequence[Facts], spec: TargetSpec) -> tuple[ClassSummary, ...]:
    """Return what the masks of a split show of each class or label; nothing for other codings."""
    if spec.coding == "planes":
        return tuple(
            _summarize_plane(split, name, color)
            for name, color in zip(spec.names, spec.colors, strict=True)
        )
    if spec.coding not in ("values", "colors"):
        return ()
    pixels: Counter[int] = Counter()
    images: Counter[int] = Counter()
    for facts in split:
        if facts.mask is not None:
            counts = facts.mask.counted_as(spec.coding)
            pixels.update(counts)
            images.update(counts.keys())
    total = sum(pixels[value] for value in spec.values)
    return tuple(
        ClassSummary(
            key=value_text(value, spec),
            name=name,
            color=color,
            share=pixels[value] / total if total else 0.0,
            images=images[value],
        )
        for value, name, color in zip(spec.values, spec.names, spec.colors, strict=True)
    )


def summarize_objects(split: Sequence[Facts], spec: TargetSpec) -> ObjectSummary | None:
    """Return how many objects the masks of a split show, and how large; None if they show none."""
    masks = [facts.mask for facts in split if facts.mask is not None]
    if spec.coding != "objects" or not masks:
        return None
    numbers = [mask.objects for mask in masks]
    areas = np.array([area for mask in masks for area in areas_of(mask, spec)], np.float64)
    median = float(np.median(areas)) if areas.size else 0.0
    known = sum(mask.known for mask in masks)
    return ObjectSummary(
        total=sum(numbers),
        fewest=min(numbers),
        median=float(np.median(numbers)),
        most=max(numbers),
        area=median,
        area_um2=None if spec.pixel_size is None else median * spec.pixel_size**2,
        share=float(areas.sum()) / known if known else 0.0,
    )


def summarize_numbers(split: Sequence[Facts], spec: TargetSpec) -> NumberSummary | None:
    """Return what numbers the masks of a split hold; None if they hold none."""
    masks = [facts.mask for facts in split if facts.mask is not None]
    known = [mask for mask in masks if mask.known]
    if spec.coding != "numbers" or not known:
        return None
    pixels = sum(mask.known for mask in known)
    return NumberSummary(
        low=min(mask.least for mask in known),
        high=max(mask.greatest for mask in known),
        mean=sum(mask.mean * mask.known for mask in known) / pixels,
        missing=1 - pixels / sum(mask.size[0] * mask.size[1] for mask in masks),
        unit=spec.unit,
    )


def areas_of(mask: MaskFacts, spec: TargetSpec) -> Iterable[int]:
    """Return the pixels of each value that is neither 0 nor void."""
    return (pixels for value, pixels in mask.counts.items() if value not in (0, spec.void))


def _summarize_plane(split: Sequence[Facts], name: str, color: Color) -> ClassSummary:
    planes = [facts.planes[name] for facts in split if name in facts.planes]
    known = sum(plane.known for plane in planes)
    # Void is not known, and 0 is not the label.
    shown = sum(plane.known - plane.zeros for plane in planes)
    regions = [plane.regions for plane in planes]
    counted = [number for number in regions if number is not None]
    return ClassSummary(
        key=name,
        name=name,
        color=color,
        share=shown / known if known else 0.0,
        images=sum(plane.objects > 0 for plane in planes),
        regions=sum(counted) if name == POSITION and len(counted) == len(regions) else None,
    )
