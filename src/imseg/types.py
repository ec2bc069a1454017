"""What travels between the layers, and the legend of the axes.

Axis letters, in signatures and docstrings: ``b`` batch, ``v`` teachers (votes), ``c`` image
channels, ``k`` network outputs, ``t`` target planes, ``h`` height, ``w`` width in pixels. Stored
images are ``n h w c`` unsigned bytes; targets always carry a plane axis (``t h w``).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, TypeAdapter

VERSION = "0.2.0"
"""Of imseg."""

Kind = Literal["binary", "multiclass", "multilabel", "regression"]
"""What a pixel of a target is: one of two, one of several, any of several, or a number."""

Coding = Literal["values", "colors", "planes", "objects", "numbers"]
"""How a target lies in files.

``values``: one file, a number a class. ``colors``: one file, a color a class. ``planes``: one
file a label, in a folder of the label's name. ``objects``: one file, 0 is background and every
object has a number of its own. ``numbers``: one file, measurements.
"""

Modality = Literal["gray", "dark", "photograph", "channels"]
"""What pictures are: gray ones; bright things on a dark ground, as in fluorescence; photographs and
others in color; several channels without a meaning as colors."""

Pages = Literal["refuse", "channels", "first", "max"] | int
"""What several pages in one file are.

``refuse``: not read. ``channels``: the channels of one picture. All others: planes of a stack, of
which one is read: the first, the maximum over all planes, or the one with this number, from 1.
"""

_PAGES_IN_RECORDS: Mapping[Pages, bool] = {"refuse": False, "channels": True}
"""Where there were these two only, records said yes or no; they still do."""


def _pages_from(plain: object) -> object:
    if isinstance(plain, bool):
        return "channels" if plain else "refuse"
    return plain


Bytes = npt.NDArray[np.uint8]
"""An array of unsigned bytes: stored images and encoded targets."""

Pixels = npt.NDArray[Any]
"""A decoded picture, ``h w c``, in the file's own type: bytes, 16 bits or floats."""

Target = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
"""An encoded target, ``t h w``: bytes, or floats 0..1 (regression; void is not a number)."""

Color = tuple[int, int, int]
"""Red, green, blue; 0..255 each."""

VOID = 255
"""Target value of a pixel that is neither trained on nor scored."""

INCONSISTENT = 0
"""Multiclass target value reserved for pixels on which teachers disagree; real classes start at
1."""

MAX_CLASSES = 254
"""Classes a multiclass target can hold beside ``INCONSISTENT`` and ``VOID``."""

POSITION = "position"
"""Name of the plane that marks the middle of each cell; drawn as discs, never counted as area."""

OBJECT_PLANES = ("area", "border", POSITION)
"""The planes that a label image of objects becomes inside."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture without a target. There is no field through which hidden truth could be reached."""

    name: str
    """How the user knows the picture: a path relative to the data folder, or ``labeled[3]``."""
    pixels: Path | Pixels
    """A file, or a decoded ``h w c`` array."""
    pixel_size: float | None = None
    """Micrometers on a side of a pixel; None: not known."""


