"""Decode once: the pictures of a split as arrays on disk, which every network reads from memory."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.cache import stored_arrays
from imseg.data.cache.pieces import Pieces
from imseg.data.cache.stored_arrays import ArrayIndex, KnownRow, NewArray, StoredRow, StoreIndex
from imseg.data.files import listing
from imseg.data.files.atomic import NewFile, bring_names_to_disk, sweep, writing_into
from imseg.data.folder.facts import Progress, map_in_threads
from imseg.data.folder.inspection import DECODING, KnownFiles
from imseg.data.images.decoding import resize_image
from imseg.data.images.image_files import load_pixels
from imseg.data.images.picture_file import probe
from imseg.data.masks.io import MaskFile, load_target, read_mask
from imseg.data.masks.labeled_regions import plain_regions
from imseg.errors import ImsegError
from imseg.ops.tiling import Size, TileScheme
from imseg.types import Image, LabeledImage, Reading, TargetSpec


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
    """The name of the picture of each row."""
    decoded: int
    """Pictures that were read from their files just now, wholly or in part."""
    reused: int
    """Pictures that were in a store already."""
    damaged: tuple[str, ...] = ()
    """Pictures that were in a store and damaged there, so that they were read again."""
    sizes: tuple[Size, ...] | None = None
    """Height and width of each scaled picture, where rows are tiles of pictures; else None."""


def store_split(
    entries: Sequence[Image | LabeledImage],
    folder: Path,
    name: str,
    *,
    spec: TargetSpec,
    reading: Reading,
    size: Size | TileScheme,
    workers: int,
    reuse: Path | Sequence[Path] = (),
    files: KnownFiles | None = None,
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
        size: Height and width in pixels for every picture; or how pictures are cut into tiles, each
            of which has a row, picture after picture, at a scale by the size of its pixels.
        workers: Threads to decode with.
        reuse: Folders of other stores, from whose splits known pictures are taken.
        files: Where pixels wait that were decoded for the checks, at the same size.
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
    if isinstance(size, TileScheme):
        schemes = [size.at(image.pixel_size) for image in images]
        sizes = _scaled_sizes(images, reading, schemes)
        scales = [scheme.scale for scheme in schemes]
        pieces = Pieces(sizes, size, at_once=workers + 1, scales=scales)
    else:
        sizes, pieces = None, Pieces([size] * len(images), size, at_once=workers + 1)
    makings = {"images": _making_of_images(images, reading, pieces, files)}
    if len(labeled) == len(entries):
        makings["targets"] = _making_of_targets(labeled, spec, pieces, files)
    place = folder / f"{name}.json"
    with writing_into(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for path in (place, *(stored_arrays.array_path(place, held) for held in makings)):
            sweep(path)
    folders = [folder, *([reuse] if isinstance(reuse, Path) else reuse)]
    names = tuple(entries[number].name for number, _ in pieces.rows)
    built = _build(
        place,
        names,
        makings,
        _stores_in(folders),
        groups=pieces.rows_of_pictures(),
        workers=workers,
        progress=progress,
    )
    return replace(built, sizes=sizes)


def changed_sources(stored: Stored | Path) -> tuple[str, ...]:
    """Return the names of pictures whose files, or mask files, are not what they were when stored.

    Files are only looked up, not read, unless their size or times differ. Arrays do not change.

    Args:
        stored: A split, or its index.

    Raises:
        ImsegError: If the index is gone or cannot be understood.
    """
    place = stored if isinstance(stored, Path) else stored.index
    store = stored_arrays.read_index(place)
    if store is None:
        raise ImsegError(
            f"{place} is not the index of stored images.",
            expected="the file that was written beside the arrays.",
            hint="repeat the command; what is missing is stored again.",
        )
    held = (zip(store.names, array.rows, strict=True) for array in store.arrays.values())
    changed = {name for rows in held for name, row in rows if not listing.still_holds(row.source)}
    return tuple(dict.fromkeys(name for name in store.names if name in changed))


def damaged_pictures(index: Path) -> tuple[str, ...]:
    """Return the names of stored pictures whose bytes are not those that were written.

    Args:
        index: Of a split; one that cannot be understood knows no pictures.
    """
    store = stored_arrays.read_index(index)
    if store is None:
        return ()
    damaged: set[str] = set()
    for held, array in store.arrays.items():
        rows = stored_arrays.rows_of(index, store, held, like=array)
        damaged.update(store.names[len(rows) :])
        damaged.update(name for name, row in zip(store.names, rows, strict=False) if not row.sound)
    return tuple(dict.fromkeys(name for name in store.names if name in damaged))


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


def _scaled_sizes(
    images: Sequence[Image], reading: Reading, schemes: Sequence[TileScheme]
) -> tuple[Size, ...]:
    """Return the height and width of each picture after scaling, from the headers of files."""
    own = (
        probe(image.pixels, pages=reading.pages).size
        if isinstance(image.pixels, Path)
        else image.pixels.shape
        for image in images
    )
    pairs = zip(schemes, own, strict=True)
    return tuple(scheme.size_of((int(size[0]), int(size[1]))) for scheme, size in pairs)


def _making_of_images(
    images: Sequence[Image], reading: Reading, pieces: Pieces, files: KnownFiles | None
) -> "Making":
    def load(number: int) -> npt.NDArray[Any]:
        image = images[number]
        known = files is not None and files.size == pieces.whole
        decoded = files.take(image.pixels) if files is not None and known else None
        if isinstance(decoded, np.ndarray):
            image = Image(image.name, decoded)
        return resize_image(load_pixels(image, reading), pieces.sizes[number])

    made_with, shape = {"reading": reading.as_dict()}, (*pieces.shape, reading.channels)
    return Making(
        sources=[images[number].pixels for number, _ in pieces.rows],
        pieces=pieces.places,
        content=pieces.once(lambda number: listing.content_of(images[number].pixels)),
        load=pieces.load(load),
        like=_like(made_with | pieces.made_with, np.dtype(np.uint8), shape),
    )


def _making_of_targets(
    pairs: Sequence[LabeledImage], spec: TargetSpec, pieces: Pieces, files: KnownFiles | None
) -> "Making":
    def read(path: Path) -> MaskFile:
        known = files is not None and files.size == pieces.whole
        decoded = files.take(path) if files is not None and known else None
        return decoded if isinstance(decoded, MaskFile) else read_mask(path, pages=spec.pages)

    def load(number: int) -> npt.NDArray[Any]:
        target = load_target(pairs[number], spec, pieces.sizes[number], read=read)
        return target if pieces.whole is not None else np.moveaxis(target, 0, -1)

    cut = pieces.load(load)
    return Making(
        sources=[pairs[number].mask for number, _ in pieces.rows],
        pieces=pieces.places,
        content=pieces.once(lambda number: listing.content_of(pairs[number].mask)),
        load=cut if pieces.whole is not None else lambda row: np.moveaxis(cut(row), -1, 0),
        like=_like(
            {"spec": spec.as_dict()} | plain_regions(pairs) | pieces.made_with,
            spec.dtype,
            (spec.planes, *pieces.shape),
        ),
    )


def _like(
    made_with: Mapping[str, Any], dtype: np.dtype[Any], row_shape: tuple[int, ...]
) -> ArrayIndex:
    plain = {"decoding": DECODING, **made_with}
    return ArrayIndex(made_with=plain, dtype=dtype, row_shape=row_shape, rows=())


# Checking a row takes no longer than handing it to a thread.
_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """How the rows of one array are made."""

    sources: Sequence[listing.PixelSource]
    """What each row is made of."""
    pieces: Sequence[stored_arrays.Piece]
    """Which piece of that each row is."""
    content: Callable[[int], str]
    """Returns the hash of the source of a row."""
    load: Callable[[int], npt.NDArray[Any]]
    """Makes a row; called in threads."""
    like: ArrayIndex
    """How the array is described, as yet without rows."""


@dataclass(frozen=True, slots=True)
class _Found:
    source: listing.Fingerprint
    origin: KnownRow | None
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class _ArrayJob:
    """An array to be written, and where its rows can be taken from."""

    making: Making
    found: Sequence[_Found]
    array: NewArray


def _build(
    place: Path,
    names: tuple[str, ...],
    makings: Mapping[str, Making],
    stores: Sequence[tuple[Path, StoreIndex]],
    *,
    groups: Sequence[range],
    workers: int,
    progress: Progress | None,
) -> Stored:
    """Bring a store up to date with its sources.

    Nothing is written if nothing has changed. Published arrays are replaced, never changed: who
    has mapped them keeps what they were.

    Args:
        place: Where the index lies, or will.
        names: The name of each entry.
        makings: How each array is made, one row per entry.
        stores: Indexes of this and other stores, from which rows may be taken.
        groups: The rows of each picture.
        workers: Threads; each takes one picture at a time.
        progress: Called with (done, total) after each picture.

    Raises:
        ImsegError: If the store cannot be written, or whatever loading raises.
    """
    before = next((store for path, store in stores if path == place), None)
    arrays: dict[str, ArrayIndex] = {}
    found: dict[str, Sequence[_Found]] = {}
    for held, making in makings.items():
        own = stored_arrays.rows_of(place, before, held, like=making.like) if before else []
        known = stored_arrays.known_rows(stores, held, like=making.like)
        found[held] = _recognize_all(making, own, known, workers)
        # Whether the array holds all rows in their order, and nothing else.
        same = [id(each.origin) for each in found[held]] == [id(row) for row in own]
        path, shape = stored_arrays.array_path(place, held), (len(own), *making.like.row_shape)
        if same and stored_arrays.is_whole(path, making.like.dtype, shape):
            kept = zip(found[held], own, strict=True)
            rows = tuple(
                StoredRow(each.source, origin.checksum, *origin.piece) for each, origin in kept
            )
            arrays[held] = replace(making.like, rows=rows)
    with ExitStack() as stack:
        jobs: dict[str, _ArrayJob] = {}
        for held, making in makings.items():
            if held not in arrays:
                shape = (len(names), *making.like.row_shape)
                array = NewArray(stored_arrays.array_path(place, held), making.like.dtype, shape)
                stack.callback(array.discard)
                jobs[held] = _ArrayJob(making, found[held], array)
        rows_made, decoded = _write_rows(list(jobs.values()), groups, workers, progress)
        for (held, job), made in zip(jobs.items(), rows_made, strict=True):
            arrays[held] = replace(job.making.like, rows=tuple(made))
        index = StoreIndex(names=names, arrays=arrays)
        if jobs or index != before:
            file = NewFile(place)
            stack.callback(file.discard)
            file.write_at(0, stored_arrays.index_text(index))
            written = [*(job.array for job in jobs.values()), file]
            # All are on the disk before the first has its name: a full disk leaves all as it was.
            for each in written:
                each.seal()
            for each in written:
                each.publish()
            bring_names_to_disk(place.parent)
    marks = zip(*([each.damaged for each in rows] for rows in found.values()), strict=True)
    return Stored(
        images=stored_arrays.array_path(place, "images"),
        targets=stored_arrays.array_path(place, "targets") if "targets" in makings else None,
        index=place,
        digest=index.digest,
        names=names,
        decoded=decoded,
        reused=len(names) - decoded,
        damaged=tuple(dict.fromkeys(n for n, row in zip(names, marks, strict=True) if any(row))),
    )


def _stores_in(folders: Sequence[Path]) -> list[tuple[Path, StoreIndex]]:
    """Return the indexes in folders, and where they lie; other files are passed over."""
    paths = [path for folder in folders for path in sorted(folder.glob("*.json"))]
    stores = ((path, stored_arrays.read_index(path)) for path in paths)
    return [(path, store) for path, store in stores if store is not None]


def _recognize_all(
    making: Making, own: Sequence[KnownRow], known: stored_arrays.Known, workers: int
) -> Sequence[_Found]:
    """Return where each row can be taken from; every byte of it has been checked."""
    by_stamps, by_content = known

    def recognize(number: int) -> _Found:
        source = making.sources[number]
        stamps, content = listing.stamps_of(source), ""
        # Of equal pictures in a split, each keeps its own row, so that the order stays.
        same_place = own[number] if number < len(own) else None
        piece = making.pieces[number]
        origin = by_stamps.get((stamps, piece))
        if same_place is not None and same_place.piece != piece:
            same_place = None
        if origin and same_place and same_place.source.stamps == stamps:
            origin = same_place
        if origin is None:
            content = making.content(number)
            origin = by_content.get((content, piece))
            if origin and same_place and same_place.source.content == content:
                origin = same_place
        if origin is None or not origin.sound:
            return _Found(listing.Fingerprint(stamps, content), None, damaged=origin is not None)
        return _Found(listing.fingerprint(stamps, origin.source.content), origin)

    if not by_stamps and not by_content:
        return [_Found(listing.Fingerprint((), ""), None)] * len(making.sources)
    numbers = range(len(making.sources))
    spans = [numbers[start : start + _AT_ONCE] for start in numbers[::_AT_ONCE]]
    found = map_in_threads(lambda span: list(map(recognize, span)), spans, workers=workers)
    return list(itertools.chain.from_iterable(found))


def _write_rows(
    jobs: Sequence[_ArrayJob], groups: Sequence[range], workers: int, progress: Progress | None
) -> tuple[list[list[StoredRow]], int]:
    """Fill arrays; return the rows of each, and how many rows were decoded."""
    if not jobs:
        if progress is not None and groups:
            progress(len(groups), len(groups))
        return [], 0
    rows: list[list[StoredRow]] = [[] for _ in jobs]
    decoded = 0

    def make(numbers: range) -> list[list[tuple[StoredRow, bool]]]:
        return [[_make_row(job, number) for job in jobs] for number in numbers]

    made = map_in_threads(make, groups, workers=workers, progress=progress)
    # Closed before the files are: no thread may be left that still writes to them.
    with closing(made):
        for entry in itertools.chain.from_iterable(made):
            decoded += any(is_decoded for _, is_decoded in entry)
            for row, (new, _) in zip(rows, entry, strict=True):
                row.append(new)
    return rows, decoded


def _make_row(job: _ArrayJob, number: int) -> tuple[StoredRow, bool]:
    """Write a row; return what is known about it, and whether it had to be decoded."""
    found = job.found[number]
    if found.origin is not None:
        checksum = job.array.put(number, found.origin.values)
        if checksum == found.origin.checksum:
            return StoredRow(found.source, checksum, *found.origin.piece), False
    source = job.making.sources[number]
    stamps = listing.stamps_of(source)
    checksum = job.array.put(number, job.making.load(number))
    content = job.making.content(number)
    steady = listing.stamps_of(source) == stamps
    made_of = listing.fingerprint(stamps, content) if steady else listing.Fingerprint(stamps, "")
    return StoredRow(made_of, checksum, *job.making.pieces[number]), True
