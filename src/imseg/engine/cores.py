"""How much processor time the control groups of Linux leave to this process.

Containers and batch systems limit time rather than processors: 64 processors may be in sight and
the time of two be granted. Threads for all 64 would then mostly stand still.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the processors' worth of time that this process may use, such as 2.5; None: no limit.

    The smallest quota counts: of the group of this process and of all groups around it, in either
    version of control groups. What cannot be read limits nothing.

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    found = [_quota_of(folder) for folder in _groups(root)]
    return min((quota for quota in found if quota is not None), default=None)


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the groups that this process is in, and of those around them."""
    mounted = root / "sys" / "fs" / "cgroup"
    lines = _words(root / "proc" / "self" / "cgroup", separator="\n")
    for line in lines:
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0" and not controllers:
            tops = [mounted, mounted / "unified"]
        elif "cpu" in controllers.split(","):
            tops = [mounted / "cpu", mounted / controllers]
        else:
            continue
        # Seen from a container, a path may lead out of it, or be one that is only there outside.
        place = PurePosixPath("/") if ".." in path else PurePosixPath(path)
        for top in tops:
            yield from (top / str(group).lstrip("/") for group in (place, *place.parents))


def _quota_of(folder: Path) -> float | None:
    """Return the quota of one group; version 2 writes ``max`` where there is none, version 1 -1."""
    words = _words(folder / "cpu.max") or [
        *_words(folder / "cpu.cfs_quota_us"),
        *_words(folder / "cpu.cfs_period_us"),
    ]
    try:
        quota, period = (float(word) for word in words)
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None


def _words(path: Path, *, separator: str | None = None) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").strip().split(separator)
    except (OSError, ValueError):
        return []
