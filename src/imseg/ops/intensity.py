"""One change of values per sample: a table per channel, then saturation, blur and noise.

Gamma, contrast, gain and brightness turn a byte into a value whatever its place is, so together
they are one table of 256 values per sample and channel. Values stay real numbers until the end and
are rounded once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float, Float32, Int32, Int64
from torch import Tensor
from torch.nn import functional

from imseg.ops.limits import AugmentLimits
from imseg.ops.memory_layout import Images, PlaneLayout
from imseg.ops.photometric import as_words, draw_keys, draw_spread, draw_uniform, make_words
from imseg.ops.warp import as_bytes, change_where, samples_at_once

# What the bits of a sample's seed are for. Numbers are never reused; see photometric, warp.
BRIGHTNESS, CONTRAST, CHANNEL_CONTRAST, GAMMA, GAIN, CHANNEL_GAIN, SATURATION = range(60, 67)
BLUR, NOISE_SIZE, NOISE_KEYS = range(67, 70)
CHOSEN = 20
"""Added to the number of a use: whether a sample is changed in this way at all."""

REACH = 2.5
"""How far a blur reaches, in largest sigmas."""
LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in gray (Rec. 601)."""
WORD_MEAN, WORD_DEVIATION = 510.0, float(np.sqrt(4 * (256**2 - 1) / 12))
"""Of the sum of the four bytes of a random word."""
GRAY_LEVELS = 256
THUMBNAIL = 32
"""Pixels along an axis, at most twice as many, that the mean of an image is taken from."""
_PLAIN = PlaneLayout(channels_last=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntensityParams:
    """What happens to the values of each sample: one row per sample, on one device."""

    gamma: Float32[Tensor, "b"]
    """Values of 0..1 are raised to this power, first."""
    contrast: Float32[Tensor, "b c"]
    """Distances from the mean of the channel are multiplied by this, second."""
    gain: Float32[Tensor, "b c"]
    """Values are multiplied by this, third."""
    brightness: Float32[Tensor, "b"]
    """Added last, as a share of 255."""
    saturation: Float32[Tensor, "b"]
    """Distances from gray grow by this share; 0 is none."""
    taps: Float32[Tensor, "b r"]
    """Weights of the blur at a distance of 0, 1, 2 .. pixels along an axis; 1 and zeros are
    none."""
    noise: Float32[Tensor, "b"]
    """Standard deviation of the noise in gray levels; 0 is none."""
    noise_keys: Int32[Tensor, "b 2"]
    """What the sample's noise is made from."""

    def __len__(self) -> int:
        return int(self.gamma.shape[0])

    def tensors(self) -> dict[str, Tensor]:
        """Return all columns by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def rows(self, first: int, end: int) -> "IntensityParams":
        """Return the parameters of samples that follow each other: the same memory."""
        columns = {name: column[first:end] for name, column in self.tensors().items()}
        return IntensityParams(**columns)


def draw(
    seeds: Sequence[int] | Int64[Tensor, "b"], limits: AugmentLimits, *, channels: int
) -> IntensityParams:
    """Return what happens to the values of each sample, on the CPU.

    Args:
        seeds: One per sample, whole numbers of up to 63 bits; the same number, the same draws.
        limits: How far values may be changed.
        channels: Of the images.
    """
    words = as_words(seeds)

    def chosen(use: int, share: float) -> np.ndarray:
        return (draw_uniform(words, use + CHOSEN) < share)[:, None]

    def spread(use: int, limit: float, count: int = 1) -> np.ndarray:
        drawn = draw_spread(words, use, count=count) * limit
        return np.where(chosen(use, limits.color_share), drawn, 0.0)

    sigma = limits.blur * draw_uniform(words, BLUR) * chosen(BLUR, limits.blur_share)[:, 0]
    noise = 255 * limits.noise * draw_uniform(words, NOISE_SIZE)
    each_contrast = spread(CHANNEL_CONTRAST, limits.channel_contrast, channels)
    each_gain = spread(CHANNEL_GAIN, limits.channel_gain, channels)
    columns = {
        "gamma": np.exp(spread(GAMMA, limits.gamma))[:, 0],
        "contrast": np.exp(spread(CONTRAST, limits.contrast) + each_contrast),
        "gain": np.exp(spread(GAIN, limits.gain) + each_gain),
        "brightness": spread(BRIGHTNESS, limits.brightness)[:, 0],
        "saturation": np.expm1(spread(SATURATION, limits.saturation))[:, 0] * (channels == 3),
        "taps": _taps(sigma, math.ceil(REACH * limits.blur)),
        "noise": noise * chosen(NOISE_SIZE, limits.noise_share)[:, 0],
    }
    return IntensityParams(
        **{name: torch.from_numpy(each.astype(np.float32)) for name, each in columns.items()},
        noise_keys=draw_keys(words, NOISE_KEYS),
    )


def _taps(sigma: np.ndarray, reach: int) -> np.ndarray:
    """Return the weights of normal distributions at distances up to a reach; their sums are 1."""
    places = np.arange(reach + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        taps = np.exp(-(places**2) / (2 * sigma[:, None] ** 2))
    taps = np.where(sigma[:, None] > 0, taps, places == 0)
    totals = 2 * taps.sum(axis=1, keepdims=True) - taps[:, :1]
    return np.asarray(taps / totals)


def apply(images: Images, params: IntensityParams) -> Images:
    """Return images with their values changed, rounded to bytes once, in plain memory format.

    Args:
        images: In any memory format.
        params: One row per image, on the device of the images.

    Raises:
        ValueError: If there is not one row per image.
    """
    if len(params) != len(images):
        raise ValueError(f"{len(params)} rows do not fit {len(images)} images")
    at_once = samples_at_once(images)
    parts = [
        _change(images[first : first + at_once], params.rows(first, first + at_once))
        for first in range(0, max(1, len(images)), at_once)
    ]
    return torch.cat(parts)


def make_tables(images: Images, params: IntensityParams) -> Float32[Tensor, "b c 256"]:
    """Return what each byte becomes in each channel, 0..255; never less for a larger byte."""
    # Doubles hide that the last bit of a power depends on its place in memory.
    kind = torch.float64 if images.device.type == "cpu" else torch.float32
    step_y, step_x = (max(1, side // THUMBNAIL) for side in images.shape[-2:])
    some = images[:, :, ::step_y, ::step_x]
    total = some.sum(dim=(2, 3), dtype=torch.int64)
    mean = total.to(kind).div_(some.shape[2] * some.shape[3] * 255)[:, :, None]
    gamma = params.gamma.to(kind)[:, None, None]
    values = torch.arange(GRAY_LEVELS, device=images.device).to(kind).div_(255)
    # The mean goes the way of the values, so that it stays what contrast is measured from.
    mean, values = mean**gamma, values.reshape(1, 1, -1) ** gamma
    values = (values - mean).mul_(params.contrast.to(kind)[:, :, None]).add_(mean)
    values = values.mul_(params.gain.to(kind)[:, :, None])
    values = values.add_(params.brightness.to(kind)[:, None, None])
    return values.mul_(255).clamp_(0, 255).float()


def _change(images: Images, params: IntensityParams) -> Images:
    size, channels, _, _ = images.shape
    tables = make_tables(images, params)
    first = torch.arange(0, tables.numel(), GRAY_LEVELS, device=images.device, dtype=torch.int32)
    index = images.contiguous().int().add_(first.reshape(size, channels, 1, 1))
    values = tables.reshape(-1).index_select(0, index.reshape(-1)).reshape(images.shape)
    if channels == 3:
        values = change_where(
            values,
            params.saturation != 0,
            lambda some, rows: _saturate(some, params.saturation[rows].reshape(-1, 1, 1, 1)),
        )
    values = change_where(
        values, params.taps[:, 0] < 1, lambda some, rows: _blur(some, params.taps[rows])
    )
    values = change_where(
        values,
        params.noise > 0,
        lambda some, rows: _add_noise(some, params.noise_keys[rows], params.noise[rows]),
    )
    return as_bytes(values)


def _saturate(values: Float[Tensor, "b 3 h w"], by: Tensor) -> Float[Tensor, "b 3 h w"]:
    red, green, blue = (values[:, [each]].mul_(LUMA[each]) for each in range(3))
    gray = red.add_(green).add_(blue)
    return (values - gray).mul_(by).add_(values)


def _blur(values: Float[Tensor, "b c h w"], taps: Float32[Tensor, "b r"]) -> Tensor:
    reach = taps.shape[1] - 1
    weights = taps.reshape(-1, reach + 1, 1, 1, 1).unbind(dim=1)
    for axis in (3, 2):
        side = values.shape[axis]
        ends = (reach, reach, 0, 0) if axis == 3 else (0, 0, reach, reach)
        padded = functional.pad(values, ends, mode="replicate")
        values = values * weights[0]
        for step in range(1, reach + 1):
            before, after = (padded.narrow(axis, reach + at, side) for at in (-step, step))
            values.add_((before + after).mul_(weights[step]))
    return values


def _add_noise(
    values: Float[Tensor, "b c h w"], keys: Int32[Tensor, "b 2"], size: Float32[Tensor, "b"]
) -> Float[Tensor, "b c h w"]:
    """Return values with noise that is nearly normal: the sum of four random bytes."""
    words = make_words(keys, layout=_PLAIN, **_PLAIN.sizes(values))
    # Two sums of two bytes each at once, then their sum.
    pairs = words.bitwise_right_shift(8).bitwise_and_(0x00FF00FF)
    pairs.add_(words.bitwise_and_(0x00FF00FF))
    sums = pairs.bitwise_and(0xFFFF).add_(pairs.bitwise_right_shift_(16))
    scale = (size / WORD_DEVIATION).reshape(-1, 1, 1, 1)
    return sums.float().sub_(WORD_MEAN).mul_(scale).add_(values)
