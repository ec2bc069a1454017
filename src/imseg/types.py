"""What travels between the layers, and the legend of the axes.

Axis letters, in signatures and docstrings: ``b`` batch, ``v`` teachers (votes), ``c`` image
channels, ``k`` network outputs, ``t`` target planes, ``h`` height, ``w`` width in pixels. Stored
images are ``n h w c`` unsigned bytes; targets always carry a plane axis (``t h w``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["binary", "multiclass"]
"""What a pixel of a target is."""

Bytes = npt.NDArray[np.uint8]
"""An array of unsigned bytes: decoded images and encoded targets."""

VOID = 255
"""Target value of a pixel that is neither trained on nor scored."""

INCONSISTENT = 0
"""Multiclass target value reserved for pixels on which teachers disagree; real classes start at
1."""

MAX_CLASSES = 254
"""Classes a multiclass target can hold beside ``INCONSISTENT`` and ``VOID``."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture without a target. There is no field through which hidden truth could be reached."""

    name: str
    """How the user knows the picture: a path relative to the data folder, or ``labeled[3]``."""
    pixels: Path | Bytes
    """A file, or a decoded ``h w c`` array of unsigned bytes."""


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """A picture with the mask a person drew."""

    image: Image
    """The picture."""
    mask: Path | npt.NDArray[Any]
    """A mask file, or a decoded ``h w`` array of file values."""

    @property
    def name(self) -> str:
        """The name of the picture."""
        return self.image.name


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    """What the values of the user's mask files mean, and how they are numbered inside.

    Binary: ``values`` are (background, foreground), inside 0 and 1. Multiclass: ``values[i]`` is
        class
    ``i + 1`` inside, because 0 is reserved for "inconsistent".
    """

    kind: Kind
    """Binary or multiclass."""
    values: tuple[int, ...]
    """The values found in mask files, ascending, without ``void``."""
    names: tuple[str, ...]
    """A name for each value."""
    colors: tuple[tuple[int, int, int], ...]
    """A color (red, green, blue; 0..255) for each value, used in overlays."""
    void: int | None = None
    """The file value of pixels that are never trained on nor scored."""

    def __post_init__(self) -> None:
        if not len(self.values) == len(self.names) == len(self.colors):
            raise ValueError("values, names and colors must be of one length")
        if self.kind == "binary" and len(self.values) != 2:
            raise ValueError(f"a binary target has two values, not {self.values}")

    @property
    def outputs(self) -> int:
        """Channels a network needs: 1 (binary) or one a class and one for "inconsistent"."""
        return 1 if self.kind == "binary" else len(self.values) + 1

    @property
    def first_index(self) -> int:
        """The number that ``values[0]`` has inside: 0 (binary) or 1 (multiclass)."""
        return 0 if self.kind == "binary" else 1

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for TOML and JSON."""
        plain: dict[str, Any] = {
            "kind": self.kind,
            "values": list(self.values),
            "names": list(self.names),
            "colors": [list(color) for color in self.colors],
        }
        if self.void is not None:
            plain["void"] = self.void
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TargetSpec:
        """Return the spec that ``as_dict`` wrote."""
        return cls(
            kind=plain["kind"],
            values=tuple(int(value) for value in plain["values"]),
            names=tuple(str(name) for name in plain["names"]),
            colors=tuple((int(r), int(g), int(b)) for r, g, b in plain["colors"]),
            void=plain.get("void"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """Everything a run may see, before anything is decoded. Hidden masks are not part of it."""

    name: str
    """What to call it in messages: the folder's path, or ``arrays``."""
    spec: TargetSpec
    """What mask values mean."""
    channels: int
    """Image channels after loading: 1 (all pictures grey) or 3."""
    labeled: tuple[LabeledImage, ...]
    """Pictures with masks to learn from."""
    unlabeled: tuple[Image, ...] = ()
    """Pictures without masks."""
    val: tuple[LabeledImage, ...] = ()
    """Pictures to choose epochs, networks and generations by; empty: a fifth of ``labeled`` is
    taken."""
    test: tuple[LabeledImage, ...] = ()
    """Pictures for the final score; read by the evaluator alone."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Settings of ``imseg.toml`` that are not about classes."""
