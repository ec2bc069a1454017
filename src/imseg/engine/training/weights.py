"""Networks on a device, with fresh or trained weights; weights to files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from imseg.data.files.atomic import write_whole
from imseg.engine.hardware.device import ComputeConfig
from imseg.networks.registry import Network, fresh_network, read_weights


def build(
    network: Network, compute: ComputeConfig, *, channels: int, outputs: int, seed: int = 0
) -> nn.Module:
    """Return a fresh network on its device.

    Args:
        network: Which network.
        compute: Device and memory format.
        channels: Image channels.
        outputs: Planes of logits.
        seed: Seed of the initial weights. The global generator is left as it was.

    Raises:
        ImsegError: If the network is made by a callable that was not given in this process.
    """
    if torch.device(compute.device).type == "cuda":
        torch.cuda.set_device(compute.device)  # events and clocks ask the current one
    made = fresh_network(network, channels=channels, outputs=outputs, seed=seed)
    # torch's types do not know that a module takes a memory format.
    made.to(device=compute.device, memory_format=compute.memory_format)  # type: ignore[call-overload]
    return made


def load_network(
    path: Path,
    network: Network,
    compute: ComputeConfig,
    *,
    channels: int,
    outputs: int,
    sha256: str = "",
) -> nn.Module:
    """Return a trained network in inference mode.

    Args:
        path: Its weights.
        network: Which network.
        compute: Device and memory format.
        channels: Image channels.
        outputs: Planes of logits.
        sha256: The hash that the file has to have; empty: any.

    Raises:
        ImsegError: If the file is damaged or does not fit the network.
    """
    state = read_weights(path, network, channels=channels, outputs=outputs, sha256=sha256)
    made = build(network, compute, channels=channels, outputs=outputs)
    made.load_state_dict(state)
    return made.eval()


def save_weights(state: dict[str, Tensor], path: Path) -> str:
    """Write weights as one whole file; return its SHA-256."""
    content = save({name: value.detach().cpu().contiguous() for name, value in state.items()})
    write_whole(path, content)
    return hashlib.sha256(content).hexdigest()
