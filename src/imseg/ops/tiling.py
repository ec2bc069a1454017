"""Images in overlapping tiles, and predictions of tiles joined to predictions of images.

Tiles lie within the image, the first and the last at its edges and the others at even distances,
so that nothing outside has to be made up. An image smaller than a tile is continued by its
reflection. Where tiles overlap, the prediction is a weighted mean, in which a tile counts less
towards its edges, where its network saw less around a pixel.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

Size = tuple[int, int]
"""Height and width in pixels."""
Corner = tuple[int, int]
"""Row and column of the first pixel of a tile."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """How images of any size are cut into tiles of one size."""

    tile: Size
    """Height and width of every tile."""
    step: Size
    """The most pixels between the corners of neighbors; less than a tile, so that they overlap."""

    def __post_init__(self) -> None:
        if min(self.step) < 1 or any(s > t for s, t in zip(self.step, self.tile, strict=True)):
            raise ValueError(f"tiles of {self.tile} every {self.step} pixels leave gaps")

    def corners(self, size: Size) -> tuple[Corner, ...]:
        """Return the corners of the tiles that cover an image, row by row; at least one.

        Args:
            size: Of the image.
        """
        rows, columns = self.places(size)
        return tuple((row, column) for row in rows for column in columns)

    def places(self, size: Size) -> tuple[list[int], list[int]]:
        """Return the first rows of the tiles that cover an image, and their first columns."""
        rows, columns = (
            _places(length, tile, step)
            for length, tile, step in zip(size, self.tile, self.step, strict=True)
        )
        return rows, columns

    def count(self, size: Size) -> int:
        """Return how many tiles cover an image."""
        return len(self.corners(size))

    def tiles(self, values: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
        """Yield the tiles of an image or its planes, in the order of the corners.

        Args:
            values: ``h w ...``.
        """
        height, width = self.tile
        whole = reflected(values, self.tile)
        for row, column in self.corners(values.shape[:2]):
            yield whole[row : row + height, column : column + width]


@dataclass(frozen=True, slots=True)
class TileScheme:
    """At which scale images are cut into tiles."""

    scale: float
    """Pixels of the scaled image per pixel of the image."""
    tiling: Tiling
    """How the scaled image is cut."""
    pixel_size: float | None = None
    """Micrometers on a side of a pixel of the images for which the scale is meant; None: it is
    meant for all images."""

    def at(self, pixel_size: float | None) -> "TileScheme":
        """Return the scheme for an image, in whose tiles a pixel is as large as in those of others.

        Args:
            pixel_size: Micrometers on a side of a pixel of the image; None: not known.
        """
        if pixel_size is None or self.pixel_size is None:
            return TileScheme(self.scale, self.tiling)
        return TileScheme(self.scale * (pixel_size / self.pixel_size), self.tiling)

    def size_of(self, own: Size) -> Size:
        """Return the height and width of an image of such a size after scaling."""
        return scaled(own, self.scale)

    def count(self, own: Size) -> int:
        """Return how many tiles an image of such a size has."""
        return self.tiling.count(self.size_of(own))


def scaled(size: Size, scale: float) -> Size:
    """Return a height and width after scaling, each at least 1."""
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def _places(length: int, tile: int, step: int) -> list[int]:
    """Return the first pixels of tiles along an axis."""
    room = max(0, length - tile)
    gaps = math.ceil(room / step)
    return [round(room * number / gaps) for number in range(gaps + 1)] if gaps else [0]


def reflected(values: npt.NDArray[Any], least: Size) -> npt.NDArray[Any]:
    """Return an image or its planes, continued by reflection at the end of axes that are short.

    Args:
        values: ``h w ...``.
        least: Height and width that there must be.
    """
    missing = [max(0, wanted - has) for wanted, has in zip(least, values.shape, strict=False)]
    if not any(missing):
        return values
    ends = [(0, each) for each in missing] + [(0, 0)] * (values.ndim - 2)
    return np.pad(values, ends, mode="symmetric")


@cache
def tile_weights(tile: Size) -> Float[Tensor, "h w"]:
    """Return how much each pixel of a tile counts: 1 in the middle, less to the edges, never 0."""
    axes = []
    for length in tile:
        near = 1 - (torch.arange(1, 2 * length, 2, dtype=torch.float32) / length - 1).abs()
        axes.append(near.clamp(min=0.02))  # from the edge, as a share of half the side
    return axes[0][:, None] * axes[1]


def join(tiles: Shaped[Tensor, "n t h w"], tiling: Tiling, size: Size) -> Shaped[Tensor, "t _ _"]:
    """Return the image that tiles were cut from; what they share must be equal in them.

    Args:
        tiles: All of them, in the order of the corners.
        tiling: How the image was cut.
        size: Its height and width.
    """
    height, width = tiling.tile
    whole = [max(pair) for pair in zip(size, tiling.tile, strict=True)]
    joined = tiles.new_empty((tiles.shape[1], *whole))
    for tile, (row, column) in zip(tiles, tiling.corners(size), strict=True):
        joined[:, row : row + height, column : column + width] = tile
    return joined[:, : size[0], : size[1]]


class Stitcher:
    """Joins what was said about the tiles of one image, of which no more is kept than is needed.

    Args:
        tiling: How the image was cut.
        size: Height and width of the image.
    """

    def __init__(self, tiling: Tiling, size: Size) -> None:
        self._tiling = tiling
        self._size = size
        self._corners = tiling.corners(size)
        self._added = 0
        self._taken = 0
        self._sum: Tensor | None = None
        self._weight: Tensor | None = None

    def add(self, tiles: Shaped[Tensor, "n k h w"]) -> None:
        """Add the next tiles, in the order of the corners.

        Raises:
            ValueError: If there are more than the image has.
        """
        height, width = self._tiling.tile
        if self._added + len(tiles) > len(self._corners):
            raise ValueError(f"more than {len(self._corners)} tiles")
        weights = tile_weights(self._tiling.tile).to(tiles.device)
        corners = self._corners[self._added :]
        for tile, (row, column) in zip(tiles * weights, corners, strict=False):
            total, weight = self._down_to(row + height, tile)
            top = row - self._taken
            place = (slice(top, top + height), slice(column, column + width))
            total[:, *place] += tile
            weight[place] += weights
        self._added += len(tiles)

    def _down_to(self, stop: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weighted sums and the weights of the rows that are not taken, until a row."""
        wide = max(self._size[1], self._tiling.tile[1])
        if self._sum is None or self._weight is None:
            self._sum = like.new_zeros((len(like), 0, wide), dtype=torch.float32)
            self._weight = like.new_zeros((0, wide), dtype=torch.float32)
        missing = stop - self._taken - self._sum.shape[1]
        if missing > 0:
            self._sum = functional.pad(self._sum, (0, 0, 0, missing))
            self._weight = functional.pad(self._weight, (0, 0, 0, missing))
        return self._sum, self._weight

    def take(self) -> Float[Tensor, "k h w"]:
        """Return the weighted mean of the next rows that no tile to come reaches; perhaps none.

        Raises:
            ValueError: If nothing was added yet.
        """
        if self._sum is None or self._weight is None:
            raise ValueError(f"0 of {len(self._corners)} tiles")
        whole = self._added == len(self._corners)
        stop = self._size[0] if whole else self._corners[self._added][0]
        count = stop - self._taken
        found = (self._sum[:, :count] / self._weight[:count])[..., : self._size[1]]
        self._sum, self._weight = self._sum[:, count:].clone(), self._weight[count:].clone()
        self._taken = stop
        return found

    def result(self) -> Float[Tensor, "k h w"]:
        """Return the weighted mean at the size of the image, of which nothing was taken.

        Raises:
            ValueError: If tiles are missing, or rows were taken.
        """
        if self._added < len(self._corners) or self._taken:
            raise ValueError(
                f"{self._added} of {len(self._corners)} tiles, {self._taken} rows taken"
            )
        return self.take()
