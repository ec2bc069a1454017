"""Zip and tar files behind one interface; what may be in them is decided in ``archives``."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from imseg.errors import ImsegError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""How the names of archives end, in lower case."""

# What the libraries raise for archives that are broken in one way or another, beside OSError.
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error)
_BROKEN_INSIDE = (EOFError, NotImplementedError, RuntimeError, ValueError, KeyError, IndexError)
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
    handle: Any
    """What the library knows it by."""


class OpenedArchive(Protocol):
    """An archive that is open for reading."""

    def entries(self) -> Iterator[StoredEntry]:
        """Yield what is in it; whoever does not like an entry stops here."""

    def open(self, entry: StoredEntry) -> IO[bytes]:
        """Return the content of a file."""


class HugeHeader(Exception):
    """A header claims more bytes than any honest one has."""


def is_archive(path: Path) -> bool:
    """Return whether the name is that of an archive that can be unpacked."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def archive_stem(path: Path) -> str:
    """Return the name of an archive without its ending: ``masks`` for ``masks.tar.gz``."""
    lower = path.name.lower()
    return path.name[: -max(len(end) for end in SUFFIXES if lower.endswith(end))]


@contextmanager
def open_archive(path: Path, *, most_read: int) -> Iterator[OpenedArchive]:
    """Open an archive; whatever goes wrong while it is open becomes an error that names it.

    Args:
        path: A zip or tar file; see ``SUFFIXES``.
        most_read: Bytes that may be read at once. Tables of contents are read so, into memory.

    Raises:
        HugeHeader: If a header is larger than ``most_read``.
        ImsegError: If the file is missing or damaged.
    """
    try:
        with path.open("rb") as raw:
            if path.name.lower().endswith(".zip"):
                with zipfile.ZipFile(_guarded(raw, most_read)) as opened:
                    yield _Zip(opened)
            else:
                with (
                    _decompressed(raw, path.name.lower()) as stream,
                    tarfile.open(fileobj=_guarded(stream, most_read), mode="r:") as tar,
                ):
                    yield _Tar(tar)
    except FileNotFoundError as error:
        raise ImsegError(f"There is no file {path}.", hint="check the path.") from error
    except (*_BROKEN, *_BROKEN_INSIDE, OSError) as error:
        raise ImsegError(
            f"{path} cannot be unpacked.",
            expected="a whole zip or tar file.",
            got=f"{error or type(error).__name__}.",
            hint="download it again, or unpack it yourself and name the folder.",
        ) from error


class _Zip:
    def __init__(self, opened: zipfile.ZipFile) -> None:
        self._opened = opened

    def entries(self) -> Iterator[StoredEntry]:
        for info in self._opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            problem = ""
            if kind == stat.S_IFLNK:
                problem = "is a link"
            elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                problem = "is a device or something like it"
            elif info.flag_bits & 0x1:
                problem = "is encrypted"
            # The library cuts names at a NUL character; the name as written shows it.
            name = info.orig_filename if "\0" in info.orig_filename else info.filename
            yield StoredEntry(
                name=name,
                size=info.file_size,
                is_folder=info.is_dir() or info.filename.endswith("\\"),
                problem=problem,
                handle=info,
            )

    def open(self, entry: StoredEntry) -> IO[bytes]:
        return self._opened.open(entry.handle)


class _Tar:
    def __init__(self, opened: tarfile.TarFile) -> None:
        self._opened = opened

    def entries(self) -> Iterator[StoredEntry]:
        for info in self._opened:
            problem = ""
            if info.islnk() or info.issym():
                problem = "is a link"
            elif info.issparse():
                problem = "is a file with holes"
            elif not (info.isfile() or info.isdir()):
                problem = "is a device or something like it"
            yield StoredEntry(
                name=info.name,
                size=info.size,
                is_folder=info.isdir(),
                problem=problem,
                handle=info,
            )
        self._check_end()

    def _check_end(self) -> None:
        """Notice a damaged header or a missing end, which the library takes for the end."""
        file: Any = self._opened.fileobj
        file.seek(self._opened.offset)
        if file.read(_BLOCK) != bytes(_BLOCK):
            raise tarfile.ReadError("a header is damaged, or the end is missing")

    def open(self, entry: StoredEntry) -> IO[bytes]:
        file = self._opened.extractfile(entry.handle)
        if file is None:
            raise tarfile.ReadError(f"{entry.name!r} is no file")
        return file


class _Guarded(io.RawIOBase):
    """A file that refuses to be read in huge pieces, as damaged or hostile headers ask for."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file = file
        self._most = most

    def read(self, size: int = -1, /) -> bytes:
        if size > self._most:
            raise HugeHeader
        data = self._file.read(size if size >= 0 else self._most + 1)
        if len(data) > self._most:
            raise HugeHeader
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _guarded(file: IO[bytes], most: int) -> IO[bytes]:
    guarded: Any = _Guarded(file, most)
    return guarded  # type: ignore[no-any-return]


def _decompressed(raw: IO[bytes], name: str) -> Any:
    if name.endswith((".gz", ".tgz")):
        return gzip.GzipFile(fileobj=raw, mode="rb")
    if name.endswith(".bz2"):
        return bz2.BZ2File(raw)
    if name.endswith(".xz"):
        return lzma.LZMAFile(raw)
    return raw
