"""Pseudo-labels without a mask: several teachers vote, or one teacher about several views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from imseg.components.consensus import TEACHERS, Labeler, PseudoLabelBatch, TeacherBatch
from imseg.engine.training import seeds
from imseg.ops import augment, photometric
from imseg.ops.augment import move_back_each
from imseg.options import option
from imseg.tasks import Pool, Task, Votes

VIEWS = (3, 5, 7)
"""How many views the paper tries."""

RULES: dict[Pool, str] = {
    "paper": "by the paper's rule",
    "mean": "by their mean probability",
    "majority": "by majority",
    "unanimous": "unanimously",
}
"""How votes are pooled, in words."""
VOTE: Mapping[str, Any] = {
    "help": "How votes become a label: paper (its rule), mean, majority, unanimous.",
    "group": "method",
}
"""What is declared about the option ``vote``, which several labelers have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote(Labeler):
    """The best teachers label an image together, and all they say is learned.

    Several: Model Ensemble; one: Noisy Student. Source: METHOD, "The approaches, as differences".
    """

    kind = "vote"
    block = None

    teachers: int = option(2, **TEACHERS)
    """How many of the best networks vote; one alone needs no vote."""
    vote: Pool = option("paper", **VOTE)
    """How their opinions become one label."""

    def __post_init__(self) -> None:
        if self.teachers < 1:
            raise ValueError("a label needs at least one teacher")

    def __str__(self) -> str:
        if self.teachers == 1:
            return "the best network alone labels the images"
        return f"the {self.teachers} best networks label the images together, {RULES[self.vote]}"

    def label(self, teacher_batch: TeacherBatch) -> PseudoLabelBatch:
        """Return what the best teachers of a panel say together; nothing is blocked.

        Raises:
            ImsegError: If the vote does not go with the kind of target.
            ValueError: If the panel has too few teachers.
        """
        if len(teacher_batch.teachers) < self.teachers:
            raise ValueError(f"{len(teacher_batch.teachers)} teachers cannot be {self.teachers}")
        pooled = teacher_batch.task.pool(
            teacher_batch.probabilities[: self.teachers],
            how=self.vote,
            of="one" if self.teachers == 1 else "teachers",
        )
        hard_predictions = teacher_batch.hard_predictions[: self.teachers]
        disputed = _disputed(teacher_batch.task, hard_predictions)
        return PseudoLabelBatch(
            labels=teacher_batch.task.redraw(pooled),
            inconsistent=torch.zeros_like(disputed),
            disputed=disputed,
            consensus=pooled,
            first=hard_predictions[0],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteOfViews(Labeler):
    """The best teacher looks at disturbed views of an image, and they vote: Input Ensemble.

    Views are independent of each other and differ from generation to generation with the seeds of
    the panel. Binary: each is also flipped and turned, and the prediction is put back. Other kinds
    have one view more, without any geometry. Source: METHOD, "Input Ensemble".
    """

    kind = "vote-of-views"
    block = None
    teachers = 1

    views: int = option(3, "Augmented views that vote: 3, 5 or 7.", group="method", among=VIEWS)
    """How many views: 3, 5 or 7."""
    vote: Pool = option("paper", **VOTE)
    """How the opinions about them become one label."""
    plain: bool = option(True, "Let the plain image vote too.", group="method", name="plain_view")
    """Whether the image as it is votes too: on top of the views where they are moved, else as one
    of them."""

    def __post_init__(self) -> None:
        if self.views not in VIEWS:
            raise ValueError(f"views are 3, 5 or 7, not {self.views}")

    def __str__(self) -> str:
        also = ", and at the image as it is" if self.plain else ""
        return (
            f"the best network looks at {self.views} disturbed views of each image{also};"
            f" what it says about them is pooled {RULES[self.vote]}"
        )

    def label(self, teacher_batch: TeacherBatch) -> PseudoLabelBatch:
        """Return what the best teacher of a panel says about views; nothing is blocked.

        Raises:
            ImsegError: If the vote does not go with the kind of target.
        """
        task, teacher = teacher_batch.task, teacher_batch.teachers[0]
        augmented = self.views if task.moves_views or self.plain else self.views + 1
        seen = [_look(teacher_batch, teacher, number) for number in range(augmented)]
        if self.plain:
            # In front: of centers of objects, which no vote can pool, the first ones are taken.
            seen.insert(0, teacher_batch.probabilities[0])
        probabilities = torch.stack(seen)
        pooled = task.pool(probabilities, how=self.vote, of="views")
        disputed = _disputed(
            task, torch.stack([task.hard_prediction(each) for each in probabilities])
        )
        return PseudoLabelBatch(
            labels=task.redraw(pooled),
            inconsistent=torch.zeros_like(disputed),
            disputed=disputed,
            consensus=pooled,
            first=teacher_batch.hard_predictions[0],
        )


def _look(teacher_batch: TeacherBatch, teacher: nn.Module, number: int) -> Float[Tensor, "b k h w"]:
    """Return what a teacher says about one disturbed view of each image, put back in place."""
    task, pixels = teacher_batch.task, teacher_batch.pixels
    named = [seeds.derive(seed, "view", number) for seed in teacher_batch.seeds]
    if not task.moves_views:
        values = photometric.draw(named, teacher_batch.strength)
        view = photometric.apply(pixels, values, order="view", paper=task.paper)
        return teacher_batch.ask(teacher, view)
    height, width = pixels.shape[-2:]
    draws = augment.draw(
        named, teacher_batch.strength, rotate=teacher_batch.rotate, square=height == width
    )
    view = augment.apply(pixels, draws, order="view", paper=task.paper).images
    return move_back_each(teacher_batch.ask(teacher, view), draws.moves)


def _disputed(task: Task, hard_predictions: Votes) -> Bool[Tensor, "b 1 h w"]:
    """Return where ballots differ about any plane; nowhere if there is only one."""
    if len(hard_predictions) == 1:
        _, images, _, height, width = hard_predictions.shape
        return torch.zeros(
            images, 1, height, width, dtype=torch.bool, device=hard_predictions.device
        )
    return task.vote(hard_predictions)[1].any(dim=1, keepdim=True)
