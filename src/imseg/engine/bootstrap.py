"""How far a mean over images can be trusted: resampling the images."""

from __future__ import annotations

from collections.abc import Callable

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
        values: One score an image.
        counts: From ``resample_counts``.
    """
    return _middle(counts @ values / len(values))


def interval_of(
    matrices: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    score: Callable[[npt.NDArray[np.int64]], float],
) -> Interval:
    """Return the 95 % percentile interval of a score of the summed confusion matrix.

    Args:
        matrices: One confusion matrix an image, ``n k k``.
        counts: From ``resample_counts``.
        score: From one confusion matrix to a number.
    """
    sums = np.tensordot(counts, matrices, axes=1)
    return _middle(np.array([score(matrix) for matrix in sums]))


def _middle(samples: npt.NDArray[np.float64]) -> Interval:
    low, high = np.nanpercentile(samples, [2.5, 97.5])
    return float(low), float(high)
