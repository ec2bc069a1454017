"""Blur in whole numbers: the same bits on every device."""

from __future__ import annotations

import torch
from jaxtyping import UInt8
from torch import Tensor

from imseg.ops.memory_format import layout_of

KERNELS: tuple[tuple[int, ...], ...] = (
    (1,),
    (1, 2, 1),
    (1, 4, 6, 4, 1),
    (2, 7, 14, 18, 14, 7, 2),
)
"""Weights along one axis, by radius in pixels; their sums are powers of two."""

MAX_RADIUS = len(KERNELS) - 1
LARGEST = 2**15 - 1
"""The largest 16-bit number."""


def blur(images: UInt8[Tensor, "b c h w"], radius: int) -> UInt8[Tensor, "b c h w"]:
    """Return images smoothed along both axes, rounded once, halves up.

    Beyond the border the image is mirrored without repeating the pixel at the edge.

    Args:
        images: Any size and memory format; the result has the same.
        radius: Reach of the kernel in pixels, 0 (the images themselves) to ``MAX_RADIUS``.

    Raises:
        ValueError: If there is no kernel of this radius.

    Source: METHOD, "Disturbances".
    """
    layout = layout_of(images)
    blurred = blur_along(layout.pack(images), radius, axes=(layout.height, layout.width))
    return layout.unpack(blurred)


def blur_along(planes: Tensor, radius: int, *, axes: tuple[int, int]) -> Tensor:
    """Return bytes smoothed along two axes; see ``blur``.

    Args:
        planes: Unsigned bytes.
        radius: Reach of the kernel in pixels.
        axes: Those to smooth along.

    Raises:
        ValueError: If there is no kernel of this radius.
    """
    if not 0 <= radius <= MAX_RADIUS:
        raise ValueError(f"a blur has a radius of 0 to {MAX_RADIUS} pixels, not {radius}")
    if radius == 0:
        return planes
    weights = KERNELS[radius]
    total = sum(weights) ** 2
    # 16 bits hold every sum along one axis and, for the smallest kernel, along both.
    narrow = 255 * total + total // 2 <= LARGEST
    sums = _weigh(planes, weights, axis=axes[0], dtype=torch.int16)
    sums = _weigh(sums, weights, axis=axes[1], dtype=torch.int16 if narrow else torch.int32)
    shift = total.bit_length() - 1
    return sums.add_(total // 2).bitwise_right_shift_(shift).to(torch.uint8)


def _weigh(planes: Tensor, weights: tuple[int, ...], *, axis: int, dtype: torch.dtype) -> Tensor:
    """Return weighted sums of neighbors along an axis; the kernel is symmetric."""
    size, radius = planes.shape[axis], len(weights) // 2
    padded = _mirror(planes, radius, axis=axis).to(dtype)
    shifted = [padded.narrow(axis, start, size) for start in range(len(weights))]
    sums = (shifted[0] + shifted[-1]).mul_(weights[0])
    for step in range(1, radius):
        sums.add_(shifted[step] + shifted[-1 - step], alpha=weights[step])
    return sums.add_(shifted[radius], alpha=weights[radius])


def _mirror(planes: Tensor, reach: int, *, axis: int) -> Tensor:
    """Return planes with the mirrored pixels before and after; short axes are mirrored again."""
    size = planes.shape[axis]
    period = max(2 * (size - 1), 1)
    before = [_reflect(place, size, period=period) for place in range(-reach, 0)]
    after = [_reflect(place, size, period=period) for place in range(size, size + reach)]
    ends = [
        planes.index_select(axis, torch.tensor(places, device=planes.device))
        for places in (before, after)
    ]
    return torch.cat([ends[0], planes, ends[1]], dim=axis)


def _reflect(place: int, size: int, *, period: int) -> int:
    """Return the place inside the axis that a place outside of it shows."""
    place %= period
    return min(place, period - place) if size > 1 else 0
