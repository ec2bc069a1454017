"""What a picture looks like in a few numbers: enough to find its likes and what is unlike it."""

import zlib
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from pydantic import Base64Bytes, ConfigDict, Field

from imseg.types import Bytes, Pixels

THUMBNAIL = 16
"""Height and width of the thumbnail that a look keeps, in pixels."""

SKETCH = 64
"""Height and width of a sketch, in pixels."""

_CELL = SKETCH // THUMBNAIL
_GRID = SKETCH
_SAMPLES = 1 << 16
_BYTE = 256
_ENDS = (1.0, 99.0)
_FARTHEST = 1e15


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The look of a picture; about half a kilobyte, so that those of 50,000 fit in memory."""

    __pydantic_config__ = ConfigDict(ser_json_inf_nan="constants")

    thumbnail: Annotated[Base64Bytes, Field(min_length=THUMBNAIL**2, max_length=THUMBNAIL**2)]
    """``THUMBNAIL`` x ``THUMBNAIL`` gray levels, row by row, the darkest 0 and the brightest
    255."""
    relief: float
    """Standard deviation of the thumbnail before it was stretched, in gray levels 0..255; where it
    is next to nothing, the thumbnail shows noise."""
    brightness: float
    """Mean pixel value over all channels, in the unit of the file."""
    contrast: float
    """Standard deviation of the channels' mean, in the unit of the file, details of less than a
    sixty-fourth of a side smoothed away."""
    saturation: float
    """Mean difference between a pixel's highest and lowest color channel, 0 (gray) to 255."""
    red: float
    """How much more red than green there is on average, -255..255."""
    blue: float
    """How much more blue than yellow (the mean of red and green) there is, -255..255."""
    sharpness: float
    """Mean step between neighbors in a row over the standard deviation of the pixels, 0..about 1;
    noise is sharp, too."""


def look_at(pixels: Pixels) -> Look:
    """Return the look of ``h w c`` pixels of unsigned bytes, 16 bits or floats.

    Deep pictures are scaled by their own 1st and 99th percentiles, each channel alone, before
    anything but brightness and contrast is measured. Pictures that are not of three channels are
    looked at as the mean of their channels. Pixels that are not finite count as the darkest.
    """
    return look_and_sketch(pixels, sketch=False)[0]


def look_and_sketch(pixels: Pixels, *, sketch: bool) -> tuple[Look, bytes | None]:
    """Return the look, and if wanted ``SKETCH`` x ``SKETCH`` gray levels, stretched likewise.

    These are enough to see whether a mask fits.
    """
    small = _shrunk(pixels)
    gray = small.mean(axis=0)
    levels = gray
    if pixels.dtype != np.uint8:
        small = _scaled(small)
        levels = small.mean(axis=0)
    thumbnail = levels.reshape(THUMBNAIL, _CELL, THUMBNAIL, _CELL).mean(axis=(1, 3))
    red, blue, saturation = _color(small)
    look = Look(
        thumbnail=_stretched(thumbnail).tobytes(),
        relief=float(thumbnail.std()),
        brightness=float(gray.mean()),
        contrast=float(gray.std()),
        saturation=saturation,
        red=red,
        blue=blue,
        sharpness=_sharpness(pixels),
    )
    return look, _stretched(levels).tobytes() if sketch else None


