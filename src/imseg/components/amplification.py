"""How many augmented copies a pseudo-labeled image is worth: the better its mask, the more."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from imseg.errors import ImsegError
from imseg.options import Component, option

MOST = 5
"""Copies of the best images in the paper."""


def copies_for(
    scores: Float[Tensor, "b"], *, low: float, high: float, most: int = MOST
) -> list[int]:
    """Return the number of copies of each image, 1 to ``most``.

    From ``low`` to ``high`` there are ``most`` equal steps; each step reached is worth one copy
    more. An image exactly at ``low`` or below gets one copy, one above ``high`` gets ``most``.

    Args:
        scores: How good the mask of each image is, 0..1.
        low: The score up to which an image gets a single copy.
        high: The score beyond which it gets the most. Equal to ``low``: a single copy or the most.
        most: The most copies.

    Raises:
        ImsegError: If ``high`` is below ``low``.

    Source: METHOD, "EvalNet": copies.
    """
    if not low <= high:
        raise ImsegError(
            "The thresholds for the number of copies are the wrong way round.",
            expected="a lower threshold that is not above the upper one.",
            got=f"{low:g} and {high:g}",
        )
    step = (high - low) / most

    def copies(score: float) -> int:
        if math.isnan(score) or score <= low:
            return 1
        return most if score > high else min(most, 1 + math.floor((score - low) / step))

    return [copies(score) for score in scores.double().tolist()]


LEAST_LABELED = 8
"""Labeled images below which mask scorers are not trained."""
LEAST_VALIDATION = 4
"""Validation images below which it cannot be said how good they are."""

LearnsFrom = Literal["consensus", "predictions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskScorer:
    """How mask scorers are trained; once a run, before the first generation.

    Source: METHOD, "EvalNet".
    """

    learns_from: LearnsFrom = "consensus"
    """Blocked consensus of random start networks, or single unblocked predictions and the truth."""
    rounds: int = 10
    """How often each labeled image is used, if mask scorers learn from consensus."""
    rounds_validation: int = 3
    """The same for validation images."""
    networks_validation: int = 3
    """Networks of each start whose predictions on validation images are scored, if scorers learn
    from predictions."""
    epochs: int = 50
    """Passes over its samples, at most."""

    def __str__(self) -> str:
        sources = {
            "consensus": "what random start networks agree on",
            "predictions": "what single networks predict, and from the truth",
        }
        return f"mask scorers (EvalNet) that learn from {sources[self.learns_from]}"


def enough_for_scorers(labeled: int, validation: int) -> bool:
    """Return whether there are enough images to train mask scorers and to choose them by."""
    return labeled >= LEAST_LABELED and validation >= LEAST_VALIDATION


FRESH: Mapping[str, Any] = {
    "help": "Draw augmented copies anew at every use, not once a run.",
    "group": "method",
    "name": "fresh_copies",
}
"""What is declared about the option ``fresh_copies``, which labeled images have too."""


class Appraisal(Protocol):
    """How good the pseudo-labels of the admitted images are, by mask scorers or by the truth."""

    @property
    def thresholds(self) -> tuple[float, float]:
        """The scores from which on a mask is good, and very good; 0..1."""

    def scores(self) -> Float[Tensor, "b"]:
        """Return the mean IoU of each label: what mask scorers expect, or what it is; 0..1."""


LOW, HIGH = 0.5, 0.9
"""Quantiles of the scores of predictions for validation images: the thresholds of a user's own
data, for which there are no published ones."""


def thresholds_from(scores: Float[Tensor, "n"]) -> tuple[float, float]:
    """Return the scores above which a mask is good, and very good.

    Args:
        scores: Of predictions for validation images, at least one.
    """
    low, high = torch.quantile(scores.double(), torch.tensor([LOW, HIGH], dtype=torch.double))
    return float(low), float(high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Amplification(Component, ABC):
    """How many augmented copies of each pseudo-labeled image a student sees."""

    keep_plain: bool = False
    """Whether the image as it is stays among the samples."""
    fresh: bool = option(False, **FRESH)
    """Whether copies are drawn anew at every use instead of once a run."""
    reblock: bool | None = option(
        None,
        "Give blocked pixels their color again after a copy was augmented.  [default: not in the"
        " paper's schedule]",
        group="method",
    )
    """Whether blocked pixels get their color again after the augmentation; None: except in the
    paper's schedule."""
    level: int | None = option(
        None,
        "The level of the strength schedule, 1 to 5, of copies in every generation.  [default: one"
        " higher in each]",
        group="method",
        name="strength_level",
        low=1,
        high=5,
    )
    """The level of the strength schedule, from 1, of copies in all generations; None: it rises
    with the generation."""

    needs_truth: ClassVar[bool] = False
    """Whether hidden masks are looked at: an upper bound, not a method."""

    @property
    @abstractmethod
    def typical(self) -> float:
        """About how many copies an image gets: for estimates of time."""

    @abstractmethod
    def copies(self, images: int, appraisal: Appraisal | None) -> tuple[int, ...]:
        """Return the number of copies of each image.

        Args:
            images: How many there are.
            appraisal: How good their labels are; None where that is not known.
        """

    def _how(self) -> str:
        kept = "the images as they are kept too"
        words = [kept if self.keep_plain else "in place of the images as they are"]
        if self.fresh:
            words.append("drawn anew at every look")
        if self.reblock is not None:
            again = "get their color again" if self.reblock else "are augmented like all others"
            words.append(f"blocked pixels {again}")
        if self.level is not None:
            words.append(f"augmented at level {self.level} in every generation")
        return ", ".join(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyCopies(Amplification):
    """As many augmented copies of every image."""

    kind = "noisy-copies"

    count: int = 1
    """How many."""

    def __str__(self) -> str:
        copies = "1 noisy copy" if self.count == 1 else f"{self.count} noisy copies"
        return f"{copies} of each, {self._how()}"

    @property
    def typical(self) -> float:
        """As many as there are."""
        return self.count

    def copies(self, images: int, appraisal: Appraisal | None) -> tuple[int, ...]:
        """Return the same number for every image."""
        return (self.count,) * images


@dataclass(frozen=True, slots=True, kw_only=True)
class _CopiesByScore(Amplification):
    """One copy of a doubtful mask, up to five of a very good one."""

    @property
    def typical(self) -> float:
        """The middle."""
        return (1 + MOST) / 2

    def copies(self, images: int, appraisal: Appraisal | None) -> tuple[int, ...]:
        """Return more copies for better masks; one each where that is not known."""
        if appraisal is None:
            return (1,) * images
        low, high = appraisal.thresholds
        return tuple(copies_for(appraisal.scores(), low=low, high=high))

    def _in_words(self) -> str:
        return f"1 to {MOST} noisy copies of each, {self._how()}: more for masks that"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiesByQuality(_CopiesByScore):
    """One copy of a doubtful mask, up to five of one that mask scorers find very good."""

    kind = "copies-by-quality"

    scorer: MaskScorer = field(default_factory=MaskScorer)
    """Who says how good a mask is."""

    def __str__(self) -> str:
        return f"{self._in_words()} mask scorers (EvalNet) find better"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiesByTruth(_CopiesByScore):
    """The same by the true quality: what a perfect mask scorer would be worth."""

    kind = "copies-by-truth"
    needs_truth = True

    def __str__(self) -> str:
        return f"{self._in_words()} are better by the hidden truth"
