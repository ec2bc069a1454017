"""How many disturbed copies a pseudo-labeled image is worth: the better its mask, the more."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

from imseg.errors import ImsegError

MOST = 5
"""Copies of the best images in the paper."""


def copies_for(
    scores: Float[Tensor, "b"], *, low: float, high: float, most: int = MOST
) -> list[int]:
    """Return the number of copies of each image, 1 to ``most``.

    From ``low`` to ``high`` there are ``most`` equal steps; each step reached is worth one copy
    more. An image exactly at ``low`` or below gets one copy, one above ``high`` gets ``most``.

    Args:
        scores: How good the mask of each image is, 0..1.
        low: The score up to which an image gets a single copy.
        high: The score beyond which it gets the most. Equal to ``low``: a single copy or the most.
        most: The most copies.

    Raises:
        ImsegError: If ``high`` is below ``low``.

    Source: METHOD, "EvalNet": copies.
    """
    if not low <= high:
        raise ImsegError(
            "The thresholds for the number of copies are the wrong way round.",
            expected="a lower threshold that is not above the upper one.",
            got=f"{low:g} and {high:g}",
        )
    return [_copies(score, low, high, most) for score in scores.double().tolist()]


def _copies(score: float, low: float, high: float, most: int) -> int:
    if math.isnan(score) or score <= low:
        return 1
    if score > high:
        return most
    step = (high - low) / most
    return min(most, 1 + math.floor((score - low) / step))
