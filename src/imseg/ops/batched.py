"""What happens to each image of a batch, as columns that a device can compute with.

``augment.draw`` says what will be done; here the same is a row of numbers an image, in which what
does not happen to an image leaves it as it is: a gain of 1, a blur of one tap, noise that reaches
nowhere.
"""

from dataclasses import dataclass, fields
from typing import get_args

import torch
from jaxtyping import Bool, Float32, Int16, Int32, Int64, Shaped
from torch import Tensor

from imseg.ops import augment, photometric
from imseg.ops.inconsistency import paint
from imseg.ops.memory_layout import Fill, Images, PixelMask, PlaneLayout, layout_of
from imseg.ops.photometric import KERNELS, VALUES_AT_ONCE_ELSEWHERE, Order, Strength


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentRange:
    """What may happen to any image at all: known before anything is drawn."""

    mirrors: bool = False
    """Whether left and right may be exchanged."""
    turns: bool = False
    """Whether up and down may be exchanged."""
    swaps: bool = False
    """Whether height and width may be exchanged."""
    scales: bool = False
    """Whether there may be gain and offset."""
    blur: int = 0
    """The largest radius in pixels."""
    noise: bool = False
    """Whether there may be noise."""

    def __or__(self, other: "AugmentRange") -> "AugmentRange":
        """Return what may happen to images of either kind: the larger of each, yes over no."""
        names = [field.name for field in fields(self)]
        return AugmentRange(
            **{name: max(getattr(self, name), getattr(other, name)) for name in names}
        )


