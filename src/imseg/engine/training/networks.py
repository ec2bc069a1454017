"""From a ``NetworkSpec`` to a network, and its weights to and from safetensors files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from imseg.data.files.atomic import read_bounded, write_whole
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.training.job import OUR_UNET, PAPER_UNET, NetworkSpec
from imseg.errors import ImsegError
from imseg.networks.evalnet import OneHead, TwoHeads, one_head, two_heads
from imseg.networks.unet import UNet, unet

NetworkFactory = Callable[..., nn.Module]
"""Called with ``channels``, ``outputs`` and ``width``; returns a module from images (``b c h w``,
0..1) to logits (``b k h w``) of the same height and width."""

MOST_WEIGHTS = 8 << 30
"""Bytes that a file of weights may have; our widest network has less than 1 GiB."""

OURS: Mapping[str, NetworkFactory] = {
    OUR_UNET: unet,
    PAPER_UNET: UNet,
    "imseg.networks.evalnet:one_head": one_head,
    "imseg.networks.evalnet:two_heads": two_heads,
    "imseg.networks.evalnet:OneHead": OneHead,
    "imseg.networks.evalnet:TwoHeads": TwoHeads,
}
"""The only callables that are made from their names, as they stand in the files of a run."""


def build(
    spec: NetworkSpec,
    compute: ComputeConfig,
    *,
    factory: NetworkFactory | None = None,
    seed: int = 0,
) -> nn.Module:
    """Return a fresh network on its device.

    Args:
        spec: Which network.
        compute: Device and memory format.
        factory: The user's own callable; left aside where ``spec`` names one of ours, such as a
            judge of masks. None for the one that ``spec`` names.
        seed: Seed of the initial weights. The global generator is left as it was.

    Raises:
        ImsegError: If the network was made by a callable that cannot be found by name.
    """
    if torch.device(compute.device).type == "cuda":
        torch.cuda.set_device(compute.device)  # events and clocks ask the current one
    make = _by_name(spec.factory) if factory is None or is_ours(spec.factory) else factory
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make(channels=spec.channels, outputs=spec.outputs, width=spec.width)
    # torch's types do not know that a module takes a memory format.
    network.to(device=compute.device, memory_format=compute.memory_format)  # type: ignore[call-overload]
    return network


def check_factory(
    factory: NetworkFactory, *, channels: int, outputs: int, width: float, size: tuple[int, int]
) -> None:
    """Call a user's network once, on black images, before hours are spent on it.

    Raises:
        ImsegError: If it cannot be made or called, or gives something else than logits.
    """
    asked = f"network(channels={channels}, outputs={outputs}, width={width:g})"
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            made = factory(channels=channels, outputs=outputs, width=width).eval()
            given = tuple(made(torch.zeros(2, channels, *size)).shape)
    except Exception as error:
        raise ImsegError(
            "The network given as network= does not work.",
            expected=f"a callable; {asked} returns an nn.Module for images (2, {channels}, h, w).",
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


def name_of_factory(factory: NetworkFactory, *, channels: int, outputs: int, width: float) -> str:
    """Return a name for a user's callable that changes with the network it makes.

    Functions without a name of their own (lambdas, partials) differ by the names and shapes of the
    weights of their networks.
    """
    module = getattr(factory, "__module__", "unknown")
    name = getattr(factory, "__qualname__", type(factory).__qualname__)
    with torch.random.fork_rng(devices=[]):
        state = factory(channels=channels, outputs=outputs, width=width).state_dict()
    shapes = repr([(key, tuple(value.shape)) for key, value in state.items()])
    return f"{module}:{name}#{hashlib.sha256(shapes.encode()).hexdigest()[:12]}"


def save_weights(network_state: dict[str, Tensor], path: Path) -> str:
    """Write weights as one whole file; return its SHA-256."""
    plain = {name: value.detach().cpu().contiguous() for name, value in network_state.items()}
    content = save(plain)
    write_whole(path, content)
    return hashlib.sha256(content).hexdigest()


def load_network(
    path: Path,
    spec: NetworkSpec,
    compute: ComputeConfig,
    *,
    factory: NetworkFactory | None = None,
    sha256: str = "",
) -> nn.Module:
    """Return a trained network in inference mode.

    Args:
        path: Its weights.
        spec: Which network.
        compute: Device and memory format.
        factory: The user's own callable; None for the one that ``spec`` names.
        sha256: The hash that the file has to have; empty: any.

    Raises:
        ImsegError: If the file is damaged or does not fit the network.
    """
    try:
        content = read_bounded(path, MOST_WEIGHTS)
        if sha256 and hashlib.sha256(content).hexdigest() != sha256:
            raise SafetensorError("it does not have the checksum it was written with")
        state = load(content)
        if factory is None or is_ours(spec.factory):
            _check_shapes(spec, state)
    except (OSError, SafetensorError, ValueError) as error:
        raise _unfit(path, spec, error) from error
    network = build(spec, compute, factory=factory)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise _unfit(path, spec, error) from error
    return network.eval()


def _unfit(path: Path, spec: NetworkSpec, error: Exception) -> ImsegError:
    return ImsegError(
        f"The weights {path} cannot be loaded.",
        expected=f"a whole safetensors file of {spec.factory} with width {spec.width:g}.",
        got=(str(error).splitlines() or [type(error).__name__])[0],
        hint="copy the run again, or repeat the train command to make it anew.",
    )


def is_ours(name: str) -> bool:
    """Return whether a name claims a callable of imseg; those of users' end in a hash."""
    return name.startswith("imseg.") and "#" not in name


def _check_shapes(spec: NetworkSpec, state: Mapping[str, Tensor]) -> None:
    """Check weights against a network without memory, so that a planted width fills none.

    Raises:
        ValueError: If they are of another network.
    """
    make = _by_name(spec.factory)
    try:
        with torch.device("meta"):
            network = make(channels=spec.channels, outputs=spec.outputs, width=spec.width)
    except (RuntimeError, TypeError, ArithmeticError) as error:
        raise ValueError(f"there is no network of width {spec.width:g}") from error
    wanted = network.state_dict()
    if {key: value.shape for key, value in wanted.items()} != {
        key: value.shape for key, value in state.items()
    }:
        raise ValueError("the weights have other names or shapes than the network")


def _by_name(name: str) -> NetworkFactory:
    if name in OURS:
        return OURS[name]
    raise ImsegError(
        f"The network {name!r} is not part of imseg and cannot be made from its name.",
        expected="the callable that made it.",
        hint="imseg.load_run(folder, network=my_network) or imseg.fit(..., network=my_network)",
    )
