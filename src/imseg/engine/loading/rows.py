"""Where rows of stored arrays are kept for a device, and how they get there."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int64
from torch import Tensor

from imseg.data.cache.store import gather, open_array
from imseg.engine.hardware.device import free_unused, is_exhausted

SHARE = 0.25
"""Of the free memory of a GPU, for the images of one batch loader; the rest is for the network."""
SHARED_BY = "IMSEG_SIDE_BY_SIDE"
"""Environment variable of a worker: how many of them share the GPU."""
UNKNOWN_BUDGET = 2**30
"""Bytes for images on devices that do not tell what is free."""
ALIGNMENT = 16
"""Bytes; every type of number may begin at a multiple."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How batches are made. The numbers do not depend on it."""

    on_device: bool
    """Whether whole batches are gathered and augmented on the device; else rows are gathered on
    the host and augmented in groups of equal parameters, which is fastest on a CPU."""
    budget: int = 0
    """Bytes of the device that stored arrays may fill; what does not fit is sent batch by batch."""
    pinned: bool = False
    """Whether what is sent lies in page-locked memory, so that the host need not wait for it."""


def placement_for(device: str) -> Placement:
    """Return how batches are made for a device."""
    kind = torch.device(device).type
    if kind == "cpu":
        return Placement(on_device=False)
    if kind != "cuda":
        return Placement(on_device=True, budget=UNKNOWN_BUDGET)
    free, _ = torch.cuda.mem_get_info(device)
    # What torch holds but nothing uses is free too: left there by the network before.
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    sharing = max(1, int(os.environ.get(SHARED_BY, "1")))
    return Placement(on_device=True, budget=int(SHARE * (free + held) / sharing), pinned=True)


