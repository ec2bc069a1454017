"""Which pseudo-labeled images are learned from at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from imseg.components.consensus import PseudoLabelBatch
from imseg.options import Component
from imseg.tasks import Task, Votes


class Select(Component, ABC):
    """Chooses images of a batch."""

    @abstractmethod
    def __call__(self, task: Task, votes: Votes, agreement: PseudoLabelBatch) -> Bool[Tensor, "b"]:
        """Return true for the images that are used."""


@dataclass(frozen=True, slots=True)
class Everything(Select):
    """Every image is used."""

    kind = "all"

    def __str__(self) -> str:
        return "all"

    def __call__(self, task: Task, votes: Votes, agreement: PseudoLabelBatch) -> Bool[Tensor, "b"]:
        """Return true throughout."""
        return torch.ones(votes.shape[1], dtype=torch.bool, device=votes.device)


@dataclass(frozen=True, slots=True)
class ForegroundExceedsInconsistency(Select):
    """The paper's rule: a binary image needs more agreed foreground than disputed pixels."""

    kind = "foreground-exceeds-inconsistency"

    def __str__(self) -> str:
        return "binary: those with more agreed foreground than disputed pixels; other kinds: all"

    def __call__(self, task: Task, votes: Votes, agreement: PseudoLabelBatch) -> Bool[Tensor, "b"]:
        """Return true where the rule of the task holds."""
        return task.exceeds_inconsistency(agreement.consensus, agreement.disputed)


@dataclass(frozen=True, slots=True)
class SameClasses(Select):
    """Only images on which all teachers found the same set of classes."""

    kind = "same-classes"

    def __str__(self) -> str:
        return "those on which all teachers found the same classes"

    def __call__(self, task: Task, votes: Votes, agreement: PseudoLabelBatch) -> Bool[Tensor, "b"]:
        """Return true where the sets are equal."""
        teachers, images = votes.shape[:2]
        found = torch.zeros(teachers, images, 256, dtype=torch.bool, device=votes.device)
        found.scatter_(2, votes.reshape(teachers, images, -1).long(), True)
        return (found == found[:1]).all(dim=(0, 2))


@dataclass(frozen=True, slots=True)
class SurvivesErosion(Select):
    """A binary image needs foreground thicker than a square: the rule of Input Ensemble."""

    kind = "survives-erosion"

    kernel: int = 5
    """Side of the eroding square in pixels, odd."""

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"the eroding square has an odd side, not {self.kernel}")

    def __str__(self) -> str:
        return (
            f"binary: those whose foreground does not vanish under a {self.kernel}x{self.kernel}"
            " erosion; other kinds: all"
        )

    def __call__(self, task: Task, votes: Votes, agreement: PseudoLabelBatch) -> Bool[Tensor, "b"]:
        """Return true where the label is still there after the erosion."""
        return task.survives(agreement.consensus, self.kernel)
