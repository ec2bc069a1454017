"""U-Nets whose encoder is one of timm's, such as those that were trained on ImageNet.

timm has the encoders, segmentation_models.pytorch the decoder: the extra ``imseg[encoders]``. Both
import torchvision, which only works beside the torch it was made for. Nothing is downloaded here.
"""

import difflib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from imseg.errors import ImsegError, import_extra
from imseg.networks.unet import scaled_features
from imseg.ops.memory_layout import pad_to_multiple

DECODER = (256, 128, 64, 32, 16)
"""Filters of the decoder at width 1, from the smallest features to the largest."""
DEPTH = len(DECODER)
"""How often an encoder halves images."""
ENCODER_STRIDE = 2**DEPTH
"""Inputs are padded to a multiple of this many pixels, outputs cropped back."""
WHOLE = "unet."
"""How the names of all tensors of the network begin, but for mean and deviation."""
PART = f"{WHOLE}encoder."
"""How the names of the tensors of the encoder begin."""
INSIDE = f"{PART}model."
"""What stands before the names that timm gives them."""
_EXTRA = {"extra": "encoders", "purpose": "for networks with an encoder (unet:ENCODER)"}


class EncoderUNet(nn.Module):
    """A U-Net with an encoder of timm and the decoder of segmentation_models.pytorch.

    Args:
        encoder: Name of the encoder, as timm has it.
        channels: Image channels.
        outputs: Planes of logits.
        decoder_width: Filters of the decoder, as a share of 256 to 16.
        frozen: Whether the encoder stays as it is: weights and moving statistics.

    Raises:
        ImsegError: If there is no such encoder, it is no encoder for a U-Net, or the extra is not
            installed.

    Source: arXiv 1505.04597 (U-Net) with a pretrained encoder, as in arXiv 1801.05746.
    """

    mean: Float[Tensor, "1 c 1 1"]
    deviation: Float[Tensor, "1 c 1 1"]

    def __init__(
        self,
        encoder: str,
        *,
        channels: int,
        outputs: int,
        decoder_width: float = 1.0,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        check_encoder(encoder)
        timm, library = _timm(), import_extra("segmentation_models_pytorch", **_EXTRA)
        self.frozen = frozen
        try:
            self.unet: Any = library.Unet(
                f"tu-{encoder}",
                encoder_depth=DEPTH,
                encoder_weights=None,
                decoder_channels=[max(1, round(size * decoder_width)) for size in DECODER],
                in_channels=channels,
                classes=outputs,
            )
            reductions = self.unet.encoder.model.feature_info.reduction()
        except Exception as error:  # each family of networks fails in a way of its own
            raise _no_encoder(encoder, f"{type(error).__name__}: {error}") from error
        if max(reductions) != ENCODER_STRIDE:
            raise _no_encoder(encoder, f"features at 1/{', 1/'.join(map(str, reductions))} of it")
        told = timm.get_pretrained_cfg(encoder, allow_unregistered=True)
        for name, values in (("mean", told.mean), ("deviation", told.std)):
            value = torch.tensor(
                values if channels == 3 else [sum(values) / len(values)] * channels
            )
            self.register_buffer(name, value.view(1, -1, 1, 1))
        self.unet.encoder.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> "EncoderUNet":
        """Set training or inference mode; a frozen encoder stays in inference mode."""
        super().train(mode)
        if self.frozen:
            self.unet.encoder.eval()
        return self

    @property
    def feature_channels(self) -> tuple[int, ...]:
        """Channels of the features that the decoder is given, the largest features first."""
        return tuple(self.unet.encoder.out_channels[1:])  # the first are the image itself

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
        normalized = (pad_to_multiple(images, ENCODER_STRIDE) - self.mean) / self.deviation
        logits: Tensor
        if kept is None:
            logits = self.unet(normalized)
        else:
            image, *features = self.unet.encoder(normalized)
            decoded = self.unet.decoder([image, *scaled_features(features, kept)])
            logits = self.unet.segmentation_head(decoded)
        return logits[..., :height, :width]


def check_encoder(name: str) -> None:
    """Check that timm has an encoder of this name.

    Raises:
        ImsegError: If there is none, or the extra is not installed.
    """
    timm = _timm()
    # Only registered names: timm fetches models that are named by a place, such as hf-hub:NAME.
    if name.partition(":")[0] == name and timm.is_model(name):
        return
    near = difflib.get_close_matches(name, timm.list_models(), n=3)
    raise ImsegError(
        f"There is no encoder named {name!r}.",
        expected="the name of a network of timm, such as tf_efficientnet_lite0 or resnet18; a"
        " network of your own (module:callable) needs another name for its module than unet.",
        got=name,
        hint=f"--network unet:{' or unet:'.join(near)}"
        if near
        else "python -c 'import timm; print(timm.list_models())' shows all names.",
    )


def encoder_state(
    state: Mapping[str, Tensor], *, wanted: Mapping[str, Tensor], channels: int
) -> dict[str, Tensor]:
    """Return weights to begin with as those of the network that the encoder is in.

    Args:
        state: Weights of the whole network, or of its encoder with the names of timm. What else
            timm has, such as the layers that name the images of ImageNet, is left out.
        wanted: The tensors of the network.
        channels: Image channels. The first convolution is fitted to them: for gray images the
            weights of red, green and blue are added; for others they are repeated and scaled.

    Returns:
        The whole, or only tensors whose names begin with ``PART``.
    """
    if any(name.startswith(WHOLE) and not name.startswith(PART) for name in state):
        return dict(state)
    # A network that is cut into features may have ``stem_0`` for timm's ``stem.0``.
    known = {_flat(name): value for name, value in state.items()}
    pairs = {name: known.get(_flat(name)) for name in wanted if name.startswith(PART)}
    found = {name: value for name, value in pairs.items() if value is not None}
    for name, value in found.items():
        if value.ndim == 4 and value.shape[1] == 3 and wanted[name].shape[1] == channels != 3:
            models = import_extra("timm.models", **_EXTRA)
            found[name] = models.adapt_input_conv(channels, value).contiguous()
    return found


def _flat(name: str) -> str:
    return name.removeprefix(INSIDE).replace(".", "_")


def _timm() -> ModuleType:
    """Return timm.

    Raises:
        ImsegError: If it is not installed, or if torchvision, which it imports, does not work.
    """
    try:
        return import_extra("timm", **_EXTRA)
    except ImsegError:
        raise
    except Exception as error:  # torchvision registers operators while it is imported
        release = torch.__version__.partition("+")[0].split(".")
        pair = f"torchvision 0.{int(release[1]) + 15}" if release[0] == "2" else "its torchvision"
        raise ImsegError(
            "torchvision, which encoders need, does not work beside this torch.",
            expected=f"torch {torch.__version__} with {pair}, both made for the same processor: the"
            " CPU, or one release of CUDA.",
            got=f"{type(error).__name__}: {error}",
            hint="install both together, with the command that pytorch.org names for your machine.",
        ) from error


def _no_encoder(name: str, got: str) -> ImsegError:
    return ImsegError(
        f"{name} cannot be the encoder of a U-Net.",
        expected=f"a network that halves images {DEPTH} times and gives features of each size, such"
        " as tf_efficientnet_lite0 or resnet18.",
        got=got,
        hint="--network unet:tf_efficientnet_lite0",
    )
