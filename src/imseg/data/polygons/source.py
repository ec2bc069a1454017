"""Annotations that come as an archive, as CVAT exports them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imseg.data.archives import unpack
from imseg.data.bounded import open_plain
from imseg.errors import ImsegError, ImsegErrors, and_more

_ZIP = b"PK\x03\x04"


@contextmanager
def opened(source: Path, spare: Path) -> Iterator[Path]:
    """Yield the annotations: ``source`` itself, or what is in it if it is a zip file.

    What goes wrong inside the block names the zip file, not where it was unpacked.

    Args:
        source: A file or folder of annotations, or a zip file of them.
        spare: A folder to unpack to; whoever names it removes it.

    Raises:
        ImsegError: If the zip file cannot be trusted, or holds no annotations or several.
    """
    if not _is_zip(source):
        yield source
        return
    unpack(source, spare)
    try:
        yield _annotations_in(spare)
    except ImsegErrors as several:
        raise ImsegErrors([_renamed(each, spare, source) for each in several.errors]) from None
    except ImsegError as error:
        raise _renamed(error, spare, source) from None


def _is_zip(source: Path) -> bool:
    try:
        with open_plain(source) as file:
            return file.read(len(_ZIP)) == _ZIP
    except OSError:  # a folder, or not there: whoever reads it says so
        return False


def _annotations_in(folder: Path) -> Path:
    """Return the file or folder of annotations in an unpacked archive."""
    for suffix in (".xml", ".json"):
        files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() == suffix]
        if len(files) == 1:
            return files[0]
        if suffix == ".json" and len({path.parent for path in files}) == 1:
            return files[0].parent
        if files:
            raise ImsegError(
                f"{folder} holds more than one file of annotations.",
                expected="one, such as annotations.xml.",
                got=f"{and_more([path.relative_to(folder).as_posix() for path in files])}.",
                hint="unpack it, and name one of them.",
            )
    return folder


def _renamed(error: ImsegError, spare: Path, source: Path) -> ImsegError:
    """Return the error with the name that the user knows."""
    texts = [
        text.replace(str(spare), str(source)) if text else None
        for text in (error.what, error.expected, error.got, error.hint)
    ]
    return ImsegError(texts[0] or "", expected=texts[1], got=texts[2], hint=texts[3])
