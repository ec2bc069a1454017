"""Arrays of a store as files: written row by row, whole or not at all, and read back by row."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.whole_files import NewFile, bring_names_to_disk


class NewArray(NewFile):
    """A ``.npy`` file that rows are put into, in any order.

    Rows are written, not mapped: where the disk is full, a map would end the process.

    Args:
        path: The name it gets in the end.
        dtype: The type of its numbers.
        shape: Of the whole array; the first axes count rows.
        counting: How many axes count rows.

    Raises:
        ImsegError: If the file cannot be made.
    """

    def __init__(
        self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], *, counting: int = 1
    ) -> None:
        super().__init__(path)
        self._dtype, self._row_shape = dtype, shape[counting:]
        self._header = header_of(dtype, shape)
        self._row_bytes = int(np.prod(self._row_shape, dtype=np.int64)) * dtype.itemsize
        self._rows = int(np.prod(shape[:counting], dtype=np.int64))

    def put(self, row: int, values: npt.NDArray[Any]) -> str:
        """Write a row and return its checksum; rows that are never written hold zeros.

        Args:
            row: Its number, counted through all axes that count.
            values: What it holds.

        Raises:
            ImsegError: If it cannot be written.
            ValueError: If the row has another shape or type than the array.
        """
        return checksum_of(self.put_all(row, values[None])[0])

    def put_all(self, first: int, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Write rows from a number on and return them as they lie in the file.

        Raises:
            ImsegError: If they cannot be written.
            ValueError: If they have another shape or type than those of the array.
        """
        if values.shape[1:] != self._row_shape or values.dtype != self._dtype:
            got = f"{values.dtype} {values.shape[1:]}"
            raise ValueError(f"{got} is not a row of {self._dtype} {self._row_shape}")
        solid = np.ascontiguousarray(values)
        if solid.size:
            plain = solid.reshape(-1).view(np.uint8)
            self.write_at(len(self._header) + first * self._row_bytes, plain.data)
        return solid

    def seal(self) -> None:
        """Complete the content and bring it to the disk."""
        self.write_at(0, self._header)
        self.lengthen(len(self._header) + self._rows * self._row_bytes)
        super().seal()


@contextmanager
def new_array(
    path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...], *, counting: int = 1
) -> Iterator[NewArray]:
    """Give an array to be filled; its file appears when the block ends without an error.

    Raises:
        ImsegError: If it cannot be written.
    """
    array = NewArray(path, np.dtype(dtype), shape, counting=counting)
    try:
        yield array
        array.seal()
        array.publish()
    finally:
        array.discard()
    bring_names_to_disk(path.parent)


def map_rows(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return the rows that a file holds of an array, read-only and from disk as they are looked at.

    A file that was cut short gives the rows before the cut, a missing one none; the header is not
    looked at.

    Args:
        path: A ``.npy`` file.
        dtype: The type that the array had when it was written.
        shape: The shape that the array had when it was written.
    """
    start, size = len(header_of(dtype, shape)), row_bytes(dtype, shape)
    try:
        there = path.stat().st_size - start
        rows = min(shape[0], there // size) if size else 0
        if rows > 0:
            return np.asarray(np.memmap(path, dtype, "r", start, (rows, *shape[1:])))
    except (OSError, ValueError):
        pass
    return np.empty((0, *shape[1:]), dtype)


def is_whole(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    """Return whether a file has the header and the length of such an array."""
    header = header_of(dtype, shape)
    length = len(header) + shape[0] * row_bytes(dtype, shape)
    try:
        with path.open("rb") as file:
            return file.read(len(header)) == header and path.stat().st_size == length
    except OSError:
        return False


def header_of(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return what a ``.npy`` file of such an array begins with."""
    stream = io.BytesIO()
    description = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, description)
    return stream.getvalue()


def row_bytes(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """Return the bytes of a row, whatever their number."""
    return int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize


def checksum_of(row: npt.NDArray[Any]) -> str:
    """Return the SHA-256 of the bytes of a contiguous row."""
    return hashlib.sha256(row.reshape(-1).view(np.uint8).data).hexdigest()
