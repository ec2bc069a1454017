"""Decode once: the pictures of a split as arrays on disk, which every network reads from memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.facts import Progress
from imseg.data.fingerprints import still_holds
from imseg.data.image_io import resize_image
from imseg.data.load import load_pixels
from imseg.data.store_build import Making, build
from imseg.data.store_index import ArrayIndex, array_path, read_index, rows_of
from imseg.data.targets import load_target
from imseg.data.whole_files import sweep, writing_into
from imseg.errors import ImsegError
from imseg.types import Image, LabeledImage, Reading, TargetSpec

_DECODING = 1
"""Raised when equal files become other bytes than before, so that old stores are made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Where the arrays of a split lie."""

    images: Path
    """A ``.npy`` file, ``n h w c`` unsigned bytes."""
    targets: Path | None
    """A ``.npy`` file, ``n t h w``, numbered as inside, of the spec's type; None: no masks."""
    index: Path
    """A ``.json`` file: what each picture was made of, and its checksum."""
    digest: str
    """SHA-256 over the shapes and bytes of the arrays, wherever they come from."""
    names: tuple[str, ...]
    """The name of each picture."""
    decoded: int
    """Pictures that were read from their files just now, wholly or in part."""
    reused: int
    """Pictures that were in a store already."""
    damaged: tuple[str, ...] = ()
    """Pictures that were in a store and damaged there, so that they were read again."""


def store_split(
    entries: Sequence[Image | LabeledImage],
    folder: Path,
    name: str,
    *,
    spec: TargetSpec,
    reading: Reading,
    size: tuple[int, int],
    workers: int,
    reuse: Path | Sequence[Path] = (),
    progress: Progress | None = None,
) -> Stored:
    """Decode, resize and encode pictures into ``<name>-images.npy`` and ``<name>-targets.npy``.

    What an earlier call stored is compared with its checksums and kept; only what is new, changed
    or damaged is decoded. A picture is known again if its files have the same places, sizes and
    times, or else if they hold the same bytes. The files appear whole or not at all, the index
    ``<name>.json`` last. An empty split has all three.

    Args:
        entries: All with masks, or all without.
        folder: An existing folder, or one to be made.
        name: Begins the names of the files.
        spec: What mask values mean.
        reading: How picture files become bytes.
        size: Height and width in pixels for every picture.
        workers: Threads to decode with.
        reuse: Folders of other stores, from whose splits known pictures are taken.
        progress: Called with (done, total) after each picture.

    Raises:
        ImsegError: If a file cannot be read, a mask holds unknown values, or the folder cannot be
            written to.
        ValueError: If some entries have masks and some do not.
    """
    labeled = [entry for entry in entries if isinstance(entry, LabeledImage)]
    if len(labeled) not in (0, len(entries)):
        raise ValueError("a split has masks for all of its pictures or for none")
    images = [entry.image if isinstance(entry, LabeledImage) else entry for entry in entries]
    makings = {"images": _making_of_images(images, reading, size)}
    if len(labeled) == len(entries):
        makings["targets"] = _making_of_targets(labeled, spec, size)
    place = folder / f"{name}.json"
    with writing_into(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for path in (place, *(array_path(place, held) for held in makings)):
            sweep(path)
    built = build(
        place,
        [entry.name for entry in entries],
        makings,
        reuse=[reuse] if isinstance(reuse, Path) else reuse,
        workers=workers,
        progress=progress,
    )
    return Stored(
        images=array_path(place, "images"),
        targets=array_path(place, "targets") if "targets" in makings else None,
        index=place,
        digest=built.index.digest,
        names=built.index.names,
        decoded=built.decoded,
        reused=len(entries) - built.decoded,
        damaged=tuple(entries[number].name for number in built.damaged),
    )


def changed_sources(stored: Stored | Path) -> tuple[str, ...]:
    """Return the names of pictures whose files, or mask files, are not what they were when stored.

    Files are only looked up, not read, unless their size or times differ. Arrays do not change.

    Args:
        stored: A split, or its index.

    Raises:
        ImsegError: If the index is gone or cannot be understood.
    """
    place = stored if isinstance(stored, Path) else stored.index
    store = read_index(place)
    if store is None:
        raise ImsegError(
            f"{place} is not the index of stored images.",
            expected="the file that was written beside the arrays.",
            hint="repeat the command; what is missing is stored again.",
        )
    held = (zip(store.names, array.rows, strict=True) for array in store.arrays.values())
    changed = {name for rows in held for name, row in rows if not still_holds(row.source)}
    return tuple(name for name in store.names if name in changed)


def damaged_pictures(index: Path) -> tuple[str, ...]:
    """Return the names of stored pictures whose bytes are not those that were written.

    Args:
        index: Of a split; one that cannot be understood knows no pictures.
    """
    store = read_index(index)
    if store is None:
        return ()
    damaged: set[str] = set()
    for held, array in store.arrays.items():
        rows = rows_of(index, store, held, like=array)
        damaged.update(store.names[len(rows) :])
        damaged.update(name for name, row in zip(store.names, rows, strict=False) if not row.sound)
    return tuple(name for name in store.names if name in damaged)


def open_array(path: Path) -> npt.NDArray[Any]:
    """Return a stored array, read-only; its parts are read from disk when they are looked at."""
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def gather(
    array: npt.NDArray[Any], rows: npt.NDArray[np.integer[Any]], out: npt.NDArray[Any] | None = None
) -> npt.NDArray[Any]:
    """Return rows of a stored array as an array in memory, in the order asked for.

    Args:
        array: ``n ...``, such as ``open_array`` returns.
        rows: Numbers of rows, 0..n - 1.
        out: Where to put them; of their shape and type.

    Raises:
        IndexError: If there is no such row.
    """
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(array):
        raise IndexError(f"rows {rows.min()}..{rows.max()} of {len(array)}")
    # "clip" only because "raise" would fill a copy of ``out`` first; nothing is left to clip.
    return np.take(array, rows, axis=0, out=out, mode="clip")


def _making_of_images(images: Sequence[Image], reading: Reading, size: tuple[int, int]) -> Making:
    return Making(
        sources=[image.pixels for image in images],
        load=lambda number: resize_image(load_pixels(images[number], reading), size),
        like=_like({"reading": reading.as_dict()}, np.dtype(np.uint8), (*size, reading.channels)),
    )


def _making_of_targets(
    pairs: Sequence[LabeledImage], spec: TargetSpec, size: tuple[int, int]
) -> Making:
    return Making(
        sources=[pair.mask for pair in pairs],
        load=lambda number: load_target(pairs[number], spec, size),
        like=_like({"spec": spec.as_dict()}, spec.dtype, (spec.planes, *size)),
    )


def _like(
    made_with: Mapping[str, Any], dtype: np.dtype[Any], row_shape: tuple[int, ...]
) -> ArrayIndex:
    plain = {"decoding": _DECODING, **made_with}
    return ArrayIndex(made_with=plain, dtype=dtype, row_shape=row_shape, rows=())
