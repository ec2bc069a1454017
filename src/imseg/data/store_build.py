"""From sources to the files of a store: what is known is taken over, the rest is decoded."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from imseg.data.facts import Progress, map_in_threads
from imseg.data.fingerprints import Fingerprint, Source, content_of, fingerprint, stamps_of
from imseg.data.store_arrays import NewArray, is_whole
from imseg.data.store_index import (
    ArrayIndex,
    Known,
    Origin,
    Row,
    StoreIndex,
    array_path,
    index_text,
    read_index,
    rows_of,
)
from imseg.data.whole_files import NewFile, bring_names_to_disk

# Checking a row takes no longer than handing it to a thread.
_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """How the rows of one array are made."""

    sources: Sequence[Source]
    """What each row is made of."""
    load: Callable[[int], npt.NDArray[Any]]
    """Makes a row; called in threads."""
    like: ArrayIndex
    """How the array is described, as yet without rows."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a store has become."""

    index: StoreIndex
    """What its arrays hold."""
    decoded: int
    """Entries that were decoded, wholly or in part."""
    damaged: tuple[int, ...]
    """Entries whose stored bytes were not those that had been written."""


@dataclass(frozen=True, slots=True)
class _Found:
    source: Fingerprint
    origin: Origin | None
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class _Job:
    """An array to be written, and where its rows can be taken from."""

    held: str
    making: Making
    found: Sequence[_Found]
    array: NewArray


def build(
    place: Path,
    names: Sequence[str],
    makings: Mapping[str, Making],
    *,
    reuse: Sequence[Path],
    workers: int,
    progress: Progress | None,
) -> Built:
    """Bring a store up to date with its sources.

    Nothing is written if nothing has changed. Published arrays are replaced, never changed: who
    has mapped them keeps what they were.

    Args:
        place: Where the index lies, or will.
        names: The name of each entry.
        makings: How each array is made, one row an entry.
        reuse: Folders of other stores, from which rows may be taken.
        workers: Threads.
        progress: Called with (done, total) after each entry.

    Raises:
        ImsegError: If the store cannot be written, or whatever loading raises.
    """
    stores = _stores_in([place.parent, *reuse])
    before = next((store for path, store in stores if path == place), None)
    arrays: dict[str, ArrayIndex] = {}
    found: dict[str, Sequence[_Found]] = {}
    for held, making in makings.items():
        own = rows_of(place, before, held, like=making.like) if before else []
        known = Known(stores, held, like=making.like)
        found[held] = _recognize_all(making, own, known, workers)
        if _is_up_to_date(array_path(place, held), found[held], own, making.like):
            kept = zip(found[held], own, strict=True)
            rows = tuple(Row(each.source, origin.checksum) for each, origin in kept)
            arrays[held] = replace(making.like, rows=rows)
    with ExitStack() as stack:
        jobs = []
        for held in [held for held in makings if held not in arrays]:
            like = makings[held].like
            array = NewArray(array_path(place, held), like.dtype, (len(names), *like.row_shape))
            stack.callback(array.discard)
            jobs.append(_Job(held, makings[held], found[held], array))
        rows_made, decoded = _write_rows(jobs, len(names), workers, progress)
        for job, made in zip(jobs, rows_made, strict=True):
            arrays[job.held] = replace(job.making.like, rows=tuple(made))
        index = StoreIndex(names=tuple(names), arrays=arrays)
        if jobs or index != before:
            written: list[NewFile] = [job.array for job in jobs]
            written.append(NewFile(place))
            stack.callback(written[-1].discard)
            written[-1].write_at(0, index_text(index))
            # All are on the disk before the first has its name: a full disk leaves all as it was.
            for file in written:
                file.seal()
            for file in written:
                file.publish()
            bring_names_to_disk(place.parent)
    marks = zip(*([each.damaged for each in rows] for rows in found.values()), strict=True)
    damaged = tuple(number for number, row in enumerate(marks) if any(row))
    return Built(index, decoded, damaged)


def _stores_in(folders: Sequence[Path]) -> list[tuple[Path, StoreIndex]]:
    """Return the indexes in folders, and where they lie; other files are passed over."""
    paths = [path for folder in folders for path in sorted(folder.glob("*.json"))]
    stores = ((path, read_index(path)) for path in paths)
    return [(path, store) for path, store in stores if store is not None]


def _recognize_all(
    making: Making, own: Sequence[Origin], known: Known, workers: int
) -> Sequence[_Found]:
    """Return where each row can be taken from; every byte of it has been checked."""

    def recognize(number: int) -> _Found:
        source = making.sources[number]
        stamps, content = stamps_of(source), ""
        # Of equal pictures in a split, each keeps its own row, so that the order stays.
        same_place = own[number] if number < len(own) else None
        origin = known.of_stamps(stamps)
        if origin is not None and same_place is not None and same_place.source.stamps == stamps:
            origin = same_place
        if origin is None:
            content = content_of(source)
            origin = known.of_content(content)
            if origin is not None and same_place is not None:
                origin = same_place if same_place.source.content == content else origin
        if origin is None or not origin.sound:
            return _Found(Fingerprint(stamps, content), None, damaged=origin is not None)
        return _Found(fingerprint(stamps, origin.source.content), origin)

    if not known:
        return [_Found(Fingerprint((), ""), None)] * len(making.sources)
    numbers = range(len(making.sources))
    spans = [numbers[start : start + _AT_ONCE] for start in numbers[::_AT_ONCE]]
    found = map_in_threads(
        lambda span: [recognize(number) for number in span], spans, workers=workers
    )
    return list(itertools.chain.from_iterable(found))


def _is_up_to_date(
    path: Path, found: Sequence[_Found], own: Sequence[Origin], like: ArrayIndex
) -> bool:
    """Return whether a stored array holds all rows in their order, and nothing else."""
    same = len(found) == len(own) and all(
        each.origin is origin for each, origin in zip(found, own, strict=True)
    )
    return same and is_whole(path, like.dtype, (len(own), *like.row_shape))


def _write_rows(
    jobs: Sequence[_Job], count: int, workers: int, progress: Progress | None
) -> tuple[list[list[Row]], int]:
    """Fill arrays; return the rows of each, and how many entries were decoded."""
    if not jobs:
        if progress is not None and count:
            progress(count, count)
        return [], 0
    rows: list[list[Row]] = [[] for _ in jobs]
    decoded = 0

    def make(number: int) -> list[tuple[Row, bool]]:
        return [_make_row(job, number) for job in jobs]

    made = map_in_threads(make, range(count), workers=workers, progress=progress)
    # Closed before the files are: no thread may be left that still writes to them.
    with closing(made):
        for entry in made:
            decoded += any(is_decoded for _, is_decoded in entry)
            for row, (new, _) in zip(rows, entry, strict=True):
                row.append(new)
    return rows, decoded


def _make_row(job: _Job, number: int) -> tuple[Row, bool]:
    """Write a row; return what is known about it, and whether it had to be decoded."""
    found = job.found[number]
    if found.origin is not None:
        checksum = job.array.put(number, found.origin.values)
        if checksum == found.origin.checksum:
            return Row(found.source, checksum), False
    source = job.making.sources[number]
    stamps = stamps_of(source)
    checksum = job.array.put(number, job.making.load(number))
    content = content_of(source)
    steady = stamps_of(source) == stamps
    return Row(fingerprint(stamps, content) if steady else Fingerprint(stamps, ""), checksum), True
