"""How well two masks agree: IoU, Dice, accuracy, boundaries, confusion matrices.

Every function takes whole batches and gives one value an image, unless it says otherwise. ``valid``
is true where a pixel counts (void pixels do not). Scores of masks follow from ``Pixels``, which add
up over the rows of an image.
"""

import math

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from imseg.ops.inconsistency import erode

Masks = Bool[Tensor, "*b h w"]
"""One mask an image, or several."""

PerMask = Float[Tensor, "*b"]
"""One number a mask."""

Pixels = Int[Tensor, "*b 2 2"]
"""Pixels of each mask by truth (row: no, yes) and prediction (column): its confusion matrix."""

THICKNESS = 0.02
"""Width of a rim as a share of the image's diagonal."""
WHOLE = slice(None)
"""All rows."""

EPSILON = 1e-7
"""Added to unions, as in the reference, so that an empty union gives 0."""


def iou(
    predicted: Masks, truth: Masks, *, valid: Masks | None = None, empty: float = 1.0
) -> PerMask:
    """Return intersection over union, 0..1.

    Args:
        predicted: Predicted foreground.
        truth: True foreground.
        valid: Pixels that count; all when None.
        empty: The score when neither has a pixel. The reference says 0; agreeing on "nothing here"
            is right, so the default is 1.

    Source: METHOD, "Scores".
    """
    return iou_of(pixels_of(predicted, truth, valid=valid), empty=empty)


def dice(
    predicted: Masks, truth: Masks, *, valid: Masks | None = None, smoothing: float = 1.0
) -> PerMask:
    """Return twice the intersection over the sum of areas, 0..1; ``smoothing`` is added to both."""
    return dice_of(pixels_of(predicted, truth, valid=valid), smoothing=smoothing)


def pixels_of(predicted: Masks, truth: Masks, *, valid: Masks | None = None) -> Pixels:
    """Return the confusion matrix of each mask; arguments are those of ``iou``."""
    if valid is None:
        counted = torch.full_like(truth.sum(dim=(-2, -1)), truth.shape[-2] * truth.shape[-1])
    else:
        predicted, truth = predicted & valid, truth & valid
        counted = valid.sum(dim=(-2, -1))
    shared = (predicted & truth).sum(dim=(-2, -1))
    guessed, true = (each.sum(dim=(-2, -1)) - shared for each in (predicted, truth))
    cells = [counted - shared - guessed - true, guessed, true, shared]
    return torch.stack(cells, dim=-1).reshape(*shared.shape, 2, 2)


def iou_of(pixels: Pixels, *, empty: float = 1.0) -> PerMask:
    """Return intersection over union; ``empty`` where neither has a pixel, as in ``iou``."""
    shared = pixels[..., 1, 1].double()
    union = (pixels[..., 0, 1] + pixels[..., 1, 0] + pixels[..., 1, 1]).double()
    score = shared / (union + EPSILON)
    return torch.where(union == 0, torch.full_like(score, empty), score)


def dice_of(pixels: Pixels, *, smoothing: float = 1.0) -> PerMask:
    """Return twice the intersection over the sum of areas, as in ``dice``."""
    shared = pixels[..., 1, 1].double()
    areas = (pixels[..., 1, :].sum(-1) + pixels[..., :, 1].sum(-1)).double()
    return (2 * shared + smoothing) / (areas + smoothing)


def accuracy(
    predicted: UInt8[Tensor, "b h w"],
    truth: UInt8[Tensor, "b h w"],
    *,
    valid: Bool[Tensor, "b h w"] | None = None,
) -> Float[Tensor, "b"]:
    """Return the share of pixels that are right, 0..1 (1 where no pixel counts)."""
    right = predicted == truth
    valid = torch.ones_like(right) if valid is None else valid
    counted = valid.sum(dim=(-2, -1)).double()
    share = (right & valid).sum(dim=(-2, -1)).double() / counted.clamp(min=1)
    return torch.where(counted == 0, torch.ones_like(share), share)


def accuracy_of(matrix: Int[Tensor, "b k k"]) -> Float[Tensor, "b"]:
    """Return the share of pixels that are right, from confusion matrices; 1 where none counts."""
    counted = matrix.sum(dim=(-2, -1)).double()
    share = matrix.diagonal(dim1=-2, dim2=-1).sum(dim=-1).double() / counted.clamp(min=1)
    return torch.where(counted == 0, torch.ones_like(share), share)


def boundary_iou(
    predicted: Masks, truth: Masks, *, valid: Masks | None = None, thickness: float = THICKNESS
) -> PerMask:
    """Return the IoU of the inner rims of two masks, 0..1: how exact the outline is.

    Args:
        predicted: Predicted foreground.
        truth: True foreground.
        valid: Pixels that count; all when None.
        thickness: Width of the rim as a share of the image's diagonal, at least one pixel.

    Source: Cheng et al., Boundary IoU, CVPR 2021.
    """
    size = (truth.shape[-2], truth.shape[-1])
    return iou_of(rim_pixels(predicted, truth, valid=valid, rim=rim_width(size, thickness)))


def rim_width(size: tuple[int, int], thickness: float = THICKNESS) -> int:
    """Return the width of rims in pixels, at least one, for images of a height and width."""
    return max(1, round(thickness * math.hypot(*size)))


