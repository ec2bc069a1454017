"""Which part of which picture the rows of a stored array hold: the whole of it, or a tile."""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, TypeVar

import numpy.typing as npt

from imseg.data.cache.stored_arrays import Piece
from imseg.ops.tiling import Size, TileScheme

Value = TypeVar("Value")


class Pieces:
    """Which piece of which picture each row holds: the whole picture, or a tile of it.

    Args:
        sizes: Height and width of each picture after scaling.
        size: That of all pictures, or how they are cut.
        at_once: Pictures whose tiles are kept until all of them were asked for.
        scales: The scale of each picture that is cut; None: that of ``size``.
    """

    def __init__(
        self,
        sizes: Sequence[Size],
        size: Size | TileScheme,
        *,
        at_once: int,
        scales: Sequence[float] | None = None,
    ) -> None:
        self._at_once = at_once
        self.sizes = sizes
        self.whole = None if isinstance(size, TileScheme) else size
        """The size of all pictures; None: they are cut."""
        self._scheme = size if isinstance(size, TileScheme) else None
        self._tiling = size.tiling if isinstance(size, TileScheme) else None
        self.shape: Size = size.tiling.tile if isinstance(size, TileScheme) else size
        """Height and width of a row."""
        self._counts = [1 if self._tiling is None else self._tiling.count(each) for each in sizes]
        self.rows = [(n, tile) for n, count in enumerate(self._counts) for tile in range(count)]
        """The picture and the tile of each row."""
        usual = None if self._scheme is None else self._scheme.scale
        other = [None if each == usual else each for each in scales or ()] or [None] * len(sizes)
        self.places = [Piece(tile, other[n]) for n, tile in self.rows]
        """What of its picture each row is."""

    @property
    def made_with(self) -> dict[str, Any]:
        """What rows depend on, as plain values for the index."""
        if self._scheme is None:
            return {}
        tile, step = (list(each) for each in (self._scheme.tiling.tile, self._scheme.tiling.step))
        return {"scale": self._scheme.scale, "tile": tile, "step": step}

    def rows_of_pictures(self) -> list[range]:
        """Return the rows of each picture, in their order."""
        ends = [0, *itertools.accumulate(self._counts)]
        return [range(first, end) for first, end in itertools.pairwise(ends)]

    def once(self, of_picture: Callable[[int], Value]) -> Callable[[int], Value]:
        """Return what gives each row what is true of its picture; found out once for its tiles."""
        if self._tiling is None:
            return of_picture
        kept: OrderedDict[int, Value] = OrderedDict()
        guard, locks = Lock(), [Lock() for _ in self.sizes]

        def of_row(row: int) -> Value:
            number, _ = self.rows[row]
            with locks[number]:
                if number not in kept:
                    value = of_picture(number)
                    with guard:
                        kept[number] = value
                        if len(kept) > self._at_once:
                            kept.popitem(last=False)
                    return value
                with guard:
                    return kept[number] if number in kept else of_picture(number)

        return of_row

    def load(self, picture: Callable[[int], npt.NDArray[Any]]) -> Callable[[int], npt.NDArray[Any]]:
        """Return what makes a row.

        Args:
            picture: Returns a scaled picture as ``h w ...``.
        """
        tiling = self._tiling
        if tiling is None:
            return picture
        cut = self.once(lambda number: list(tiling.tiles(picture(number))))
        return lambda row: cut(row)[self.rows[row][1]]
