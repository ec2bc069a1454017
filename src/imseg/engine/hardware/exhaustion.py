"""What an exhausted memory looks like, and what can be freed."""

from __future__ import annotations

import gc

import torch

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
