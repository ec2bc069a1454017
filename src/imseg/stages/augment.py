"""How many disturbed copies of a pseudo-labeled image a student sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from imseg.stages.amplify import MOST, copies_for
from imseg.stages.quality import Appraisal, Judge


class Augment(Protocol):
    """Settings and code in one: a frozen dataclass."""

    @property
    def keep_plain(self) -> bool:
        """Whether the images as they are belong to the samples too."""

    @property
    def fresh(self) -> bool:
        """Whether copies are drawn anew at every look instead of once a run."""

    @property
    def reblock(self) -> bool | None:
        """Whether blocked pixels get their color again; None: except in the paper's schedule."""

    @property
    def typical(self) -> float:
        """About how many copies an image gets: for estimates of time."""

    @property
    def needs_truth(self) -> bool:
        """Whether hidden masks are looked at: an upper bound, not a method."""

    def copies(self, images: int, appraisal: Appraisal | None) -> tuple[int, ...]:
        """Return the number of copies of each image.

        Args:
            images: How many there are.
            appraisal: How good their labels are; None where nobody can say.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copies:
    """How copies are made, however many there are."""

    keep_plain: bool = False
    """Whether the image as it is stays among the samples."""
    fresh: bool = field(default=False, metadata={"option": "fresh_copies"})
    """Whether they are drawn anew at every look instead of once a run."""
    reblock: bool | None = field(default=None, metadata={"option": "reblock"})
    """Whether blocked pixels get their color again after the disturbance; None: except in the
    paper's schedule."""
    rung: int | None = field(default=None, metadata={"option": "rung"})
    """The rung of the ladder, from 1, by which copies of all generations are disturbed; None: it
    rises with the generation."""

    def _how(self) -> str:
        kept = "the images as they are kept too"
        words = [kept if self.keep_plain else "in place of the images as they are"]
        if self.fresh:
            words.append("drawn anew at every look")
        if self.reblock is not None:
            again = "get their color again" if self.reblock else "are disturbed like all others"
            words.append(f"blocked pixels {again}")
        if self.rung is not None:
            words.append(f"disturbed by rung {self.rung} of the ladder in every generation")
        return ", ".join(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyCopies(_Copies):
    """As many disturbed copies of every image."""

    count: int = 1
    """How many."""

    needs_truth = False

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
class _CopiesByScore(_Copies):
    """One copy of a doubtful mask, up to five of a very good one."""

    @property
    def typical(self) -> float:
        """The middle."""
        return (1 + MOST) / 2

    def copies(self, images: int, appraisal: Appraisal | None) -> tuple[int, ...]:
        """Return more copies for better masks; one each where nobody knows."""
        if appraisal is None:
            return (1,) * images
        low, high = appraisal.thresholds
        return tuple(copies_for(appraisal.scores(), low=low, high=high))

    def _in_words(self) -> str:
        return f"1 to {MOST} noisy copies of each, {self._how()}: more for masks that"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiesByQuality(_CopiesByScore):
    """One copy of a doubtful mask, up to five of one that judges find very good."""

    judge: Judge = field(default_factory=Judge)
    """Who says how good a mask is."""

    needs_truth = False

    def __str__(self) -> str:
        return f"{self._in_words()} judges (EvalNet) find better"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiesByTruth(_CopiesByScore):
    """The same by the true quality: what a perfect judge would be worth."""

    needs_truth = True

    def __str__(self) -> str:
        return f"{self._in_words()} are better by the hidden truth"
