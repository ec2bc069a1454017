"""Files that are read with a bound on their size, and files that appear whole or not at all."""

import codecs
import errno
import os
import shutil
import stat
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from imseg.errors import ImsegError, and_more

MOST_DOCUMENT = 64 << 20
"""Bytes that a file of settings or results may have: JSON or TOML that is held in memory."""


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading, also through links, if it is a plain one.

    Raises:
        OSError: If it cannot be read, or is a pipe or a device: something that waits for a writer
            for ever, or never ends.
    """
    file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115 (the caller closes it)
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; without this flag, opening a pipe would wait for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_bounded(path: Path, most: int = MOST_DOCUMENT) -> bytes:
    """Return the content of a plain file.

    Args:
        path: Where it is, also through links.
        most: Bytes that it may have.

    Raises:
        OSError: If it cannot be read, is no plain file, or is larger.
    """
    with open_plain(path) as file:
        content = file.read(min(os.fstat(file.fileno()).st_size, most) + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most >> 20} MiB", str(path))
    return content


_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""What editors write before text (byte order marks), and which encoding each of them means."""


def read_text(path: Path) -> str:
    """Return the text of a file that a user wrote: UTF-8, or UTF-16 with its byte order mark.

    Lines end as they do on Linux, whatever system they were written on.

    Args:
        path: Where it is, also through links.

    Raises:
        OSError: As ``read_bounded`` does.
        ImsegError: If the file is in another encoding; the line is named.
    """
    content = read_bounded(path)
    mark = next((each for each in _MARKS if content.startswith(each)), b"")
    try:
        text = content.removeprefix(mark).decode(_MARKS.get(mark, "utf-8"))
    except UnicodeDecodeError as error:
        place, byte = (
            content.count(b"\n", 0, len(mark) + error.start) + 1,
            error.object[error.start],
        )
        raise _other_encoding(path, f"byte 0x{byte:02x} in line {place}.") from error
    if "\0" in text:
        raise _other_encoding(path, "bytes that are 0, as UTF-16 has.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _other_encoding(path: Path, got: str) -> ImsegError:
    return ImsegError(
        f"{path} cannot be read as text in UTF-8.",
        expected="text in the encoding UTF-8.",
        got=got,
        hint="open it in a text editor and save it with the encoding UTF-8.",
    )


_TEMPORARY = ".tmp"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it appears complete or not at all, even if the machine stops.

    Args:
        path: Where; missing folders are made, an existing file is replaced.
        content: Everything that goes into it.

    Raises:
        ImsegError: If it cannot be written, such as on a full disk; what was there before is left.
    """
    make_folder(path.parent)
    publish(path, content)
    bring_names_to_disk(path.parent)


def publish(path: Path, content: bytes) -> None:
    """Write a file whole into a folder that is there; its name may be lost if the power fails now.

    For many files in a row, such as predicted masks, of which each can be made again.

    Raises:
        ImsegError: If it cannot be written; what was there before is left.
    """
    file = NewFile(path)
    try:
        file.write_at(0, content)
        file.seal()
        file.publish()
    finally:
        file.discard()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        ImsegError: If it cannot be made.
    """
    with writing_into(folder):
        folder.mkdir(parents=True, exist_ok=True)


def copy_file(source: Path, target: Path) -> None:
    """Copy the content of a file, byte for byte, to a folder that is not published yet.

    Raises:
        ImsegError: If it cannot be read or written.
    """
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise ImsegError(
            f"{source} could not be copied.",
            expected="a readable file, and room for its copy.",
            got=f"{error.strerror or error}.",
            hint="free some disk space, or mend the permissions.",
        ) from error


class NewFile:
    """A file under a temporary name, which gets its own when it is whole and on the disk.

    Args:
        path: The name it gets in the end.

    Raises:
        ImsegError: If it cannot be made; from all methods, if they cannot do what they are for.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # The leading dot keeps a left-over from a crash out of folders that are read as data.
        self._temporary = path.with_name(f"{_start(path)}{uuid.uuid4().hex}{_TEMPORARY}")
        self._lock = threading.Lock()
        with writing_into(path):
            self._file: BinaryIO = self._temporary.open("xb")

    @property
    def stream(self) -> BinaryIO:
        """The open file, for a library that writes it by itself."""
        return self._file

    def write_at(self, start: int, content: bytes | memoryview) -> None:
        """Write bytes at a place; threads may do so at once."""
        with writing_into(self._path), self._lock:
            self._file.seek(start)
            self._file.write(content)

    def lengthen(self, length: int) -> None:
        """Let the file be so many bytes long; what was not written is zero."""
        with writing_into(self._path), self._lock:
            self._file.truncate(max(length, self._file.seek(0, os.SEEK_END)))

    def seal(self) -> None:
        """Bring the content to the disk."""
        with writing_into(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def publish(self) -> None:
        """Give a sealed file its name."""
        with writing_into(self._path):
            self._temporary.replace(self._path)

    def discard(self) -> None:
        """Remove the file if it has not been published."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Remove what a process that was killed left of a file that it was writing."""
    if path.parent.is_dir():
        _remove(left for left in path.parent.iterdir() if left.name.startswith(_start(path)))


def sweep_all(folder: Path) -> None:
    """Remove what processes that were killed left of any file in a folder and those below it."""
    _remove(folder.rglob(f".*{_TEMPORARY}"))


def _start(path: Path) -> str:
    """Return what temporary names of a file begin with; its own may be as long as names can be."""
    # Names that came in another encoding hold bytes that are no text; they are left out.
    start = path.name.encode(errors="ignore")[:100].decode(errors="ignore")
    return f".{start}."


def _remove(left_over: Iterable[Path]) -> None:
    for path in left_over:
        if path.name.endswith(_TEMPORARY):
            # It does no harm, and the folder may be one that can only be read.
            with suppress(OSError):
                path.unlink()


@contextmanager
def writing_into(place: Path) -> Iterator[None]:
    """Turn whatever the system says against writing to a place into an error that names it.

    Args:
        place: A folder, or a file.

    Raises:
        ImsegError: If the block meets an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise ImsegError(
            f"{place} cannot be written to.",
            got=str(error.strerror or error) + ".",
            hint="make room on its disk, or choose another one."
            if full
            else "check the folder's permissions and the free space on its disk.",
        ) from error


def bring_names_to_disk(folder: Path) -> None:
    """Make sure that published files keep their names when the power fails now."""
    # Not every system lets folders be opened; there the names reach the disk when they do.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


_KEPT = 40
"""Characters of a folder's name in that of its sibling, which could get too long else."""


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden sibling to fill, which takes the name ``folder`` when the block ends well.

    After an error inside the block the sibling is removed and ``folder`` is as it was.

    Args:
        folder: Must not exist yet, or be empty. Missing parents are made.

    Raises:
        ImsegError: If ``folder`` is a file or holds something, or cannot be written.
    """
    folder = Path(folder).absolute()
    _refuse_if_taken(folder)
    with scratch_beside(folder) as part:
        yield part
        _refuse_if_taken(folder)
        try:
            if folder.exists():
                folder.rmdir()
            part.rename(folder)
        except OSError as error:
            raise _not_writable(folder, error) from error


@contextmanager
def scratch_beside(folder: Path) -> Iterator[Path]:
    """Yield a hidden, empty sibling of ``folder``, which is removed when the block ends.

    Args:
        folder: Need not exist. Missing parents are made, and removed again if they stay empty.

    Raises:
        ImsegError: If nothing can be written there.
    """
    folder = Path(folder).absolute()
    part = folder.parent / f".{folder.name[:_KEPT]}.{uuid.uuid4().hex[:8]}.part"
    made: list[Path] = []
    try:
        made = [parent for parent in part.parents if not parent.exists()]
        part.mkdir(parents=True)
    except OSError as error:
        _remove_empty(made)
        raise _not_writable(folder, error) from error
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        _remove_empty(made)


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders, the innermost first, as far as they are empty."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _refuse_if_taken(folder: Path) -> None:
    try:
        found = sorted(child.name for child in folder.iterdir()) if folder.exists() else []
    except NotADirectoryError:
        raise ImsegError(
            f"{folder} is a file.",
            expected="a folder that does not exist yet, or an empty one.",
            hint="name another folder.",
        ) from None
    except OSError as error:
        raise _not_writable(folder, error) from error
    if found:
        raise ImsegError(
            f"{folder} is not empty, and nothing is ever written over.",
            expected="a folder that does not exist yet, or an empty one.",
            got=and_more(found),
            hint="name another folder, or remove this one.",
        )


def _not_writable(folder: Path, error: OSError) -> ImsegError:
    return ImsegError(
        f"{folder} cannot be written.",
        expected="a folder that may be made and renamed here.",
        got=f"{error.strerror or error}.",
        hint="name a folder somewhere else, or mend the permissions.",
    )
