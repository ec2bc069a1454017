"""Images of any size through networks that halve them four times."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


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