Region = tuple[int, int, int, int]
"""A box in pixels: left, top, width, height."""


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """A picture with the mask a person drew."""

    image: Image
    """The picture."""
    mask: Path | Mapping[str, Path] | npt.NDArray[Any]
    """A mask file; one file a label, by the label's name; or a decoded array of file values:
    ``h w``, ``h w 3`` (colors) or ``t h w`` (planes)."""
    regions: tuple[Region, ...] | None = None
    """Boxes in which the image is labeled; what is outside has no label. None: all of it is."""

    @property
    def name(self) -> str:
        """The name of the picture."""
        return self.image.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How picture files become stored bytes; kept by a run and applied when it predicts."""

    channels: int
    """Image channels after loading."""
    depth: str = "uint8"
    """The type of the pixels in files: uint8, uint16 or float32."""
    pages: Annotated[Pages, BeforeValidator(_pages_from)] = "refuse"
    """What several pages in one file are."""
    low: tuple[float, ...] | None = None
    """The value of each channel that becomes 0; None: pictures are bytes and stay as they are."""
    high: tuple[float, ...] | None = None
    """The value of each channel that becomes 255."""

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high need each other")
        if any(end is not None and len(end) != self.channels for end in (self.low, self.high)):
            raise ValueError("low and high need one number a channel")
        if isinstance(self.pages, int) and self.pages < 1:
            raise ValueError("planes are numbered from 1")

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = asdict(self) | {"pages": _PAGES_IN_RECORDS.get(self.pages, self.pages)}
        return {name: _as_lists(value) for name, value in values.items() if value is not None}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Reading":
        """Return what ``as_dict`` wrote."""
        return _READING.validate_python(plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    """What the user's masks mean, and how they are numbered inside.

    Binary: ``values`` are (background, foreground), inside 0 and 1. Multiclass: ``values[i]`` is
    class ``i + 1`` inside, because 0 is reserved for "inconsistent". Multilabel: ``names[i]`` is
    plane ``i``, inside 0 and 1. Regression: numbers from ``low`` to ``high`` are 0..1 inside.
    """

    kind: Kind
    """What a pixel is."""
    coding: Coding = "values"
    """How it lies in files."""
    values: tuple[int, ...] = ()
    """Binary and multiclass: the values found in mask files, ascending, without ``void``. Colors
    are packed: 65536 red + 256 green + blue."""
    names: tuple[str, ...]
    """A name for each value or plane; of the quantity (regression)."""
    colors: tuple[Color, ...]
    """A color for each name, used in overlays."""
    void: int | None = None
    """The file value (or packed color) of pixels that are never trained on nor scored."""
    low: float = 0.0
    """Regression: the number that is 0 inside, the least in the training targets."""
    high: float = 1.0
    """Regression: the number that is 1 inside, the greatest in the training targets."""
    stored: str = "uint8"
    """Regression: the type of the user's numbers, in which predictions are written."""
    unit: str = ""
    """Regression: the unit of the numbers."""
    pixel_size: float | None = None
    """Side of a pixel in micrometers, for areas."""
    indexed: bool = False
    """Whether the user's masks are palette files, so that predictions are too."""
    pages: Pages = "refuse"
    """Which plane of a mask file with several pages is the mask; see ``Pages``."""
    partly: bool = False
    """Whether some images are labeled in part, so that targets have void where masks have none."""

    def __post_init__(self) -> None:
        if len(self.names) != len(self.colors):
            raise ValueError("names and colors must be of one length")
        if self.kind in ("binary", "multiclass") and len(self.values) != len(self.names):
            raise ValueError("values and names must be of one length")
        if self.kind == "binary" and len(self.values) != 2:
            raise ValueError(f"a binary target has two values, not {self.values}")
        if self.kind == "regression" and not self.low < self.high:
            raise ValueError("a range of numbers needs a low below its high")

    @property
    def in_words(self) -> str:
        """What masks are called in a sentence, such as ``instance masks``."""
        return f"{self.kind if self.coding != 'objects' else 'instance'} masks"

    @property
    def planes(self) -> int:
        """Planes of a target: one a label (multilabel), else 1."""
        return len(self.names) if self.kind == "multilabel" else 1

    @property
    def outputs(self) -> int:
        """Channels a network needs: one a plane; of classes one each and one for inconsistent."""
        return len(self.values) + 1 if self.kind == "multiclass" else self.planes

    @property
    def first_index(self) -> int:
        """The number that ``values[0]`` has inside: 0 (binary) or 1 (multiclass)."""
        return 0 if self.kind == "binary" else 1

    @property
    def position(self) -> int | None:
        """The plane of cell centers; None if there is none."""
        if self.kind != "multilabel" or POSITION not in self.names:
            return None
        return self.names.index(POSITION)

    @property
    def areas(self) -> tuple[int, ...]:
        """The planes whose area counts: all but centers and the borders of objects."""
        left_out = {POSITION, "border"} if self.coding == "objects" else {POSITION}
        return tuple(i for i, name in enumerate(self.names) if name not in left_out)

    @property
    def has_void(self) -> bool:
        """Whether targets may have pixels that are never trained on nor scored."""
        return self.void is not None or self.partly

    @property
    def has_classes(self) -> bool:
        """Whether each pixel is one of two or more classes."""
        return self.kind in ("binary", "multiclass")

    def is_like(self, other: "TargetSpec") -> bool:
        """Return whether both are of one kind and coding, with the same planes."""
        same_planes = self.kind != "multilabel" or self.names == other.names
        return (self.kind, self.coding) == (other.kind, other.coding) and same_planes

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of encoded targets."""
        return np.dtype(np.float32 if self.kind == "regression" else np.uint8)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for TOML and JSON; but for the coding, defaults are left out."""
        return {
            entry.name: _as_lists(value)
            for entry in fields(self)
            if (value := getattr(self, entry.name)) != entry.default or entry.name == "coding"
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "TargetSpec":
        """Return the spec that ``as_dict`` wrote."""
        return _TARGET.validate_python(plain)


_READING, _TARGET = TypeAdapter(Reading), TypeAdapter(TargetSpec)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """Everything a run may see, before anything is decoded. Hidden masks are not part of it."""

    name: str
    """What to call it in messages: the folder's path, or ``arrays``."""
    spec: TargetSpec
    """What mask values mean."""
    reading: Reading
    """How pictures become stored bytes."""
    labeled: tuple[LabeledImage, ...]
    """Pictures with masks to learn from."""
    unlabeled: tuple[Image, ...] = ()
    """Pictures without masks."""
    val: tuple[LabeledImage, ...] = ()
    """Pictures to choose epochs, networks and generations by; empty: a fifth of ``labeled`` is
    taken."""
    test: tuple[LabeledImage, ...] = ()
    """Pictures for the final score; read by the evaluator alone."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Hashes of picture and mask content by the picture's name, as far as they are known."""
    modality: Modality = "photograph"
    """What most of the labeled pictures are."""
    narrow: float | None = None
    """The width that a tenth of the labeled objects stay below, as a share of the longer side of
    their picture; None: objects were not measured."""


def _as_lists(value: Any) -> Any:
    return [_as_lists(each) for each in value] if isinstance(value, tuple) else value
