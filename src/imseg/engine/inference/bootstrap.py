"""How far a mean over images can be trusted: resampling the images."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
SEED = 20240114

Interval = tuple[float, float]
"""Lower and upper end of a 95 % interval."""


def resample_counts(images: int, *, resamples: int = RESAMPLES) -> npt.NDArray[np.int64]:
    """Return how often each image is drawn in each resample (``resamples`` x ``images``)."""
    generator = np.random.Generator(np.random.PCG64(SEED))
    return generator.multinomial(images, np.full(images, 1 / images), size=resamples)


def interval_of_mean(values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> Interval:
    """Return the 95 % percentile interval of the mean over images.

    Args:
        values: One score per image; what is not a number is left out.
        counts: From ``resample_counts``.
    """
    return middle(resampled_means(values, counts))


def resampled_means(
    values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return the mean over images in each resample; not a number where none of them counts.

    Args:
        values: One score per image; what is not a number is left out.
        counts: From ``resample_counts``.
    """
    known = np.isfinite(values)
    drawn = counts[:, known].sum(axis=1)
    means: npt.NDArray[np.float64] = (
        counts[:, known] @ values[known] / np.where(drawn == 0, np.nan, drawn)
    )
    return means


def intervals_of(
    tallies: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    scores: Callable[[npt.NDArray[np.float64]], Mapping[str, float]],
) -> dict[str, Interval]:
    """Return the 95 % percentile intervals of scores of summed tallies.

    Args:
        tallies: One per image, ``n ...``: whatever adds up over images.
        counts: From ``resample_counts``.
        scores: From one sum to named numbers, the same names every time.
    """
    sums = np.tensordot(counts, tallies, axes=1)
    found = [scores(each) for each in sums]
    return {name: middle(np.array([each[name] for each in found])) for name in found[0]}


def middle(samples: npt.NDArray[np.float64]) -> Interval:
    """Return the middle 95 % of samples; what is not a number is left out."""
    low, high = np.nanpercentile(samples, [2.5, 97.5])
    return float(low), float(high)


def rank_correlation(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Return Spearman's correlation of two lists, -1..1; equal values share their mean rank.

    Where all values of a list are equal nothing is ranked: 0.
    """
    first, second = (_ranks(np.asarray(values, np.float64)) for values in (one, other))
    first, second = first - first.mean(), second - second.mean()
    scale = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / scale) if scale > 0 else 0.0


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    middles: npt.NDArray[np.float64] = counts.cumsum() - (counts - 1) / 2
    return middles[places]
