"""How networks are computed, on which device, and with how many processors."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch

from imseg.errors import ImsegError


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the processors' worth of time that this process may use, such as 2.5; None: no limit.

    Containers and batch systems limit time rather than processors: 64 processors may be in sight
    and the time of two be granted. Threads for all 64 would then mostly stand still.

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


Precision = Literal["float32", "bfloat16"]

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeConfig:
    """How one network is computed. On one CPU, equal numerics give equal bits in float32."""

    device: str = "cpu"
    """A torch device such as ``cpu`` or ``cuda:0``."""
    precision: Precision = "float32"
    """The type of activations; weights, losses and scores are always float32."""
    threads: int = 1
    """Intra-operation CPU threads."""
    channels_last: bool = True
    """Whether images are kept ``n h w c`` in memory, which convolutions prefer."""
    compile: bool = False
    """Whether training steps are compiled; see ``engine/training/learner.py``."""

    @property
    def memory_format(self) -> torch.memory_format:
        """The torch name of the memory format."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Run a block with these threads and autocast settings; put the threads back afterwards."""
        low = self.precision == "bfloat16"
        kind = torch.device(self.device).type
        with (
            self.threaded(),
            torch.autocast(kind, dtype=torch.bfloat16, enabled=low),
            _fast_convolutions(low) if kind == "cuda" else contextlib.nullcontext(),
        ):
            yield

    @contextmanager
    def threaded(self) -> Iterator[None]:
        """Run a block with these threads; put them back afterwards."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _fast_convolutions(low: bool) -> contextlib.AbstractContextManager[None]:
    """Return what lets cuDNN choose its fastest convolutions, shortened products only if low.

    ``enabled`` is said because torch would switch cuDNN off where only the rest is given.
    """
    flags: contextlib.AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=low, allow_tf32=low
    )
    return flags


def resolve_device(name: str) -> str:
    """Return a torch device for ``auto`` (a GPU if there is one) or a name.

    Raises:
        ImsegError: If PyTorch knows no such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise RuntimeError("meta computes nothing")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ImsegError(
            f"The device {name!r} cannot be used.",
            expected="auto, cpu, cuda or cuda:0, as far as this PyTorch supports it.",
            got=str(error).splitlines()[0],
            hint="--device auto",
        ) from error
    return str(device)


def resolve_precision(name: str, device: str) -> Precision:
    """Return the precision for ``auto``: bfloat16 only where the hardware multiplies in it.

    Without such instructions bfloat16 is emulated and many times slower than float32.
    """
    if name == "float32":
        return "float32"
    if name == "bfloat16":
        return "bfloat16"
    kind = torch.device(device).type
    if kind == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    if kind == "cpu":
        return "bfloat16" if cpu_multiplies_bfloat16() else "float32"
    return "float32"


def cpu_multiplies_bfloat16() -> bool:
    """Return whether this processor has bfloat16 instructions."""
    cpu: Any = torch.cpu
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(cpu, probe, lambda: False)()) for probe in probes)


def usable_cores(root: Path = Path("/")) -> int:
    """Return how many processors this process may use, at least 1.

    Those it may run on, and no more than the time that control groups leave to it: of 2.5
    processors' worth of time 2 are used.

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = cpu_quota(root)
    return cores if quota is None else max(1, min(cores, int(quota)))


def keep_freed_memory() -> bool:
    """Keep the C allocator from giving pages back between training steps.

    Freshly mapped activations cost about as much time in page faults as the arithmetic on them.
    Only glibc knows how; elsewhere nothing happens.

    Returns:
        Whether the allocator took the settings.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20))
    return all(mallopt(option, value) == 1 for option, value in settings)
