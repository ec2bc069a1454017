"""What lies in a folder: pictures by stem, and names that are refused. Nothing is opened here."""

import csv
import hashlib
import io
import os
import re
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from imseg.data.images.decoding import SUFFIXES
from imseg.errors import Finding, and_more, near_miss, shown

Links = Literal["refuse", "read", "follow"]
"""What is done with links that lead out of a data folder: they are errors, they are read with a
warning, or they are read because the user asked for it."""

_JUNK = frozenset({"thumbs.db", "desktop.ini"})
_LONGEST_NAME = 200  # bytes; file systems end at 255


def is_hidden(path: Path) -> bool:
    """Return whether a file or folder is one that systems hide or make for themselves."""
    return path.name.startswith((".", "__MACOSX")) or path.name.lower() in _JUNK


def list_pictures(folder: Path) -> tuple[dict[str, list[Path]], list[Path], list[Path]]:
    """Return the picture files of a folder by stem (sorted), what else is no folder, and folders.

    Stems are composed (NFC): systems write one name in two ways, an e with an accent as one
    character or as two.

    Links that lead nowhere count as files; reading them says so. Pipes, sockets and devices do not:
    opening one might wait for ever.
    """
    pictures: dict[str, list[Path]] = {}
    strange: list[Path] = []
    folders: list[Path] = []
    # By name, so that nothing depends on the order in which a file system lists its files.
    for path in sorted(folder.iterdir(), key=lambda path: (path.stem, path.name)):
        if is_hidden(path):
            continue
        if path.is_dir():
            folders.append(path)
        elif path.suffix.lower() in SUFFIXES and (path.is_file() or not path.exists()):
            pictures.setdefault(stem_of(path), []).append(path)
        else:
            strange.append(path)
    return pictures, strange, folders


def stem_of(path: Path) -> str:
    """Return what joins a file with others: its stem, composed (NFC)."""
    return composed(path.stem)


def composed(name: str) -> str:
    """Return a name with each letter and its accents as one character (NFC), where there is one."""
    return unicodedata.normalize("NFC", name)


def stems_by_case(stems: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Return which stems differ from one of the others in upper and lower case alone.

    Args:
        stems: What is to be named as the others are.
        others: Other stems. Those that are among ``stems`` themselves are left out.

    Returns:
        The other stem by stem, only where there is one of each.
    """
    mine, theirs = set(stems), set(others)
    groups: dict[str, tuple[list[str], list[str]]] = {}
    for side, alone in enumerate((mine - theirs, theirs - mine)):
        for stem in alone:
            groups.setdefault(stem.casefold(), ([], []))[side].append(stem)
    return {ours[0]: them[0] for ours, them in groups.values() if len(ours) == len(them) == 1}


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones."""
    return [path for path in _listed(folder) if path.is_dir()]


def files_in(folder: Path) -> list[Path]:
    """Return the files in a folder, sorted, without hidden ones."""
    return [path for path in _listed(folder) if path.is_file()]


def _listed(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))


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
        while folded(name) in taken:
            name, number = f"{plain}_{number}", number + 1
        taken.add(folded(name))
        names.append(name)
    return names


def folded(name: str) -> str:
    """Return what equal names have in common on systems that see no case or composition."""
    return composed(name).casefold()


def told_apart(names: Sequence[str]) -> list[str]:
    """Return names as they can be shown, with escapes where two of them would look alike."""
    alike = len(set(map(composed, names))) < len(names)
    return [ascii(name)[1:-1] if alike else shown(name) for name in names]


def leads_out(path: Path, root: Path) -> bool:
    """Return whether a path ends outside of a folder, because a link on the way leads there."""
    try:
        return not path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        # Links in a circle lead nowhere; reading the file says so.
        return False


def real_path(path: Path) -> Path:
    """Return where a path ends, links followed; those in a circle stay as they are."""
    return Path(os.path.realpath(path))


def short_name(folder: Path) -> str:
    """Return a folder's name for what is called after it: printable, and of at most 200 bytes."""
    name = shown(real_path(folder).name)
    return name.encode()[:_LONGEST_NAME].decode(errors="ignore")


def by_number(name: str) -> list[tuple[str, int]]:
    """Return a key that sorts names as people do: a2 before a10."""
    return [(text, int(number or -1)) for text, number in re.findall(r"(\D*)(\d*)", name)]


def nearest_stem(stem: str, known: Iterable[str]) -> str | None:
    """Return the stem most likely meant: one that contains the other, else one that looks alike."""
    stems = list(known)
    around = [other for other in stems if stem in other or other in stem]
    return min(around, key=len) if around else near_miss(stem, stems)


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number and its noun: ``1 mask``, ``3 masks``."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"


