"""One change of place per sample: moves of the square, turn, scale, shift, shear and bending.

All of it is composed into one map from places of the result to places of the image, so that images
are resampled once. Images are interpolated (bilinear), all that is not interpolated elsewhere
(targets, masks) is taken from the nearest pixel. Beyond its edges an image is continued by its
reflection, and ``inside`` says which pixels of the result come from the image itself.

Places are counted from -1 to 1 from edge to edge along each axis, so that they mean the same for
every size; turns and shears are in pixels, so that shapes keep their proportions.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, Shaped, UInt8
from torch import Tensor
from torch.nn import functional

from imseg.ops import photometric
from imseg.ops.limits import AugmentLimits
from imseg.ops.memory_layout import Images, PixelMask

# What the bits of a sample's seed are for. Numbers are not reused; see photometric.
MIRRORED, TURNED_OVER, SWAPPED, WARPED, TURN, SCALE, SHIFT, SHEAR, BEND = range(40, 49)
WINDOW_ROW, WINDOW_COLUMN = range(49, 51)

CONTROL_POINTS = 7
"""Points of the coarse grid along an axis that a bending is spanned over: four of its intervals lie
in the image, the others are needed at its edges."""
_INTERVALS = CONTROL_POINTS - 3


@dataclass(frozen=True, slots=True, kw_only=True)
class WarpParams:
    """Where each pixel of each sample comes from: one row per sample, on one device."""

    linear: Float32[Tensor, "b 2 2"]
    """From an offset (x, y) from the middle of the result to one in the image, both in pixels."""
    shift: Float32[Tensor, "b 2"]
    """Added to places in the image, along x and y, in halves of the side."""
    bend: Float32[Tensor, "b 2 7 7"]
    """Displacements along x and y at the control points, as shares of the shorter side; first rows,
    then columns of the grid."""
    softened: Float32[Tensor, "b"]
    """Weight of each neighbor when images are smoothed first, so that fine texture does not alias
    where they are scaled down; 0..0.25, 0 is none."""

    def __len__(self) -> int:
        return int(self.linear.shape[0])

    def tensors(self) -> dict[str, Tensor]:
        """Return all columns by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def rows(self, first: int, end: int) -> "WarpParams":
        """Return the parameters of samples that follow each other: the same memory."""
        return WarpParams(**{name: column[first:end] for name, column in self.tensors().items()})


class Warped(NamedTuple):
    """What came of a batch."""

    images: Images
    """Moved, interpolated, rounded to the nearest byte; plain memory format."""
    planes: "list[Shaped[Tensor, 'b t h w']]"
    """All that was given beside the images, from the nearest pixel."""
    inside: PixelMask
    """Whether a pixel comes from within the image, not from its reflection."""


def draw(
    seeds: Sequence[int] | Int64[Tensor, "b"], limits: AugmentLimits, *, square: bool
) -> WarpParams:
    """Return where the pixels of each sample come from, on the CPU.

    Args:
        seeds: One per sample, whole numbers of up to 63 bits; the same number, the same draws.
        limits: How far samples may be moved.
        square: Whether images are as high as wide; if not, height and width are not exchanged.
    """
    words = photometric.as_words(seeds)

    def coin(use: int, *, wanted: bool) -> np.ndarray:
        return (photometric.draw_uniform(words, use) < 0.5) & wanted

    warped = photometric.draw_uniform(words, WARPED) < limits.share

    def spread(use: int, limit: float, count: int = 1) -> np.ndarray:
        return photometric.draw_spread(words, use, count=count) * limit * warped[:, None]

    angle = np.radians(spread(TURN, limits.turn))[:, 0]
    size = spread(SCALE, 1.0)[:, 0]
    larger = np.exp(size * np.where(size < 0, min(limits.shrink, limits.scale), limits.scale))
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.stack([cosine, -sine, sine, cosine], axis=-1).reshape(-1, 2, 2)
    shear = np.zeros_like(turn) + np.eye(2)
    shear[:, 0, 1] = spread(SHEAR, limits.shear)[:, 0]
    swapped = coin(SWAPPED, wanted=limits.swap and square)
    move = np.where(swapped[:, None, None], np.eye(2)[::-1], np.eye(2))
    # The signs are those of the image's axes: they act last.
    move[:, 0] *= 1 - 2.0 * coin(MIRRORED, wanted=limits.mirror)[:, None]
    move[:, 1] *= 1 - 2.0 * coin(TURNED_OVER, wanted=limits.upside_down)[:, None]
    bend = spread(BEND, limits.elastic, count=2 * CONTROL_POINTS**2)
    # Of an enlarged image any part may be shown; a smaller one lies anywhere in the frame.
    room = np.abs(1 - 1 / larger)[:, None] / 2
    columns = {
        "linear": move @ turn @ shear / larger[:, None, None],
        "shift": 2 * spread(SHIFT, 1.0, count=2) * (limits.shift + room),
        "bend": bend.reshape(-1, 2, CONTROL_POINTS, CONTROL_POINTS),
        # The variance of the pixels of the result less that of the image's, for pixels of sigma .5.
        "softened": ((larger**-2 - 1) / 8).clip(0, 0.25),
    }
    return WarpParams(
        **{name: torch.from_numpy(each.astype(np.float32)) for name, each in columns.items()}
    )


