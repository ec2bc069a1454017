"""Writes large TIFF files a few rows at a time: tiled, compressed, BigTIFF where they need it."""

import queue
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import tifffile

from imseg.data.files.atomic import NewFile, make_folder, sweep, writing_into
from imseg.types import Color

TILE = 512
"""Pixels a side of the tiles of a file."""

_BIG = 3 * 10**9
_AHEAD = 2


class TiffRows:
    """A TIFF file that is written from top to bottom; it appears when its block ends, whole.

    A thread compresses while the next rows are made.

    Args:
        path: Where to; an existing file is replaced.
        size: Height and width.
        dtype: Of the values.
        colors: Whether each pixel is red, green and blue.
        palette: The color of each value of 8 bits from 0 on; None: values are grays or numbers.

    Raises:
        ImsegError: From all methods, if the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        dtype: npt.DTypeLike,
        *,
        colors: bool = False,
        palette: Sequence[Color] | None = None,
    ) -> None:
        self._path, self._size, self._dtype = path, size, np.dtype(dtype)
        self._colors, self._palette = colors, palette
        self._rows: queue.Queue[npt.NDArray[Any] | None] = queue.Queue(_AHEAD)
        self._error: BaseException | None = None
        make_folder(path.parent)
        sweep(path)
        self._file = NewFile(path)
        self._writer = threading.Thread(target=self._write, name=f"writes {path.name}")

    def __enter__(self) -> Self:
        self._writer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rows.put(None)
        self._writer.join()
        try:
            if kind is None:
                self._check()
                self._file.seal()
                self._file.publish()
        finally:
            self._file.discard()

    def add(self, rows: npt.NDArray[Any]) -> None:
        """Write the next rows, ``n w``, or ``n w 3`` of colors."""
        self._check()
        self._rows.put(np.ascontiguousarray(rows, self._dtype))

    def _check(self) -> None:
        with writing_into(self._path):
            if self._error is not None:
                raise self._error

    def _write(self) -> None:
        shape = (*self._size, 3) if self._colors else self._size
        told: dict[str, Any] = {"photometric": "rgb" if self._colors else "minisblack"}
        if self._palette is not None:
            colors = np.zeros((256, 3), np.uint16)
            colors[: len(self._palette)] = self._palette
            told = {"photometric": "palette", "colormap": colors.T * 257}
        try:
            with tifffile.TiffWriter(
                self._file.stream, bigtiff=int(np.prod(shape)) * self._dtype.itemsize > _BIG
            ) as file:
                file.write(
                    self._tiles(),
                    shape=shape,
                    dtype=self._dtype,
                    tile=(TILE, TILE),
                    compression="zlib",
                    metadata=None,
                    maxworkers=1,
                    **told,
                )
        except BaseException as error:
            self._error = error
            while self._rows.get() is not None:  # nobody is to wait for room
                pass

    def _tiles(self) -> Iterator[npt.NDArray[Any]]:
        """Yield the tiles, row by row; those at the right and lower edge are filled up with 0."""
        height, width = self._size
        wide = -(-width // TILE) * TILE
        deep = (3,) if self._colors else ()
        band = np.zeros((TILE, wide, *deep), self._dtype)
        filled = done = 0
        while done < height:
            rows = self._rows.get()
            if rows is None:
                self._rows.put(None)
                raise ValueError(f"{done} of {height} rows")
            while len(rows):
                part, rows = rows[: TILE - filled], rows[TILE - filled :]
                band[filled : filled + len(part), :width] = part
                filled, done = filled + len(part), done + len(part)
                if filled == TILE or done == height:
                    band[filled:] = 0
                    for left in range(0, wide, TILE):
                        yield band[:, left : left + TILE].copy()
                    filled = 0