def subject(number: int, noun: str, one: str = "is", many: str = "are") -> str:
    """Return a number, its noun and what agrees with it: ``1 mask is``, ``3 masks are``."""
    return f"{counted(number, noun)} {one if number == 1 else many}"


_OUTSIDE: Mapping[Links, tuple[str, str, str, str]] = {
    "refuse": (
        "error",
        ".",
        "files and folders that are inside, or links to such.",
        "--follow-links (in Python follow_links=True) reads what they lead to, if you trust this"
        " folder; or copy what is meant to where the link is.",
    ),
    "read": (
        "warning",
        "; what is there was read for this check only.",
        "",
        "give --follow-links to train and other commands, if you trust this folder; they refuse"
        " such links without it.",
    ),
    "follow": ("note", "; what is there is read, because of --follow-links.", "", ""),
}
"""Severity, end of what is said, what is expected and hint about links that lead out."""


def note_refused(refused: Mapping[str, Iterable[str]], links_are: Links) -> list[Finding]:
    """Return findings about files that are not looked at, and about links that lead out.

    Args:
        refused: Their names below the data folder, those with odd ``names`` and odd ``links``.
        links_are: What is done with the links.
    """
    odd, links = [ascii(name) for name in refused["names"]], list(refused["links"])
    names = Finding(
        severity="error",
        what=f"{subject(len(odd), 'name', 'has', 'have')} control characters.",
        expected="names of printable characters.",
        got=and_more(odd) + ".",
        hint="rename them.",
        files=tuple(name[1:-1] for name in odd),
    )
    severity, end, expected, hint = _OUTSIDE[links_are]
    outside = Finding(
        severity=severity,
        what=f"{subject(len(links), 'link', 'leads', 'lead')} out of the data folder{end}",
        expected=expected,
        got=and_more(links) + ".",
        hint=hint,
        files=tuple(links),
    )
    return [finding for finding in (names, outside) if finding.files]


PixelSource = Path | Mapping[str, Path] | npt.NDArray[Any]
"""A file, one file per label, or a decoded array."""

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


class Fingerprint(NamedTuple):
    """How a source is known again: by its stamps at no cost, else by its content."""

    stamps: tuple[Stamp, ...]
    """One per file; none for an array."""
    content: str
    """SHA-256 of what the files or the array hold; empty: they changed while they were read."""


def stamps_of(source: PixelSource) -> tuple[Stamp, ...]:
    """Return the stamps of a source's files as they are now."""
    return tuple(_stamp(label, path) for label, path in sorted(_files(source).items()))


def content_of(source: PixelSource) -> str:
    """Return the SHA-256 of what a source holds; empty if a file cannot be read."""
    digest = hashlib.sha256()
    if isinstance(source, np.ndarray):
        digest.update(f"{source.dtype.str} {source.shape}".encode())
        digest.update(source.tobytes())
        return digest.hexdigest()
    for label, path in sorted(_files(source).items()):
        # The suffix belongs to it: what a file is read as may depend on it.
        digest.update(os.fsencode(f"{label}\0{path.suffix.lower()}\0"))
        try:
            with path.open("rb") as file:
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


def _files(source: PixelSource) -> Mapping[str, Path]:
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


_FORMULA = ("=", "+", "-", "@", "\t", "\r")

CsvCell = str | int | float | None
"""A value; None is an empty cell."""


def sheet(header: Sequence[str], rows: Iterable[Sequence[CsvCell]]) -> str:
    """Return a table as CSV, one line per row.

    Texts that a spreadsheet would run as a formula, such as a file called ``=1+1.png``, get a
    ``'`` before them, which shows them as text. Numbers are not touched, in words either.

    Args:
        header: Names of columns.
        rows: Values.
    """
    lines = Lines()
    return "".join(map(lines.of, [header, *rows]))


class Lines:
    """Rows of a table like that of ``sheet``, one by one."""

    def __init__(self) -> None:
        self._text = io.StringIO()
        self._writer = csv.writer(self._text, lineterminator="\n")

    def of(self, cells: Sequence[CsvCell]) -> str:
        """Return a row, with the end of its line."""
        self._text.seek(0)
        self._text.truncate()
        self._writer.writerow(map(_plain, cells))
        return self._text.getvalue()


def _plain(cell: CsvCell) -> CsvCell:
    if not isinstance(cell, str) or not cell.lstrip(" ").startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
