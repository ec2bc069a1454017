"""Arrays of a store as files: written row by row, whole or not at all, and read back by row."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from imseg.errors import ImsegError

_TEMPORARY = ".tmp"


class NewFile:
    """A file under a temporary name, which gets its own when it is whole and on the disk.

    Args:
        path: The name it gets in the end.

    Raises:
        ImsegError: If it cannot be made; from all methods, if they cannot do what they are for.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # The leading dot keeps a left-over from a crash out of folders that are read as data.
        self._temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_TEMPORARY}")
        self._lock = threading.Lock()
        with writing_into(path.parent):
            self._file: BinaryIO = self._temporary.open("xb")

    def write_at(self, start: int, content: bytes | memoryview) -> None:
        """Write bytes at a place; threads may do so at once."""
        with writing_into(self._path.parent), self._lock:
            self._file.seek(start)
            self._file.write(content)

    def seal(self) -> None:
        """Bring the content to the disk."""
        with writing_into(self._path.parent):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def publish(self) -> None:
        """Give a sealed file its name."""
        with writing_into(self._path.parent):
            self._temporary.replace(self._path)

    def discard(self) -> None:
        """Remove the file if it has not been published."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)


class NewArray(NewFile):
    """A ``.npy`` file that rows are put into, in any order.

    Rows are written, not mapped: where the disk is full, a map would end the process.

    Args:
        path: The name it gets in the end.
        dtype: The type of its numbers.
        shape: Of the whole array; the first axis counts rows.

    Raises:
        ImsegError: If the file cannot be made.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        super().__init__(path)
        self._dtype, self._row_shape = dtype, shape[1:]
        self._header, self._row_bytes = header_of(dtype, shape), row_bytes(dtype, shape)

    def put(self, row: int, values: npt.NDArray[Any]) -> str:
        """Write a row and return its checksum.

        Raises:
            ImsegError: If it cannot be written.
            ValueError: If the row has another shape or type than the array.
        """
        if values.shape != self._row_shape or values.dtype != self._dtype:
            got = f"{values.dtype} {values.shape}"
            raise ValueError(f"{got} is not a row of {self._dtype} {self._row_shape}")
        solid = np.ascontiguousarray(values)
        self.write_at(len(self._header) + row * self._row_bytes, solid.data)
        return checksum_of(solid)

    def seal(self) -> None:
        """Complete the content and bring it to the disk."""
        self.write_at(0, self._header)
        super().seal()


def sweep(path: Path) -> None:
    """Remove what a process that was killed left of a file that it was writing."""
    if not path.parent.is_dir():
        return
    start = f".{path.name}."
    for left in path.parent.iterdir():
        if left.name.startswith(start) and left.name.endswith(_TEMPORARY):
            # It does no harm, and the folder may be one that can only be read.
            with suppress(OSError):
                left.unlink()


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


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Turn whatever goes wrong while a folder is written to into an error that names it."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise ImsegError(
            f"{folder} cannot be written to.",
            got=str(error.strerror or error) + ".",
            hint="make room on its disk, or choose another one."
            if full
            else "check the folder's permissions and the free space on its disk.",
        ) from error


def bring_names_to_disk(folder: Path) -> None:
    """Make sure that published files keep their names when the power fails now."""
    # Not every system lets folders be opened; there the names reach the disk when they do.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
