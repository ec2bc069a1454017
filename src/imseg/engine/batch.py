"""What one step of training sees."""

from __future__ import annotations

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

    def split(self, most: int) -> list[Batch]:
        """Return the samples in their order, in batches of at most so many: the same memory.

        Raises:
            ValueError: If most is less than 1.
        """
        if most < 1:
            raise ValueError(f"a batch holds at least one sample, not {most}")
        firsts = range(0, len(self), most)
        return [
            Batch(
                images=self.images[first : first + most],
                targets=self.targets[first : first + most],
                weight=None if self.weight is None else self.weight[first : first + most],
                qualities=None if self.qualities is None else self.qualities[first : first + most],
            )
            for first in firsts
        ]


def as_input(pixels: UInt8[Tensor, "b c h w"], numerics: Numerics) -> Float[Tensor, "b c h w"]:
    """Return bytes as images with values 0..1 in the memory format of the network."""
    return pixels.float().div_(255).contiguous(memory_format=numerics.memory_format)
