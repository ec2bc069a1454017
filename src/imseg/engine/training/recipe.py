"""How a network is trained: augmentation, loss, optimizer, schedule, batches, weights kept."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from imseg.ops.limits import AugmentLimits
from imseg.options import STRICT, option
from imseg.tasks.mask_loss import LossName
from imseg.types import Kind

Schedule = Literal["constant", "cosine", "polynomial"]
Optimizer = Literal["adamw", "keras-adamw"]
RecipeName = Literal["modern", "paper"]
AugmentLevel = Literal["none", "weak", "strong", "paper"]
StrengthSchedule = Literal["default", "hela", "cityscapes"]

VALIDATION_COST = 1 / 3
"""Cost of validating an image, as a share of the cost of training on it: a forward pass."""
VALIDATION_SHARE = 0.1
"""The most that validation may cost, as a share of the cost of training."""
POWER = 0.9
"""Exponent of the polynomial schedule, as in DeepLab and UniMatch."""
LONGEST_WARM_UP = 0.25
"""The share of all steps over which the step size rises at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How images are augmented, wherever an approach augments any."""

    __pydantic_config__ = STRICT

    level: AugmentLevel = option(
        "paper",
        "How training images are augmented at every look: none, weak, strong, or paper (only the"
        " copies and views that an approach of the paper asks for, with its strengths).",
        group="method",
        name="augment",
    )
    """How all training images are augmented at every look; ``paper``: only the copies and views
    of an approach are, with the paper's strengths."""
    limits: AugmentLimits | None = None
    """How far the level lets an image be changed; None until the kind of masks and of images is
    known, or where nothing is changed."""
    strength_schedule: StrengthSchedule = option(
        "default",
        "How strongly images are augmented: default, hela, cityscapes (the paper's strengths).",
        group="method",
    )
    """The paper's strengths for one of its data sets."""
    rotate: bool | None = option(
        None,
        "Rotate augmented images and flip them upside down too.  [default: not for multiclass and"
        " regression]",
        group="method",
    )
    """Whether images are also rotated and flipped upside down; None until the kind of masks is
    known."""

    def __str__(self) -> str:
        words = [] if self.level == "paper" else [f"{self.level} augmentation at every look"]
        if self.strength_schedule != "default":
            words.append(f"augmentation as strong as for {self.strength_schedule}")
        if self.rotate is not None:
            words.append(f"augmented images are {'' if self.rotate else 'not '}rotated")
        return ", ".join(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Source: METHOD, "Training".
    """

    __pydantic_config__ = STRICT

    epochs: int = option(50, "Passes over the training images.", group="budget", low=1)
    """Passes over the training images."""
    max_steps: int | None = option(
        None, "Most optimizer steps of any one network.", group="budget", low=1, essential=True
    )
    """Most optimizer steps of any one network; None is no limit."""
    batch_size: int = option(32, "Images per optimizer step.", group="budget", low=1)
    """Images per optimizer step."""
    learning_rate: float = option(
        0.003, "Largest step size of AdamW.", group="method", low=1e-9, high=1
    )
    """Largest step size of AdamW."""
    weight_decay: float = option(
        1e-4,
        "Share of every weight that is taken away per step, at the largest step size.",
        group="method",
        low=0,
        high=0.5,
    )
    """Share of every weight that is taken away per step, at the largest step size."""
    loss: LossName = option(
        "paper",
        "What is minimized: cross-entropy+dice, cross-entropy, smooth-l1 (measurements), or paper"
        " (squared error; cross-entropy of classes).",
        group="method",
    )
    """What is minimized about labels."""
    class_balance: float = option(
        0.0,
        "How much more a pixel of a rare class counts: by its frequency to the power of minus this;"
        " 0 not at all, 0.5 by the inverse root, 1 so that all classes count alike.",
        group="method",
        low=0,
        high=1,
    )
    """Classes count in the cross-entropy by their frequency to the power of minus this."""
    rare_share: float = option(
        0.0,
        "Share of looks at tiles that show a rare class (one on less than a third of the tiles), if"
        " they are not that many anyway; only where networks see windows. 0: tiles are alike.",
        group="method",
        low=0,
        high=0.9,
    )
    """Share of the looks that are at tiles which show what is rare; 0: all tiles are alike."""
    optimizer: Optimizer = option(
        "keras-adamw", "adamw (as in PyTorch), or keras-adamw (as in the paper).", group="method"
    )
    """Which AdamW: they differ in the place of epsilon and in its size."""
    clip: float = option(
        0.0,
        "Largest norm of the gradient of a step; longer ones are shortened. 0: no limit.",
        group="method",
        name="clip_gradients",
        low=0,
    )
    """Largest norm of the gradient of a step; 0: no limit."""
    schedule: Schedule = option(
        "constant",
        "How the step size falls to 0: constant (it does not), cosine or polynomial.",
        group="method",
        name="learning_rate_schedule",
    )
    """How the step size falls over a training."""
    warm_up: int = option(
        0,
        "Optimizer steps over which the step size rises from 0; at most a fourth of all.",
        group="method",
        name="warm_up_steps",
        low=0,
    )
    """Optimizer steps over which the step size rises from 0; at most a fourth of all."""
    average: float = option(
        0.0,
        "Decay per step of an exponential average of the weights, such as 0.995, which is validated"
        " and kept in place of the weights; 0: no average.",
        group="method",
        name="average_weights",
        low=0,
        high=0.99999,
    )
    """Decay per step of the averaged weights that are validated and kept; 0: the weights
    themselves."""
    keep: Literal["best", "last"] = option(
        "best",
        "Which weights are kept: those with the best validation score, or the last.",
        group="method",
        name="keep_weights",
    )
    """Which weights are kept: those with the best validation score, or the last."""
    validate_every: int = option(
        1,
        "Epochs between two validations; consistency is validated after every pass.  [default: so"
        " that validation takes at most a tenth of the time]",
        group="budget",
        low=1,
    )
    """Epochs between two validations, and after the last; 0: as few as let them take a tenth of the
    time."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """How images are augmented."""
    paper: bool = False
    """Count epochs as the reference does: floor(n / batch size) steps from an endless stream."""
    least_steps: int = 1
    """Steps that an epoch has at least under ``paper``, where the stream of images is endless."""

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.least_steps) < 1 or self.learning_rate <= 0:
            raise ValueError("epochs, batch size, least steps and learning rate must be positive")
        if self.validate_every < 0 or self.warm_up < 0 or not 0 <= self.average < 1:
            raise ValueError("validate_every, warm_up and average cannot be negative")
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError("max_steps must be at least 1")

    def __str__(self) -> str:
        words = [
            f"{self.epochs} epochs of batches of {self.batch_size} images",
            f"AdamW with step size {self.learning_rate:g} and weight decay {self.weight_decay:g}",
        ]
        if self.max_steps is not None:
            words.append(f"at most {self.max_steps} steps")
        if self.schedule != "constant":
            words.append(f"a {self.schedule} schedule")
        if self.loss != "paper":
            words.append(f"{self.loss} as loss")
        if self.class_balance:
            words.append(f"classes balanced by {self.class_balance:g}")
        if self.clip:
            words.append(f"gradients of norm {self.clip:g} at most")
        if self.warm_up:
            words.append(f"{self.warm_up} steps of warm-up")
        if self.average:
            words.append(f"weights averaged with decay {self.average:g}")
        words.append(f"the {self.keep} weights are kept")
        return ", ".join([*words, *([str(self.augmentation)] if str(self.augmentation) else [])])

    def steps_per_epoch(self, images: int) -> int:
        """Return optimizer steps of one epoch over so many images.

        Ours: every image once, ceil(n / batch size) steps, a last batch of one merged into the one
        before.
        """
        if self.paper:
            return max(self.least_steps, images // self.batch_size)
        full, rest = divmod(images, self.batch_size)
        alone = rest == 1 and full > 0 and self.batch_size > 1
        return full + (1 if rest and not alone else 0)

    def limited(self, steps: int) -> int:
        """Return a number of steps, or ``max_steps`` if that is less."""
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def mean_batch(self, samples: int) -> float:
        """Return how many of so many samples a step sees on average."""
        return min(self.batch_size, samples / max(1, self.steps_per_epoch(samples)))

    def validated(self, *, samples: int, validation: int) -> "Recipe":
        """Return the recipe with ``validate_every`` settled.

        Args:
            samples: Training samples per epoch.
            validation: Validation images.
        """
        if self.validate_every:
            return self
        cost = validation * VALIDATION_COST
        every = math.ceil(cost / (VALIDATION_SHARE * samples)) if samples else 1
        return replace(self, validate_every=max(1, every))

    def rate(self, step: int, steps: int) -> float:
        """Return the step size as a share of the largest.

        Args:
            step: Steps made before this one.
            steps: Optimizer steps of the whole training.
        """
        rising = min(self.warm_up, int(LONGEST_WARM_UP * steps))
        if step < rising:
            return (step + 1) / rising
        passed = (step - rising) / max(1, steps - rising)
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(1.0, passed)))
        if self.schedule == "polynomial":
            return float((1 - min(1.0, passed)) ** POWER)
        return 1.0

    def decisive(self) -> dict[str, Any]:
        """Return what decides a training beside the number of steps, as plain values."""
        told_otherwise = ("epochs", "max_steps", "least_steps", "augmentation")
        names = [each.name for each in fields(self) if each.name not in told_otherwise]
        decisive = {name: getattr(self, name) for name in names}
        limits = self.augmentation.limits
        if limits is not None:
            decisive["augmentation"] = asdict(limits)
        # A part that came later says nothing where it changes nothing: equal networks stay equal.
        return {k: v for k, v in decisive.items() if k not in LATER or v != LATER[k]}


LATER = {
    "loss": "paper",
    "class_balance": 0.0,
    "rare_share": 0.0,
    "optimizer": "keras-adamw",
    "clip": 0.0,
}
"""Parts that recipes of earlier versions did not have, as they trained."""

RECIPES: Mapping[RecipeName, Recipe] = {
    "modern": Recipe(
        loss="cross-entropy+dice",
        optimizer="adamw",
        learning_rate=0.01,
        schedule="cosine",
        warm_up=50,
        average=0.995,
        keep="last",
        rare_share=1 / 3,
        augmentation=Augmentation(level="strong"),
    ),
    "paper": Recipe(),
}
"""The recipes by name; what depends on the data is settled by the plan."""

MODERN_BY_KIND: Mapping[Kind, Mapping[str, Any]] = {
    "binary": {},
    "multilabel": {},
    "multiclass": {"class_balance": 0.5},
    "regression": {"loss": "smooth-l1"},
}
"""Parts of the modern recipe that depend on what masks hold."""
