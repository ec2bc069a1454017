"""What one network is trained on: a value to be hashed, sent to a worker, written down."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.training.sample_set import InitialWeights, SampleSet, UnlabeledViews, content_of
from imseg.types import POSITION


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Source: METHOD, "Training".
    """

    epochs: int = 50
    """Passes over the training images."""
    max_steps: int | None = None
    """Most optimizer steps of any one network; None is no limit."""
    batch_size: int = 32
    """Images an optimizer step."""
    learning_rate: float = 0.003
    """Step size of AdamW."""
    decay: float = 1e-4
    """Share of every weight that is taken away at each step (not multiplied by the learning
    rate)."""
    paper: bool = False
    """Count epochs as the reference does: floor(n / batch size) steps from an endless stream."""
    least_steps: int = 1
    """Steps that an epoch has at least under ``paper``, where the stream of images is endless."""
    validate_every: int = 1
    """Epochs between two looks at the validation images; the last epoch is always looked at."""

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size) < 1 or self.learning_rate <= 0:
            raise ValueError("epochs, batch size and learning rate must be positive")
        if min(self.least_steps, self.validate_every) < 1:
            raise ValueError("least_steps and validate_every must be at least 1")
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError("max_steps must be at least 1")

    def steps_per_epoch(self, images: int) -> int:
        """Return optimizer steps in one epoch over so many images.

        Ours: every image once, ceil(n / batch size) steps, a last batch of one merged into the one
            before.
        """
        if self.paper:
            return max(self.least_steps, images // self.batch_size)
        full, rest = divmod(images, self.batch_size)
        alone = rest == 1 and full > 0 and self.batch_size > 1
        return full + (1 if rest and not alone else 0)

    def steps(self, images: int) -> int:
        """Return optimizer steps of a whole training over so many images."""
        wanted = self.epochs * self.steps_per_epoch(images)
        return wanted if self.max_steps is None else min(wanted, self.max_steps)


OUR_UNET = "imseg.networks.unet:unet"
PAPER_UNET = "imseg.networks.unet:UNet"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """Which network."""

    channels: int
    """Image channels."""
    outputs: int
    """Planes of logits."""
    width: float = 1.0
    """The paper's alpha."""
    factory: str = OUR_UNET
    """Name of the callable that makes it; a user's own callable is named but cannot be loaded by
    name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One network to be trained."""

    name: str
    """Its place in the run: ``start/network-0``."""
    output: Path
    """Weights go to this file; its scores beside it, ``.json`` for ``.safetensors``."""
    parts: tuple[SampleSet, ...]
    """Training images."""
    validation: SampleSet
    """Images by which the best epoch is kept."""
    target: dict[str, Any]
    """The target's ``TargetSpec`` as plain values."""
    network: NetworkSpec
    """What is trained."""
    recipe: Recipe
    """How it is trained."""
    compute: ComputeConfig
    """How it is computed."""
    seed: int
    """Seed of this network's weights and order of images."""
    two_views: UnlabeledViews | None = None
    """Unlabeled images that a second pass of each epoch learns from; None for no such pass."""
    beginning: InitialWeights | None = None
    """Weights to begin with; None for fresh ones."""

    @property
    def images(self) -> int:
        """Training samples in all: images and their copies."""
        return sum(part.samples for part in self.parts)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        if self.two_views is None:
            return self.recipe.steps(self.images)
        passes = (self.images, len(self.two_views.indices))
        wanted = self.recipe.epochs * sum(self.recipe.steps_per_epoch(n) for n in passes)
        most = self.recipe.max_steps
        return wanted if most is None else min(wanted, most)

    def digest(self) -> str:
        """Return a hash of everything that decides the result: content, not places or names."""
        further = {"two_views": self.two_views, "beginning": self.beginning}
        every = self.recipe.validate_every
        decisive = {
            "parts": [content_of(part) for part in self.parts],
            "validation": content_of(self.validation),
            "target": decisive_target(self.target),
            "network": asdict(self.network),
            "recipe": {
                "steps": self.steps,
                "steps_per_epoch": self.recipe.steps_per_epoch(self.images),
                "batch_size": self.recipe.batch_size,
                "learning_rate": self.recipe.learning_rate,
                "decay": self.recipe.decay,
                "paper": self.recipe.paper,
                **({"validate_every": every} if every > 1 else {}),
            },
            "numerics": self.compute.decisive(),
            "seed": self.seed,
            # What is not there leaves no trace, so networks from before there was any stay valid.
            **{name: content_of(each) for name, each in further.items() if each is not None},
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def as_json(self) -> str:
        """Return the job as one line of JSON."""
        return TypeAdapter(Job).dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Return the job that ``as_json`` wrote."""
        return TypeAdapter(Job).validate_json(text)

    def second_try(self) -> Job:
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
    """Training images."""
    steps: int
    """Optimizer steps."""
    epochs: int
    """Looks at the validation images: one every ``validate_every`` epochs of the recipe."""
    best_epoch: int
    """The look whose weights were kept, from 1."""
    epoch_scores: tuple[float, ...]
    """The score by which weights are kept, at each look."""
    losses: tuple[float, ...]
    """Mean training loss before each look, since the one before."""
    scores: dict[str, float]
    """Mean scores over validation images of the kept epoch; ``iou`` ranks."""
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
    network: NetworkSpec = field(default_factory=lambda: NetworkSpec(channels=3, outputs=1))
    """What was trained."""
    sha256: str = ""
    """Hash of the file of its weights; empty: from before there were any."""

    def as_json(self) -> bytes:
        """Return indented JSON."""
        return TypeAdapter(Trained).dump_json(self, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> Trained:
        """Return what ``as_json`` wrote."""
        return TypeAdapter(Trained).validate_json(text)


def decisive_target(target: dict[str, Any]) -> dict[str, Any]:
    """Return what of a target decides how a network is trained: not what classes are called."""
    told = ("names", "colors", "unit", "pixel_size", "stored", "indexed")
    kept = {name: value for name, value in target.items() if name not in told}
    if kept.get("coding") == "values":
        del kept["coding"]  # as before there were others: earlier networks stay valid
    if kept["kind"] == "multilabel":
        kept["planes"] = [name == POSITION for name in target["names"]]
    return kept
