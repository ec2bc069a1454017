"""Folders that appear whole or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imseg.errors import ImsegError, and_more

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
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


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
