"""Large pictures, seen from top to bottom: what is in memory does not grow with their height.

A picture is read some rows at a time, scaled, seen by networks tile by tile (or whole, at the size
at which they see whole pictures), and what they say comes out in bands at the picture's own size.
"""

import itertools
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from imseg.data.images.by_rows import PictureRows, read_rows
from imseg.data.images.decoding import resize_image
from imseg.engine.inference.pictures import Predictor, Segmented
from imseg.engine.inference.predictor import BATCH
from imseg.ops.tiling import Size, Stitcher, TileScheme, Tiling, reflected
from imseg.types import Bytes, Image

VALUES = 48 * 10**6
"""Pixels times channels, or times outputs, from which on a picture is large; and about as many
values are held at once then."""
LEAST_ROWS = 128
"""Rows of a band at least."""
MOST_AROUND = 512
"""Rows above and below a band at most that are looked at with it."""
LEAST_AROUND = 64
"""Rows above and below a band at least."""


def is_large(size: Size, depth: int) -> bool:
    """Return whether a picture is seen from top to bottom rather than at once.

    Args:
        size: Its height and width.
        depth: Its channels, or the outputs of networks where those are more.
    """
    return size[0] * size[1] * depth > VALUES


def needs_bands(predictor: Predictor, image: Image, own: Size) -> bool:
    """Return whether a picture is large as it is, or as networks see it.

    Args:
        predictor: Networks that are ready to look.
        image: The picture.
        own: Its height and width.
    """
    wanted = predictor.size(own, image.pixel_size)
    seen = wanted.size_of(own) if isinstance(wanted, TileScheme) else own
    depth = max(predictor.reading.channels, predictor.task.spec.outputs)
    return is_large(max(own, seen, key=math.prod), depth)


@dataclass(frozen=True, slots=True)
class Band:
    """Some rows of a picture, and what networks say about them."""

    top: int
    """The first row of the picture that the band decides about."""
    stop: int
    """The row after the last of them."""
    first: int
    """The first row that ``segmented`` has: some rows above and below are looked at too."""
    next_first: int
    """The first row that the next band looks at; ``stop`` for the last band."""
    size: Size
    """Height and width of the picture."""
    segmented: Segmented
    """What is said about the rows that are looked at, at the picture's own size. It has no pixels
    of the picture."""

    @property
    def inside(self) -> slice:
        """The rows of ``segmented`` that the band decides about."""
        return slice(self.top - self.first, self.stop - self.first)


def bands(predictor: Predictor, image: Image) -> Iterator[Band]:
    """Yield what networks say about a large picture, from top to bottom.

    It is what ``Predictor.segment`` says, but for pixels that are rounded otherwise.

    Args:
        predictor: Networks that are ready to look.
        image: A file or an array.

    Raises:
        ImsegError: If it cannot be read; perhaps not before its last rows.
    """
    picture = read_rows(image, predictor.reading)
    own, wanted = picture.size, predictor.size(picture.size, image.pixel_size)
    size = wanted.size_of(own) if isinstance(wanted, TileScheme) else wanted
    if size[0] * 2 <= own[0]:  # a smaller copy may do
        picture = read_rows(image, predictor.reading, least=size)
    seen = ahead(scaled_rows(picture, size))
    if isinstance(wanted, TileScheme):
        around = round(wanted.tiling.tile[0] / wanted.scale / 2)
        found = Rows(_by_tiles(predictor, seen, size, wanted.tiling), axis=1)
    else:
        around = MOST_AROUND
        found = Rows(_at_once(predictor, seen), axis=1)
    around = min(max(around, LEAST_AROUND), MOST_AROUND)
    outputs = predictor.task.spec.outputs
    step = max(LEAST_ROWS, VALUES // (own[1] * (outputs + 3)) - 2 * around)
    for top in range(0, own[0], step):
        stop = min(top + step, own[0])
        first, last = max(0, top - around), min(stop + around, own[0])
        asked = predictor.teachers is not None
        said, doubt = _at_own_size(found, size, own, first, last, doubts=asked)
        pixels = np.zeros((last - first, own[1], 0), np.uint8)
        segmented = Segmented(image, pixels, said[None], doubt, len(predictor.moves))
        next_first = stop if stop == own[0] else max(0, stop - around)
        yield Band(top, stop, first, next_first, own, segmented)


def ahead(chunks: Iterator[Bytes]) -> Iterator[Bytes]:
    """Yield what an iterator yields; a thread makes the next one meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = pool.submit(next, chunks, None)
            yield chunk


class Rows:
    """Rows that come some at a time, of which those that are still needed are kept.

    Args:
        chunks: Consecutive rows, each chunk with any number of them.
        axis: Along which rows lie.
    """

    def __init__(self, chunks: Iterator[npt.NDArray[Any]], *, axis: int) -> None:
        self._chunks, self._axis = chunks, axis
        self._kept: list[npt.NDArray[Any]] = []
        self._start = self._stop = 0

    def get(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows; those before ``start`` are not asked for again.

        Raises:
            ValueError: If there are not so many, or they were given away.
        """
        while self._stop < stop:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise ValueError(f"{self._stop} rows, not {stop}")
            self._kept.append(chunk)
            self._stop += chunk.shape[self._axis]
        while self._kept and self._start + self._kept[0].shape[self._axis] <= start:
            self._start += self._kept.pop(0).shape[self._axis]
        if start < self._start:
            raise ValueError(f"row {start} was given away")
        parts, at = [], self._start
        for chunk in self._kept:
            place = [slice(None)] * chunk.ndim
            place[self._axis] = slice(max(0, start - at), max(0, stop - at))
            parts.append(chunk[tuple(place)])
            at += chunk.shape[self._axis]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=self._axis)