def rim_pixels(
    predicted: Masks, truth: Masks, *, valid: Masks | None, rim: int, rows: slice = WHOLE
) -> Pixels:
    """Return the confusion matrix of the inner rims of two masks.

    Args:
        predicted: Predicted foreground.
        truth: True foreground.
        valid: Pixels that count; None: all.
        rim: Width of the rims in pixels.
        rows: Rows that count; those up to ``rim`` above and below have a say in what is a rim.
    """
    rims = [(mask & ~_erode_freely(mask, rim))[..., rows, :] for mask in (predicted, truth)]
    return pixels_of(*rims, valid=None if valid is None else valid[..., rows, :])


def confusion_matrix(
    predicted: UInt8[Tensor, "*shape"],
    truth: UInt8[Tensor, "*shape"],
    *,
    classes: int,
    valid: Bool[Tensor, "*shape"] | None = None,
) -> Int[Tensor, "k k"]:
    """Return counts of pixels by true class (row) and predicted class (column).

    Args:
        predicted: Class numbers below ``classes``.
        truth: Class numbers; below ``classes`` wherever ``valid``.
        classes: How many classes there are.
        valid: Pixels that count; all when None.
    """
    counted = None if valid is None else valid[None]
    return confusion_matrices(predicted[None], truth[None], classes=classes, valid=counted)[0]


def confusion_matrices(
    predicted: UInt8[Tensor, "b *shape"],
    truth: UInt8[Tensor, "b *shape"],
    *,
    classes: int,
    valid: Bool[Tensor, "b *shape"] | None = None,
) -> Int[Tensor, "b k k"]:
    """Return one confusion matrix an image."""
    cells = classes * classes
    pairs = (truth.long() * classes + predicted.long()).flatten(1)
    if valid is not None:
        # Counted in a cell of their own: to pick pixels out makes a GPU wait.
        pairs = pairs.masked_fill(~valid.flatten(1), cells)
    counts = torch.zeros(len(pairs), cells + 1, dtype=torch.long, device=pairs.device)
    counts.scatter_add_(1, pairs, torch.ones_like(pairs))
    return counts[:, :cells].reshape(-1, classes, classes)


def iou_by_class(matrix: Int[Tensor, "*b k k"]) -> Float[Tensor, "*b k"]:
    """Return IoU by class; NaN where a class is neither true nor predicted."""
    shared = matrix.diagonal(dim1=-2, dim2=-1).double()
    return shared / (matrix.sum(dim=-1) + matrix.sum(dim=-2) - shared)


def dice_by_class(matrix: Int[Tensor, "*b k k"]) -> Float[Tensor, "*b k"]:
    """Return Dice by class; NaN where a class is neither true nor predicted."""
    shared = matrix.diagonal(dim1=-2, dim2=-1).double()
    return 2 * shared / (matrix.sum(dim=-1) + matrix.sum(dim=-2))


def mean_over_present(
    by_class: Float[Tensor, "b k"], matrix: Int[Tensor, "b k k"]
) -> Float[Tensor, "b"]:
    """Return the mean over the classes that occur in the truth (1 where no pixel counts at all)."""
    present = matrix.sum(dim=-1) > 0
    total = torch.where(present, by_class, torch.zeros_like(by_class)).sum(dim=-1)
    return torch.where(present.any(dim=-1), total / present.sum(dim=-1).clamp(min=1), 1.0)


def soft_overlap(
    probabilities: Float[Tensor, "b k h w"], truth: Float[Tensor, "b k h w"]
) -> tuple[Float[Tensor, "k"], Float[Tensor, "k"]]:
    """Return soft intersections and unions by class, summed over a batch.

    The intersection is the sum of ``p t``, the union the sum of ``p + t - p t``.
    """
    shared = (probabilities * truth).sum(dim=(0, 2, 3)).double()
    sums = probabilities.sum(dim=(0, 2, 3)).double() + truth.sum(dim=(0, 2, 3)).double()
    return shared, sums - shared


def _erode_freely(mask: Masks, pixels: int) -> Masks:
    """Shrink by ``pixels`` from every side, the border of the image included."""
    eroded = erode(mask, 2 * pixels + 1)
    for dim in (-2, -1):
        side = mask.shape[dim]
        edge = min(pixels, side)
        for start in (0, side - edge):
            eroded.narrow(dim, start, edge).fill_(False)
    return eroded


Numbers = Float[Tensor, "b h w"]
"""One number a pixel; not a number where the truth is not known."""

SumAndCount = tuple[Float[Tensor, "b"], Float[Tensor, "b"]]
"""Of each image the sum of something over its pixels, and how many pixels count."""

DELTA = 1.25
"""Prediction and truth agree where neither is more than this times the other."""


def squared_error(predicted: Numbers, truth: Numbers) -> SumAndCount:
    """Return the sum of squared errors, and how many pixels count."""
    return _sums((predicted - truth).double().square(), truth)


def absolute_error(predicted: Numbers, truth: Numbers) -> SumAndCount:
    """Return the sum of absolute errors, and how many pixels count."""
    return _sums((predicted - truth).double().abs(), truth)


def within_delta(predicted: Numbers, truth: Numbers, *, delta: float = DELTA) -> SumAndCount:
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


def _sums(values: Numbers, truth: Numbers) -> SumAndCount:
    known = truth.isfinite()
    total = torch.where(known, values, torch.zeros_like(values)).sum(dim=(-2, -1))
    return total, known.double().sum(dim=(-2, -1))