def range_of(strength: Strength, *, rotate: bool, square: bool, moves: bool = True) -> AugmentRange:
    """Return what draws of this kind can do to an image; see ``augment.draw``.

    Args:
        strength: How far values may be pushed.
        rotate: Whether all moves are allowed, or only left to right.
        square: Whether images are as high as wide.
        moves: Whether images are moved at all.
    """
    return AugmentRange(
        mirrors=moves,
        turns=moves and rotate,
        swaps=moves and rotate and square,
        scales=bool(strength.gain or strength.offset),
        blur=int(strength.blur),
        noise=bool(strength.noise),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentParams:
    """What happens to each image, ready to be computed with: one row an image, on one device."""

    swapped: Bool[Tensor, "b"]
    """Whether height and width are exchanged, first."""
    upside_down: Bool[Tensor, "b"]
    """Whether up and down are exchanged, second."""
    mirrored: Bool[Tensor, "b"]
    """Whether left and right are exchanged, third."""
    gain: Float32[Tensor, "b"]
    """Values are multiplied by this; 1 is none."""
    offset: Float32[Tensor, "b"]
    """Then this is added, in gray levels; 0 is none."""
    taps: Int16[Tensor, "b 4"]
    """Weights of the blur at a distance of 0..3 pixels along an axis."""
    half: Int32[Tensor, "b"]
    """Added to weighted sums before the last bits are dropped, so that halves go up."""
    shift: Int32[Tensor, "b"]
    """How many bits are dropped."""
    reach: Int32[Tensor, "b"]
    """Noise lies in [-reach, reach), in gray levels; 0 is none."""
    noise_keys: Int32[Tensor, "b 2"]
    """What the image's noise is made from."""

    def __len__(self) -> int:
        return int(self.gain.shape[0])

    def tensors(self) -> dict[str, Tensor]:
        """Return all columns by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def rows(self, first: int, end: int) -> "AugmentParams":
        """Return the treatment of images that follow each other: the same memory."""
        return AugmentParams(**{name: column[first:end] for name, column in self.tensors().items()})

    def put(self, rows: Int64[Tensor, "n"], others: "AugmentParams") -> None:
        """Write the treatment of some images over what there was."""
        for name, column in self.tensors().items():
            column[rows] = getattr(others, name)


def no_params(images: int) -> AugmentParams:
    """Return rows that leave images as they are, on the CPU."""
    never, whole = torch.zeros(images, dtype=torch.bool), torch.zeros(images, dtype=torch.int32)
    return AugmentParams(
        swapped=never.clone(),
        upside_down=never.clone(),
        mirrored=never.clone(),
        gain=torch.ones(images),
        offset=torch.zeros(images),
        **_blur_columns(torch.zeros(images, dtype=torch.long)),
        reach=whole.clone(),
        noise_keys=torch.zeros(images, 2, dtype=torch.int32),
    )


def params_of(draws: augment.Draws) -> AugmentParams:
    """Return draws in the form that is computed with, on the CPU.

    Raises:
        ValueError: If the noise itself is given, which only the grouped way takes.
    """
    values = draws.values
    if values.noise is not None:
        raise ValueError("noise that is given is added in groups, not together")
    odd, one = draws.turns % 2 == 1, torch.ones(())
    return AugmentParams(
        # A quarter turn exchanges the axes and then reverses one of them.
        swapped=odd,
        upside_down=((draws.turns == 1) | (draws.turns == 2)) ^ (draws.flip & odd),
        mirrored=(draws.turns >= 2) ^ (draws.flip & ~odd),
        gain=torch.where(values.scaled, values.gain, one),
        offset=torch.where(values.scaled, values.offset, 0 * one),
        **_blur_columns(values.radius),
        reach=values.reach,
        noise_keys=values.noise_keys,
    )


def _blur_columns(radius: Int64[Tensor, "b"]) -> dict[str, Tensor]:
    taps = torch.zeros(len(KERNELS), photometric.MAX_RADIUS + 1, dtype=torch.int16)
    for number, kernel in enumerate(KERNELS):
        taps[number, : number + 1] = torch.tensor(kernel[number:], dtype=torch.int16)
    totals = torch.tensor([sum(kernel) ** 2 for kernel in KERNELS], dtype=torch.int32)
    shifts = torch.tensor([sum(kernel).bit_length() * 2 - 2 for kernel in KERNELS]).int()
    return {"taps": taps[radius], "half": totals[radius] // 2, "shift": shifts[radius]}


def apply(
    images: Images,
    augment_params: AugmentParams,
    *,
    augment_range: AugmentRange,
    targets: Shaped[Tensor, "b t h w"] | None = None,
    mask: PixelMask | None = None,
    black: Bool[Tensor, "b"] | None = None,
    fill: Fill | None = None,
    order: Order = "copy",
    paper: bool = False,
) -> augment.Augmented:
    """Return what ``augment.apply`` returns for the same draws.

    Args:
        images: In any memory format; the result is in the same (plain or channels-last). What
            nothing can happen to is returned itself, not a copy.
        augment_params: One row an image, on the device of the images.
        augment_range: Everything that the treatment can do.
        targets: Belonging to the images; only moved.
        mask: Of inconsistent pixels; only moved.
        black: For which images pixels under the mask are 0 in the end; None: for none.
        fill: What these pixels are instead of 0, see ``inconsistency.make_fill``; it is not moved.
        order: Of gain and offset, blur and noise.
        paper: Gain and offset take the absolute value, as in the reference.

    Raises:
        ValueError: If black is to be kept without a mask, or rows do not fit.
    """
    if black is not None and mask is None:
        raise ValueError("to keep pixels black, say which: there is no mask")
    moved_mask = None if mask is None else move_batch(mask, augment_params, augment_range)
    moved = move_batch(images, augment_params, augment_range)
    changed = change_values(
        moved, augment_params, augment_range=augment_range, order=order, paper=paper
    )
    if black is not None and moved_mask is not None:
        changed = paint(changed, moved_mask & as_column(black), fill)
    moved_targets = None if targets is None else move_batch(targets, augment_params, augment_range)
    return augment.Augmented(images=changed, targets=moved_targets, mask=moved_mask)


def move_batch(
    planes: Shaped[Tensor, "b c h w"], augment_params: AugmentParams, augment_range: AugmentRange
) -> Shaped[Tensor, "b c h w"]:
    """Return planes of any type moved, in the same memory format (plain or channels-last)."""
    _check_rows(planes, augment_params)
    layout = layout_of(planes)
    packed = layout.pack(planes)
    if augment_range.swaps:
        across = packed.transpose(layout.height, layout.width)
        packed = _choose(augment_params.swapped, across, packed)
    if augment_range.turns:
        packed = _choose(augment_params.upside_down, packed.flip(layout.height), packed)
    if augment_range.mirrors:
        packed = _choose(augment_params.mirrored, packed.flip(layout.width), packed)
    return layout.unpack(packed)


def change_values(
    images: Images,
    augment_params: AugmentParams,
    *,
    augment_range: AugmentRange,
    order: Order = "copy",
    paper: bool = False,
) -> Images:
    """Return what ``photometric.apply`` returns for the same draws; see ``apply``."""
    if order not in get_args(Order):
        raise ValueError(f"the order is one of {get_args(Order)}, not {order!r}")
    _check_rows(images, augment_params)
    layout = layout_of(images)
    packed = layout.pack(images)
    # Only to limit the memory of what lies between the steps.
    at_once = max(1, VALUES_AT_ONCE_ELSEWHERE // max(1, packed[:1].numel()))
    parts = [
        _change(
            packed[first : first + at_once],
            augment_params.rows(first, first + at_once),
            layout,
            augment_range=augment_range,
            order=order,
            paper=paper,
        )
        for first in range(0, len(packed), at_once)
    ]
    return layout.unpack(torch.cat(parts) if len(parts) > 1 else parts[0] if parts else packed)


def as_column(values: Shaped[Tensor, "b"]) -> Shaped[Tensor, "b 1 1 1"]:
    """Return one value an image so that it meets all pixels of the image."""
    return values.reshape(-1, 1, 1, 1)


def _change(
    packed: Tensor,
    rows: AugmentParams,
    layout: PlaneLayout,
    *,
    augment_range: AugmentRange,
    order: Order,
    paper: bool,
) -> Tensor:
    def scale(values: Tensor) -> Tensor:
        return photometric.scale_values(values, gain=rows.gain, offset=rows.offset, absolute=paper)

    if augment_range.scales and order == "copy":
        packed = scale(packed)
    if augment_range.blur:
        packed = _blur(packed, rows, layout, reach=augment_range.blur)
    if augment_range.noise:
        packed = photometric.add_noise_of(packed, rows.noise_keys, rows.reach, layout=layout)
    return scale(packed) if augment_range.scales and order == "view" else packed


def _choose(flags: Bool[Tensor, "b"], changed: Tensor, unchanged: Tensor) -> Tensor:
    return torch.where(as_column(flags), changed, unchanged).contiguous()


def _blur(packed: Tensor, rows: AugmentParams, layout: PlaneLayout, *, reach: int) -> Tensor:
    # 16 bits hold every sum along one axis.
    sums = _weigh(packed, rows.taps, reach=reach, axis=layout.height, dtype=torch.int16)
    sums = _weigh(sums, rows.taps, reach=reach, axis=layout.width, dtype=torch.int32)
    rounded = sums.add_(as_column(rows.half)).bitwise_right_shift_(as_column(rows.shift))
    return rounded.to(torch.uint8)


def _weigh(planes: Tensor, taps: Tensor, *, reach: int, axis: int, dtype: torch.dtype) -> Tensor:
    """Return sums of neighbors along an axis, weighted for each image."""
    size = planes.shape[axis]
    places = photometric.mirrored_places(size, reach, device=planes.device)
    padded = planes.index_select(axis, places).to(dtype)
    weights = taps.to(dtype)
    sums = padded.narrow(axis, reach, size) * as_column(weights[:, 0])
    for step in range(1, reach + 1):
        before, after = (padded.narrow(axis, at, size) for at in (reach - step, reach + step))
        sums.addcmul_(before + after, as_column(weights[:, step]))
    return sums


def _check_rows(planes: Tensor, augment_params: AugmentParams) -> None:
    if len(augment_params) != len(planes):
        raise ValueError(f"{len(augment_params)} rows do not fit {len(planes)} images")
