"""Objects that are lost, or nearly so, at the size at which networks work."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imseg.data.checks.appearance import WIDTHS
from imseg.data.checks.fitness import FolderScan, size_in_words, warning
from imseg.data.checks.mask_values import smeared_between
from imseg.data.folder.facts import ImageFacts
from imseg.data.images import pixel_size
from imseg.data.images.modality import recognize_modality
from imseg.errors import Finding
from imseg.ops.tiling import Size, scaled
from imseg.types import Modality, TargetSpec

DEFAULT_LONGEST = 128
"""Pixels of the longer side at which networks work on a processor, if nothing else is said."""

DEFAULT_PATCH = 128
"""Pixels a side of the windows that networks see of images that they do not see whole."""
SEEN = 12.0
"""Pixels that the narrowest tenth of objects is wide where the scale is chosen by it."""
LEAST_SEEN = 6.0
"""Pixels of the narrowest tenth of objects on whole images below which windows are taken."""

LEAST_WIDTH = 2.0
"""Fewer pixels than this at the working size, and an object cannot be learned."""

_MOST_LOST = 0.5
_FEW_LOST = 0.1
_STEP = 16
_FEWEST = 10
_SPECK = 3.0
_AT_LEAST = WIDTHS / WIDTHS[1] * WIDTHS[0]


def working_shape(typical: tuple[int, int], *, longest: int, least: int = _STEP) -> tuple[int, int]:
    """Return a height and width in the shape of typical images, in multiples of 16.

    Args:
        typical: Height and width of the images.
        longest: The most that the longer side may have.
        least: The least that a side may have.
    """
    scale = min(1.0, longest / max(typical))
    height, width = (max(least, round(side * scale / _STEP) * _STEP) for side in typical)
    return height, width


def scale_for(typical: Size, narrow: float | None) -> float:
    """Return the scale at which the narrowest tenth of objects is wide enough, at most 1.

    Args:
        typical: Height and width of the images.
        narrow: From ``narrow_share``.
    """
    return min(1.0, SEEN / (narrow * max(typical))) if narrow else 1.0


def needs_windows(whole: Size, narrow: float | None, modality: Modality) -> bool:
    """Return whether objects are too small on whole images.

    Of photographs whole ones are taken: what a thing is hangs on all that is around it.

    Args:
        whole: Height and width of whole images as networks would see them.
        narrow: From ``narrow_share``.
        modality: What the images are.
    """
    return modality != "photograph" and narrow is not None and narrow * max(whole) < LEAST_SEEN


@dataclass(frozen=True, slots=True)
class SeenImages:
    """What networks see of the images of a folder, if nothing else is asked for."""

    size: Size
    """Height and width of a typical image as they see it, whole or in windows."""
    scale: float | None
    """The scale of which they see windows; None: they see it whole."""
    narrow: float | None
    """Pixels that the narrowest tenth of the labeled objects is wide then; None: not known."""
    pixel_sizes: pixel_size.PixelSizes | None
    """How large the pixels of the labeled images are; None: not known."""


def seen_by_default(labeled: Sequence[ImageFacts], *, channels: int) -> SeenImages | None:
    """Return what networks see of images on a processor, if nothing else is asked for.

    Args:
        labeled: Pictures with their masks; without any there is no answer.
        channels: As pictures are read.
    """
    if not labeled:
        return None
    height, width = np.median([facts.size for facts in labeled], axis=0).astype(int).tolist()
    typical, narrow = (height, width), narrow_share(labeled)
    looks = [facts.look for facts in labeled if facts.look is not None]
    modality = recognize_modality(looks, channels=channels)
    size, scale = working_shape(typical, longest=DEFAULT_LONGEST), None
    if needs_windows(size, narrow, modality):
        scale = scale_for(typical, narrow)
        size = scaled(typical, scale)
    return SeenImages(
        size=size,
        scale=scale,
        narrow=narrow and narrow * max(size),
        pixel_sizes=pixel_size.summarize_pixel_sizes([facts.pixel_size for facts in labeled]),
    )


def find_small_objects(found: FolderScan, spec: TargetSpec) -> Iterator[Finding]:
    """Yield whether most objects in the labeled masks are lost at the working size.

    Args:
        found: What is known of the data; without a working size the default is looked at.
        spec: What the masks mean.
    """
    labeled = found.survey.labeled
    masks = [
        (facts.size, np.array(mask.widths), ratio)
        for facts, ratio in zip(labeled, _ratios(labeled), strict=True)
        for mask in facts.masks
        if mask.widths and smeared_between(mask) is None
    ]
    measured, ratios = [each[:2] for each in masks], [each[2] for each in masks]
    if sum(int(counts.sum()) for _, counts in measured) < _FEWEST:
        return
    sizes = [size for size, _ in measured]
    height, width = np.median(np.array(sizes), axis=0).astype(int).tolist()
    size = found.working_size
    if size is None:
        channels = found.reading.channels if found.reading else 3
        seen = seen_by_default(found.survey.labeled, channels=channels)
        whole = working_shape((height, width), longest=DEFAULT_LONGEST)
        size = whole if seen is None else seen.scale or seen.size
    lost = share_lost(measured, size, widths=WIDTHS, ratios=ratios)
    if lost <= _MOST_LOST:
        return
    seen_at = scaled((height, width), size) if isinstance(size, float) else size
    sides = range(max(seen_at) + _STEP, max(height, width) + _STEP, _STEP)
    larger = [working_shape((height, width), longest=side) for side in sides]
    enough = next(
        (each for each in larger if share_lost(measured, each, widths=_AT_LEAST) <= _FEW_LOST), None
    )
    which = "the size of this training" if found.working_size else "the default size"
    if enough is None:
        hint = "enlarge images and masks: full size is not enough."
    else:
        times = enough[0] * enough[1] / (seen_at[0] * seen_at[1])
        scale = min(1.0, math.ceil(100 * max(enough) / max(height, width)) / 100)
        hint = (
            f"--scale {scale:g}, with which networks see windows of "
            f"larger images and steps take no longer; or --image-size {enough[0]} {enough[1]} "
            f"(about {times:.0f} times as long)."
        )
    yield warning(
        f"At {which}, {size_in_words(seen_at)} px, {100 * lost:.0f} % of the labeled objects are "
        f"smaller than {LEAST_WIDTH:g} px: too small to be learned.",
        why="networks see images at that size, and such objects vanish on them.",
        got=f"objects that are {_typical_width(measured):.1f} px wide (median), on images of "
        f"{size_in_words((height, width))} px.",
        hint=hint,
    )


SCALES = 4.0
"""Objects of some images that are so many times as wide as those of others seem to be seen at
another scale."""
_ENOUGH = 5


def find_differing_scales(found: FolderScan, spec: TargetSpec) -> Iterator[Finding]:
    """Yield whether images seem to be taken at very different scales.

    The median width of the objects of an image tells its scale, where it has some. One image in ten
    at either end does not count. What the sizes of pixels explain is left out.

    Args:
        found: What is known of the data.
        spec: What the masks mean.
    """
    widths, labeled = [], found.survey.labeled
    for facts, ratio in zip(labeled, _ratios(labeled), strict=True):
        counts = sum(
            (
                np.pad(np.array(mask.widths), (0, len(WIDTHS) - len(mask.widths)))
                for mask in facts.masks
                if mask.widths and smeared_between(mask) is None
            ),
            np.zeros(len(WIDTHS), np.int64),
        )
        counts = np.where(WIDTHS >= _SPECK, counts, 0)
        if counts.sum() >= _ENOUGH:
            middle = int(np.searchsorted(counts.cumsum(), counts.sum() / 2))
            width = float(np.sqrt(WIDTHS[middle] * _AT_LEAST[middle]))
            widths.append((width * ratio, width, facts.name))
    if len(widths) < _ENOUGH:
        return
    widths.sort()
    least, most = widths[len(widths) // 10], widths[-1 - len(widths) // 10]
    if most[0] < SCALES * least[0]:
        return
    yield warning(
        "Images seem to be taken at very different scales.",
        why="networks see all images at one scale, and objects are to be about as wide on all.",
        got=f"objects {least[1]:.2g} px wide on {least[2]}, {most[1]:.2g} px wide on {most[2]}"
        " (medians).",
        hint="if objects are of one kind, say the sizes of pixels as pixel_size in imseg.toml; else"
        " train on each kind by itself. If this is what your images are like, go on.",
    )


NARROW = 0.1
"""The share of the objects that are narrower than the width that says how narrow objects are."""


def narrow_share(labeled: Sequence[ImageFacts]) -> float | None:
    """Return the width that a tenth of the objects stay below; of few objects, that half do.

    Regions of one or two pixels are seldom objects and do not count. A net of lines is one region,
    as wide as its lines. Where sizes of pixels differ, widths are those that objects would have in
    pixels of the reference, on a picture of the typical size.

    Args:
        labeled: Pictures with their masks.

    Returns:
        The width as a share of the longer side of the picture; None where there are no objects, or
        masks were not measured.
    """
    shares, counts = [], []
    known = pixel_size.summarize_pixel_sizes([facts.pixel_size for facts in labeled])
    typical = None
    if known is not None and known.differ:
        typical = max(np.median([facts.size for facts in labeled], axis=0).tolist())
    for facts, ratio in zip(labeled, _ratios(labeled), strict=True):
        for mask in facts.masks:
            if mask.widths and smeared_between(mask) is None:
                found = np.array(mask.widths)
                shares.append(WIDTHS[: len(found)] * ratio / (typical or max(facts.size)))
                counts.append(np.where(WIDTHS[: len(found)] >= _SPECK, found, 0))
    total = sum(int(each.sum()) for each in counts)
    if not total:
        return None
    every, weights = np.concatenate(shares), np.concatenate(counts)
    order = np.argsort(every)
    below = float(total) * (NARROW if total >= _FEWEST else 0.5)
    place = int(np.searchsorted(weights[order].cumsum(), below))
    return float(every[order][min(place, len(every) - 1)])


def _ratios(labeled: Sequence[ImageFacts]) -> list[float]:
    """Return how many times as large pixels are as those of the reference; 1 if not known."""
    known = pixel_size.summarize_pixel_sizes([facts.pixel_size for facts in labeled])
    own = [facts.pixel_size for facts in labeled]
    return [1.0 if known is None or size is None else size / known.reference for size in own]


_Measured = Sequence[tuple[tuple[int, int], npt.NDArray[np.int64]]]


def share_lost(
    measured: _Measured,
    size: Size | float,
    *,
    widths: npt.NDArray[np.float64],
    ratios: Sequence[float] | None = None,
) -> float:
    """Return the share of the objects that are too small at a working size, 0..1.

    Regions of one or two pixels are seldom objects: they only count by their area, which decides
    where it is the larger share.

    Args:
        measured: The size of each image, and its objects by ``WIDTHS``.
        size: Height and width at which networks work, or the scale of images.
        widths: How wide the objects of each class are.
        ratios: How many times as large the pixels of each image are as those for which the scale
            is meant; None: all are as large.
    """
    objects, area = np.zeros((2, len(WIDTHS))), WIDTHS**2
    times = ratios or [1.0] * len(measured)
    for ((height, width), counts), ratio in zip(measured, times, strict=True):
        scale = size * ratio if isinstance(size, float) else min(size[0] / height, size[1] / width)
        small = int(np.searchsorted(widths * scale, LEAST_WIDTH))
        objects[0, : len(counts)] += counts
        objects[1, :small] += np.pad(counts, (0, len(WIDTHS)))[:small]
    every, lost = objects
    clear = objects[:, WIDTHS >= _SPECK].sum(axis=1)
    share = float(clear[1] / clear[0]) if clear[0] >= _FEWEST else 0.0
    return max(share, float(lost @ area / (every @ area)))


def _typical_width(measured: _Measured) -> float:
    total = np.zeros(len(WIDTHS))
    for _, counts in measured:
        total[: len(counts)] += counts
    middle = int(np.searchsorted(total.cumsum(), total.sum() / 2))
    return float(np.sqrt(WIDTHS[middle] * _AT_LEAST[middle]))
