"""Zip and tar files, which are looked through entry by entry before anything is unpacked."""

import bz2
import gzip
import lzma
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from imseg.data.files.listing import folded
from imseg.errors import ImsegError, parts_of, raise_all, shown

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""How the names of archives end, in lower case."""

_OF_LIBRARIES = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error)
# What is raised for archives that are broken in one way or another.
_BROKEN = (*_OF_LIBRARIES, OSError, EOFError, RuntimeError, ValueError, LookupError)
_OPENERS: dict[str, Any] = {".gz": gzip.open, ".tgz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """A file or folder in an archive, as the archive describes it; nothing is checked yet."""

    name: str
    """Its name, as written."""
    size: int
    """Bytes, unpacked."""
    is_folder: bool
    """Whether it is a folder."""
    problem: str
    """Why this is no plain file or folder, as the end of "which ..."; empty: it is one."""
    open: Callable[[], Any]
    """Returns the content of a file. The libraries give no more of it than ``size`` bytes, and
    raise an error if there is less."""


class _HugeHeader(Exception):
    """A header claims more bytes than any honest one has."""


def is_archive(path: Path) -> bool:
    """Return whether the name is that of an archive that can be unpacked."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def archive_stem(path: Path) -> str:
    """Return the name of an archive without its ending: ``masks`` for ``masks.tar.gz``."""
    lower = path.name.lower()
    return path.name[: -max(len(end) for end in SUFFIXES if lower.endswith(end))]


@contextmanager
def errors_naming(names: Mapping[Path, Path]) -> Iterator[None]:
    """Let errors raised inside name the archive of a file, not where it was unpacked to.

    Args:
        names: The folder to which each archive was unpacked.
    """

    def renamed(text: str | None) -> str | None:
        for archive, folder in names.items():
            text = text and text.replace(str(folder), str(archive))
        return text

    try:
        yield
    except ImsegError as error:
        each = [{part: renamed(text) for part, text in one.items()} for one in parts_of(error)]
        raise_all([ImsegError(texts.pop("what") or "", **texts) for texts in each])


@contextmanager
def open_archive(
    path: Path, *, most_read: int, encoding: str | None = None
) -> Iterator[Iterator[StoredEntry]]:
    """Yield what is in an archive; what goes wrong meanwhile becomes an error that names it.

    Args:
        path: A zip or tar file; see ``SUFFIXES``.
        most_read: Bytes that may be read at once. Tables of contents are read so, into memory.
        encoding: Of names in a zip file that are not UTF-8; None: that of the first computers.

    Raises:
        ImsegError: If the file is missing or damaged, or a header is larger than ``most_read``.
    """
    try:
        suffix = path.suffix.lower()
        with path.open("rb") as raw, _OPENERS.get(suffix, nullcontext)(raw) as stream:
            guarded: Any = _Guarded(stream, most_read)
            if suffix == ".zip":
                with zipfile.ZipFile(guarded, metadata_encoding=encoding) as opened:
                    yield _zip_entries(opened)
            else:
                with tarfile.open(fileobj=guarded, mode="r:") as tar:
                    yield _tar_entries(tar)
    except _HugeHeader as error:
        raise _refusal(path, "has a header larger than any real one") from error
    except FileNotFoundError as error:
        raise ImsegError(f"There is no file {path}.", hint="check the path.") from error
    except _BROKEN as error:
        raise ImsegError(
            f"{path} cannot be unpacked.",
            expected="a whole zip or tar file.",
            got=f"{error or type(error).__name__}.",
            hint="download it again, or unpack it yourself and name the folder.",
        ) from error


def _zip_entries(opened: zipfile.ZipFile) -> Iterator[StoredEntry]:
    for info in opened.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        problems = {
            "is a link": kind == stat.S_IFLNK,
            "is a device or something like it": kind not in (0, stat.S_IFREG, stat.S_IFDIR),
            "is encrypted": info.flag_bits & 0x1,
        }
        yield StoredEntry(
            # The library cuts names at a NUL character; the name as written shows it.
            name=info.orig_filename if "\0" in info.orig_filename else info.filename,
            size=info.file_size,
            is_folder=info.is_dir() or info.filename.endswith("\\"),
            problem=_first(problems),
            open=partial(opened.open, info),
        )