class Crops(NamedTuple):
    """A part of each sample, of one size."""

    corners: Int64[Tensor, "b 2"]
    """Row and column of its first pixel in each sample, on the device of the samples."""
    size: tuple[int, int]
    """Height and width."""

    def rows(self, first: int, end: int) -> "Crops":
        """Return the windows of samples that follow each other."""
        return Crops(self.corners[first:end], self.size)

    def of(self, values: Shaped[Tensor, "b c h w"]) -> Shaped[Tensor, "b c _ _"]:
        """Return what lies in the windows."""
        height, width = self.size
        if values.device.type == "cpu":  # elsewhere the corners are not to be waited for
            places = zip(values, self.corners.tolist(), strict=True)
            return torch.stack(
                [each[:, row : row + height, left : left + width] for each, (row, left) in places]
            )
        sample = torch.arange(len(values), device=values.device)[:, None, None, None]
        plane = torch.arange(values.shape[1], device=values.device)[:, None, None]
        row = self.corners[:, 0, None] + torch.arange(height, device=values.device)
        column = self.corners[:, 1, None] + torch.arange(width, device=values.device)
        return values[sample, plane, row[:, None, :, None], column[:, None, None, :]]


def draw_window(
    seeds: Sequence[int] | Int64[Tensor, "b"], whole: tuple[int, int], size: tuple[int, int]
) -> Int64[Tensor, "b 2"]:
    """Return the corner of a window of each sample, anywhere in it, on the CPU.

    Args:
        seeds: As in ``draw``.
        whole: Height and width of the samples.
        size: Those of the window, at most as large.
    """
    words, axes = (
        photometric.as_words(seeds),
        zip((WINDOW_ROW, WINDOW_COLUMN), whole, size, strict=True),
    )
    return torch.stack(
        [photometric.draw_below(words, use, count=all_ - part + 1) for use, all_, part in axes],
        dim=1,
    )


def apply(
    images: Images,
    params: WarpParams,
    *,
    planes: Sequence[Shaped[Tensor, "b t h w"]] = (),
    window: Crops | None = None,
) -> Warped:
    """Return samples whose pixels come from elsewhere.

    Args:
        images: In any memory format.
        params: One row per sample, on the device of the images.
        planes: Targets, masks and whatever else belongs to the images, of any type.
        window: The part of each result that is wanted; None: all of it.

    Raises:
        ValueError: If there is not one row per sample.
    """
    if len(params) != len(images):
        raise ValueError(f"{len(params)} rows do not fit {len(images)} images")
    at_once = samples_at_once(images)
    parts = [
        _warp(
            images[first : first + at_once],
            params.rows(first, first + at_once),
            [each[first : first + at_once] for each in planes],
            None if window is None else window.rows(first, first + at_once),
        )
        for first in range(0, max(1, len(images)), at_once)
    ]
    pixels, moved, inside = zip(*parts, strict=True)
    others = [torch.cat(each) for each in zip(*moved, strict=True)]
    return Warped(torch.cat(pixels), others, torch.cat(inside))


