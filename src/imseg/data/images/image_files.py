"""Pictures as bytes, from files and from arrays alike, just as a run has learned to read them.

16-bit, float and many-channel pixels become bytes by the range of each channel. The ranges are
those of the whole data set, not of each picture: a dim picture stays dim, and a picture to be
predicted is read exactly as those that were trained on.
"""

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from imseg.data.files.atomic import publish
from imseg.data.files.listing import subject
from imseg.data.folder.facts import ImageFacts, Survey
from imseg.data.images import decoding, picture_file
from imseg.data.masks.colors import colorize, colorize_objects, covered
from imseg.errors import Finding, ImsegError, and_more
from imseg.types import Bytes, Color, Image, Pages, Pixels, Reading, Target, TargetSpec

LOW_PERCENTILE = 0.1
HIGH_PERCENTILE = 99.9
"""One pixel in a thousand may be clipped at each end: hot and dead pixels are rarer than that, and
what is to be found is hardly ever so small."""

SAMPLES = 1000
"""Pixels looked at in each picture; with some pictures the percentiles rest on thousands."""

_MOST_VALUES = 1 << 24
_AT_ONCE = 1 << 16
# Roberts' generalized golden ratio for two dimensions: with these steps, points fall evenly and
# never in line with rows or columns (M. Roberts, "The unreasonable effectiveness of quasirandom
# sequences", 2018).
_PLASTIC = 1.32471795724474602596
_STEPS = (1 / _PLASTIC, 1 / _PLASTIC**2)


def sample_pixels(pixels: Pixels, count: int = SAMPLES) -> Pixels:
    """Return some pixels (``n c``) of a picture, spread evenly over it; always the same ones.

    Args:
        pixels: ``h w c``.
        count: How many; of a smaller picture all are returned, once each.
    """
    height, width, channels = pixels.shape
    if height * width <= count:
        return pixels.reshape(-1, channels)
    places = np.arange(1, count + 1)
    rows, columns = (
        (places * step % 1 * side).astype(np.int64)
        for step, side in zip(_STEPS, (height, width), strict=True)
    )
    sampled: Pixels = pixels[rows, columns]
    return sampled