def sketch_mask(values: npt.NDArray[Any], distinct: npt.NDArray[Any]) -> bytes | None:
    """Return ``SKETCH`` x ``SKETCH`` pixels of a mask, compressed; ``unpack_sketch`` has them back.

    Each is the place of its value among all values of the mask, or where those are more than a byte
    can tell, whether it is above 0. None of a mask without pixels.

    Args:
        values: The mask, ``h w``.
        distinct: All its values, ascending.
    """
    if not values.size:
        return None
    rows, columns = (np.arange(SKETCH) * 2 + 1 for _ in range(2))
    height, width = values.shape
    small = values[rows * height // (2 * SKETCH)][:, columns * width // (2 * SKETCH)]
    few = len(distinct) <= _BYTE
    places = np.searchsorted(distinct, small) if few else small > 0
    return zlib.compress(places.astype(np.uint8).tobytes(), 1)


def unpack_sketch(packed: bytes) -> Bytes:
    """Return what ``sketch_mask`` packed.

    Raises:
        ValueError: If it is something else.
    """
    try:
        pixels = zlib.decompress(packed)
    except zlib.error as error:
        raise ValueError("not the sketch of a mask") from error
    return np.frombuffer(pixels, np.uint8).reshape(SKETCH, SKETCH)


def _shrunk(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Return the picture on a small square grid, ``c h w``: the mean of what each pixel covers."""
    channels = pixels.shape[2]
    if pixels.dtype == np.uint8 and channels in (1, 3):
        planes = [pixels[..., 0] if channels == 1 else pixels]
    else:
        planes = [_finite(pixels[..., channel]) for channel in range(channels)]
    # A first shrinking by whole numbers is several times faster on large pictures.
    small = [
        Pillow.fromarray(np.ascontiguousarray(plane)).resize(
            (_GRID, _GRID), Pillow.Resampling.BOX, reducing_gap=2.0
        )
        for plane in planes
    ]
    if len(small) == 1 and small[0].mode == "RGB":
        small = list(small[0].split())
    return np.stack([np.asarray(picture, np.float32) for picture in small])


def _finite(plane: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return the plane as floats, with the darkest value where it holds no number.

    What is farther from 0 than any measurement is brought to where squares can still be summed.
    """
    with np.errstate(over="ignore"):
        numbers = plane.astype(np.float32)
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        numbers[wrong] = numbers[~wrong].min() if not wrong.all() else 0.0
    return np.clip(numbers, -_FARTHEST, _FARTHEST)


def _scaled(small: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return each channel between its own percentiles, which become 0 and 255."""
    low, high = np.percentile(small, _ENDS, axis=(1, 2), keepdims=True)
    span = np.where(high > low, high - low, 1.0)
    scaled: npt.NDArray[np.float32] = np.clip((small - low) / span, 0.0, 1.0).astype(np.float32)
    return scaled * np.float32(255)


def _stretched(thumbnail: npt.NDArray[np.float32]) -> Bytes:
    """Return the thumbnail with its full range in bytes, which keeps faint pictures precise."""
    low, high = float(thumbnail.min()), float(thumbnail.max())
    if high <= low:
        return np.zeros(thumbnail.shape, np.uint8)
    stretched: Bytes = np.rint((thumbnail - low) * (255.0 / (high - low))).astype(np.uint8)
    return stretched


def _color(small: npt.NDArray[np.float32]) -> tuple[float, float, float]:
    """Return how red, how blue and how saturated the small picture is."""
    if small.shape[0] != 3:
        return 0.0, 0.0, 0.0
    red, green, blue = small.mean(axis=(1, 2)).tolist()
    saturation = float((small.max(axis=0) - small.min(axis=0)).mean())
    return red - green, blue - (red + green) / 2, saturation


def _sharpness(pixels: Pixels) -> float:
    """Return how large the steps between neighbors are, in standard deviations."""
    rows = max(1, pixels.shape[0] * pixels.shape[1] // _SAMPLES)
    # Green carries most of the detail of a color picture.
    sample = _finite(pixels[::rows, :, pixels.shape[2] // 2])
    if sample.shape[1] < 2:
        return 0.0
    spread = float(sample.std())
    return float(np.abs(np.diff(sample, axis=1)).mean()) / spread if spread > 0 else 0.0


WIDTHS = 2 ** (np.arange(1, 48) / 4)
"""Upper ends of the classes of widths that ``count_widths`` counts, in pixels: a fourth of an
octave each; the last one has all that is wider, too."""


def count_widths(values: npt.NDArray[Any]) -> tuple[int, ...]:
    """Return how many connected regions there are of each class of ``WIDTHS``, the widest last.

    The width of a region is the mean length of its rows, or their number where that is less: near
    to the side of a square, and to the thickness of a line. Pixels are connected along sides and
    corners; this takes no library, and a fraction of the time that it takes to decode the mask.

    Args:
        values: ``h w`` whole numbers; 0 is no region, neighbors of one value are in one.
    """
    height, width = values.shape
    # Runs of one value along rows; a column of 0 keeps rows apart.
    flat = np.zeros((height, width + 1), values.dtype)
    flat[:, :-1] = values
    flat = flat.ravel()
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    first = np.concatenate([[0], ends])
    last = np.append(ends, flat.size)
    marked = flat[first] != 0
    first, last = first[marked], last[marked]
    if not len(first):
        return ()
    group = _joined(first, last, flat[first], width + 1)
    rows = np.bincount(group)
    area = np.bincount(group, last - first)[rows > 0]
    rows = rows[rows > 0]
    classes = np.searchsorted(WIDTHS, np.minimum(area / rows, rows), side="left")
    return tuple(np.bincount(np.minimum(classes, len(WIDTHS) - 1)).tolist())


def _joined(
    first: npt.NDArray[np.intp], last: npt.NDArray[np.intp], value: npt.NDArray[Any], stride: int
) -> npt.NDArray[np.intp]:
    """Return a number for each run, the same for runs of one value that hang together.

    Args:
        first: Where each run begins in the flat mask, ascending.
        last: Where it ends, exclusively.
        value: Its value.
        stride: Pixels from a row to the next one.
    """
    # Each run with those above it: from the first that ends there to the last that begins there.
    low = np.searchsorted(last, first - stride, side="left")
    high = np.searchsorted(first, last - stride, side="right")
    count = np.maximum(high - low, 0)
    below = np.repeat(np.arange(len(first)), count)
    above = np.arange(len(below)) - np.repeat(np.cumsum(count) - count, count) + low[below]
    same = (value[below] == value[above]) & (first[below] // stride == first[above] // stride + 1)
    below, above = below[same], above[same]
    group = np.arange(len(first))
    while True:
        least = np.minimum(group[below], group[above])
        before = group.copy()
        np.minimum.at(group, group[below], least)
        np.minimum.at(group, group[above], least)
        group = group[group]
        if np.array_equal(group, before):
            return group
