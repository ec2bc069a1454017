"""How far training samples may be changed at random, by level, kind of mask and kind of image."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

from imseg.errors import ImsegError
from imseg.options import STRICT
from imseg.types import Kind, Modality

Level = Literal["none", "weak", "strong"]
"""How strongly samples are augmented."""

MAX_BLUR = 2.0
"""The largest sigma of a blur in pixels."""
LEAST_WIDTH = 2.0
"""Fewer pixels than this, and an object cannot be learned."""
BLUR_OF_WIDTH = 1 / 3
"""The largest sigma of a blur as a share of an object's width: its middle keeps three quarters of
its contrast."""
_SHARES = (
    *("share", "color_share", "blur_share", "noise_share"),
    *("shift", "elastic", "brightness", "noise"),
)
_LARGEST = {"turn": 180.0, "blur": MAX_BLUR, **dict.fromkeys(_SHARES, 1.0)}


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentLimits:
    """How far a sample may be changed; 0 everywhere changes nothing.

    What is drawn is even over the range that is given, unless said otherwise. Each kind of change
    is drawn on its own.

    Raises:
        ImsegError: If a number is out of range.
    """

    __pydantic_config__ = STRICT

    mirror: bool = False
    """Whether left and right are exchanged, for every other sample."""
    upside_down: bool = False
    """Whether up and down are exchanged, for every other sample."""
    swap: bool = False
    """Whether height and width are exchanged, for every other sample, where images are square.
    With both others these are the eight moves of a square, all equally likely."""
    share: float = 0.0
    """Share of the samples that are turned, scaled, shifted, sheared and bent; 0..1."""
    turn: float = 0.0
    """Turned by up to so many degrees in either direction, 0..180."""
    scale: float = 0.0
    """Sizes are multiplied by e^s; s is drawn from [-scale, scale]."""
    shrink: float = 2.0
    """Where this is less than ``scale``, s is drawn from [-shrink, scale]."""
    shift: float = 0.0
    """Shifted along each axis by up to this share of the side; 0..1. Where the scale leaves room,
    by so much more that the frame may show any part of a larger image."""
    shear: float = 0.0
    """Rows are shifted against each other by up to so many pixels per pixel of height."""
    elastic: float = 0.0
    """The largest displacement of a smooth bending, as a share of the shorter side; 0..1."""
    color_share: float = 0.0
    """Share of the samples in which each of the next seven is changed; 0..1."""
    brightness: float = 0.0
    """Added to all values, as a share of 255: from [-brightness, brightness]; 0..1."""
    contrast: float = 0.0
    """Distances from the mean of a channel are multiplied by e^s, s from [-contrast, contrast]."""
    channel_contrast: float = 0.0
    """The same with a number of its own for each channel."""
    gamma: float = 0.0
    """Values of 0..1 are raised to the power e^s; s is drawn from [-gamma, gamma]."""
    gain: float = 0.0
    """Values are multiplied by e^s; s is drawn from [-gain, gain]."""
    channel_gain: float = 0.0
    """The same with a number of its own for each channel."""
    saturation: float = 0.0
    """Distances from gray are multiplied by e^s, s from [-saturation, saturation]; three channels
    only."""
    blur_share: float = 0.0
    """Share of the samples that are blurred; 0..1."""
    blur: float = 0.0
    """The largest sigma of the blur in pixels, up to ``MAX_BLUR``."""
    noise_share: float = 0.0
    """Share of the samples with noise; 0..1."""
    noise: float = 0.0
    """The largest standard deviation of the noise, as a share of 255."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, most = getattr(self, field.name), _LARGEST.get(field.name, 2.0)
            if not 0 <= value <= most:
                raise ImsegError(
                    f"The {field.name} of the augmentation of samples is out of range.",
                    expected=f"a number from 0 to {most:g}.",
                    got=f"{field.name} = {value!r}",
                )

    @property
    def moves(self) -> bool:
        """Whether anything may be moved."""
        bends = self.turn or self.scale or self.shift or self.shear or self.elastic
        return self.mirror or self.upside_down or self.swap or bool(self.share and bends)

    @property
    def changes_values(self) -> bool:
        """Whether values may be changed."""
        colors = (self.brightness, self.contrast, self.channel_contrast, self.gamma, self.gain)
        colored = self.color_share and any((*colors, self.channel_gain, self.saturation))
        return bool(colored or self.blur_share * self.blur or self.noise_share * self.noise)

    @property
    def geometry(self) -> "AugmentLimits":
        """These limits with values left as they are."""
        return replace(self, color_share=0.0, blur_share=0.0, noise_share=0.0)

    def kept_visible(self, smallest: float) -> "AugmentLimits":
        """Return limits within which small objects do not vanish: the same where none would.

        Objects are not scaled down below ``LEAST_WIDTH`` pixels, those that are not larger anyway
        not at all, and no blur takes more than a quarter of their contrast.

        Args:
            smallest: Width in pixels at the working size of such objects as are to stay visible,
                for example of the smallest tenth.
        """
        shrink = max(0.0, math.log(max(smallest, LEAST_WIDTH) / LEAST_WIDTH))
        shrink = self.shrink if shrink >= min(self.scale, self.shrink) else shrink
        width = smallest * math.exp(-min(shrink, self.scale))
        return replace(self, shrink=shrink, blur=min(self.blur, width * BLUR_OF_WIDTH))


