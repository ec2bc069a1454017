"""How well one ranking follows another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


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
