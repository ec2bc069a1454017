"""Decode once: the pictures of a split as arrays on disk, which every network reads from memory."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imseg.data.encoding import UnknownMaskValues, encode
from imseg.data.facts import Progress, map_in_threads
from imseg.data.image_io import read_image, read_mask, resize_image, resize_mask, to_channels
from imseg.errors import ImsegError
from imseg.types import Bytes, Image, LabeledImage, TargetSpec

_HASHED_AT_ONCE = 1 << 26
_OnDisk = np.memmap[tuple[int, ...], np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the arrays of a split lie."""

    images: Path
    """A ``.npy`` file, ``n h w c`` unsigned bytes."""
    targets: Path | None
    """A ``.npy`` file, ``n t h w`` unsigned bytes, numbered as inside, t = 1; None: no masks."""
    digest: str
    """SHA-256 over the shapes and bytes of both arrays."""
    names: tuple[str, ...]
    """The name of each picture."""


def store_split(
    entries: Sequence[Image | LabeledImage],
    folder: Path,
    name: str,
    *,
    spec: TargetSpec,
    channels: int,
    size: tuple[int, int],
    workers: int,
    progress: Progress | None = None,
) -> Stored:
    """Decode, resize and encode pictures into ``<name>-images.npy`` and ``<name>-targets.npy``.

    The files appear whole or not at all. An empty split has both.

    Args:
        entries: All with masks, or all without.
        folder: An existing folder, or one to be made.
        name: Begins the names of the files.
        spec: What mask values mean.
        channels: 1 or 3 for every picture.
        size: Height and width in pixels for every picture.
        workers: Threads to decode with.
        progress: Called with (done, total) after each picture.

    Raises:
        ImsegError: If a file cannot be read or a mask holds unknown values.
        ValueError: If some entries have masks and some do not.
    """
    labeled = sum(isinstance(entry, LabeledImage) for entry in entries)
    if labeled not in (0, len(entries)):
        raise ValueError("a split has masks for all of its pictures or for none")
    with_targets = labeled == len(entries)
    _make_folder(folder)
    suffix = f".{uuid.uuid4().hex}.tmp"
    images_path, targets_path = folder / f"{name}-images.npy", folder / f"{name}-targets.npy"
    finals = [images_path, targets_path] if with_targets else [images_path]
    temporary = [path.with_name(f".{path.name}{suffix}") for path in finals]
    try:
        images = _new_array(temporary[0], (len(entries), *size, channels))
        targets = _new_array(temporary[1], (len(entries), 1, *size)) if with_targets else None

        def store(index: int) -> None:
            entry = entries[index]
            image = entry.image if isinstance(entry, LabeledImage) else entry
            images[index] = resize_image(load_pixels(image, channels), size)
            if targets is not None and isinstance(entry, LabeledImage):
                targets[index, 0] = load_target(entry, spec, size)

        for _ in map_in_threads(store, range(len(entries)), workers=workers, progress=progress):
            pass
        digest = _write_out([images] if targets is None else [images, targets])
        for source, final in zip(temporary, finals, strict=True):
            source.replace(final)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)
    return Stored(
        images=images_path,
        targets=targets_path if with_targets else None,
        digest=digest,
        names=tuple(entry.name for entry in entries),
    )


def open_array(path: Path) -> Bytes:
    """Return a stored array, read-only; its parts are read from disk when they are looked at."""
    array: Bytes = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def load_pixels(image: Image, channels: int) -> Bytes:
    """Return the pixels of a picture, ``h w c``, with that many channels.

    Raises:
        ImsegError: If the file cannot be read.
    """
    if isinstance(image.pixels, Path):
        return read_image(image.pixels, channels)
    pixels = image.pixels if image.pixels.ndim == 3 else image.pixels[..., None]
    return to_channels(pixels, channels)


def load_target(pair: LabeledImage, spec: TargetSpec, size: tuple[int, int] | None = None) -> Bytes:
    """Return the mask of a picture, ``h w``, in the numbering inside.

    Args:
        pair: A picture and its mask.
        spec: What mask values mean.
        size: Height and width to resize to; None keeps the mask's own.

    Raises:
        ImsegError: If the file cannot be read or holds unknown values.
    """
    mask: npt.NDArray[np.generic]
    mask = read_mask(pair.mask) if isinstance(pair.mask, Path) else pair.mask
    try:
        return encode(resize_mask(mask, size) if size is not None else mask, spec)
    except UnknownMaskValues as error:
        name = str(pair.mask) if isinstance(pair.mask, Path) else f"The mask of {pair.name}"
        raise ImsegError(
            f"{name} holds unknown values.",
            expected=error.expected,
            got=error.got,
            hint=error.hint,
        ) from error


def _new_array(path: Path, shape: tuple[int, ...]) -> _OnDisk:
    array: _OnDisk = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    return array


def _write_out(arrays: Sequence[_OnDisk]) -> str:
    """Bring arrays to the disk and return their digest."""
    digest = hashlib.sha256()
    for array in arrays:
        array.flush()
        digest.update(repr(array.shape).encode())
        flat = array.reshape(-1)
        for start in range(0, flat.size, _HASHED_AT_ONCE):
            digest.update(flat[start : start + _HASHED_AT_ONCE].data)
    return digest.hexdigest()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error) from error


def _cannot_write(folder: Path, error: OSError) -> ImsegError:
    return ImsegError(
        f"{folder} cannot be written to.",
        got=str(error.strerror or error) + ".",
        hint="check the folder's permissions and the free space on its disk.",
    )
