"""Connected regions of masks, and how abrupt their values change."""

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.errors import ImsegError, import_extra

CELLS = "cells"
"""The extra with scikit-image, which finds connected regions."""


def has_regions() -> bool:
    """Return whether connected regions can be counted."""
    return importlib.util.find_spec("skimage") is not None


def region_numbers() -> Callable[..., Any] | None:
    """Return what numbers connected regions of equal values; None without scikit-image."""
    try:
        measure = import_extra("skimage.measure", extra=CELLS, purpose="to find regions")
    except ImsegError:
        # Whether that matters shows when all masks have been looked at.
        return None
    label: Callable[..., Any] = measure.label
    return label


def count_regions(values: npt.NDArray[Any]) -> int | None:
    """Return the connected regions of equal values that are not 0; None without scikit-image."""
    label = region_numbers()
    if label is None:
        return None
    return int(label(values, background=0, connectivity=2, return_num=True)[1])


def abruptness(values: npt.NDArray[Any]) -> float:
    """Return the share of unequal neighbors of which one is 0, or that differ by more than 1."""
    steps = abrupt = 0
    for one, other in ((values[1:], values[:-1]), (values[:, 1:], values[:, :-1])):
        changed = one != other
        first, second = one[changed].astype(np.int64), other[changed].astype(np.int64)
        steps += first.size
        abrupt += int(((first == 0) | (second == 0) | (np.abs(first - second) > 1)).sum())
    return abrupt / steps if steps else 0.0
