"""Files from somebody else, read without trusting their size or kind."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

MOST_DOCUMENT = 64 << 20
"""Bytes that a file of settings or results may have: JSON or TOML that is held in memory."""


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading, also through links, if it is a plain one.

    Raises:
        OSError: If it cannot be read, or is a pipe or a device: something that waits for a writer
            for ever, or never ends.
    """
    file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115 (whoever asked closes it)
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; without this flag, opening a pipe would wait for whoever writes into it."""
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
