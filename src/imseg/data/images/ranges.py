"""From 16-bit, float and many-channel pixels to bytes: by the range of each channel.

The ranges are those of the whole data set, not of each picture: a dim picture stays dim, and a
picture to be predicted is read exactly as those that were trained on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.files.listing import counted
from imseg.data.folder.facts import ImageFacts, Survey
from imseg.errors import Finding, and_more
from imseg.types import Bytes, Pixels, Reading

LOW_PERCENTILE = 0.1
HIGH_PERCENTILE = 99.9
"""One pixel in a thousand may be clipped at each end: hot and dead pixels are rarer than that, and
what is to be found is hardly ever so small."""

SAMPLES = 1000
"""Pixels looked at in each picture; with some pictures the percentiles rest on thousands."""

_MOST_VALUES = 1 << 24
_AT_ONCE = 1 << 16
# Roberts' generalized golden ratio for two dimensions: with these steps, points fall evenly and
# never in line with rows or columns (M. Roberts, "The unreasonable effectiveness of quasirandom
# sequences", 2018).
_PLASTIC = 1.32471795724474602596
_STEPS = (1 / _PLASTIC, 1 / _PLASTIC**2)


def sample_pixels(pixels: Pixels, count: int = SAMPLES) -> Pixels:
    """Return some pixels (``n c``) of a picture, spread evenly over it; always the same ones.

    Args:
        pixels: ``h w c``.
        count: How many; of a smaller picture all are returned, once each.
    """
    height, width, channels = pixels.shape
    if height * width <= count:
        return pixels.reshape(-1, channels)
    places = np.arange(1, count + 1)
    rows, columns = (
        (places * step % 1 * side).astype(np.int64)
        for step, side in zip(_STEPS, (height, width), strict=True)
    )
    sampled: Pixels = pixels[rows, columns]
    return sampled


def estimate_ranges(
    samples: Iterable[npt.NDArray[Any]],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the value of each channel that becomes 0, and the one that becomes 255.

    They are the 0.1 and the 99.9 percentile over all samples; what is not finite is left out. Where
    these are equal (a channel that is dark but for a few spots), they are the least and the
    greatest value. Low is below high even for a channel that is constant. Memory stays within
    some hundred MB: beyond 16 million numbers, every second pixel of all pictures is dropped.

    Args:
        samples: ``n c`` pixels of each picture.

    Raises:
        ValueError: If there are no samples, or the number of channels differs.
    """
    kept: list[npt.NDArray[Any]] = []
    held, stride = 0, 1
    for sample in samples:
        kept.append(sample[::stride])
        held += kept[-1].size
        while held > _MOST_VALUES and any(len(one) > 1 for one in kept):
            kept = [one[::2] for one in kept]
            held = sum(one.size for one in kept)
            stride *= 2
    if not kept:
        raise ValueError("ranges need at least one sample")
    values = np.concatenate(kept)
    ends = [_ends(values[:, channel]) for channel in range(values.shape[1])]
    return tuple(low for low, _ in ends), tuple(high for _, high in ends)


def apply_ranges(pixels: Pixels, low: tuple[float, ...], high: tuple[float, ...]) -> Bytes:
    """Return ``h w c`` pixels as bytes: 0 at ``low``, 255 at ``high``, in a straight line between.

    Values beyond are clipped, others rounded to the nearest; what is not a number becomes 0.

    Args:
        pixels: uint8, uint16 or float32.
        low: One number per channel.
        high: One number per channel, above ``low``.

    Raises:
        ValueError: If there is not one range per channel.
    """
    if not len(low) == len(high) == pixels.shape[2]:
        raise ValueError(f"{len(low)} ranges for {pixels.shape[2]} channels")
    height, width, channels = pixels.shape
    # Ranges as long as a row: with the few channels as inner axis NumPy is several times slower.
    below = np.tile(np.array(low, np.float32), width)
    scaled = np.empty((height, width * channels), np.uint8)
    step = max(1, _AT_ONCE // max(1, width * channels))
    # What becomes infinite is clipped next.
    with np.errstate(over="ignore", invalid="ignore"):
        factor = np.tile((255 / (np.array(high) - np.array(low))).astype(np.float32), width)
        for start in range(0, height, step):
            rows = slice(start, start + step)
            values = pixels[rows].reshape(-1, width * channels).astype(np.float32)
            # A large offset (a detector that starts at 30,000) goes before anything is rounded.
            values -= below
            values *= factor
            # Unlike np.clip, these two prefer a number to "not a number".
            np.fmax(values, 0, out=values)
            np.fmin(values, 255, out=values)
            np.rint(values, out=values)
            scaled[rows] = values
    return scaled.reshape(pixels.shape)


def _ends(values: npt.NDArray[Any]) -> tuple[float, float]:
    """Return low and high for one channel."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(end) for end in np.percentile(finite, (LOW_PERCENTILE, HIGH_PERCENTILE)))
    if not low < high:
        low, high = float(finite.min()), float(finite.max())
    if not low < high:
        # Constant: it becomes 0 everywhere. The step counts for numbers of any size.
        high = low + max(1.0, abs(low) * 1e-3)
    return low, high


_DEPTHS = {"uint8": "8-bit", "uint16": "16-bit", "float32": "float"}


def find_reading(survey: Survey, *, pages: bool) -> tuple[Reading | None, list[Finding]]:
    """Return how pictures become bytes, or an error about those that are unlike the others.

    8-bit pictures, gray and color, stay as they are; where both are there, all are read as color.
    Everything else must have one depth and the same channels; each channel is scaled by the range
    that it has over the labeled and unlabeled pictures, never those of val and test.

    Args:
        survey: The facts about all readable pictures.
        pages: Whether the pages of TIFF files are channels.
    """
    every = survey.every()
    if not every:
        return None, []
    if all(facts.plain for facts in every):
        channels = max(facts.channels for facts in every)
        return Reading(channels=channels, pages=pages), []
    kinds = Counter(_kind(facts) for facts in every)
    (usual, _), *others = kinds.most_common()
    if others:
        return None, [_unlike(every, usual)]
    samples = [
        facts.sample for facts in (*survey.labeled, *survey.unlabeled) if facts.sample is not None
    ]
    if not samples:
        return None, []
    low, high = estimate_ranges(samples)
    depth, channels = usual
    return Reading(channels=channels, depth=depth, pages=pages, low=low, high=high), []


def kind_in_words(facts: ImageFacts) -> str:
    """Return depth and channels of a picture: ``8-bit gray``, ``16-bit with 5 channels``."""
    channels = {1: "gray", 3: "color"}.get(facts.channels, f"with {facts.channels} channels")
    return f"{_DEPTHS.get(facts.depth, facts.depth)} {channels}"


def _kind(facts: ImageFacts) -> tuple[str, int]:
    return facts.depth, facts.channels


def _unlike(every: list[ImageFacts], usual: tuple[str, int]) -> Finding:
    typical = next(facts for facts in every if _kind(facts) == usual)
    odd = [
        facts for facts in every if _kind(facts) != usual and not (facts.plain and typical.plain)
    ]
    shown = [f"{facts.name} is {kind_in_words(facts)}" for facts in odd]
    return Finding(
        severity="error",
        what=f"{counted(len(odd), 'image')} {'is' if len(odd) == 1 else 'are'} not of the kind "
        f"that the other {len(every) - len(odd)} are.",
        expected=f"{kind_in_words(typical)}, as {typical.name}: only 8-bit gray and color mix.",
        got=and_more(shown) + ".",
        hint="save all images with the same depth and channels, or remove those.",
        files=tuple(facts.name for facts in odd),
    )
