"""Whatever the memory format of a batch is: the same pixels, worked on as they lie in memory.

Stored images are ``n h w c``, so a batch of them is channels-last; turning it around and back would
cost as much as half of what is done to it. Channels-last batches are therefore worked on as ``b h w
c``, all others as ``b c h w``.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional

Images = UInt8[Tensor, "b c h w"]
"""Bytes in any memory format."""

PixelMask = Bool[Tensor, "b 1 h w"]
"""Some pixels of each image, the same of all its planes."""

PlaneMask = Bool[Tensor, "b t h w"]
"""Some pixels of each plane."""

Fill = UInt8[Tensor, "b c _ _"]
"""What pixels become: bytes for every place, or one for all places of an image."""


@dataclass(frozen=True, slots=True)
class PlaneLayout:
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

    def sizes(self, packed: Tensor) -> dict[str, int]:
        """Return channels, height and width of a packed batch by their names."""
        axes = {"channels": self.channel, "height": self.height, "width": self.width}
        return {name: packed.shape[axis] for name, axis in axes.items()}

    def pack(self, planes: Tensor) -> Tensor:
        """Return ``b c h w`` planes in this layout, without gaps; the same memory if they fit."""
        axes = planes.permute(0, 2, 3, 1) if self.channels_last else planes
        return axes.contiguous()

    def unpack(self, packed: Tensor) -> Tensor:
        """Return packed planes as ``b c h w``: the same memory."""
        return packed.permute(0, 3, 1, 2) if self.channels_last else packed


def layout_of(planes: Tensor) -> PlaneLayout:
    """Return the layout that lets ``b c h w`` planes stay as they are, or the plain one."""
    plain = planes.is_contiguous()
    return PlaneLayout(not plain and planes.is_contiguous(memory_format=torch.channels_last))


def change_in_groups(
    batch: Tensor,
    all_params: Sequence[Hashable],
    change: Callable[[Tensor, list[int]], Tensor],
    *,
    at_once: int | None = None,
) -> Tensor:
    """Return a batch after a change of every row, those of equal treatment together.

    Args:
        batch: Rows without gaps in memory; not changed itself.
        all_params: One a row; rows with equal ones may be changed together.
        change: From some rows and their numbers, all of one treatment, to the changed rows; it must
            not write into what it gets.
        at_once: The most rows that are changed together; all when None.
    """
    rows_of: dict[Hashable, list[int]] = {}
    for row, augment_params in enumerate(all_params):
        rows_of.setdefault(augment_params, []).append(row)
    groups: list[list[int]] = []
    for rows in rows_of.values():
        most = at_once or len(rows)
        groups += [rows[first : first + most] for first in range(0, len(rows), most)]
    if not groups:
        return batch.clone()
    changed = torch.cat([change(take(batch, rows), rows) for rows in groups])
    order = [row for rows in groups for row in rows]
    # Joined and then sorted: writing each group to its rows takes far longer on a CPU.
    return take(changed, sorted(range(len(order)), key=order.__getitem__))


def take(batch: Tensor, rows: list[int]) -> Tensor:
    """Return these rows: a part of the same memory where they follow each other."""
    if rows == list(range(rows[0], rows[0] + len(rows))):
        return batch[rows[0] : rows[0] + len(rows)]
    return batch.index_select(0, torch.tensor(rows, device=batch.device))


def pad_to_multiple(images: Float[Tensor, "b c h w"], multiple: int) -> Float[Tensor, "b c H W"]:
    """Return images whose right and bottom edges are replicated until both sides fit.

    Edges are replicated because black means "inconsistent".

    Args:
        images: Any size.
        multiple: Both sides of the result are multiples of this.
    """
    below = -images.shape[-2] % multiple
    right = -images.shape[-1] % multiple
    if below == 0 and right == 0:
        return images
    return functional.pad(images, (0, right, 0, below), mode="replicate")
