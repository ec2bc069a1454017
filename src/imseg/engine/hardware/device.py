"""Devices, processors and memory: what there is, how networks are computed, and what they take."""

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch
from torch import Tensor, nn

from imseg.errors import ImsegError
from imseg.networks.registry import Network


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
        """Run a block with these threads and autocast settings; put the threads back afterwards.

        cuDNN chooses its fastest convolutions, with shortened products in low precision only.
        """
        low = self.precision == "bfloat16"
        kind = torch.device(self.device).type
        with (
            self.threaded(),
            torch.autocast(kind, dtype=torch.bfloat16, enabled=low),
            # ``enabled`` is said because torch would switch cuDNN off where only the rest is given.
            torch.backends.cudnn.flags(enabled=True, benchmark=low, allow_tf32=low)
            if kind == "cuda"
            else contextlib.nullcontext(),
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
    kind, low = torch.device(device).type, name == "bfloat16"
    if name == "auto" and kind == "cuda":
        low = torch.cuda.is_bf16_supported()
    elif name == "auto" and kind == "cpu":
        low = cpu_multiplies_bfloat16()
    return "bfloat16" if low else "float32"


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


_PROCESS, _MACHINE = Path("/proc/self/status"), Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")

BESIDE = 1.4
"""Memory of a training as a multiple of what is kept for the backward pass: gradients on their way
back, and what the allocator cannot use again. With it a process was foretold to within -4 to
+9 % of what was measured at 64, 128 and 256 px with width 0.5 and 1, batch 32, in both precisions;
mask scorers and growing networks in one process leave gaps and took up to 13 % more."""
LOW_PRECISION = 0.6
"""The same in bfloat16, as a share of float32: not everything is kept in it."""


def peak_memory() -> int:
    """Return the most memory that this process has ever had in use, in bytes."""
    with suppress(OSError):
        # What getrusage calls the peak includes that of whoever started the process.
        return _number_in(_PROCESS, "VmHWM:") * 1024
    try:
        import resource
    except ImportError:  # Windows has nothing like it
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def memory_now() -> int:
    """Return the memory that this process has in use, in bytes; or else its peak."""
    with suppress(OSError):
        return _number_in(_PROCESS, "VmRSS:") * 1024 or peak_memory()
    return peak_memory()


def available_memory() -> int | None:
    """Return the bytes that programs here can still get without swapping; None if unknown."""
    found = []
    with suppress(OSError):
        if kilobytes := _number_in(_MACHINE, "MemAvailable:"):
            found.append(kilobytes * 1024)
    with suppress(OSError, ValueError):
        # A container may be given less than the machine has.
        limit = int((_GROUP / "memory.max").read_text(encoding="ascii"))
        taken = int((_GROUP / "memory.current").read_text(encoding="ascii"))
        found.append(limit - taken + _number_in(_GROUP / "memory.stat", "inactive_file"))
    return max(0, min(found)) if found else None


def free_device_memory(device: str) -> int | None:
    """Return the bytes that are free on a GPU; None for other devices."""
    if torch.device(device).type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    return int(free)


def leave_first() -> None:
    """Ask the system to end this process before any other, should memory run out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def bytes_kept(
    network: Network, inputs: tuple[tuple[int, ...], ...], *, channels: int, outputs: int
) -> int:
    """Return the bytes that a float32 network keeps from its forward for its backward pass.

    They are counted in a run on a device that has shapes and no numbers; nothing is computed.

    Args:
        network: Which network.
        inputs: The shape of each of its inputs, the batch first.
        channels: Image channels.
        outputs: Planes of logits.
    """
    made = _without_numbers(network, channels, outputs).train()
    kept: dict[Any, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage.nbytes()
        return tensor

    images = [torch.zeros(shape, device="meta") for shape in inputs]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        # Held while it is counted: else storage that is freed would be mixed up with the next.
        result = made(*images)
        del result
    return sum(kept.values())


def training_bytes(
    network: Network,
    compute: ComputeConfig,
    inputs: tuple[tuple[int, ...], ...],
    *,
    channels: int,
    outputs: int,
) -> int:
    """Return about how many bytes a training takes beside those of the bare process.

    What the forward pass keeps, counted exactly and times ``BESIDE``, and six times the
    weights: themselves, gradients, two moments, the best ones, and those being written.

    Args:
        network: Which network.
        compute: How it is computed.
        inputs: The shape of each of its inputs, the batch first.
        channels: Image channels.
        outputs: Planes of logits.
    """
    kept = bytes_kept(network, inputs, channels=channels, outputs=outputs) * BESIDE
    share = LOW_PRECISION if compute.precision == "bfloat16" else 1.0
    return round(kept * share) + 6 * weight_bytes(network, channels=channels, outputs=outputs)


def weight_bytes(network: Network, *, channels: int, outputs: int) -> int:
    """Return the bytes of the weights and moving statistics of a network."""
    made = _without_numbers(network, channels, outputs)
    return sum(each.numel() * each.element_size() for each in made.state_dict().values())


def _without_numbers(network: Network, channels: int, outputs: int) -> nn.Module:
    """Return a network on a device that has shapes and no numbers."""
    return network.make(channels=channels, outputs=outputs).to("meta")


def how_many_fit(needed: int, wanted: int) -> int:
    """Return how many of so many equal processes fit into the memory there is; at least one."""
    free = available_memory()
    return wanted if free is None or needed <= 0 else max(1, min(wanted, free // needed))


def _number_in(path: Path, name: str) -> int:
    """Return the number behind a name in a file of the system; 0 if the name is not in it."""
    lines = map(str.split, path.read_text(encoding="ascii", errors="replace").splitlines())
    return next((int(words[1]) for words in lines if words[:1] == [name]), 0)


NEEDS_LESS = "a smaller --image-size or --batch-size, or --workers 1, needs less"
"""What to try where memory was too short."""
MEMORY_GONE = f"ran out of memory: {NEEDS_LESS}"
"""How a training ended that not even smaller batches helped."""

_SIGNS = (
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "std::bad_alloc",
    "alloc_failed",
    "unable to find a valid cudnn algorithm",
)
"""What is said by allocators of a CPU and by CUDA's libraries, which raise plain errors."""


def is_exhausted(error: BaseException) -> bool:
    """Return whether an error means that there was not enough memory, on a device or a CPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in _SIGNS)


def free_unused() -> None:
    """Give back what a failed step has left behind."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
