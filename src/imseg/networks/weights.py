"""Files of weights: whether they are whole, fit a network, and are no programs in disguise."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from imseg.data.files.atomic import read_bounded
from imseg.errors import ImsegError, and_more
from imseg.networks.registry import SEGMENTING, CustomConfig, EncoderUNetConfig, Network

MOST_WEIGHTS = 8 << 30
"""Bytes that a file of weights may have; our widest network has less than 1 GiB."""
PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How files begin that torch or pickle wrote."""


def check_network(network: Network, *, channels: int, outputs: int, size: tuple[int, int]) -> None:
    """Call a network that is not wholly ours once, on black images, before hours are spent on it.

    Raises:
        ImsegError: If it cannot be made or called, or its output is not logits; or if its initial
            weights cannot be read or do not fit.
    """
    if isinstance(network, CustomConfig | EncoderUNetConfig):
        width = f", width={network.width:g}" if isinstance(network, CustomConfig) else ""
        asked = f"network(channels={channels}, outputs={outputs}{width})"
        try:
            with torch.random.fork_rng(devices=[]), torch.inference_mode():
                made = network.make(channels=channels, outputs=outputs).eval()
                given = tuple(made(torch.zeros(2, channels, *size)).shape)
        except Exception as error:
            if isinstance(network, EncoderUNetConfig):
                raise _no_size(error, network, size) from error
            raise ImsegError(
                "The network given as network= does not work.",
                expected=f"a callable; {asked} returns an nn.Module for images (2, {channels}, h,"
                " w).",
                got=f"{type(error).__name__}: {error}",
                hint="call it yourself with these keywords and an image of zeros.",
            ) from error
        wanted = (2, outputs, *size)
        if given != wanted:
            raise ImsegError(
                "The network given as network= gives the wrong shape.",
                expected=f"logits of shape {wanted} for images of shape {(2, channels, *size)}.",
                got=f"shape {given}.",
                hint="use padding that keeps the size, and as many output channels as outputs.",
            )
    if network.begins_with is not None:
        path = network.weights_file()
        read_weights(path, network, channels=channels, outputs=outputs, initial=True)


def _no_size(error: Exception, network: Network, size: tuple[int, int]) -> ImsegError:
    """Return why a network with an encoder cannot work on images of a size."""
    if isinstance(error, ImsegError):
        return error
    return ImsegError(
        f"The network {network.name} does not work on images of {size[0]}x{size[1]} pixels.",
        expected="an encoder that takes images of any size, such as tf_efficientnet_lite0.",
        got=f"{type(error).__name__}: {error}",
        hint="--network unet:tf_efficientnet_lite0, or another --image-size.",
    )


def read_weights(
    path: Path,
    network: Network,
    *,
    channels: int,
    outputs: int,
    sha256: str = "",
    initial: bool = False,
) -> dict[str, Tensor]:
    """Return weights that fit a network.

    Args:
        path: A safetensors file.
        network: Which network.
        channels: Image channels.
        outputs: Planes of logits.
        sha256: The hash that the file has to have; empty: any.
        initial: Whether they are those that training begins with: an encoder will do then, and its
            weights alone are returned.

    Raises:
        ImsegError: If the file is damaged or does not fit the network.
    """
    content = b""
    try:
        content = read_bounded(path, MOST_WEIGHTS)
        if sha256 and hashlib.sha256(content).hexdigest() != sha256:
            raise SafetensorError("it does not have the checksum it was written with")
        there = state = load(content)
    except (OSError, SafetensorError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        if content.startswith(PICKLES):
            raise _pickle(path) from error
        raise ImsegError(
            f"The weights {path} cannot be loaded.",
            expected="a whole safetensors file.",
            got=str(reason or (str(error).splitlines() or [type(error).__name__])[0]),
            hint="copy the file again; weights of a run are made anew by repeating its command.",
        ) from error
    wanted, wrong = _tensors(network, channels=channels, outputs=outputs)
    if not wrong and initial:
        state = network.initial_weights(state, wanted=wanted, channels=channels)
        if all(name.startswith(network.part) for name in state):
            wanted = {n: value for n, value in wanted.items() if n.startswith(network.part)}
    wrong = wrong or _mismatch(state, wanted)
    if wrong:
        width = f" with width {network.relative_width:g}" if hasattr(network, "width") else ""
        fits = _fitting(there, channels=channels, outputs=outputs)
        raise ImsegError(
            f"The weights {path} cannot be loaded: they do not fit the network.",
            expected=f"those of the network {network.name}{width}, {channels} channels and"
            f" {outputs} outputs.",
            got=wrong,
            hint=f"they fit {fits}."
            if fits
            else "weights of a network that was trained here on images and masks of the same kind"
            + (", or of this encoder alone, as timm names them." if network.part else "."),
        )
    return state


def _pickle(path: Path) -> ImsegError:
    return ImsegError(
        f"The weights {path} cannot be loaded: they are a pickle, as torch.save makes them.",
        expected="a safetensors file. A pickle can run programs while it is read.",
        got=f"a pickle, {path.name}.",
        hint='if you trust where it is from: python -c "import torch, safetensors.torch as s;'
        f" s.save_file(torch.load('{path.name}', weights_only=True), '{path.stem}.safetensors')\"",
    )


def _fitting(state: Mapping[str, Tensor], *, channels: int, outputs: int) -> str:
    """Return the options of networks that weights fit, or an empty text."""
    first = [len(each) for each in state.values() if each.shape[1:2] == (channels,)]
    narrowest = {filters / of for filters in first for of in (16, 32)}
    ours = [Network.alternatives()[kind]() for kind in SEGMENTING]
    scalable = [each for each in ours if hasattr(each, "width")]
    candidates = [each.with_width(width) for each in scalable for width in sorted(narrowest)]
    return " or ".join(
        f"--network {network.kind} --width {network.relative_width:g}"
        for network in candidates
        if not _mismatch(state, _tensors(network, channels=channels, outputs=outputs)[0])
    )


def _tensors(network: Network, *, channels: int, outputs: int) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a network without memory, or why there is none.

    Without memory: a planted width fills none.
    """
    try:
        if isinstance(network, CustomConfig):
            return network.make(channels=channels, outputs=outputs).state_dict(), ""
        with torch.device("meta"):
            return network.make(channels=channels, outputs=outputs).state_dict(), ""
    except (RuntimeError, TypeError, ValueError, ArithmeticError, IndexError) as error:
        return {}, f"there is no network of width {network.relative_width:g} ({error})"


def _mismatch(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Return in what weights are not the wanted tensors; empty: in nothing."""
    expected, found = (
        {key: tuple(value.shape) for key, value in each.items()} for each in (wanted, state)
    )
    if expected == found:
        return ""
    differing = [
        f"{key} is {found.get(key, 'missing')}, not {expected.get(key, 'there')}"
        for key in sorted({*expected, *found})
        if expected.get(key) != found.get(key)
    ]
    return f"the weights have other names or shapes than the network: {and_more(differing, 2)}"
