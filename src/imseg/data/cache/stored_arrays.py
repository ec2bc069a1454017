"""Arrays of a store as files: written row by row, whole or not at all, and read back by row."""

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import PlainSerializer, PlainValidator, TypeAdapter

from imseg.data.files.atomic import NewFile, bring_names_to_disk, read_bounded
from imseg.data.files.listing import Fingerprint, Stamp


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


_MOST_BYTES = 2 << 30  # of an index; a picture takes about 500


class Piece(NamedTuple):
    """Which piece of a picture a row holds."""

    tile: int = 0
    """Which tile of the picture, in the order of its corners; 0 where it is all of it."""
    scale: float | None = None
    """The scale of the picture, where its pixels are not as large as those of others; else None."""


class StoredRow(NamedTuple):
    """One picture, or its target."""

    source: Fingerprint
    """What it was made of."""
    checksum: str
    """SHA-256 of its bytes."""
    tile: int = 0
    """As in ``Piece``."""
    scale: float | None = None
    """As in ``Piece``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayIndex:
    """What is known about one array."""

    made_with: dict[str, Any]
    """Everything beside the sources that its bytes depend on, as plain JSON values."""
    dtype: Annotated[
        np.dtype[Any], PlainValidator(np.dtype), PlainSerializer(lambda dtype: dtype.str)
    ]
    """The type of its numbers."""
    row_shape: tuple[int, ...]
    """The shape of a row."""
    rows: tuple[StoredRow, ...]
    """In the order of the array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return (len(self.rows), *self.row_shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreIndex:
    """What is known about a stored split."""

    names: tuple[str, ...]
    """The name of each picture."""
    arrays: dict[str, ArrayIndex]
    """By what they hold: ``images``, and ``targets`` where there are any."""
    format: Literal[2] = 2
    """Raised when the same is written in another way."""

    @property
    def digest(self) -> str:
        """SHA-256 over shapes, types and bytes; where the bytes come from does not matter."""
        digest = hashlib.sha256()
        for held in sorted(self.arrays):
            array = self.arrays[held]
            digest.update(f"{held} {array.dtype.str} {array.shape}".encode())
            for row in array.rows:
                digest.update(bytes.fromhex(row.checksum))
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class KnownRow:
    """A stored row that can be taken over."""

    source: Fingerprint
    """What it was made of."""
    values: npt.NDArray[Any]
    """Read-only; read from disk when they are looked at."""
    checksum: str
    """What it must have."""
    piece: Piece
    """Which piece of that."""

    @property
    def sound(self) -> bool:
        """Whether the bytes are those that were written."""
        return checksum_of(self.values) == self.checksum


Known = tuple[dict[tuple[tuple[Stamp, ...], Piece], KnownRow], dict[tuple[str, Piece], KnownRow]]
"""Rows by the stamps, and by the content, of what they were made of, and by the piece of it."""


def known_rows(stores: Iterable[tuple[Path, StoreIndex]], held: str, *, like: ArrayIndex) -> Known:
    """Return the rows that earlier stores hold of one kind.

    Args:
        stores: Indexes and where they lie; where several know a source, the first is taken.
        held: Which array.
        like: How its rows must have been made; its own rows do not matter.
    """
    by_stamps: dict[tuple[tuple[Stamp, ...], Piece], KnownRow] = {}
    by_content: dict[tuple[str, Piece], KnownRow] = {}
    for path, store in stores:
        for origin in rows_of(path, store, held, like=like):
            # Sources without files, and those whose content is not known, are not known by that.
            if origin.source.stamps:
                by_stamps.setdefault((origin.source.stamps, origin.piece), origin)
            if origin.source.content:
                by_content.setdefault((origin.source.content, origin.piece), origin)
    return by_stamps, by_content


def rows_of(path: Path, store: StoreIndex, held: str, *, like: ArrayIndex) -> list[KnownRow]:
    """Return the rows that are left of a stored array, in its order; none if it is unlike another.

    Args:
        path: Where the index lies.
        store: The index.
        held: Which array.
        like: How its rows must have been made; its own rows do not matter.
    """
    index = store.arrays.get(held)
    if index is None or replace(index, rows=()) != replace(like, rows=()):
        return []
    values = map_rows(array_path(path, held), index.dtype, index.shape)
    pairs = zip(index.rows, values, strict=False)
    return [
        KnownRow(row.source, each, row.checksum, Piece(row.tile, row.scale)) for row, each in pairs
    ]


def array_path(index: Path, held: str) -> Path:
    """Return where an array lies that an index describes."""
    return index.with_name(f"{index.stem}-{held}.npy")


def index_text(index: StoreIndex) -> bytes:
    """Return an index as JSON."""
    # Not as JSON at once: names may hold bytes that are no text.
    return json.dumps(TypeAdapter(StoreIndex).dump_python(index, mode="json")).encode("ascii")


def read_index(path: Path) -> StoreIndex | None:
    """Return an index; None if there is none, or one that cannot be understood."""
    try:
        plain = json.loads(read_bounded(path, _MOST_BYTES))
        index = TypeAdapter(StoreIndex).validate_python(plain)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    whole = all(len(array.rows) == len(index.names) for array in index.arrays.values())
    return index if whole and "images" in index.arrays else None
