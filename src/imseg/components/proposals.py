"""Which of several masks of an image is used: the one that scores best, if it is good enough.

Source: METHOD, "The approaches": EvalNet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from imseg.components.amplification import MaskScorer
from imseg.components.consensus import Labeler, PseudoLabelBatch, ScorerGroup, TeacherBatch
from imseg.engine.inference.predictor import score_candidates
from imseg.options import option
from imseg.tasks import Planes, Task, Votes


class Kept(NamedTuple):
    """The masks chosen in the generation before."""

    labels: Planes
    """One an image; any where there is none."""
    scores: Float[Tensor, "b"]
    """What the mask scorers say about them now; any where there is none."""
    has: Bool[Tensor, "b"]
    """Which images have one."""


class Chosen(NamedTuple):
    """The masks chosen now."""

    which: Int64[Tensor, "b"]
    """Which candidate, 0..m - 1; ``m``: the kept one; -1: none."""
    labels: Planes
    """The masks; 0 where there is none."""
    scores: Float[Tensor, "b"]
    """How good the mask scorers find them; 0 where there is none."""

    @property
    def admitted(self) -> Bool[Tensor, "b"]:
        """Which images have a mask."""
        return self.which >= 0


def as_candidates(task: Task, hard_predictions: Votes) -> Votes:
    """Return predictions as they are scored: with cell centers redrawn as they will be used.

    The reference scores them as they come and redraws the chosen ones; so does ``paper``.
    """
    if task.paper:
        return hard_predictions
    return torch.stack([task.redraw(labels) for labels in hard_predictions])


def choose_masks(
    task: Task,
    candidates: Votes,
    scores: Float[Tensor, "m b"],
    *,
    threshold: float,
    kept: Kept | None = None,
) -> Chosen:
    """Return the best mask of each image, if it is good enough.

    An image that was admitted before stays: if nothing reaches the threshold, with its old mask.
    Where two are equally good, the first candidate is taken, and the kept mask last.

    Args:
        task: What a pixel is.
        candidates: ``m`` masks of each image, as ``as_candidates`` returns them.
        scores: How good mask scorers find them, 0..1.
        threshold: The score from which on a mask is good enough.
        kept: The masks of the generation before; None: there was none.
    """
    count = len(candidates)
    has = torch.zeros_like(scores[0], dtype=torch.bool)
    if kept is not None:
        has = kept.has.to(scores.device)
        rivals = kept.scores.to(scores).masked_fill(~has, -torch.inf)
        scores = torch.cat([scores, rivals.unsqueeze(0)])
        candidates = torch.cat([candidates, kept.labels.unsqueeze(0)])
    good = scores.amax(dim=0) >= threshold
    which = _first_of_the_best(scores).masked_fill(~good, -1).masked_fill(~good & has, count)
    admitted, chosen = which >= 0, which.clamp(min=0)
    rows = torch.arange(len(which), device=which.device)
    labels = candidates[chosen, rows]
    if task.paper and good.any():
        labels[good] = task.redraw(labels[good])
    labels[~admitted] = 0
    return Chosen(
        which=which, labels=labels, scores=scores[chosen, rows].masked_fill(~admitted, 0.0)
    )


def _first_of_the_best(scores: Float[Tensor, "m b"]) -> Int64[Tensor, "b"]:
    # argmax may return any of several equal ones.
    return (scores == scores.amax(dim=0)).int().cumsum(dim=0).eq(0).sum(dim=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BestProposal(Labeler):
    """The best mask that any network proposes, if it is good enough; else the one kept before.

    Source: METHOD, "The approaches, as differences": EvalNet.
    """

    kind = "best-proposal"
    block = None
    teachers = None

    scorer: MaskScorer = field(default_factory=MaskScorer)
    """How mask scorers are trained."""
    scorers: int = option(
        2,
        "Mask scorers that are asked together: 1 to 4.",
        group="method",
        name="mask_scorers",
        among=(1, 2, 3, 4),
    )
    """How many of the best mask scorers say together how good a mask is."""
    accepts: Literal["low", "high"] = "high"
    """The threshold from which on a mask is taken."""

    def __str__(self) -> str:
        return (
            f"every network proposes a mask; {self.scorers} scorers (EvalNet) take the"
            " best one, if it is good enough"
        )

    def label(self, teacher_batch: TeacherBatch) -> PseudoLabelBatch:
        """Return the best proposals of all teachers of a panel; nothing is blocked.

        Raises:
            ValueError: If the panel has no mask scorers.
        """
        bench, task = teacher_batch.bench, teacher_batch.task
        if bench is None:
            raise ValueError("proposals need mask scorers")
        candidates = as_candidates(task, teacher_batch.hard_predictions)
        scores = torch.stack([self._score(teacher_batch, bench, labels) for labels in candidates])
        kept = None
        if teacher_batch.kept is not None:
            labels, has = teacher_batch.kept
            there = labels.to(candidates.device)
            kept = Kept(labels=there, scores=self._score(teacher_batch, bench, there), has=has)
        low, high = bench.thresholds
        chosen = choose_masks(
            task, candidates, scores, threshold=high if self.accepts == "high" else low, kept=kept
        )
        disputed = task.vote(teacher_batch.hard_predictions)[1].any(dim=1, keepdim=True)
        return PseudoLabelBatch(
            labels=chosen.labels,
            inconsistent=torch.zeros_like(disputed),
            disputed=disputed,
            consensus=chosen.labels,
            first=teacher_batch.hard_predictions[0],
            admitted=chosen.admitted,
        )

    def _score(
        self, teacher_batch: TeacherBatch, bench: ScorerGroup, labels: Planes
    ) -> Float[Tensor, "b"]:
        scorers = bench.scorers[: self.scorers]
        scored = score_candidates(
            scorers, teacher_batch.images, labels, bench.quality, teacher_batch.compute
        )
        return bench.quality.score(scored, amplification=False)
