"""How much memory there is, was taken, and will be: of this process, this machine, a network."""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imseg.engine.hardware.device import ComputeConfig
from imseg.networks.registry import Network

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
        return _kilobytes(_PROCESS, "VmHWM") or 0
    try:
        import resource
    except ImportError:  # Windows has nothing like it
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def memory_now() -> int:
    """Return the memory that this process has in use, in bytes; or else its peak."""
    with suppress(OSError):
        return _kilobytes(_PROCESS, "VmRSS") or peak_memory()
    return peak_memory()


def available_memory() -> int | None:
    """Return the bytes that programs here can still get without swapping; None if unknown."""
    found = []
    with suppress(OSError):
        found.append(_kilobytes(_MACHINE, "MemAvailable"))
    with suppress(OSError, ValueError):
        # A container may be given less than the machine has.
        limit = int((_GROUP / "memory.max").read_text(encoding="ascii"))
        taken = int((_GROUP / "memory.current").read_text(encoding="ascii"))
        found.append(limit - taken + (_bytes_of(_GROUP / "memory.stat", "inactive_file") or 0))
    known = [each for each in found if each is not None]
    return max(0, min(known)) if known else None


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


def _kilobytes(path: Path, name: str) -> int | None:
    """Return a number of kilobytes in a file of the system, in bytes."""
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return None


def _bytes_of(path: Path, name: str) -> int | None:
    for line in path.read_text(encoding="ascii").splitlines():
        if line.split()[0] == name:
            return int(line.split()[1])
    return None


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
