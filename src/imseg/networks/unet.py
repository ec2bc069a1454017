"""The paper's U-Net: additive skips, ReLU before batch normalization, any width, any input size.

Source: METHOD, "Networks"; layer shapes and parameter counts are tested against the reference.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from imseg.networks.norm import Norm
from imseg.ops.memory_layout import pad_to_multiple

STRIDE = 16
"""Four halvings: inputs are padded to a multiple of this many pixels, outputs cropped back."""

CUT_NORMAL_DEVIATION = 0.87962566103423978
"""Standard deviation of a standard normal that is cut at two deviations."""

PAPER_MOMENTUM = 0.01
"""Share of the newest batch in the moving statistics by which a network normalizes when it
predicts."""
MOMENTUM = 0.1
"""Ours: after 100 steps the paper's statistics still consist of their initial values by a third."""


def conv(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Return a convolution that keeps the size, followed by ReLU."""
    return nn.Sequential(plain_conv(inputs, outputs, kernel), nn.ReLU(inplace=True))


def plain_conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    """Return a convolution that keeps the size; He-normal weights, zero biases."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    # Keras cuts its He-normal draws at two deviations and widens the normal so that the variance
    # stays.
    deviation = (2 / (inputs * kernel * kernel)) ** 0.5 / CUT_NORMAL_DEVIATION
    nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def norm(channels: int) -> Norm:
    """Return a batch normalization with the reference's constants."""
    return Norm(channels, eps=1e-3, momentum=PAPER_MOMENTUM)


class Encoder(nn.Module):
    """3x3 and 1x1 convolution and normalization (the skip), to be followed by pooling."""

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv(inputs, middle, 3), conv(middle, outputs, 1), norm(outputs)
        )

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
        """Return features of the same size."""
        out: Tensor = self.layers(x)
        return out


class Decoder(nn.Module):
    """Nearest upsampling, the skip added, then 1x1, 3x3 and 1x1 convolutions."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.layers = nn.Sequential(
            conv(first, first, 1),
            norm(first),
            conv(first, first, 3),
            conv(first, second, 1),
            norm(second),
        )

    def forward(
        self, x: Float[Tensor, "b i h w"], skip: Float[Tensor, "b i H W"]
    ) -> Float[Tensor, "b o H W"]:
        """Return features of the skip's size."""
        # In place: nobody else needs the upsampled features, and at full size they are large.
        out: Tensor = self.layers(self.up(x).add_(skip))
        return out


class UNet(nn.Module):
    """Maps images to one plane of logits an output.

    Args:
        channels: Image channels.
        outputs: Planes of logits.
        width: The paper's alpha; every layer has ``alpha`` times 16 to 256 filters.

    Raises:
        ValueError: If ``width`` leaves a layer without filters.
    """

    def __init__(self, *, channels: int, outputs: int, width: float = 1.0) -> None:
        super().__init__()
        sizes = [int(base * width) for base in (16, 32, 64, 128)]
        if sizes[0] < 1:
            raise ValueError(f"width must be at least 0.0625, not {width}")
        bottom = int(256 * width)
        self.stem = nn.Sequential(conv(channels, sizes[0], 1), norm(sizes[0]))
        inputs = [sizes[0], *sizes[:-1]]
        self.encoders = nn.ModuleList(
            Encoder(before, size, size) for before, size in zip(inputs, sizes, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.bottleneck = Encoder(sizes[-1], bottom, sizes[-1])
        pairs = zip(reversed(sizes), [*reversed(sizes[:-1]), sizes[0]], strict=True)
        self.decoders = nn.ModuleList(Decoder(first, second) for first, second in pairs)
        self.out = plain_conv(sizes[0], outputs, 1)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """Return logits for images with values 0..1 of any size."""
        height, width = images.shape[-2:]
        x = self.stem(pad_to_multiple(images, STRIDE))
        skips = []
        for encoder in self.encoders:
            skips.append(encoder(x))
            x = self.pool(skips[-1])
        x = self.bottleneck(x)
        for decoder, skip in zip(self.decoders, reversed(skips), strict=True):
            x = decoder(x, skip)
        logits: Tensor = self.out(x)
        return logits[..., :height, :width]


def unet(*, channels: int, outputs: int, width: float = 1.0) -> UNet:
    """Return the U-Net whose moving statistics keep up with short trainings: the default network.

    Only ``momentum`` differs from ``UNet``; see docs/decisions/0002-normalization-momentum.md.

    Args:
        channels: Image channels.
        outputs: Planes of logits.
        width: The paper's alpha.
    """
    network = UNet(channels=channels, outputs=outputs, width=width)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = MOMENTUM
    return network
