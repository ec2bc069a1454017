"""What one step of training sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, UInt8
from torch import Tensor

from imseg.engine.device import Numerics
from imseg.tasks import Planes


@dataclass(frozen=True, slots=True)
class Batch:
    """Images and targets on the device."""

    images: Float[Tensor, "b c h w"]
    """0..1."""
    targets: Planes
    """Inside numbering."""
    weight: Float[Tensor, "b 1 h w"] | None
    """0 where the loss ignores a pixel; None if nothing is ignored."""
    qualities: Float[Tensor, "b r k"] | None = None
    """What a judge is to say about the targets; None where no judge is trained."""

    def __len__(self) -> int:
        return int(self.images.shape[0])

    def split(self, sizes: Sequence[int]) -> list[Batch]:
        """Return the samples in their order, in batches of these sizes: the same memory."""
        parts = [
            [None] * len(sizes) if each is None else each.split(list(sizes))
            for each in (self.images, self.targets, self.weight, self.qualities)
        ]
        return [Batch(*pieces) for pieces in zip(*parts, strict=True)]


def as_input(pixels: UInt8[Tensor, "b c h w"], numerics: Numerics) -> Float[Tensor, "b c h w"]:
    """Return bytes as images with values 0..1 in the memory format of the network."""
    return pixels.float().div_(255).contiguous(memory_format=numerics.memory_format)
