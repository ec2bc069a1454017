"""What lies in a folder: pictures by stem, and names that are refused. Nothing is opened here."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from imseg.data.image_io import SUFFIXES
from imseg.errors import near_miss

_JUNK = frozenset({"thumbs.db", "desktop.ini"})
# Control characters, halves of surrogate pairs (names that are no Unicode), ends of lines.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
# These turn the direction of text, so that a name shows as another one.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


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
    return any(
        unicodedata.category(each) in _REFUSED_CATEGORIES or each in _TURNING for each in path.name
    )


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
