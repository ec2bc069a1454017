"""Batch normalization that is fast for few channels on a CPU.

torch works on channels-last memory a pixel at a time. With 8 or 16 channels that leaves most of a
vector register empty, and normalization takes a third of a training step. Here as many neighboring
pixels as fill the registers are taken for one pixel with that many times the channels; what is
found out about these wide channels is joined to what is true of each channel. The results are those
of torch up to rounding. Wherever this does not apply, torch's own way is taken.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from imseg.ops.memory_layout import pad_to_multiple

WIDE = 128
"""Channels that fill the registers; measured, from 64 to 256 there is little difference."""
WIDE_BACKWARD = 8
"""Channels up to which the way back is faster too, in bfloat16; torch has fewer passes."""


class Norm(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` with the same weights, statistics and results."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return normalized features."""
        joined = 1 if torch.compiler.is_compiling() else grouped_pixels(input)
        if joined == 1:
            return super().forward(input)
        mean, variance = self.running_mean, self.running_var
        if mean is None or variance is None or self.momentum is None:
            return super().forward(input)
        if self.training:
            out: Tensor = _Normalized.apply(input, self.weight, self.bias, self, joined)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
            return out
        if torch.is_grad_enabled():
            return super().forward(input)
        statistics = (mean, variance, self.weight, self.bias)
        return _scaled(input, statistics, eps=self.eps, joined=joined)


def grouped_pixels(features: Tensor) -> int:
    """Return how many neighboring pixels are worked on as one; 1: the wide way does not apply."""
    if features.device.type != "cpu" or features.dtype not in (torch.float32, torch.bfloat16):
        return 1
    if features.ndim != 4 or not features.is_contiguous(memory_format=torch.channels_last):
        return 1
    batch, channels, height, width = features.shape
    pixels, joined = batch * height * width, 1
    while joined * 2 * channels <= WIDE and pixels % (joined * 2) == 0:
        joined *= 2
    return joined if pixels > joined else 1


class _Normalized(torch.autograd.Function):
    """Normalization by the statistics of the batch."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, norm: Any, joined: int
    ) -> Tensor:
        channels = features.shape[1]
        pixels = features.numel() // channels
        # Given somewhere to put them, torch keeps statistics of low-precision features in 32 bits.
        aside, beside = norm.running_mean.new_zeros(2, joined * channels)
        means, variances = torch.batch_norm_update_stats(
            _wide(features, joined), aside, beside, 0.0
        )
        means = means.view(joined, channels)
        mean = means.mean(dim=0)
        # Within the wide channels, and between them.
        variance = variances.view(joined, channels).mean(dim=0)
        variance += (means - mean).square().mean(dim=0)
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (pixels / (pixels - 1)), norm.momentum)
        statistics = (mean, variance, weight, bias)
        out = _scaled(features, statistics, eps=norm.eps, joined=joined)
        ctx.save_for_backward(features, weight, mean, torch.rsqrt(variance + norm.eps))
        ctx.eps, ctx.joined = norm.eps, joined
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        features, weight, mean, inverse = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        nothing = (None, None)
        if features.dtype != torch.bfloat16 or features.shape[1] > WIDE_BACKWARD:
            found = torch.ops.aten.native_batch_norm_backward(
                gradient, features, weight, mean, mean, mean, inverse, True, ctx.eps, [True] * 3
            )
            return (*found, *nothing)
        return (*_backward(gradient, features, weight, mean, inverse, ctx.joined), *nothing)


def _backward(
    gradient: Tensor, features: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, joined: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of features, weight and bias."""
    channels = features.shape[1]
    pixels = features.numel() // channels
    wide = (_wide(gradient, joined), _wide(features, joined))
    weights, means, inverses = (each.repeat(joined) for each in (weight, mean, inverse))
    statistics = (means, means, means, inverses)
    _, weights, biases = torch.ops.aten.native_batch_norm_backward(
        *wide, weights, *statistics, True, 0.0, [False, True, True]
    )
    of_weight = weights.view(joined, channels).sum(dim=0)
    of_bias = biases.view(joined, channels).sum(dim=0)
    scale = weight * inverse
    zero, one = torch.zeros_like(mean), torch.ones_like(mean)
    out = _scaled(gradient, (zero, one, scale, -scale * of_bias / pixels), joined=joined)
    slope = -scale * inverse * of_weight / pixels
    out += _scaled(features, (mean, one, slope, zero), joined=joined)
    return out, of_weight, of_bias


def _scaled(
    features: Tensor, statistics: Sequence[Tensor], *, eps: float = 0.0, joined: int
) -> Tensor:
    """Return features less a mean, over a root, times a weight, plus a bias, channel by channel.

    Args:
        features: Channels last in memory.
        statistics: Of each channel: mean, variance, weight and bias.
        eps: What is added to the variance.
        joined: How many neighboring pixels are worked on as one.
    """
    mean, variance, weight, bias = (each.repeat(joined) for each in statistics)
    wide, _, _ = torch.native_batch_norm(
        _wide(features, joined), weight, bias, mean, variance, False, 0.0, eps
    )
    batch, channels, height, width = features.shape
    return wide.permute(0, 2, 3, 1).reshape(batch, height, width, channels).permute(0, 3, 1, 2)


