"""Pseudo-labels that block nothing: a vote of teachers or of views, or the mask that scores best.

Source: METHOD, "The approaches".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from imseg.components.amplification import MaskScorer
from imseg.components.consensus import TEACHERS, Labeler, PseudoLabelBatch, TeacherBatch
from imseg.engine.inference.predictor import score_candidates
from imseg.engine.training import seeds
from imseg.ops import augment, photometric
from imseg.options import option
from imseg.tasks import Planes, Pool, Task, Votes

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
        task, probabilities = teacher_batch.task, teacher_batch.probabilities[: self.teachers]
        pooled = task.pool(
            probabilities, how=self.vote, of="one" if self.teachers == 1 else "teachers"
        )
        opinions = teacher_batch.hard_predictions[: self.teachers]
        return _unblocked(task, opinions, task.redraw(pooled), consensus=pooled, first=opinions[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteOfViews(Labeler):
    """The best teacher looks at augmented views of an image, and they vote: Input Ensemble.

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
            f"the best network looks at {self.views} augmented views of each image{also};"
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
        return _unblocked(
            task,
            torch.stack([task.hard_prediction(each) for each in probabilities]),
            task.redraw(pooled),
            consensus=pooled,
            first=teacher_batch.hard_predictions[0],
        )


def _look(teacher_batch: TeacherBatch, teacher: nn.Module, number: int) -> Float[Tensor, "b k h w"]:
    """Return what a teacher says about one augmented view of each image, put back in place."""
    task, pixels = teacher_batch.task, teacher_batch.pixels
    named = [seeds.derive(seed, "view", number) for seed in teacher_batch.seeds]
    height, width = pixels.shape[-2:]
    draws = augment.draw(
        named, teacher_batch.strength, rotate=teacher_batch.rotate, square=height == width
    )
    if not task.moves_views:
        view = photometric.apply(pixels, draws.values, order="view", paper=task.paper)
        return teacher_batch.ask(teacher, view)
    view = augment.apply(pixels, draws, order="view", paper=task.paper).images
    return augment.move_back_each(teacher_batch.ask(teacher, view), draws.moves)


def _unblocked(
    task: Task,
    opinions: Votes,
    labels: Planes,
    *,
    consensus: Planes,
    first: Planes,
    admitted: Bool[Tensor, "b"] | None = None,
) -> PseudoLabelBatch:
    """Return labels of which nothing is blocked.

    Args:
        task: What a pixel is.
        opinions: Hard predictions; where they differ about any plane is disputed, nowhere if there
            is only one.
        labels: See ``PseudoLabelBatch``, as are the following.
        consensus: Before labels are redrawn.
        first: Of the best teacher.
        admitted: Images that have a label.
    """
    disputed = torch.zeros_like(opinions[0, :, :1], dtype=torch.bool)
    if len(opinions) > 1:
        disputed = task.vote(opinions)[1].any(dim=1, keepdim=True)
    return PseudoLabelBatch(
        labels=labels,
        inconsistent=torch.zeros_like(disputed),
        disputed=disputed,
        consensus=consensus,
        first=first,
        admitted=admitted,
    )


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

        def score(labels: Planes) -> Float[Tensor, "b"]:
            scorers, images = bench.scorers[: self.scorers], teacher_batch.images
            quality = bench.quality
            scored = score_candidates(scorers, images, labels, quality, teacher_batch.compute)
            return quality.score(scored, amplification=False)

        candidates = as_candidates(task, teacher_batch.hard_predictions)
        scores = torch.stack([score(labels) for labels in candidates])
        kept = None
        if teacher_batch.kept is not None:
            labels, has = teacher_batch.kept
            there = labels.to(candidates.device)
            kept = Kept(labels=there, scores=score(there), has=has)
        low, high = bench.thresholds
        chosen = choose_masks(
            task, candidates, scores, threshold=high if self.accepts == "high" else low, kept=kept
        )
        return _unblocked(
            task,
            teacher_batch.hard_predictions,
            chosen.labels,
            consensus=chosen.labels,
            first=teacher_batch.hard_predictions[0],
            admitted=chosen.admitted,
        )
