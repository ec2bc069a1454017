"""Whatever the memory format of a batch is: the same pixels, worked on as they lie in memory.

Stored images are ``n h w c``, so a batch of them is channels-last; turning it around and back would
cost as much as half of what is done to it. Channels-last batches are therefore worked on as ``b h w
c``, all others as ``b c h w``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the axes of a packed batch are."""

    channels_last: bool
    """Whether a packed batch is ``b h w c``; else it is ``b c h w``."""

    @property
    def height(self) -> int:
        """The axis of the rows."""
        return 1 if self.channels_last else 2

    @property
    def width(self) -> int:
        """The axis of the columns."""
        return 2 if self.channels_last else 3

    @property
    def channel(self) -> int:
        """The axis of the channels."""
        return 3 if self.channels_last else 1

    def pack(self, planes: Tensor) -> Tensor:
        """Return ``b c h w`` planes in this layout, without gaps; the same memory if they fit."""
        axes = planes.permute(0, 2, 3, 1) if self.channels_last else planes
        return axes.contiguous()

    def unpack(self, packed: Tensor) -> Tensor:
        """Return packed planes as ``b c h w``: the same memory."""
        return packed.permute(0, 3, 1, 2) if self.channels_last else packed


def layout_of(planes: Tensor) -> Layout:
    """Return the layout that lets ``b c h w`` planes stay as they are, or the plain one."""
    plain = planes.is_contiguous()
    return Layout(not plain and planes.is_contiguous(memory_format=torch.channels_last))
