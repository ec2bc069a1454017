"""Networks with fresh or trained weights; weights, and what is known about them, to files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from imseg.data.files.atomic import write_whole
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.storage.sealed import read_json, write_json
from imseg.engine.training.job import Trained
from imseg.errors import ImsegError
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


Tell = Callable[[str], None]
"""Called with what is wrong with a file, in words that name it."""


def write_trained(weights: Path, trained: Trained) -> None:
    """Write what is known about a network beside its weights.

    Raises:
        ImsegError: If it cannot be written.
    """
    write_json(weights.with_suffix(".json"), json.loads(trained.as_json()))


def read_trained(weights: Path, *, tell: Tell = lambda _: None) -> Trained | None:
    """Return what is known about a network, or None if it is not there whole.

    Args:
        weights: Its weights, every byte of which is looked at.
        tell: Called where something is there and damaged.
    """
    known = read_known(weights, tell=tell)
    if known is None or known.sha256 == hash_of(weights):
        return known
    tell(f"{weights} is damaged: it does not have the checksum it was written with.")
    return None


def read_known(weights: Path, *, tell: Tell = lambda _: None) -> Trained | None:
    """Return what is known about a network without a look into its weights, or None."""
    place = weights.with_suffix(".json")
    if not weights.is_file() or not place.exists():
        return None
    try:
        return Trained.from_json(json.dumps(read_json(place)))
    except (ImsegError, ValueError) as error:
        tell(f"{place} is damaged." if isinstance(error, ValueError) else error.what)
        return None


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