def _tar_entries(opened: tarfile.TarFile) -> Iterator[StoredEntry]:
    for info in opened:
        # The filter "data" of the library lets links inside the folder pass, and changes names.
        problems = {
            "is a link": info.islnk() or info.issym(),
            "is a file with holes": info.issparse(),
            "is a device or something like it": not (info.isfile() or info.isdir()),
        }
        yield StoredEntry(
            name=info.name,
            size=info.size,
            is_folder=info.isdir(),
            problem=_first(problems),
            open=partial(opened.extractfile, info),
        )
    # A damaged header and a missing end are the end for the library.
    file: Any = opened.fileobj
    file.seek(opened.offset)
    if file.read(_BLOCK) != bytes(_BLOCK):
        raise tarfile.ReadError("a header is damaged, or the end is missing")


def _first(problems: Mapping[str, object]) -> str:
    """Return the first problem that there is, or an empty text."""
    return next((problem for problem, found in problems.items() if found), "")


class _Guarded:
    """A file that refuses to be read in huge pieces, as damaged or hostile headers ask for."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file = file
        self._most = most

    def read(self, size: int = -1, /) -> bytes:
        if size > self._most:
            raise _HugeHeader
        data = self._file.read(size if size >= 0 else self._most + 1)
        if len(data) > self._most:
            raise _HugeHeader
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


_PIECE = 1 << 20
_LONGEST_PART, _LONGEST_NAME, _DEEPEST = 200, 1000, 32
# Control and formatting characters, halves of characters, separators of lines and paragraphs.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """How large an archive may be before it counts as an attack or a mistake."""

    entries: int = 200_000
    """Files and folders in it."""
    entry_bytes: int = 1 << 30
    """Bytes of one file, unpacked; no picture has more."""
    total_bytes: int = 64 << 30
    """Bytes of all files together, unpacked."""
    ratio: int = 200
    """Unpacked bytes for each packed byte, on top of ``free_bytes``."""
    free_bytes: int = 1 << 30
    """Unpacked bytes that are allowed whatever the ratio: flat masks shrink to almost nothing."""
    header_bytes: int = 32 << 20
    """Bytes that one header or table of contents may have; it is held in memory."""


class Unpacked(NamedTuple):
    """What was done with an archive."""

    files: tuple[PurePosixPath, ...]
    """Every file in it, whether it was wanted or not."""
    written: int
    """Bytes that were written."""


def unpack(
    archive: Path,
    folder: Path,
    *,
    wanted: Callable[[PurePosixPath], bool] = lambda _: True,
    limits: ArchiveLimits | None = None,
    encoding: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Unpacked:
    """Unpack an archive, after a look at every entry, the unwanted ones included.

    Hidden files, and what macOS adds, are left out. Permissions, owners and times are not taken
    over.

    Args:
        archive: A zip or tar file.
        folder: Where to; made if missing. Nothing else may write to it meanwhile.
        wanted: Called with the path of each file in the archive; only those it wants are written.
        limits: How much is too much.
        encoding: Of names in a zip file that are not UTF-8, as older Windows programs write them.
        progress: Called with (files written so far, files in all).

    Raises:
        ImsegError: If the archive is damaged, encrypted or larger than the limits or the disk, or
            an entry leaves the folder, is a link or device, or has a name that it should not have.
    """
    limits = limits or ArchiveLimits()
    with open_archive(archive, most_read=limits.header_bytes, encoding=encoding) as found:
        entries = _checked(archive, found, limits)
        shown = {path: entry for path, entry in entries.items() if _is_shown(path)}
        chosen = {path: entry for path, entry in shown.items() if wanted(path)}
        folder.mkdir(parents=True, exist_ok=True)
        needed = sum(entry.size for entry in chosen.values())
        _refuse_if_full(archive, folder, needed)
        for done, (path, entry) in enumerate(chosen.items(), start=1):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with entry.open() as stream, target.open("xb") as file:
                shutil.copyfileobj(stream, file, _PIECE)
            if progress is not None:
                progress(done, len(chosen))
    return Unpacked(tuple(shown), needed)


def read_files(
    archive: Path, *, limits: ArchiveLimits | None = None
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield the path and the content of each file of an archive, one after another.

    Nothing is written. What ``unpack`` leaves out is left out here, too.

    Args:
        archive: A zip or tar file.
        limits: How much is too much.

    Raises:
        ImsegError: As ``unpack`` does.
    """
    limits = limits or ArchiveLimits()
    with open_archive(archive, most_read=limits.header_bytes) as found:
        for path, entry in _checked(archive, found, limits).items():
            if _is_shown(path):
                with entry.open() as stream:
                    yield path, stream.read()


