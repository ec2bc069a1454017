"""Random numbers that are a function of a seed and of what they are for.

There is no state, so an image gets the same numbers in any batch, on any device and with any number
of threads, and a new use does not disturb the others.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float32, Int16, Int32, Int64, UInt8
from torch import Tensor

from imseg.errors import ImsegError
from imseg.ops.memory_layout import Fill, Images, PlaneLayout, change_in_groups, layout_of, take

Words = npt.NDArray[np.uint64]
"""Unsigned 64-bit numbers: their products wrap around, which signed ones need not do."""

STEP = np.uint64(0x9E3779B97F4A7C15)
"""2 ** 64 divided by the golden ratio, made odd."""


def mix(words: Words) -> Words:
    """Return each number scrambled, so that every bit depends on every bit; one to one.

    Source: the output function of SplitMix64, Steele, Lea and Flood, OOPSLA 2014.
    """
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def as_words(seeds: Sequence[int] | Int64[Tensor, "b"]) -> Words:
    """Return seeds (whole numbers of up to 63 bits and a sign) as unsigned numbers.

    Raises:
        OverflowError: If a seed needs more than 64 bits.
    """
    numbers: npt.NDArray[Any]
    if isinstance(seeds, Tensor):
        numbers = seeds.detach().cpu().numpy().astype(np.int64)
    else:
        numbers = np.array(seeds, dtype=np.int64)
    return numbers.reshape(-1).view(np.uint64)


def draw_bits(seeds: Words, use: int) -> Words:
    """Return 64 random bits for each seed.

    Args:
        seeds: One an image.
        use: What they are for, 0 or more; different uses are independent.
    """
    start = np.uint64((use + 1) * int(STEP) % 2**64)
    # Seeds are scrambled first: neighboring seeds must not share the bits of different uses.
    return mix(mix(seeds) + start)


def draw_uniform(seeds: Words, use: int) -> npt.NDArray[np.float64]:
    """Return one number of [0, 1) for each seed, with 53 random bits."""
    bits = (draw_bits(seeds, use) >> np.uint64(11)).astype(np.float64)
    return bits / 2.0**53


def draw_spread(seeds: Words, use: int, *, count: int) -> npt.NDArray[np.float64]:
    """Return ``count`` numbers of [-1, 1) for each seed, as ``b count``."""
    places = np.arange(count, dtype=np.uint64) * STEP
    bits = mix(draw_bits(seeds, use)[:, None] + places) >> np.uint64(11)
    return bits.astype(np.float64) / 2.0**52 - 1


def draw_below(seeds: Words, use: int, *, count: int) -> Int64[Tensor, "b"]:
    """Return one whole number of [0, count) for each seed."""
    return torch.from_numpy(np.floor(draw_uniform(seeds, use) * count).astype(np.int64))


MAX_NOISE = 255
"""Gray levels; more would not fit what the values are computed in."""


def draw_keys(seeds: Words, use: int) -> Int32[Tensor, "b 2"]:
    """Return a shift and an odd factor for each seed.

    Args:
        seeds: One an image.
        use: Tells this use of the seed from others.
    """
    bits = draw_bits(seeds, use)
    shift, factor = bits & np.uint64(0xFFFFFFFF), (bits >> np.uint64(32)) | np.uint64(1)
    keys = np.stack([shift, factor], axis=-1).astype(np.uint32)
    return torch.from_numpy(keys.view(np.int32))


def make_words(
    keys: Int32[Tensor, "b 2"], *, channels: int, height: int, width: int, layout: PlaneLayout
) -> Int32[Tensor, "b _ _ _"]:
    """Return 32 random bits for each place of each image; see ``make_noise``."""
    words = _words(channels, height, width, layout=layout, device=keys.device)
    shift, factor = (key.reshape(-1, 1, 1, 1) for key in keys.unbind(dim=1))
    return (words + shift).mul_(factor)


def make_noise(
    keys: Int32[Tensor, "b 2"],
    reach: Int32[Tensor, "b"],
    *,
    channels: int,
    height: int,
    width: int,
    layout: PlaneLayout,
) -> Int32[Tensor, "b _ _ _"]:
    """Return whole numbers, even over [-reach, reach) for each image.

    A number's share is off by less than ``reach`` in 32,768 of itself.

    Args:
        keys: From ``draw_keys``, on the device where the noise is needed.
        reach: Half the width of the range in gray levels, 0 to ``MAX_NOISE``.
        channels: Image channels.
        height: In pixels.
        width: In pixels.
        layout: How the noise lies in memory; a place's value does not depend on it.
    """
    words = make_words(keys, channels=channels, height=height, width=width, layout=layout)
    noise = words.bitwise_right_shift_(16)
    return noise.mul_(2 * reach.reshape(-1, 1, 1, 1)).bitwise_right_shift_(16)


def add_noise_of(
    packed: UInt8[Tensor, "b _ _ _"],
    keys: Int32[Tensor, "b 2"],
    reach: Int32[Tensor, "b"],
    *,
    layout: PlaneLayout,
) -> UInt8[Tensor, "b _ _ _"]:
    """Return a packed batch moved by the noise of keys and reaches; see ``make_noise``."""
    noise = make_noise(
        keys.to(packed.device), reach.to(packed.device), layout=layout, **layout.sizes(packed)
    )
    return add_noise(packed, noise)


def add_noise(images: UInt8[Tensor, "b _ _ _"], noise: Tensor) -> UInt8[Tensor, "b _ _ _"]:
    """Return images moved by noise (signed, the same shape, at most 16 bits), cut at 0 and 255."""
    return noise.to(torch.int16, copy=True).add_(images).clamp_(0, 255).to(torch.uint8)


@functools.lru_cache(maxsize=4)
def _words(
    channels: int, height: int, width: int, *, layout: PlaneLayout, device: torch.device
) -> Int32[Tensor, "1 _ _ _"]:
    """Return the fixed words of all places; kept, because every batch of a size needs the same."""
    numbers = np.arange(channels * height * width, dtype=np.uint64)
    words = (mix(mix(numbers)) >> np.uint64(32)).astype(np.uint32).view(np.int32)
    planes = torch.from_numpy(words).reshape(1, channels, height, width)
    return layout.pack(planes).to(device)


KERNELS: tuple[tuple[int, ...], ...] = ((1,), (1, 2, 1), (1, 4, 6, 4, 1), (2, 7, 14, 18, 14, 7, 2))
"""Weights along one axis, by radius in pixels; their sums are powers of two."""

MAX_RADIUS = len(KERNELS) - 1
LARGEST = 2**15 - 1
"""The largest 16-bit number."""


def blur(images: Images, radius: int) -> Images:
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
    places = mirrored_places(planes.shape[axis], reach, device=planes.device)
    before, after = (planes.index_select(axis, ends) for ends in (places[:reach], places[-reach:]))
    return torch.cat([before, planes, after], dim=axis)


@functools.lru_cache(maxsize=16)
def mirrored_places(size: int, reach: int, *, device: torch.device) -> Int64[Tensor, "_"]:
    """Return which pixel each place of a mirrored axis shows; made where it is needed, and kept."""
    period = max(2 * (size - 1), 1)
    places = torch.arange(-reach, size + reach, device=device).remainder(period)
    return torch.minimum(places, period - places) if size > 1 else torch.zeros_like(places)


Order = Literal["copy", "view"]
"""``copy``: gain and offset, blur, noise (noisy copies). ``view``: blur, noise, gain and offset
(the views of Input Ensemble and Consistency Loss)."""

VALUES_AT_ONCE = 2**18
"""How many values go through all steps together: on a CPU they should stay in its cache."""
VALUES_AT_ONCE_ELSEWHERE = 2**26
"""The same for other devices, where it only limits the memory."""

# What the bits of an image's seed are for; the geometry has 0 to 15. Numbers are never reused.
COIN, GAIN, OFFSET, RADIUS, NOISE = range(16, 21)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """How far an image may be pushed; 0 everywhere changes nothing."""

    blur: int = 0
    """The largest radius in pixels, 0 to 3; each radius up to it is equally likely."""
    noise: int = 0
    """Each value is moved by a whole number drawn from [-noise, noise), in gray levels 0..255."""
    gain: float = 0.0
    """Values are multiplied by a number drawn from [1 - gain, 1 + gain]; 0..1."""
    offset: int = 0
    """A number drawn from [-offset, offset] is added to all values, in gray levels 0..255."""

    def __post_init__(self) -> None:
        largest = {"blur": MAX_RADIUS, "noise": MAX_NOISE, "gain": 1, "offset": 255}
        for field in fields(self):
            value, most = getattr(self, field.name), largest[field.name]
            whole = field.name != "gain"
            if not 0 <= value <= most or (whole and value != int(value)):
                raise ImsegError(
                    f"The {field.name} of an augmentation is out of range.",
                    expected=f"a {'whole ' if whole else ''}number from 0 to {most}.",
                    got=f"{field.name} = {value!r}",
                )


def _schedule(
    blurs: Sequence[int], noises: Sequence[int], gains: Sequence[float], offsets: Sequence[int]
) -> tuple[Strength, ...]:
    """Return one strength a generation."""
    rungs = zip(blurs, noises, gains, offsets, strict=True)
    return tuple(Strength(blur=b, noise=n, gain=g, offset=o) for b, n, g, o in rungs)


STRENGTH_SCHEDULES: Mapping[str, tuple[Strength, ...]] = {
    "default": _schedule(
        (0, 1, 1, 2, 3), (5, 10, 15, 20, 25), (0.1, 0.2, 0.3, 0.4, 0.5), (5, 10, 15, 20, 25)
    ),
    "hela": _schedule(
        (0, 1, 1, 2, 3), (5, 10, 15, 20, 25), (0.1, 0.1, 0.2, 0.2, 0.3), (3, 6, 9, 12, 15)
    ),
    "cityscapes": _schedule(
        (0, 0, 0, 0, 1), (3, 6, 9, 12, 15), (0.05, 0.1, 0.2, 0.3, 0.4), (3, 6, 9, 12, 15)
    ),
}
"""Strengths of the noisy copies of generations 1 to 5. The default is that of ISIC and SUIM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueDraws:
    """What happens to the values of each image: one row an image, on the CPU."""

    scaled: Bool[Tensor, "b"]
    """Whether gain and offset are applied: one coin for both."""
    gain: Float32[Tensor, "b"]
    """Values are multiplied by this."""
    offset: Float32[Tensor, "b"]
    """Then this is added, in gray levels."""
    radius: Int64[Tensor, "b"]
    """Of the blur, in pixels; 0 is none."""
    reach: Int32[Tensor, "b"]
    """Noise lies in [-reach, reach), in gray levels; 0 is none."""
    noise_keys: Int32[Tensor, "b 2"]
    """What the image's noise is made from."""
    noise: Int16[Tensor, "b c h w"] | None = None
    """The noise itself, in gray levels, where it is given; ``reach`` and ``noise_keys`` then mean
    nothing."""

    def __len__(self) -> int:
        return int(self.scaled.shape[0])

    def take(self, rows: Sequence[int]) -> "ValueDraws":
        """Return the draws of some of the images."""
        index = torch.tensor(rows, dtype=torch.long)
        names = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        rows_of: dict[str, Any] = {name: getattr(self, name)[index] for name in names}
        return ValueDraws(**rows_of)