def estimate_ranges(
    samples: Iterable[npt.NDArray[Any]],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the value of each channel that becomes 0, and the one that becomes 255.

    They are the 0.1 and the 99.9 percentile over all samples; what is not finite is left out. Where
    these are equal (a channel that is dark but for a few spots), they are the least and the
    greatest value. Low is below high even for a channel that is constant. Memory stays within
    some hundred MB: beyond 16 million numbers, every second pixel of all pictures is dropped.

    Args:
        samples: ``n c`` pixels of each picture.

    Raises:
        ValueError: If there are no samples, or the number of channels differs.
    """
    kept: list[npt.NDArray[Any]] = []
    held, stride = 0, 1
    for sample in samples:
        kept.append(sample[::stride])
        held += kept[-1].size
        while held > _MOST_VALUES and any(len(one) > 1 for one in kept):
            kept = [one[::2] for one in kept]
            held = sum(one.size for one in kept)
            stride *= 2
    if not kept:
        raise ValueError("ranges need at least one sample")
    values = np.concatenate(kept)
    ends = [_ends(values[:, channel]) for channel in range(values.shape[1])]
    return tuple(low for low, _ in ends), tuple(high for _, high in ends)


def apply_ranges(pixels: Pixels, low: tuple[float, ...], high: tuple[float, ...]) -> Bytes:
    """Return ``h w c`` pixels as bytes: 0 at ``low``, 255 at ``high``, in a straight line between.

    Values beyond are clipped, others rounded to the nearest; what is not a number becomes 0.

    Args:
        pixels: uint8, uint16 or float32.
        low: One number per channel.
        high: One number per channel, above ``low``.

    Raises:
        ValueError: If there is not one range per channel.
    """
    if not len(low) == len(high) == pixels.shape[2]:
        raise ValueError(f"{len(low)} ranges for {pixels.shape[2]} channels")
    height, width, channels = pixels.shape
    # Ranges as long as a row: with the few channels as inner axis NumPy is several times slower.
    below = np.tile(np.array(low, np.float32), width)
    scaled = np.empty((height, width * channels), np.uint8)
    step = max(1, _AT_ONCE // max(1, width * channels))
    # What becomes infinite is clipped next.
    with np.errstate(over="ignore", invalid="ignore"):
        factor = np.tile((255 / (np.array(high) - np.array(low))).astype(np.float32), width)
        for start in range(0, height, step):
            rows = slice(start, start + step)
            values = pixels[rows].reshape(-1, width * channels).astype(np.float32)
            # A large offset (a detector that starts at 30,000) goes before anything is rounded.
            values -= below
            values *= factor
            # Unlike np.clip, these two prefer a number to "not a number".
            np.fmax(values, 0, out=values)
            np.fmin(values, 255, out=values)
            np.rint(values, out=values)
            scaled[rows] = values
    return scaled.reshape(pixels.shape)


def _ends(values: npt.NDArray[Any]) -> tuple[float, float]:
    """Return low and high for one channel."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(end) for end in np.percentile(finite, (LOW_PERCENTILE, HIGH_PERCENTILE)))
    if not low < high:
        low, high = float(finite.min()), float(finite.max())
    if not low < high:
        # Constant: it becomes 0 everywhere. The step counts for numbers of any size.
        high = low + max(1.0, abs(low) * 1e-3)
    return low, high


_IN_SHORT = {"uint8": "8-bit", "uint16": "16-bit", "float32": "float"}


def find_reading(survey: Survey, *, pages: Pages) -> tuple[Reading | None, list[Finding]]:
    """Return how pictures become bytes, or an error about those that are unlike the others.

    8-bit pictures, gray and color, stay as they are; where both are there, all are read as color.
    Everything else must have one depth and the same channels; each channel is scaled by the range
    that it has over the labeled and unlabeled pictures, never those of val and test.

    Args:
        survey: The facts about all readable pictures.
        pages: What several pages in one file are.
    """
    every = survey.every()
    if not every:
        return None, []
    if all(facts.plain for facts in every):
        channels = max(facts.channels for facts in every)
        return Reading(channels=channels, pages=pages), []
    (usual, _), *others = Counter(map(_kind, every)).most_common()
    if others:
        return None, [_unlike(every, usual)]
    samples = [
        facts.sample for facts in (*survey.labeled, *survey.unlabeled) if facts.sample is not None
    ]
    if not samples:
        return None, []
    low, high = estimate_ranges(samples)
    depth, channels = usual
    return Reading(channels=channels, depth=depth, pages=pages, low=low, high=high), []


def kind_in_words(facts: ImageFacts) -> str:
    """Return depth and channels of a picture: ``8-bit gray``, ``16-bit with 5 channels``."""
    channels = {1: "gray", 3: "color"}.get(facts.channels, f"with {facts.channels} channels")
    return f"{_IN_SHORT.get(facts.depth, facts.depth)} {channels}"


def _kind(facts: ImageFacts) -> tuple[str, int]:
    return facts.depth, facts.channels


def _unlike(every: list[ImageFacts], usual: tuple[str, int]) -> Finding:
    typical = next(facts for facts in every if _kind(facts) == usual)
    odd = [
        facts for facts in every if _kind(facts) != usual and not (facts.plain and typical.plain)
    ]
    names = [f"{facts.name} is {kind_in_words(facts)}" for facts in odd]
    return Finding(
        severity="error",
        what=f"{subject(len(odd), 'image')} not of the kind "
        f"that the other {len(every) - len(odd)} are.",
        expected=f"{kind_in_words(typical)}, as {typical.name}: only 8-bit gray and color mix.",
        got=and_more(names) + ".",
        hint="save all images with the same depth and channels, or remove those.",
        files=tuple(facts.name for facts in odd),
    )


_DEPTHS = {"uint8": "8 bits", "uint16": "16 bits", "float32": "32-bit floats"}


def load_pixels(image: Image, reading: Reading) -> Bytes:
    """Return the pixels of a picture as bytes, ``h w c``, with ``reading.channels`` channels.

    Without ranges, bytes stay as they are; gray is repeated to become color, and color becomes
    lightness where a run is gray. With ranges, each channel is scaled by its own.

    Args:
        image: A file or an array.
        reading: How the pictures of the data set become bytes.

    Raises:
        ImsegError: If the file cannot be read, or has another depth or other channels.
    """
    if isinstance(image.pixels, Path):
        name, pixels = str(image.pixels), picture_file.read_image(image.pixels, pages=reading.pages)
    else:
        name, pixels = image.name, decoding.in_own_type(image.pixels)
        pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    return as_bytes(pixels, reading, name)


def as_bytes(pixels: Pixels, reading: Reading, name: str) -> Bytes:
    """Return ``h w c`` pixels of a picture, or some of its rows, as ``load_pixels`` does.

    Args:
        pixels: In the type of the file.
        reading: How the pictures of the data set become bytes.
        name: What to call the picture in errors.

    Raises:
        ImsegError: If they have another depth or other channels.
    """
    channels, low, high = pixels.shape[2], reading.low, reading.high
    fits = channels == reading.channels or (low is None and {channels, reading.channels} == {1, 3})
    if str(pixels.dtype) != reading.depth or not fits:
        raise ImsegError(
            f"{name} is not of the kind that the pictures for training are.",
            expected=_in_words(reading.channels, reading.depth),
            got=_in_words(channels, str(pixels.dtype)),
            hint="save it as they are saved, with the same channels and depth.",
        )
    if low is not None and high is not None:
        return apply_ranges(pixels, low, high)
    if pixels.dtype != np.uint8:
        raise ValueError(f"{reading.depth} pixels need ranges to become bytes")
    return decoding.to_channels(pixels, reading.channels)


def _in_words(channels: int, depth: str) -> str:
    plural = "" if channels == 1 else "s"
    return f"{channels} channel{plural}, {_DEPTHS.get(depth, depth)} ({depth})."


_MAX_INT32 = 2**31 - 1


def write_png(
    path: Path, array: npt.NDArray[Any], *, palette: Sequence[Color] | None = None
) -> None:
    """Write an array as a PNG file.

    Args:
        path: Where to; an existing file is replaced.
        array: ``h w`` of unsigned 8 or 16 bits, or ``h w 3`` of unsigned 8 bits.
        palette: For ``h w`` of 8 bits: the color of each value from 0 on, at most 256. The file is
            an indexed one then, with as many bits as the palette needs.

    Raises:
        ValueError: If the array has another shape or type, or values beyond the palette.
        ImsegError: If the file cannot be written.
    """
    gray = array.ndim == 2 and array.dtype in (np.uint8, np.uint16)
    colored = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    if not gray and not colored:
        raise ValueError(f"cannot write {array.dtype} of shape {array.shape} as PNG")
    picture = Pillow.fromarray(np.ascontiguousarray(array))
    if palette is not None:
        if array.dtype != np.uint8 or colored or not array.max(initial=0) < len(palette) <= 256:
            raise ValueError(f"{len(palette)} colors do not fit {array.dtype} up to {array.max()}")
        picture.putpalette([part for color in palette for part in color])
    _write(path, picture, "PNG")


def write_tiff(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as a TIFF file with lossless compression.

    Args:
        path: Where to; an existing file is replaced.
        array: ``h w`` of float32 or of whole numbers of at most 32 bits, such as the numbers of
            objects. They are written with 32 bits, or 8 or 16 if that is their unsigned type.

    Raises:
        ValueError: If the array has another shape, type or range.
        ImsegError: If the file cannot be written.
    """
    if array.ndim != 2 or (array.dtype != np.float32 and array.dtype.kind not in "ui"):
        raise ValueError(f"cannot write {array.dtype} of shape {array.shape} as TIFF")
    if array.dtype.kind in "ui" and array.dtype not in (np.uint8, np.uint16):
        if array.size and not -_MAX_INT32 <= array.min() <= array.max() <= _MAX_INT32:
            raise ValueError(f"numbers from {array.min()} to {array.max()} do not fit")
        array = array.astype(np.int32)
    picture = Pillow.fromarray(np.ascontiguousarray(array))
    _write(path, picture, "TIFF", compression="tiff_adobe_deflate")


def _write(path: Path, picture: Pillow.Image, kind: str, **options: str) -> None:
    stream = io.BytesIO()
    picture.save(stream, format=kind, **options)
    publish(path, stream.getvalue())


_OPACITY = 0.4
_HATCH = np.array([255, 0, 255], dtype=np.uint8)


def as_color(pixels: Bytes) -> Bytes:
    """Return stored ``h w c`` pixels as ``h w 3``: of more than three channels the first three.

    Two channels become red and green.
    """
    channels = pixels.shape[2]
    if channels == 1:
        return np.repeat(pixels, 3, axis=2)
    if channels == 2:
        return np.concatenate([pixels, np.zeros_like(pixels[..., :1])], axis=2)
    return pixels[..., :3]


def draw_overlay(pixels: Bytes, target: Target, spec: TargetSpec) -> Bytes:
    """Return a picture with its mask laid over it: tinted areas with solid outlines.

    Maps of numbers hide the picture; void shows it.

    Args:
        pixels: ``h w c``.
        target: ``t h w`` in inside numbering. What is 0 in all planes is left clear.
        spec: Colors of the classes.
    """
    base = as_color(pixels)
    colors = colorize(target, spec)
    shown = covered(target, spec)
    if spec.kind == "regression":
        return np.where(shown[..., None], colors, base)
    return _tinted(base, colors, shown, edges=colors)


def draw_objects(pixels: Bytes, labels: npt.NDArray[Any]) -> Bytes:
    """Return a picture with the objects of an ``h w`` label image, each in a color of its own."""
    base, colors = as_color(pixels), colorize_objects(labels)
    numbers = np.stack([labels & 255, (labels >> 8) & 255, (labels >> 16) & 255], axis=2)
    return _tinted(base, colors, labels > 0, edges=numbers.astype(np.uint8))


def _tinted(base: Bytes, colors: Bytes, shown: npt.NDArray[np.bool_], *, edges: Bytes) -> Bytes:
    """Return a picture tinted where a mask is shown, with solid lines where ``edges`` change."""
    tinted = (base * (1 - _OPACITY) + colors * _OPACITY).astype(np.uint8)
    drawn = np.where(shown[..., None], tinted, base)
    return np.where((_outline(edges) & shown)[..., None], colors, drawn)


def draw_inconsistency(pixels: Bytes, inconsistent: npt.NDArray[np.bool_]) -> Bytes:
    """Return a picture, dimmed, with inconsistent pixels in magenta."""
    dimmed = (as_color(pixels) * 0.6).astype(np.uint8)
    return np.where(inconsistent[..., None], _HATCH, dimmed)


def _outline(colors: Bytes) -> npt.NDArray[np.bool_]:
    """Return the pixels of ``h w 3`` that touch another color above, below, left or right."""
    edge = np.zeros(colors.shape[:2], dtype=bool)
    vertical = (colors[1:] != colors[:-1]).any(axis=2)
    horizontal = (colors[:, 1:] != colors[:, :-1]).any(axis=2)
    edge[1:] |= vertical
    edge[:-1] |= vertical
    edge[:, 1:] |= horizontal
    edge[:, :-1] |= horizontal
    return edge