def samples_at_once(images: Images) -> int:
    """Return how many samples go through all steps together: on a CPU what its cache holds."""
    here = images.device.type == "cpu"
    most = photometric.VALUES_AT_ONCE if here else photometric.VALUES_AT_ONCE_ELSEWHERE
    return max(1, most // max(1, images[:1].numel()))


def change_where(
    values: Float[Tensor, "b c h w"],
    needed: Bool[Tensor, "b"],
    change: Callable[[Tensor, Int64[Tensor, "n"] | slice], Tensor],
) -> Float[Tensor, "b c h w"]:
    """Return values after a change that leaves all samples as they are where it is not needed.

    A CPU changes few others beside those in need; other devices are not asked which these are.

    Args:
        values: Of samples; written to.
        needed: Which samples are changed at all.
        change: From the values of some samples and their numbers to the changed values.
    """
    if values.device.type != "cpu":
        return change(values, slice(None))
    rows = needed.nonzero()[:, 0]
    if len(rows) == 0:
        return values
    if 2 * len(rows) > len(values):  # to pick them out and put them back would take longer
        return change(values, slice(None))
    return values.index_copy_(0, rows, change(values.index_select(0, rows), rows))


def as_bytes(values: Float[Tensor, "b c h w"]) -> UInt8[Tensor, "b c h w"]:
    """Return values of at most 255 (written to) as bytes: halves up, what is below 0 as 0."""
    # Through 16 bits: the direct way from floats to bytes is several times slower.
    return values.clamp_(0, 255).add_(0.5).to(torch.int16).to(torch.uint8)


def _warp(
    images: Images, params: WarpParams, planes: Sequence[Tensor], window: Crops | None
) -> tuple[Images, list[Tensor], PixelMask]:
    height, width = images.shape[-2:]
    places = _places(params, height, width)
    if window is not None:
        places = window.of(places)
    # Sums of products are made in two steps here: fused ones differ in the last bit by the place of
    # a sample in its batch.
    folded = places.clamp(-1, 1).mul_(2).sub_(places).clamp_(-1, 1)
    within = places.abs_() <= 1
    inside = within[:, :1].logical_and_(within[:, 1:])
    # As they lie: many channels that follow each other in memory are sampled twice as fast.
    values = images.float()
    values = change_where(
        values,
        params.softened > 0,
        lambda some, rows: _soften(some, params.softened[rows].reshape(-1, 1, 1, 1)),
    )
    found = functional.grid_sample(
        values, folded.permute(0, 2, 3, 1), padding_mode="border", align_corners=False
    )
    column, row = (
        place.add_(1).mul_(side / 2).to(torch.int32).clamp_(0, side - 1)
        for place, side in zip(folded.unbind(dim=1), (width, height), strict=True)
    )
    index = row.mul_(width).add_(column).long().flatten(1)[:, None]
    moved = [
        each.flatten(2)
        .gather(2, index.expand(-1, each.shape[1], -1))
        .reshape(*each.shape[:2], *places.shape[2:])
        for each in planes
    ]
    return as_bytes(found), moved, inside


def _places(params: WarpParams, height: int, width: int) -> Float32[Tensor, "b 2 h w"]:
    """Return from where along x and y each pixel comes, -1..1 within the image."""
    device = params.linear.device
    x, y = (
        torch.arange(1, 2 * side, 2, device=device).div(side).sub(1) for side in (width, height)
    )
    linear, shift = params.linear, params.shift
    along_x = (linear[:, 0, :1] * x)[:, None, :] + (
        linear[:, 0, 1:] * (height / width) * y + shift[:, :1]
    )[:, :, None]
    along_y = (linear[:, 1, :1] * (width / height) * x)[:, None, :] + (
        linear[:, 1, 1:] * y + shift[:, 1:]
    )[:, :, None]
    shorter = 2 * min(height, width)
    halves = [params.bend[:, 0] * (shorter / width), params.bend[:, 1] * (shorter / height)]
    bend = torch.stack(halves, dim=1)
    return change_where(
        torch.stack([along_x, along_y], dim=1),
        params.bend.flatten(1).any(dim=1),
        lambda some, rows: some.add_(_bending(bend[rows], height, width)),
    )


def _bending(
    bend: Float32[Tensor, "b 2 7 7"], height: int, width: int
) -> Float32[Tensor, "b 2 h w"]:
    """Return displacements between control points: a cubic B-spline."""
    for axis, side in ((3, width), (2, height)):
        first, weights = _spline(side, device=bend.device)
        shape = [side if each == axis else 1 for each in range(4)]
        parts = [
            bend.index_select(axis, first + step).mul_(weights[step].reshape(shape))
            for step in range(4)
        ]
        bend = parts[0].add_(parts[1]).add_(parts[2]).add_(parts[3])
    return bend


@functools.lru_cache(maxsize=16)
def _spline(
    side: int, *, device: torch.device
) -> tuple[Int64[Tensor, "_"], Float32[Tensor, "4 _"]]:
    """Return for each pixel of an axis its first control point, and the weights of four."""
    places = torch.arange(1, 2 * side, 2, device=device).mul(_INTERVALS).div(2 * side)
    first = places.floor().clamp(max=_INTERVALS - 1)
    t = places - first
    weights = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    return first.long(), torch.stack(weights) / 6


def _soften(values: Float32[Tensor, "b c h w"], weight: Tensor) -> Float32[Tensor, "b c h w"]:
    """Return values with a share of both neighbors along each axis."""
    middle = 1 - 2 * weight
    for axis in (3, 2):
        side = values.shape[axis]
        ends = (1, 1, 0, 0) if axis == 3 else (0, 0, 1, 1)
        padded = functional.pad(values, ends, mode="replicate")
        sums = padded.narrow(axis, 0, side) + padded.narrow(axis, 2, side)
        values = (values * middle).add_(sums.mul_(weight))
    return values
