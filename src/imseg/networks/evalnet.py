"""EvalNet, a learned scorer of masks: from an image and a mask of it to how good the mask is.

Source: METHOD, "EvalNet" and "Networks"; layer shapes, parameter counts and outputs are tested
against the reference.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from imseg.networks.unet import Encoder, conv, norm

SMALLEST = 64
"""Pixels a side that survive six halvings; smaller images are padded to this."""


class EvalNet(nn.Module):
    """Scores masks: one number per head and class for each image with its mask.

    Args:
        channels: Image channels.
        outputs: Planes of a mask, and numbers that each head gives: one per class.
        heads: 1 (IoU of binary masks) or 2 (IoU, and whether the class is present).
        width: The paper's alpha; every layer has ``alpha`` times 16 to 256 filters.

    Raises:
        ValueError: If ``width`` leaves a layer without filters, or one head has several outputs.
    """

    def __init__(self, *, channels: int, outputs: int, heads: int, width: float = 1.0) -> None:
        if heads == 1 and outputs != 1:
            raise ValueError(f"a mask scorer with one head has one output, not {outputs}")
        super().__init__()
        sizes = [int(base * width) for base in (16, 32, 64, 128, 256)]
        first = sizes[0]
        if first < 1:
            raise ValueError(f"width must be at least 0.0625, not {width}")
        self.image = _branch(channels, first)
        self.mask = _branch(outputs, first)
        inputs = [2 * first, *sizes[:-1]]
        self.trunk = nn.Sequential(
            *(_block(before, size) for before, size in zip(inputs, sizes, strict=True))
        )
        self.heads = nn.ModuleList(_dense(sizes[-1], outputs) for _ in range(heads))

    def forward(
        self, images: Float[Tensor, "b c h w"], masks: Float[Tensor, "b m h w"]
    ) -> Float[Tensor, "b r k"]:
        """Return logits of the IoU of each class and, with two heads, of its presence.

        Args:
            images: Values 0..1.
            masks: 0 or 1 each.
        """
        seen = [self.image(_large_enough(images)), self.mask(_large_enough(masks))]
        features: Tensor = self.trunk(torch.cat(seen, dim=1)).mean(dim=(2, 3))
        return torch.stack([head(features) for head in self.heads], dim=1)


def _branch(inputs: int, filters: int) -> nn.Sequential:
    """Return the stem and the first block of an input."""
    return nn.Sequential(conv(inputs, filters, 1), norm(filters), _block(filters, filters))


def _block(inputs: int, filters: int) -> nn.Sequential:
    return nn.Sequential(Encoder(inputs, filters, filters), nn.MaxPool2d(2))


def _dense(inputs: int, outputs: int) -> nn.Linear:
    """Return a dense layer as Keras begins it: Glorot-uniform weights, zero biases."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _large_enough(planes: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c H W"]:
    """Return small images with their right and bottom edges replicated to 64 pixels a side."""
    below = max(0, SMALLEST - planes.shape[-2])
    right = max(0, SMALLEST - planes.shape[-1])
    if below == right == 0:
        return planes
    return functional.pad(planes, (0, right, 0, below), mode="replicate")