def _wide(features: Tensor, joined: int) -> Tensor:
    """Return channels-last features as one row of wide pixels: the same memory."""
    channels = features.shape[1] * joined
    return features.permute(0, 2, 3, 1).reshape(1, -1, 1, channels).permute(0, 3, 1, 2)


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
    _draw(layer, inputs * kernel * kernel)
    return layer


def _draw(layer: nn.Conv2d | nn.ConvTranspose2d, inputs: int) -> None:
    """Give a layer He-normal weights for so many numbers per output, and zero biases."""
    # Keras cuts its He-normal draws at two deviations and widens the normal so that the variance
    # stays.
    deviation = (2 / inputs) ** 0.5 / CUT_NORMAL_DEVIATION
    nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


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
        # In place: nothing else needs the upsampled features, and at full size they are large.
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

    stride = STRIDE
    """Inputs are padded to a multiple of this many pixels, outputs cropped back."""

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
        self.feature_channels = (*sizes, sizes[-1])
        """Channels of the features that the decoder is given, the largest features first."""
        pairs = zip(reversed(sizes), [*reversed(sizes[:-1]), sizes[0]], strict=True)
        self.decoders = nn.ModuleList(Decoder(first, second) for first, second in pairs)
        self.out: nn.Conv2d | nn.ConvTranspose2d = plain_conv(sizes[0], outputs, 1)

    def forward(
        self, images: Float[Tensor, "b c h w"], kept: Float[Tensor, "b f"] | None = None
    ) -> Float[Tensor, "b k h w"]:
        """Return logits for images with values 0..1 of any size.

        Args:
            images: Of any size.
            kept: By what the channels of the features that the decoder is given are multiplied, all
                of ``feature_channels`` in a row; None: by 1.
        """
        height, width = images.shape[-2:]
        x = self.stem(pad_to_multiple(images, self.stride))
        skips = []
        for encoder in self.encoders:
            skips.append(encoder(x))
            x = self.pool(skips[-1])
        x = self.bottleneck(x)
        if kept is not None:
            *skips, x = scaled_features([*skips, x], kept)
        for decoder, skip in zip(self.decoders, reversed(skips), strict=True):
            x = decoder(x, skip)
        logits: Tensor = self.out(x)
        return logits[..., :height, :width]


class UNetPlus(UNet):
    """A U-Net that works on squares of 2x2 pixels, with twice the filters.

    Its first layer turns each square into one place with all its pixels in it, its last layer turns
    each place back into four pixels. It has as many operations as ``UNet`` of the same width. On a
    CPU they take a third less time, because layers of few filters at full size wait for memory.

    Args:
        channels: Image channels.
        outputs: Planes of logits.
        width: Filters of all layers, as a share of 32 to 512.

    Raises:
        ValueError: If ``width`` leaves a layer without filters.

    Source: squares as the first layer, arXiv 1609.05158 (its inverse) and 2010.11929.
    """

    stride = 2 * STRIDE

    def __init__(self, *, channels: int, outputs: int, width: float = 1.0) -> None:
        super().__init__(channels=channels, outputs=outputs, width=2 * width)
        filters = self.out.in_channels
        squares = nn.Conv2d(channels, filters, 2, stride=2)
        _draw(squares, 4 * channels)
        pixels = nn.ConvTranspose2d(filters, outputs, 2, stride=2)
        _draw(pixels, filters)
        self.stem = nn.Sequential(squares, nn.ReLU(inplace=True), norm(filters))
        self.out = pixels


def scaled_features(
    features: Sequence[Float[Tensor, "b _ _ _"]], kept: Float[Tensor, "b f"]
) -> list[Float[Tensor, "b _ _ _"]]:
    """Return features whose channels are multiplied by numbers of their own, one after the other.

    Args:
        features: Of several sizes.
        kept: For each image the numbers of all channels of all features in a row.
    """
    shares = kept.split([each.shape[1] for each in features], dim=1)
    return [
        each * share[:, :, None, None].to(each.dtype)
        for each, share in zip(features, shares, strict=True)
    ]


def unet(*, channels: int, outputs: int, width: float = 1.0) -> UNet:
    """Return the U-Net whose moving statistics keep up with short trainings: the default network.

    Only ``momentum`` differs from ``UNet``; see docs/decisions/0002-normalization-momentum.md.

    Args:
        channels: Image channels.
        outputs: Planes of logits.
        width: The paper's alpha.
    """
    network = UNet(channels=channels, outputs=outputs, width=width)
    keep_up(network)
    return network


def keep_up(network: nn.Module) -> None:
    """Let the moving statistics of a fresh network keep up with short trainings."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = MOMENTUM
