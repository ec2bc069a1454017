"""What lies in a folder: pictures by stem, and names that are refused. Nothing is opened here."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from imseg.data.image_io import SUFFIXES
from imseg.errors import near_miss, shown

_JUNK = frozenset({"thumbs.db", "desktop.ini"})
_LONGEST_NAME = 200  # bytes; file systems end at 255


def list_pictures(folder: Path) -> tuple[dict[str, list[Path]], list[Path], list[Path]]:
    """Return the picture files of a folder by stem (sorted), other files, and folders in it."""
    pictures: dict[str, list[Path]] = {}
    strange: list[Path] = []
    folders: list[Path] = []
    # By name, so that nothing depends on the order in which a file system lists its files.
    for path in sorted(folder.iterdir(), key=lambda path: (path.stem, path.name)):
        if path.name.startswith(".") or path.name.lower() in _JUNK:
            continue
        if path.is_dir():
            folders.append(path)
        elif path.suffix.lower() in SUFFIXES:
            pictures.setdefault(path.stem, []).append(path)
        else:
            strange.append(path)
    return pictures, strange, folders


def has_odd_name(path: Path) -> bool:
    """Return whether a name holds characters that would garble terminals and reports."""
    return shown(path.name) != path.name


def folder_names(labels: Sequence[str], *, others: Iterable[str] = ()) -> list[str]:
    """Return the name of a folder for each label: the label, wherever that is a plain name.

    What would lead elsewhere, hide the folder or steer a terminal becomes ``_``, and names that
    file systems may take for one get a number.

    Args:
        labels: What the user calls them.
        others: Names of further folders there.
    """
    names: list[str] = []
    taken = set(others)
    for label in labels:
        plain = "".join("_" if each in "/\\" else each for each in shown(label))
        plain = plain.encode()[:_LONGEST_NAME].decode("utf-8", "ignore")
        plain = plain if plain.strip(". ") and not plain.startswith(".") else f"_{plain}"
        name, number = plain, 2
        while _alike(name) in taken:
            name, number = f"{plain}_{number}", number + 1
        taken.add(_alike(name))
        names.append(name)
    return names


def _alike(name: str) -> str:
    """Return what equal names have in common on systems that see no case or composition."""
    return unicodedata.normalize("NFC", name).casefold()


def leads_out(path: Path, root: Path) -> bool:
    """Return whether a path ends outside of a folder, because a link on the way leads there."""
    try:
        return not path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        # Links in a circle lead nowhere; reading the file says so.
        return False


def nearest_stem(stem: str, known: Iterable[str]) -> str | None:
    """Return the stem most likely meant: one that contains the other, else one that looks alike."""
    stems = list(known)
    around = [other for other in stems if stem in other or other in stem]
    return min(around, key=len) if around else near_miss(stem, stems)


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number and its noun: ``1 mask``, ``3 masks``."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"