# The numbers to tune. Later tables replace what earlier ones say.
_TURNED = {"turn": 180.0, "scale": 0.35, "shift": 0.1, "shear": 0.15, "elastic": 0.03, "share": 0.8}
_UPRIGHT = {"turn": 3.0, "scale": 0.69, "shrink": 0.29, "share": 1.0}
_WEAK = {"color_share": 0.5, "brightness": 0.05, "contrast": 0.1}
_STRONG = {
    "color_share": 0.8, "brightness": 0.12, "contrast": 0.3, "gamma": 0.3,
    "blur_share": 0.2, "blur": 1.2, "noise_share": 0.3, "noise": 0.05,
}  # fmt: skip
_OF_MODALITY: dict[Modality, dict[str, float]] = {
    "gray": {},
    "photograph": {"saturation": 0.4, "channel_gain": 0.1},
    "dark": {"brightness": 0.0, "gain": 0.4, "noise": 0.015},
    "channels": {"brightness": 0.05, "channel_gain": 0.15, "channel_contrast": 0.15,
                 "contrast": 0.15, "gamma": 0.15, "noise": 0.03},
}  # fmt: skip
_UPRIGHT_VALUES = {
    "color_share": 0.5, "brightness": 0.05, "contrast": 0.1, "gamma": 0.0, "gain": 0.1,
    "saturation": 0.0, "channel_gain": 0.0, "blur_share": 0.0, "noise_share": 0.0,
}  # fmt: skip
"""The most for scenes with an above: on road scenes objects that come closer and go farther gave
most, while every change of color, the smallest that was tried too, cost more than it gave."""
_NUMBERS = {
    "color_share": 0.5, "brightness": 0.05, "contrast": 0.1, "channel_contrast": 0.0, "gamma": 0.1,
    "gain": 0.1, "channel_gain": 0.05, "saturation": 0.2, "blur": 0.7, "noise": 0.02,
    "scale": 0.2, "shear": 0.05, "elastic": 0.0,
}  # fmt: skip
"""The most that maps of numbers bear: what is measured may lie in the brightness or the size."""


def _at_most(chosen: Mapping[str, float], limit: Mapping[str, float]) -> dict[str, float]:
    return {name: min(value, limit.get(name, value)) for name, value in chosen.items()}


def limits_for(
    level: Level, *, kind: Kind, modality: Modality, rotate: bool
) -> AugmentLimits | None:
    """Return how far samples may be changed; None: not at all.

    Args:
        level: How strongly.
        kind: Of the masks.
        modality: What the images look like.
        rotate: Whether up and down are as good as left and right.
    """
    if level == "none":
        return None
    chosen: dict[str, float] = dict(_WEAK)
    if level == "weak" and modality == "dark":
        chosen |= {"brightness": 0.0, "gain": 0.1}
    if level == "strong":
        chosen = _STRONG | _OF_MODALITY[modality] | (_TURNED if rotate else _UPRIGHT)
    if not rotate:
        chosen = _at_most(chosen, _UPRIGHT_VALUES)
        if modality == "photograph":
            chosen["color_share"] = 0.0
    if kind == "regression":
        chosen = _at_most(chosen, _NUMBERS)
    return AugmentLimits(mirror=True, upside_down=rotate, swap=rotate, **chosen)