def draw(seeds: Sequence[int] | Int64[Tensor, "b"], strength: Strength) -> ValueDraws:
    """Return what happens to the values of each image.

    Args:
        seeds: One an image, whole numbers of up to 63 bits; the same number, the same draws.
        strength: How far the images may be pushed.
    """
    words = as_words(seeds)
    images = len(words)
    coin = draw_below(words, COIN, count=2).bool()
    gain = 1 + strength.gain * (2 * draw_uniform(words, GAIN) - 1)
    offset = strength.offset * (2 * draw_uniform(words, OFFSET) - 1)
    return ValueDraws(
        scaled=coin & bool(strength.gain or strength.offset),
        gain=torch.from_numpy(gain.astype(np.float32)),
        offset=torch.from_numpy(offset.astype(np.float32)),
        radius=draw_below(words, RADIUS, count=int(strength.blur) + 1),
        reach=torch.full((images,), int(strength.noise), dtype=torch.int32),
        noise_keys=draw_keys(words, NOISE),
    )


def apply(
    images: Images,
    draws: ValueDraws,
    *,
    order: Order = "copy",
    paper: bool = False,
    blocked: Bool[Tensor, "b 1 h w"] | None = None,
    fill: Fill | None = None,
) -> Images:
    """Return augmented images, rounded to gray levels after every step.

    Args:
        images: On any device and in any memory format; the result is on the same and in the same
            (plain or channels-last).
        draws: From ``draw``, one row an image.
        order: Of the three steps.
        paper: Gain and offset take the absolute value, as in the reference, so that black pixels
            turn gray; else values below 0 become 0.
        blocked: Pixels that are 0 in the end: black ones that would not stay black otherwise.
        fill: What they are instead of 0, for every place or one for all, see ``make_fill``.

    Raises:
        ValueError: If there is no such order, there is not one row of draws an image, or given
            noise has another shape.
    """
    if order not in get_args(Order):
        raise ValueError(f"the order is one of {get_args(Order)}, not {order!r}")
    if len(draws) != len(images):
        raise ValueError(f"{len(draws)} rows of draws do not fit {len(images)} images")
    if draws.noise is not None and draws.noise.shape != images.shape:
        raise ValueError(
            f"noise of {tuple(draws.noise.shape)} does not fit {tuple(images.shape)} images"
        )
    layout = layout_of(images)
    device = images.device
    all_params = list(zip(draws.scaled.tolist(), draws.radius.tolist(), strict=True))

    def change(some: Tensor, rows: list[int]) -> Tensor:
        scaled, radius = all_params[rows[0]]
        mine = draws.take(rows)
        steps: list[Callable[[Tensor], Tensor]] = [
            lambda part: blur_along(part, radius, axes=(layout.height, layout.width)),
            lambda part: _add_noise(part, mine, layout),
        ]
        if scaled:
            gain, offset = mine.gain.to(device), mine.offset.to(device)
            scale = functools.partial(scale_values, gain=gain, offset=offset, absolute=paper)
            steps.insert(0 if order == "copy" else len(steps), scale)
        for step in steps:
            some = step(some)
        if blocked is None:
            return some
        if fill is None:
            return _blacken(some, take(blocked, rows), layout)
        hidden, theirs = layout.pack(take(blocked, rows)), layout.pack(take(fill, rows))
        return torch.where(hidden, theirs, some)

    packed = layout.pack(images)
    most = VALUES_AT_ONCE if device.type == "cpu" else VALUES_AT_ONCE_ELSEWHERE
    at_once = max(1, most // max(1, packed[:1].numel()))
    return layout.unpack(change_in_groups(packed, all_params, change, at_once=at_once))


def scale_values(
    images: UInt8[Tensor, "b _ _ _"],
    *,
    gain: Float32[Tensor, "b"],
    offset: Float32[Tensor, "b"],
    absolute: bool = False,
) -> UInt8[Tensor, "b _ _ _"]:
    """Return images times a gain plus an offset: rounded, halves to even, and cut at 255.

    Args:
        images: Any axes after the first.
        gain: One an image.
        offset: One an image, in gray levels.
        absolute: What falls below 0 is mirrored, as in the reference, and not cut.
    """
    shape = (-1, *[1] * (images.ndim - 1))
    # Two steps, so that the sum is rounded to 32 bits after the product, as in the reference.
    values = images.float().mul_(gain.reshape(shape)).add_(offset.reshape(shape))
    if absolute:
        values.abs_()
    # Through 16 bits: the direct way from floats to bytes is several times slower.
    return values.clamp_(0, 255).round_().to(torch.int16).to(torch.uint8)


def _add_noise(packed: Tensor, draws: ValueDraws, layout: PlaneLayout) -> Tensor:
    """Return a packed batch with the noise that is given, or else made from the keys."""
    if draws.noise is not None:
        # More than 255 does no more, and would not fit the sum.
        given = draws.noise.to(packed.device).clamp(-255, 255)
        return add_noise(packed, layout.pack(given))
    if not draws.reach.any():
        return packed
    return add_noise_of(packed, draws.noise_keys, draws.reach, layout=layout)


def _blacken(packed: Tensor, blocked: Tensor, layout: PlaneLayout) -> Tensor:
    """Return a packed batch that is 0 wherever the mask is true."""
    channels = packed.shape[layout.channel]
    # Repeated and multiplied: filling through a mask of other strides is many times slower.
    kept = [layout.pack(~blocked).to(torch.uint8)] * channels
    return packed * torch.cat(kept, dim=layout.channel)
