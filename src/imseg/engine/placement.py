"""Where samples are kept and how they are disturbed: decided in one place, by the device."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

SHARE = 0.25
"""Of the free memory of a GPU, for the pictures of one source; the rest is for the network."""
SHARED_BY = "IMSEG_SIDE_BY_SIDE"
"""Environment variable of a worker: how many of them share the GPU."""
UNKNOWN_BUDGET = 2**30
"""Bytes for pictures on devices that do not tell what is free."""
ALIGNMENT = 16
"""Bytes; every type of number may begin at a multiple."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How batches are made. The numbers do not depend on it."""

    together: bool
    """Whether whole batches are gathered and disturbed on the device; else rows are gathered on
    the host and disturbed in groups of equal treatment, which is fastest on a CPU."""
    budget: int = 0
    """Bytes of the device that stored arrays may fill; what does not fit is sent batch by batch."""
    pinned: bool = False
    """Whether what is sent lies in page-locked memory, so that the host need not wait for it."""


def placement_for(device: str) -> Placement:
    """Return how batches are made for a device."""
    kind = torch.device(device).type
    if kind == "cpu":
        return Placement(together=False)
    if kind != "cuda":
        return Placement(together=True, budget=UNKNOWN_BUDGET)
    free, _ = torch.cuda.mem_get_info(device)
    # What torch holds but nothing uses is free too: left there by the network before.
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    sharing = max(1, int(os.environ.get(SHARED_BY, "1")))
    return Placement(together=True, budget=int(SHARE * (free + held) / sharing), pinned=True)


def send_together(columns: Mapping[str, Tensor], device: str, *, pinned: bool) -> dict[str, Tensor]:
    """Return tensors of the host on a device, after one copy of all of them.

    Args:
        columns: Any shapes and types.
        device: Where to; the tensors there share one block of memory.
        pinned: Whether the host goes on while they are copied.
    """
    places, end = {}, 0
    for name, column in columns.items():
        places[name] = (end, end + column.numel() * column.element_size())
        end = -(-places[name][1] // ALIGNMENT) * ALIGNMENT
    block = torch.empty(end, dtype=torch.uint8, pin_memory=pinned)
    for name, column in columns.items():
        first, last = places[name]
        block[first:last].view(column.dtype).copy_(column.reshape(-1))
    # torch gives page-locked memory to nobody else before the copy has ended.
    there = block.to(device, non_blocking=pinned)
    return {
        name: there[slice(*places[name])].view(column.dtype).reshape(column.shape)
        for name, column in columns.items()
    }
