"""What one network is trained on, and what is known of it once trained: values and their files."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import save
from torch import Tensor, nn

from imseg.data.files.atomic import write_whole
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.samples import InitialWeights, SampleSet, UnlabeledViews, content_of
from imseg.engine.storage.sealed import read_sealed, write_sealed
from imseg.engine.training import seeds
from imseg.engine.training.objectives.objective import Amounts, Objective, Workload
from imseg.engine.training.objectives.supervised import Supervised
from imseg.engine.training.recipe import Recipe
from imseg.errors import ImsegError
from imseg.networks.registry import Network
from imseg.networks.weights import read_weights
from imseg.tasks import Task, task_for
from imseg.types import POSITION, TargetSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """One network to be trained."""

    name: str
    """Its place in the run: ``start/network-0``."""
    output: Path
    """Weights go to this file; its scores beside it, ``.json`` for ``.safetensors``."""
    samples: tuple[SampleSet, ...]
    """Labeled and pseudo-labeled images to learn from."""
    validation: SampleSet
    """Images by which the best epoch is kept."""
    target: dict[str, Any]
    """The target's ``TargetSpec`` as plain values."""
    network: Network
    """What is trained."""
    channels: int
    """Image channels."""
    outputs: int
    """Planes of logits."""
    objective: Objective = field(default_factory=Supervised)
    """What it minimizes."""
    recipe: Recipe
    """How it is trained."""
    compute: ComputeConfig
    """How it is computed."""
    seed: int
    """Seed of this network's weights and order of images."""
    unlabeled: UnlabeledViews | None = None
    """Unlabeled images that have no label; None if the objective does not use them."""
    initial: InitialWeights | None = None
    """Weights to begin with; None for random ones."""

    @property
    def task(self) -> Task:
        """What a pixel is."""
        return task_for(TargetSpec.from_dict(self.target), paper=self.recipe.paper)

    @property
    def images(self) -> int:
        """Labeled and pseudo-labeled samples: images and their copies."""
        return sum(each.samples for each in self.samples)

    @property
    def workload(self) -> Workload:
        """How much the whole training is."""
        unlabeled = 0 if self.unlabeled is None else len(self.unlabeled.indices)
        amounts = Amounts(samples=self.images, unlabeled=unlabeled)
        return self.objective.workload(self.recipe, amounts)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.workload.steps

    def digest(self) -> str:
        """Return a hash of everything that decides the result: content, not places or names."""
        further = {"unlabeled": self.unlabeled, "initial": self.initial}
        network = TypeAdapter(Network).dump_python(self.network)
        network.pop("weights", None)  # their content is told by ``initial``
        decisive = {
            "samples": [content_of(each) for each in self.samples],
            "validation": content_of(self.validation),
            "target": decisive_target(self.target),
            "network": network,
            "shape": [self.channels, self.outputs],
            "objective": TypeAdapter(Objective).dump_python(self.objective),
            "recipe": {
                "steps": self.steps,
                "steps_per_epoch": self.recipe.steps_per_epoch(self.images),
                **self.recipe.decisive(),
            },
            "compute": asdict(self.compute),
            "seed": self.seed,
            **{name: each and content_of(each) for name, each in further.items()},
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def as_json(self) -> str:
        """Return the job as one line of JSON."""
        return TypeAdapter(TrainJob).dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> "TrainJob":
        """Return the job that ``as_json`` wrote."""
        return TypeAdapter(TrainJob).validate_json(text)

    def companion(self, number: int) -> nn.Module:
        """Return a network like the one to be trained, with first weights of its own.

        Args:
            number: Which, from 1.
        """
        return first_network(replace(self, seed=seeds.derive(self.seed, "companion", number)))

    def second_try(self) -> "TrainJob":
        """Return the job with another seed and half the learning rate."""
        recipe = replace(self.recipe, learning_rate=self.recipe.learning_rate / 2)
        return replace(self, seed=self.seed ^ 0x5DEECE66D, recipe=recipe)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What is known about a trained network; stored as JSON beside its weights."""

    name: str
    """Its place in the run."""
    job: str
    """Digest of its job: equal digests, equal networks."""
    seed: int
    """Its seed."""
    images: int
    """Labeled and pseudo-labeled samples."""
    steps: int
    """Optimizer steps."""
    epochs: int
    """Validations: one every ``validate_every`` epochs of the recipe."""
    best_epoch: int
    """The validation whose weights were kept, from 1."""
    epoch_scores: tuple[float, ...]
    """The score by which weights are kept, at each validation."""
    losses: tuple[float, ...]
    """Mean training loss before each validation, since the one before."""
    scores: dict[str, float]
    """Mean scores over validation images of the kept weights; ``iou`` ranks."""
    image_scores: tuple[float | None, ...] = ()
    """Of each validation image the score that ranks; None where it has none. Empty: not kept."""
    parameters: int
    """Trainable numbers."""
    flops: float
    """Floating point operations of the whole training (forward and backward)."""
    seconds: float
    """Wall time."""
    clock: dict[str, float] = field(default_factory=dict)
    """The same by activity: ``batches``, ``steps``, ``validation``, ``other``."""
    retried: bool = False
    """Whether this is the second try, after a loss that was no number or a dead network."""
    at_once: int | None = None
    """Images whose gradients were computed at once, where memory was too short for whole batches;
    None: whole batches."""
    network: Network
    """What was trained."""
    channels: int
    """Image channels."""
    outputs: int
    """Planes of logits."""
    sha256: str = ""
    """Hash of the file of its weights; empty: not written yet."""

    def as_json(self) -> bytes:
        """Return indented JSON."""
        return TypeAdapter(Trained).dump_json(self, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Trained":
        """Return what ``as_json`` wrote."""
        return TypeAdapter(Trained).validate_json(text)


def decisive_target(target: dict[str, Any]) -> dict[str, Any]:
    """Return what of a target decides how a network is trained: not what classes are called."""
    told = ("names", "colors", "unit", "pixel_size", "stored", "indexed")
    kept = {name: value for name, value in target.items() if name not in told}
    if kept["kind"] == "multilabel":
        kept["planes"] = [name == POSITION for name in target["names"]]
    return kept


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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = network.make(channels=channels, outputs=outputs)
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


def first_network(job: TrainJob) -> nn.Module:
    """Return the network that the training of a job begins with."""
    network, channels, outputs = job.network, job.channels, job.outputs
    seed = seeds.derive(job.seed, "weights")
    made = build(network, job.compute, channels=channels, outputs=outputs, seed=seed)
    if job.initial is None:
        return made
    path = job.initial.weights
    state = read_weights(path, network, channels=channels, outputs=outputs, initial=True)
    # They may be those of the encoder alone: the rest is as the seed has it.
    made.load_state_dict(state, strict=False)
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
    write_sealed(weights.with_suffix(".json"), json.loads(trained.as_json()))


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
        return Trained.from_json(json.dumps(read_sealed(place)))
    except (ImsegError, ValueError) as error:
        tell(f"{place} is damaged." if isinstance(error, ValueError) else error.what)
        return None


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