def _checked(
    archive: Path, found: Iterator[StoredEntry], limits: ArchiveLimits
) -> dict[PurePosixPath, StoredEntry]:
    """Return the files of an archive by where they go, or refuse the archive."""
    packed = archive.stat().st_size
    most = min(limits.total_bytes, limits.free_bytes + limits.ratio * packed)
    files: dict[PurePosixPath, StoredEntry] = {}
    taken: dict[str, bool] = {}
    total = 0
    for count, entry in enumerate(found, start=1):
        # Some Windows programs write backslashes between folders.
        path = PurePosixPath(entry.name.replace("\\", "/"))
        total += entry.size
        problem = entry.problem or _problem_of_name(entry, path)
        if not problem and entry.size > limits.entry_bytes:
            problem = f"unpacks to {size_in_words(entry.size)}"
        if not problem and not _take(path, taken, is_folder=entry.is_folder):
            problem = "is there twice"
        if problem:
            raise _refusal(archive, f"holds the entry {_quoted(entry.name)}, which {problem}")
        if count > limits.entries:
            raise _refusal(archive, f"holds more than {limits.entries:,} entries")
        if total > most:
            swells = f"{size_in_words(packed)} that unpack to more than {size_in_words(most)}"
            raise _refusal(archive, f"holds {swells}, at the entry {_quoted(entry.name)}")
        if not entry.is_folder:
            files[path] = entry
    return files


def _problem_of_name(entry: StoredEntry, path: PurePosixPath) -> str:
    name, parts = entry.name, path.parts
    odd = any(unicodedata.category(each) in _UNPRINTABLE for each in name)
    long = any(len(part.encode(errors="replace")) > _LONGEST_PART for part in parts)
    problems = {
        "has control characters in its name": odd,
        "has an absolute name": path.is_absolute() or (parts and parts[0][1:2] == ":"),
        "leaves the folder": ".." in parts,
        "has no name": not parts and not entry.is_folder,
        "has a name longer than files have": long
        or len(name) > _LONGEST_NAME
        or len(parts) > _DEEPEST,
    }
    return _first(problems)


def _take(path: PurePosixPath, taken: dict[str, bool], *, is_folder: bool) -> bool:
    """Note a name and its folders in ``taken`` (is it a folder?); return whether it was free.

    Letters count as equal in both cases, because on some systems the second file would replace the
    first. A folder may be named as often as one likes.
    """
    own, *above = [folded(each.as_posix()) for each in (path, *path.parents)]
    if not all(taken.get(up, True) for up in above):
        return False
    if own in taken and not (is_folder and taken[own]):
        return False
    taken.update(dict.fromkeys(above, True))
    taken[own] = is_folder
    return True


def _refuse_if_full(archive: Path, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ImsegError(
            f"There is no room to unpack {archive}.",
            expected=f"{size_in_words(needed)} free in {shown(folder.parent)}.",
            got=f"{size_in_words(free)}.",
            hint="free some disk space, or write to another disk.",
        )


def _is_shown(path: PurePosixPath) -> bool:
    return not any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _refusal(archive: Path, problem: str) -> ImsegError:
    return ImsegError(
        f"{archive} {problem}.",
        expected="an archive of plain files with plain names, as the data set's site offers it.",
        hint="download it again from there; if you trust it, unpack it yourself and name the"
        " folder.",
    )


def _quoted(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:77] + "...")


def size_in_words(size: int) -> str:
    """Return a number of bytes for people: ``1.5 GiB``."""
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    unit = min((size.bit_length() - 1) // 10, len(units) - 1) if size else 0
    return f"{size / 1024**unit:.{1 if unit else 0}f} {units[unit]}"
