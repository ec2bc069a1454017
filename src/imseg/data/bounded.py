"""Files from somebody else, read without trusting their size or kind."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MOST_DOCUMENT = 64 << 20
"""Bytes that a file of settings or results may have: JSON or TOML that is held in memory."""


def read_bounded(path: Path, most: int = MOST_DOCUMENT) -> bytes:
    """Return the content of a file.

    Args:
        path: Where it is, also through links.
        most: Bytes that it may have.

    Raises:
        OSError: If it cannot be read, is larger, or is no plain file: one that never ends, or
            waits for a writer for ever.
    """
    # Without O_NONBLOCK, opening a pipe would wait for whoever writes into it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        told = os.fstat(file.fileno())
        if stat.S_ISDIR(told.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(told.st_mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))
        content = file.read(min(told.st_size, most) + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most >> 20} MiB", str(path))
    return content