def send(columns: Mapping[str, Tensor], device: str, *, pinned: bool) -> dict[str, Tensor]:
    """Return tensors of the host on a device, after one copy of all of them.

    Args:
        columns: Any shapes and types.
        device: Where to; the tensors there share one block of memory.
        pinned: Whether the host goes on while they are copied.
    """
    places, end = {}, 0
    for name, column in columns.items():
        places[name] = (end, end + column.numel() * column.element_size())
        end = -(-places[name][1] // ALIGNMENT) * ALIGNMENT
    block = torch.empty(end, dtype=torch.uint8, pin_memory=pinned)
    for name, column in columns.items():
        first, last = places[name]
        block[first:last].view(column.dtype).copy_(column.reshape(-1))
    # torch does not give page-locked memory away before the copy has ended.
    there = block.to(device, non_blocking=pinned)
    return {
        name: there[slice(*places[name])].view(column.dtype).reshape(column.shape)
        for name, column in columns.items()
    }


RowNumbers = npt.NDArray[np.int64]
"""Running numbers of rows on the host."""

BUFFERS = 3
"""Batches that may be on their way to the device at the same time."""
BYTES_AT_ONCE = 2**26
"""How much of an array is read at once on its way to the device."""

Wait = Callable[[], object]
"""Returns when a copy has ended."""


class RowSet:
    """Those rows of several files that are used, each once, under running numbers.

    Args:
        used: Files with the numbers of rows in them; a file may come several times. None stands
            for a row of zeros, where there is at least one file.
        dtype: The type of the numbers; that of the files when None.

    Raises:
        ValueError: If there is no file.
    """

    def __init__(
        self,
        used: Iterable[tuple[Path | None, Sequence[int] | RowNumbers]],
        *,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        asked: dict[Path, list[RowNumbers]] = {}
        self._blank = 0
        for path, rows in used:
            if path is None:
                self._blank = 1
            else:
                asked.setdefault(path, []).append(np.asarray(rows, dtype=np.int64))
        if not asked:
            raise ValueError("there is no file")
        self._arrays = {path: open_array(path) for path in asked}
        self._rows = {path: np.unique(np.concatenate(rows)) for path, rows in asked.items()}
        ends = np.cumsum([self._blank, *(len(rows) for rows in self._rows.values())])
        self._first = dict(zip(self._rows, ends.tolist(), strict=False))
        self._count = int(ends[-1])
        like = next(iter(self._arrays.values()))
        self.shape: tuple[int, ...] = like.shape[1:]
        self.dtype = np.dtype(like.dtype if dtype is None else dtype)

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of all rows together."""
        return len(self) * self.row_bytes

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def numbers(self, path: Path | None, rows: Sequence[int] | RowNumbers) -> RowNumbers:
        """Return the running numbers of rows of a file; of the row of zeros for None."""
        if path is None:
            return np.zeros(len(rows), dtype=np.int64)
        numbers: RowNumbers = self._first[path] + np.searchsorted(self._rows[path], rows)
        return numbers

    def read(self, numbers: RowNumbers, out: npt.NDArray[Any]) -> None:
        """Read rows by their running numbers into an array of their shape."""
        out[numbers < self._blank] = 0
        for path, first in self._first.items():
            rows = self._rows[path]
            mine = (numbers >= first) & (numbers < first + len(rows))
            if mine.all() and out.dtype == self._arrays[path].dtype:
                gather(self._arrays[path], rows[numbers - first], out=out)
            elif mine.any():
                out[mine] = gather(self._arrays[path], rows[numbers[mine] - first])


class RowCache(Protocol):
    """Gives rows on the device."""

    def fetch(self, here: RowNumbers, there: Int64[Tensor, "b"]) -> Tensor:
        """Return rows by their running numbers, as fresh memory on the device.

        Args:
            here: The numbers on the host.
            there: The same on the device.
        """


class DeviceRows:
    """A row cache in the memory of the device.

    Args:
        rows: What is put there.
        device: Where to.
    """

    def __init__(self, rows: RowSet, device: str) -> None:
        kind = torch.from_numpy(np.empty(0, rows.dtype)).dtype
        self._all = torch.empty((len(rows), *rows.shape), dtype=kind, device=device)
        at_once = max(1, BYTES_AT_ONCE // max(1, rows.row_bytes))
        for first in range(0, len(rows), at_once):
            numbers = np.arange(first, min(first + at_once, len(rows)))
            some = np.empty((len(numbers), *rows.shape), rows.dtype)
            rows.read(numbers, some)
            self._all[first : first + len(numbers)].copy_(torch.from_numpy(some))

    def fetch(self, here: RowNumbers, there: Int64[Tensor, "b"]) -> Tensor:
        """Return rows; the host is not asked."""
        return self._all.index_select(0, there)


class PinnedRows:
    """A row cache on the host, for what does not fit on the device.

    RowSet are read into one of a few buffers and sent from there; a buffer is written to again only
    when its last copy has ended.

    Args:
        rows: What is read.
        device: Where to.
        pinned: Whether buffers are page-locked, so that the host need not wait for the copies.
        mark: Called after a copy was asked for; returns what waits for its end. None: CUDA's
            events where memory is page-locked, else nothing, since copies have then ended.
    """

    def __init__(
        self, rows: RowSet, device: str, *, pinned: bool, mark: Callable[[], Wait] | None = None
    ) -> None:
        self._rows = rows
        self._device = device
        self._pinned = pinned
        self._mark = mark or (lambda: _cuda_event(device) if pinned else _ended)
        kind = torch.from_numpy(np.empty(0, rows.dtype)).dtype
        self._buffers = [torch.empty((0, *rows.shape), dtype=kind)] * BUFFERS
        self._waits: list[Wait] = [_ended] * BUFFERS
        self._turn = 0

    def fetch(self, here: RowNumbers, there: Int64[Tensor, "b"]) -> Tensor:
        """Return rows; the device is not asked, unless all buffers are on their way."""
        turn, self._turn = self._turn, (self._turn + 1) % BUFFERS
        self._waits[turn]()
        if len(self._buffers[turn]) < len(here):
            shape, kind = (len(here), *self._rows.shape), self._buffers[turn].dtype
            self._buffers[turn] = torch.empty(shape, dtype=kind, pin_memory=self._pinned)
        buffer = self._buffers[turn][: len(here)]
        self._rows.read(here, buffer.numpy())
        sent = torch.empty(buffer.shape, dtype=buffer.dtype, device=self._device)
        sent.copy_(buffer, non_blocking=self._pinned)
        self._waits[turn] = self._mark()
        return sent


def cache_rows(wanted: Sequence[RowSet], device: str, placement: Placement) -> list[RowCache]:
    """Return a cache per set of rows: on the device, the smallest first, as far as they fit.

    Args:
        wanted: Sets of rows.
        device: Where to.
        placement: How much fits.
    """
    left = placement.budget
    caches: list[RowCache] = [PinnedRows(each, device, pinned=placement.pinned) for each in wanted]
    for number, rows in sorted(enumerate(wanted), key=lambda entry: entry[1].nbytes):
        if rows.nbytes > left:
            break
        left -= rows.nbytes
        try:
            caches[number] = DeviceRows(rows, device)
            continue
        except Exception as error:
            if not is_exhausted(error):
                raise
        free_unused()  # another process was faster
    return caches


def _cuda_event(device: str) -> Wait:
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    wait: Wait = event.synchronize
    return wait


def _ended() -> None:
    """Return at once: the copy has ended."""
