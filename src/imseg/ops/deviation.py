"""How far predicted numbers are from true ones: errors and relative agreement.

Every function takes whole batches and gives one value an image. Pixels whose truth is not a number
do not count.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

DELTA = 1.25
"""Prediction and truth agree where neither is more than this times the other."""


def squared_error(
    predicted: Float[Tensor, "b h w"], truth: Float[Tensor, "b h w"]
) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
    """Return the sum of squared errors, and how many pixels count."""
    return _sums((predicted - truth).double().square(), truth)


def absolute_error(
    predicted: Float[Tensor, "b h w"], truth: Float[Tensor, "b h w"]
) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
    """Return the sum of absolute errors, and how many pixels count."""
    return _sums((predicted - truth).double().abs(), truth)


def within_delta(
    predicted: Float[Tensor, "b h w"], truth: Float[Tensor, "b h w"], *, delta: float = DELTA
) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
    """Return on how many pixels the larger number is less than ``delta`` times the smaller.

    Only pixels with a truth above 0 count: ratios to 0 say nothing. A prediction of 0 or less
    agrees with none of them.

    Args:
        predicted: Any unit with a true zero, such as meters.
        truth: The same unit.
        delta: The greatest ratio.

    Returns:
        Pixels that agree, and pixels that count.

    Source: Eigen et al., Depth Map Prediction from a Single Image, NeurIPS 2014.
    """
    positive = truth > 0
    ratio = torch.maximum(predicted / truth, truth / predicted)
    agrees = (ratio < delta) & (predicted > 0) & positive
    return agrees.double().sum(dim=(-2, -1)), positive.double().sum(dim=(-2, -1))


def _sums(
    values: Float[Tensor, "b h w"], truth: Float[Tensor, "b h w"]
) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
    known = truth.isfinite()
    total = torch.where(known, values, torch.zeros_like(values)).sum(dim=(-2, -1))
    return total, known.double().sum(dim=(-2, -1))
