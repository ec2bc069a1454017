"""What a source was when it was read: enough to tell later, and cheaply, whether it still is."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Source = Path | Mapping[str, Path] | npt.NDArray[Any]
"""A file, one file a label, or a decoded array."""

RECENT = 2_000_000_000
"""Nanoseconds within which a file can change twice and keep its times: FAT counts two seconds."""

_UNKNOWN = -1


class Stamp(NamedTuple):
    """What the file system says about a file, without opening it."""

    label: str
    """Whose mask it is; empty where a source is a single file."""
    path: str
    """Absolute."""
    size: int
    """Bytes; -1: there is no such file."""
    modified: int
    """Nanoseconds since 1970; -1: too recent for a further change to be seen by it."""
    changed: int
    """Nanoseconds since 1970. Unlike ``modified``, copying and unpacking cannot set it back."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """How a source is known again: by its stamps at no cost, else by its content."""

    stamps: tuple[Stamp, ...]
    """One a file; none for an array."""
    content: str
    """SHA-256 of what the files or the array hold; empty: they changed while they were read."""


def stamps_of(source: Source) -> tuple[Stamp, ...]:
    """Return the stamps of a source's files as they are now."""
    files = _files(source)
    return tuple(_stamp(label, files[label]) for label in sorted(files))


def content_of(source: Source) -> str:
    """Return the SHA-256 of what a source holds; empty if a file cannot be read."""
    digest = hashlib.sha256()
    if isinstance(source, np.ndarray):
        digest.update(f"{source.dtype.str} {source.shape}".encode())
        digest.update(source.tobytes())
        return digest.hexdigest()
    files = _files(source)
    for label in sorted(files):
        # The suffix belongs to it: what a file is read as may depend on it.
        digest.update(os.fsencode(f"{label}\0{files[label].suffix.lower()}\0"))
        try:
            with files[label].open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError:
            return ""
    return digest.hexdigest()


def fingerprint(stamps: tuple[Stamp, ...], content: str) -> Fingerprint:
    """Return the fingerprint to keep of a source that was read just now.

    Args:
        stamps: Of its files, from before they were read.
        content: The hash of what was read.
    """
    now = time.time_ns()
    kept = tuple(
        stamp._replace(modified=_UNKNOWN)
        if now - max(stamp.modified, stamp.changed) < RECENT
        else stamp
        for stamp in stamps
    )
    return Fingerprint(kept, content)


def still_holds(known: Fingerprint) -> bool:
    """Return whether the files of a source hold what they held; an array always does.

    Files are read only if their stamps differ, for example after ``touch``.

    Args:
        known: The fingerprint that was kept.
    """
    files = {stamp.label: Path(stamp.path) for stamp in known.stamps}
    if stamps_of(files) == known.stamps:
        return True
    return known.content != "" and content_of(files.get("", files)) == known.content


def _files(source: Source) -> Mapping[str, Path]:
    if isinstance(source, np.ndarray):
        return {}
    return source if isinstance(source, Mapping) else {"": source}


def _stamp(label: str, path: Path) -> Stamp:
    place = str(path.absolute())
    try:
        found = path.stat()
    except OSError:
        return Stamp(label, place, _UNKNOWN, _UNKNOWN, _UNKNOWN)
    return Stamp(label, place, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