def scaled_rows(picture: PictureRows, size: Size) -> Iterator[Bytes]:
    """Yield the rows of a picture at another height and width, as ``resize_image`` gives them."""
    own = picture.size
    if own == size:
        yield from picture.chunks
        return
    rows, ratio = Rows(picture.chunks, axis=0), own[0] / size[0]
    reach = math.ceil(max(1.0, ratio)) + 1
    step = max(1, int(VALUES / 4 / (max(own[1], size[1]) * max(1.0, ratio))))
    for top in range(0, size[0], step):
        stop = min(top + step, size[0])
        first = max(0, math.floor(top * ratio) - reach)
        last = min(own[0], math.ceil(stop * ratio) + reach)
        box = (0.0, top * ratio - first, float(own[1]), stop * ratio - first)
        yield resize_image(rows.get(first, last), (stop - top, size[1]), box=box)


def _by_tiles(
    predictor: Predictor, seen: Iterator[Bytes], size: Size, tiling: Tiling
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield what networks say about rows of a scaled picture, ``k n w``, tile by tile.

    The last of ``k`` says where teachers disagree, if that was asked for.
    """
    rows, stitcher = Rows(seen, axis=0), Stitcher(tiling, size)
    (height, width), (tops, lefts) = tiling.tile, tiling.places(size)
    for top in tops:
        band = reflected(rows.get(top, min(top + height, size[0])), tiling.tile)
        places = iter(lefts)
        while some := list(itertools.islice(places, BATCH)):
            stitcher.add(_said(predictor, np.stack([band[:, at : at + width] for at in some])))
        yield stitcher.take().numpy()


def _at_once(predictor: Predictor, seen: Iterator[Bytes]) -> Iterator[npt.NDArray[np.float32]]:
    yield _said(predictor, np.concatenate(list(seen))[None])[0].numpy()


def _said(predictor: Predictor, batch: Bytes) -> Float[Tensor, "b k h w"]:
    mean, mask = predictor.look(batch)
    return mean if predictor.teachers is None else torch.cat([mean, mask.to(mean.dtype)], 1)


def _at_own_size(
    found: Rows, size: Size, own: Size, first: int, last: int, *, doubts: bool
) -> tuple[Float[Tensor, "k h w"], Bool[Tensor, "1 1 h w"] | None]:
    """Return rows of a scaled picture at the size of the picture.

    Args:
        found: What is said about the scaled picture.
        size: Height and width of that.
        own: Height and width of the picture.
        first: The first row of the picture that is wanted.
        last: The row after the last one.
        doubts: Whether the last that is said is where teachers disagree.

    Returns:
        Probabilities, bilinearly, and where teachers disagree: what is nearest.
    """
    numbers = torch.arange(first, last, dtype=torch.float64)
    places = ((numbers + 0.5) * (size[0] / own[0]) - 0.5).clamp(0)
    low = places.floor().long().clamp(max=size[0] - 1)
    high = (low + 1).clamp(max=size[0] - 1)
    near = (numbers * (size[0] / own[0])).floor().long().clamp(max=size[0] - 1)
    start = int(min(low[0], near[0]))
    rows = torch.from_numpy(found.get(start, int(max(high[-1], near[-1])) + 1))
    doubt = None
    if doubts:
        columns = torch.arange(own[1], dtype=torch.float64) * (size[1] / own[1])
        columns = columns.floor().long().clamp(max=size[1] - 1)
        doubt = (rows[-1] > 0.5)[near - start][:, columns][None, None]
        rows = rows[:-1]
    if size == own:
        return rows[:, : last - first], doubt
    wide = functional.interpolate(
        rows[None], size=(rows.shape[1], own[1]), mode="bilinear", align_corners=False
    )[0]
    above, below = wide[:, low - start], wide[:, high - start]
    return above + (below - above) * (places - low).float()[:, None], doubt
