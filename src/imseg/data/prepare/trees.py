"""Finding folders in a download."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imseg.data.image_io import SUFFIXES
from imseg.errors import near_miss

_HIDDEN = (".", "__MACOSX")


def descend(root: Path, path: str) -> Path | None:
    """Return the folder ``path`` in ``root``, or None.

    Args:
        root: Where to begin.
        path: Folder names joined by ``/``; alternatives for one folder are joined by ``|``.
            Capitals do not matter. A folder that was unpacked into itself is looked through.
    """
    here = root
    for part in path.split("/"):
        found = _child(here, part)
        if found is None:
            return None
        here = found
    while folders_in(here) == [here / here.name]:
        here = here / here.name
    return here


def misspelt(root: Path, path: str) -> tuple[str, str] | None:
    """Return the name of a folder and what it may have been meant to be, for a missing path."""
    here = root
    for part in path.split("/"):
        found = _child(here, part)
        if found is None:
            names = [child.name for child in folders_in(here)]
            pairs = ((near_miss(name, names), name) for name in part.split("|"))
            return next(((guess, name) for guess, name in pairs if guess), None)
        here = found
    return None


def looked_through(folder: Path) -> list[Path]:
    """Return the folders below that are each the only folder in one without pictures."""
    chain: list[Path] = []
    while len(chain) < 4:
        inside = folders_in(folder)
        if len(inside) != 1 or any(path.suffix.lower() in SUFFIXES for path in files_in(folder)):
            break
        folder = inside[0]
        chain.append(folder)
    return chain


def folders_below(folder: Path | None, depth: int) -> Iterator[Path]:
    """Yield the folders in a folder, sorted, each before those in it, down to a depth."""
    for inside in folders_in(folder):
        yield inside
        if depth > 1:
            yield from folders_below(inside, depth - 1)


def folders_in(folder: Path | None) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones."""
    return [path for path in _listed(folder) if path.is_dir()]


def files_in(folder: Path | None) -> list[Path]:
    """Return the files in a folder, sorted, without hidden ones."""
    return [path for path in _listed(folder) if path.is_file()]


def _child(folder: Path, names: str) -> Path | None:
    """Return the folder of the first of these names, joined by ``|``, in whatever capitals."""
    inside = {child.name: child for child in folders_in(folder)}
    lower = {name.lower(): child for name, child in sorted(inside.items(), reverse=True)}
    hits = (inside.get(name) or lower.get(name.lower()) for name in names.split("|"))
    return next((hit for hit in hits if hit is not None), None)


def _listed(folder: Path | None) -> list[Path]:
    if folder is None or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith(_HIDDEN))
