"""Findings about the values of masks, and what mends these values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from imseg.data.folder.facts import MaskFacts
from imseg.data.masks.io import unpack_colors
from imseg.errors import Finding


@dataclass(frozen=True, slots=True)
class Threshold:
    """Two values again where smearing made many: at half, up or down."""

    low: int
    """What values below the middle become."""
    high: int
    """What the middle and all values above it become."""
    void: int | None = None
    """A value that stays as it is."""

    def __call__(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return mended ``h w`` values."""
        above = values >= (self.low + self.high) / 2
        mended = np.where(above, self.high, self.low)
        return mended if self.void is None else np.where(values == self.void, self.void, mended)

    def __str__(self) -> str:
        return f"every value became {self.low} or {self.high}, whichever is nearer"


@dataclass(frozen=True, slots=True)
class Exchange:
    """Other numbers for the same classes."""

    new: Mapping[int, int]
    """The new value of each value that changes; all others stay."""

    def __call__(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return mended ``h w`` values."""
        mended = values.astype(np.int64)
        for old, new in self.new.items():
            mended[values == old] = new
        return mended

    def __str__(self) -> str:
        steps = {new - old for old, new in self.new.items()}
        if len(self.new) > 2 and len(steps) == 1:
            return f"every class number was moved by {steps.pop():+d}"
        return ", ".join(f"{old} became {new}" for old, new in self.new.items())


@dataclass(frozen=True, slots=True)
class Snap:
    """The nearest main color for each pixel."""

    colors: tuple[int, ...]
    """The main colors, packed."""

    def __call__(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return mended ``h w`` packed colors."""
        found, places = np.unique(values, return_inverse=True)
        main = np.array(self.colors, np.int64)
        # Whole numbers: a byte's square would not fit a byte.
        apart = unpack_colors(found)[:, None].astype(np.int64) - unpack_colors(main)[None]
        nearest = main[(apart**2).sum(axis=2).argmin(axis=1)]
        mended: npt.NDArray[Any] = nearest[places].reshape(values.shape)
        return mended

    def __str__(self) -> str:
        return f"every color became the nearest of {len(self.colors)} main ones"


@dataclass(frozen=True, slots=True)
class Paint:
    """The color that each number has in the palette of an indexed file."""

    colors: tuple[int, ...]
    """The color of 0, of 1, and so on, packed."""

    def __call__(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the packed colors of ``h w`` numbers."""
        painted: npt.NDArray[Any] = np.array(self.colors, np.int32)[values]
        return painted

    def __str__(self) -> str:
        return "every number became its color in the palette"


Recode = Threshold | Exchange | Snap | Paint
"""What is done to the values of a mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskValueFinding(Finding):
    """A finding about the values of masks."""

    recode: Recode | None = None
    """What mends the values of each of the files; None: a person must."""
    reason: str = ""
    """Why, for the list of repairs."""


class SplitMask(NamedTuple):
    """A mask and where it belongs."""

    split: str
    """The name of its split."""
    facts: MaskFacts
    """What it turned out to be."""
    label: str | None
    """The label it is the mask of; None: it is the only mask of its image."""
