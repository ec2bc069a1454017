"""Which network: a value with a name, parameters and weights to begin with; and how it is made.

A new network is a class here, or in a file of its own that is imported here: a ``kind``, its
parameters as options, and ``make``. A user's own callable is a network as well, called by the name
it can be imported by; names that stand in the files of a run are never imported unasked.
"""

import hashlib
import importlib
import importlib.resources
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from imseg.data.files.atomic import read_bounded
from imseg.errors import ImsegError, and_more, near_miss
from imseg.networks.evalnet import EvalNet
from imseg.networks.unet import UNet, keep_up, unet
from imseg.options import Component, option

NetworkFactory = Callable[..., nn.Module]
"""Called with ``channels``, ``outputs`` and, if it has such a parameter, ``width``. It returns a
module from images (``b c h w``, 0..1) to logits (``b k h w``) of the same height and width."""

MOST_WEIGHTS = 8 << 30
"""Bytes that a file of weights may have; our widest network has less than 1 GiB."""
PACKAGE = "package:"
"""How a name of weights begins that come with an installed Python package."""

_provided: dict[str, NetworkFactory] = {}
"""Callables of this process by the name of their network."""
_trusted = [False]
"""Whether names of callables may be imported: in workers, whose jobs come from their parent."""

WIDTH: Mapping[str, Any] = {
    "help": "Filters of every layer, as a share of 16 to 256; the paper's alpha.",
    "group": "network",
    "low": 0.0625,
    "high": 16,
    "expected": "a number from 0.0625 to 16; the paper uses 0.5 to 2.",
    "essential": True,
}
"""What is declared about the option ``width``, which several networks have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network(Component, ABC):
    """Which network."""

    weights: str | None = option(
        None,
        "Weights to begin with: a safetensors file, or package:NAME/FILE of an installed Python"
        " package.  [default: random]",
        group="network",
    )
    """Weights to begin with: a safetensors file, or ``package:NAME/FILE``; None: random ones."""

    @abstractmethod
    def make(self, *, channels: int, outputs: int) -> nn.Module:
        """Return a fresh network.

        Args:
            channels: Image channels.
            outputs: Planes of logits.
        """

    def __str__(self) -> str:
        name = getattr(self, "callable", self.kind)
        width = f" of width {self.relative_width:g}" if hasattr(self, "width") else ""
        return name + width + (f", beginning with {self.weights}" if self.weights else "")

    @property
    def relative_width(self) -> float:
        """How wide its layers are, for estimates; operations grow with its square."""
        return float(getattr(self, "width", 1.0))

    @property
    def is_importable(self) -> bool:
        """Whether other processes can make it."""
        return True

    def with_width(self, width: float) -> Self:
        """Return the network with another width; itself where it has none."""
        return replace(self, **cast(Any, {"width": width})) if hasattr(self, "width") else self


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetConfig(Network):
    """The paper's U-Net, with moving statistics that keep up with short trainings."""

    kind = "unet"

    width: float = option(1.0, **WIDTH)
    """Filters of every layer, as a share of 16 to 256; the paper's alpha."""

    def make(self, *, channels: int, outputs: int) -> nn.Module:
        """Return a fresh network; see ``Network.make``."""
        return unet(channels=channels, outputs=outputs, width=self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperUNetConfig(UNetConfig):
    """The paper's U-Net with the reference's momentum."""

    kind = "paper-unet"

    def make(self, *, channels: int, outputs: int) -> nn.Module:
        """Return a fresh network; see ``Network.make``."""
        return UNet(channels=channels, outputs=outputs, width=self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalNetConfig(Network):
    """EvalNet, which scores masks."""

    kind = "evalnet"

    width: float = 2.0
    """Filters of every layer, as a share of 16 to 256; the paper's alpha."""
    heads: int = 1
    """1: the IoU of binary masks. 2: the IoU of every class, and whether it is present."""
    paper: bool = False
    """Whether normalization has the reference's momentum."""

    def make(self, *, channels: int, outputs: int) -> nn.Module:
        """Return a fresh network; see ``Network.make``."""
        network = EvalNet(channels=channels, outputs=outputs, heads=self.heads, width=self.width)
        if not self.paper:
            keep_up(network)
        return network


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomConfig(Network):
    """A network of the user's own."""

    kind = "custom"

    callable: str
    """``module:name`` of a callable. A function without a name of its own (a lambda, a partial) has
    a hash of the shapes of its weights behind it."""
    width: float = option(1.0, **WIDTH)
    """Handed to a callable that has a parameter of this name."""

    @property
    def is_importable(self) -> bool:
        """Whether other processes can make it: find its callable by its name."""
        module, _, name = self.callable.partition(":")
        return "#" not in name and "<" not in name and module != "__main__"

    def make(self, *, channels: int, outputs: int) -> nn.Module:
        """Return a fresh network; see ``Network.make``.

        Raises:
            ImsegError: If its callable was not given in this process.
        """
        if self.callable not in _provided and _trusted[0]:
            provide(import_callable(self.callable), self.callable)
        factory = _provided.get(self.callable)
        if factory is None:
            raise ImsegError(
                f"The network {self.callable!r} is not part of imseg and cannot be made from its"
                " name.",
                expected="the callable that made it, or the permission to import it.",
                got="its name in the files of a run, which is not imported unasked: that would run"
                " its module.",
                hint="--trust-network, if you trust this run; in Python imseg.load_run(folder,"
                " network=my_network) or imseg.fit(..., network=my_network)",
            )
        return _call(factory, channels=channels, outputs=outputs, width=self.width)


def provide(factory: NetworkFactory, name: str = "") -> CustomConfig:
    """Return a network that is made by a callable of this process.

    Args:
        factory: See ``NetworkFactory``.
        name: What it is called; empty: the name that it can be imported by.
    """
    if not name:
        module = getattr(factory, "__module__", "unknown")
        name = f"{module}:{getattr(factory, '__qualname__', type(factory).__qualname__)}"
        if "<" in name or not hasattr(factory, "__qualname__"):
            with torch.random.fork_rng(devices=[]):
                state = _call(factory, channels=3, outputs=1, width=1.0).state_dict()
            shapes = repr([(key, tuple(value.shape)) for key, value in state.items()])
            name += f"#{hashlib.sha256(shapes.encode()).hexdigest()[:12]}"
    _provided[name] = factory
    return CustomConfig(callable=name)


def import_network(network: Network) -> None:
    """Import the callable that a network names, which runs its module; ours need none.

    Raises:
        ImsegError: If it cannot be imported.
    """
    if isinstance(network, CustomConfig) and network.callable not in _provided:
        provide(import_callable(network.callable), network.callable)


SEGMENTING = ("unet", "paper-unet")
"""Networks of ours that segment, by kind; EvalNet scores masks."""


def network_named(name: str) -> Network:
    """Return the network that a user names: one of ours, or ``module:callable``.

    Raises:
        ImsegError: If there is none.
    """
    if name in _provided:
        return CustomConfig(callable=name)
    if ":" in name:
        return provide(import_callable(name), name)
    if name in SEGMENTING:
        return Network.alternatives()[name]()
    guess = near_miss(name, SEGMENTING)
    raise ImsegError(
        f"There is no network named {name!r}.",
        expected=f"{', '.join(SEGMENTING)}, or module:callable of your own.",
        got=name,
        hint=f"--network {guess}" if guess else None,
    )


def import_callable(name: str) -> NetworkFactory:
    """Return the callable ``module:name``, which runs the module.

    Raises:
        ImsegError: If it cannot be imported.
    """
    module, _, path = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # the command ``imseg``, unlike ``python -m``, leaves it out
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImsegError(
            f"The network {name!r} cannot be imported.",
            expected="module:callable, where the module is installed or in the current folder.",
            got=f"{type(error).__name__}: {error}",
        ) from error
    if not callable(found):
        raise ImsegError(
            f"The network {name!r} is no callable.",
            expected="a function or class that returns an nn.Module.",
            got=type(found).__name__,
        )
    return cast(NetworkFactory, found)


def trust_names() -> None:
    """Let names of callables be imported in this process."""
    _trusted[0] = True


def _call(factory: NetworkFactory, *, channels: int, outputs: int, width: float) -> nn.Module:
    """Return what a user's callable makes; ``width`` is only given if it has such a parameter."""
    try:
        names = inspect.signature(factory).parameters
        takes = "width" in names or any(p.kind is p.VAR_KEYWORD for p in names.values())
    except (TypeError, ValueError):
        takes = True
    further = {"width": width} if takes else {}
    return factory(channels=channels, outputs=outputs, **further)


def check_network(network: Network, *, channels: int, outputs: int, size: tuple[int, int]) -> None:
    """Call a user's network once, on black images, before hours are spent on it.

    Raises:
        ImsegError: If it cannot be made or called, or its output is not logits; or if its initial
            weights cannot be read or do not fit.
    """
    if isinstance(network, CustomConfig):
        asked = f"network(channels={channels}, outputs={outputs}, width={network.width:g})"
        try:
            with torch.random.fork_rng(devices=[]), torch.inference_mode():
                made = network.make(channels=channels, outputs=outputs).eval()
                given = tuple(made(torch.zeros(2, channels, *size)).shape)
        except Exception as error:
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
    if network.weights is not None:
        read_weights(network.weights, network, channels=channels, outputs=outputs)


def find_weights(name: str) -> Path:
    """Return the file of weights that a name stands for.

    Raises:
        ImsegError: If a package or its file is missing.
    """
    if not name.startswith(PACKAGE):
        return Path(name)
    package, _, inside = name.removeprefix(PACKAGE).partition("/")
    try:
        place = importlib.resources.files(package) / inside
        with importlib.resources.as_file(place) as path:
            if path.is_file():
                return path
        got = f"no file {inside} in it."
    except (ImportError, OSError, TypeError) as error:
        got = f"{type(error).__name__}: {error}"
    raise ImsegError(
        f"The weights {name} are not there.",
        expected=f"{PACKAGE}NAME/FILE, a safetensors file of an installed Python package.",
        got=got,
        hint=f"pip install {package}, or --weights with a file.",
    )


def read_weights(
    name: str | Path, network: Network, *, channels: int, outputs: int, sha256: str = ""
) -> dict[str, Tensor]:
    """Return weights that fit a network.

    Args:
        name: A safetensors file, or ``package:NAME/FILE``.
        network: Which network.
        channels: Image channels.
        outputs: Planes of logits.
        sha256: The hash that the file has to have; empty: any.

    Raises:
        ImsegError: If the file is damaged or does not fit the network.
    """
    path = find_weights(name) if isinstance(name, str) else name
    try:
        content = read_bounded(path, MOST_WEIGHTS)
        if sha256 and hashlib.sha256(content).hexdigest() != sha256:
            raise SafetensorError("it does not have the checksum it was written with")
        state = load(content)
    except (OSError, SafetensorError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise ImsegError(
            f"The weights {path} cannot be loaded.",
            expected="a whole safetensors file.",
            got=str(reason or (str(error).splitlines() or [type(error).__name__])[0]),
            hint="copy the file again; weights of a run are made anew by repeating its command.",
        ) from error
    wrong = _mismatch(network, state, channels=channels, outputs=outputs)
    if wrong:
        width = f" with width {network.relative_width:g}" if hasattr(network, "width") else ""
        fits = _fitting(state, channels=channels, outputs=outputs)
        raise ImsegError(
            f"The weights {path} cannot be loaded: they do not fit the network.",
            expected=f"those of the network {network.kind}{width}, {channels} channels and"
            f" {outputs} outputs.",
            got=wrong,
            hint=f"they fit {fits}."
            if fits
            else "weights of a network that was trained here on images and masks of the same kind.",
        )
    return state


def _fitting(state: Mapping[str, Tensor], *, channels: int, outputs: int) -> str:
    """Return the options of networks that weights fit, or an empty text."""
    narrowest = {len(each) / 16 for each in state.values() if each.shape[1:2] == (channels,)}
    ours = [Network.alternatives()[kind]() for kind in SEGMENTING]
    scalable = [each for each in ours if hasattr(each, "width")]
    candidates = [each.with_width(width) for each in scalable for width in sorted(narrowest)]
    return " or ".join(
        f"--network {network.kind} --width {network.relative_width:g}"
        for network in candidates
        if not _mismatch(network, state, channels=channels, outputs=outputs)
    )


def _mismatch(network: Network, state: Mapping[str, Tensor], *, channels: int, outputs: int) -> str:
    """Return in what weights are not those of a network; empty: in nothing.

    Shapes are compared without memory, so that a planted width fills none.
    """
    try:
        if isinstance(network, CustomConfig):
            made = network.make(channels=channels, outputs=outputs)
        else:
            with torch.device("meta"):
                made = network.make(channels=channels, outputs=outputs)
    except (RuntimeError, TypeError, ValueError, ArithmeticError, IndexError) as error:
        return f"there is no network of width {network.relative_width:g} ({error})"
    wanted = {key: tuple(value.shape) for key, value in made.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    if wanted == found:
        return ""
    differing = [
        f"{key} is {found.get(key, 'missing')}, not {wanted.get(key, 'there')}"
        for key in sorted({*wanted, *found})
        if wanted.get(key) != found.get(key)
    ]
    return f"the weights have other names or shapes than the network: {and_more(differing, 2)}"
