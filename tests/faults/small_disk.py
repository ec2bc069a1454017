"""Disks with little room, for those who may mount them."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PAGE = 4096


def may_mount() -> bool:
    """Return whether this process may mount a disk in memory."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            with mounted(Path(folder), PAGE):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


@contextmanager
def mounted(folder: Path, room: int) -> Iterator[None]:
    """Mount a disk with room for so many bytes on a folder."""
    size = f"size={-(-room // PAGE) * PAGE}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def enlarge(folder: Path, room: int) -> None:
    """Give a mounted disk more room."""
    subprocess.run(["mount", "-o", f"remount,size={room}", folder], check=True)


def size_of(folder: Path) -> int:
    """Return the room that the files of a folder take, in bytes of whole pages."""
    sizes = (path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return sum(-(-size // PAGE) * PAGE for size in sizes)
