"""What every task can do, so that no other code asks for the kind of target; what tasks share."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Tensor
from torch.nn import functional

from imseg.errors import ImsegError
from imseg.ops import inconsistency, overlap
from imseg.ops.memory_layout import PixelMask, PlaneMask
from imseg.types import VOID, TargetSpec

Planes = UInt8[Tensor, "b t h w"] | Float[Tensor, "b t h w"]
"""Targets, labels or discrete predictions in the numbering inside."""

Votes = UInt8[Tensor, "v b t h w"] | Float[Tensor, "v b t h w"]
"""Discrete predictions of several teachers."""

Outputs = Float[Tensor, "b k h w"]
"""What a network says: logits or probabilities, one plane an output."""

Weight = Float[Tensor, "b #t h w"] | None
"""How much each pixel counts, or each pixel of each plane; None: all alike."""

Scalar = Float[Tensor, ""]
"""One number on the device."""

PerImage = Float[Tensor, "b"]
"""One number an image."""

SomeImages = Bool[Tensor, "b"]
"""Some of the images."""

Counted = Float[Tensor, "#b #t #h #w"] | None
"""How much each pixel of each plane counts; None: all alike."""

Areas = Float[Tensor, "b n"]
"""Pixels of each mask of each image: of a class or plane; soft where probabilities are added."""

Sums = tuple[Tensor, ...]
"""What adds up over the rows of images, ``b ...`` each; the first are tallies."""

Pool = Literal["paper", "mean", "majority", "unanimous"]
"""How opinions become one label. ``paper``: as the paper does for this kind of target; the others:
the mean probability, what more than half (of classes: the most) say, what all say."""

Origin = Literal["teachers", "views", "one"]
"""Whose opinions are pooled: several teachers', one teacher's about several views, or a single one.
"""

THRESHOLD = 0.5
"""There is something where its probability is above this (or, where the paper says so, at it)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """The score by which networks are ranked and generations are chosen."""

    key: str
    """Its name among the scores of an image."""
    label: str
    """How it is called in text."""
    higher_is_better: bool = True
    """Whether more of it is better."""
    unit: str = ""
    """What it is measured in."""
    pooled_key: str = ""
    """Its name among the scores over all pixels together; the same when empty."""

    def merit(self, scores: Mapping[str, float]) -> float:
        """Return a number that is higher for better scores."""
        return scores[self.key] if self.higher_is_better else -scores[self.key]

    def pooled(self, scores: Mapping[str, Any]) -> float | None:
        """Return the score over all pixels together; None where no pixel counts."""
        value = scores[self.pooled_key or self.key]
        return None if value is None or math.isnan(value) else float(value)

    def text(self, scores: Mapping[str, float]) -> str:
        """Return the score in words, such as ``IoU 0.712``."""
        return f"{self.label} {self.number(scores[self.key])}"

    def number(self, value: float) -> str:
        """Return a value in words, such as ``0.712`` or ``3.46 m``."""
        digits = f"{value:.3f}" if self.higher_is_better else f"{value:.4g}"
        return f"{digits} {self.unit}".rstrip()


class EpochMeter(ABC):
    """Collects a validation pass and gives the score by which the best epoch is kept."""

    def __init__(self) -> None:
        # Sums stay where the batches are until they are asked for: reading them makes a GPU wait.
        self._sums: Tensor | None = None

    def update(self, probabilities: Outputs, target: Planes) -> None:
        """Add a batch."""
        added = self.count(probabilities, target)
        self._sums = added if self._sums is None else self._sums + added

    def value(self) -> float:
        """Return the score so far, higher is better; 0 before the first batch."""
        return 0.0 if self._sums is None else self.score(self._sums.cpu())

    @abstractmethod
    def count(self, probabilities: Outputs, target: Planes) -> Shaped[Tensor, "n *k"]:
        """Return what adds up over batches, in whole numbers or doubles."""

    @abstractmethod
    def score(self, sums: Shaped[Tensor, "n *k"]) -> float:
        """Return the score from sums over batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(ABC):
    """A kind of target: how outputs become predictions, votes, losses and scores."""

    spec: TargetSpec
    """What mask values mean."""
    paper: bool = False
    """Whether the reference is followed where it differs from us."""

    zero_is_nothing: ClassVar[bool] = True
    """Whether 0 in a target says "nothing here", so that blocked pixels can be learned as 0.

    Otherwise blocked pixels get no weight in the loss.
    """
    grows_labels: ClassVar[bool] = False
    """Whether ``grow_labels`` changes anything."""
    dice_over_batch: ClassVar[bool] = False
    """Whether soft Dice is that of all images of a batch together, not of each."""
    has_certainty: ClassVar[bool] = True
    """Whether predictions have a probability; numbers have none."""
    moves_views: ClassVar[bool] = False
    """Whether views of an image that vote on its label are also flipped and turned."""

    @property
    def metric(self) -> Metric:
        """What networks are ranked by: IoU, the mean over images."""
        return Metric(key="iou", label="IoU")

    def probabilities(self, logits: Outputs) -> Outputs:
        """Return outputs as probabilities (or scaled numbers), 0..1."""
        return torch.sigmoid(logits.float())

    def discretize(self, probabilities: Outputs) -> Planes:
        """Return the predicted value of each pixel, in inside numbering, ready to be scored.

        It is 1 where the probability is above one half, where a task does not say otherwise.
        """
        return (probabilities > THRESHOLD).to(torch.uint8)

    def certainty(self, probabilities: Outputs) -> Float[Tensor, "b #t h w"]:
        """Return the probability of what is predicted, by pixel or by pixel and plane, 0..1.

        Raises:
            TypeError: If targets are numbers.
        """
        return torch.maximum(probabilities, 1 - probabilities)

    def hard_prediction(self, probabilities: Outputs) -> Planes:
        """Return what a teacher says about each pixel when several vote: as discretized."""
        return self.discretize(probabilities)

    def loss(self, logits: Outputs, target: Planes, weight: Weight) -> Scalar:
        """Return the mean loss over pixels; those of weight 0 and void are left out."""
        return mean_by(self.errors(logits, target), self.counted(target, weight))

    @abstractmethod
    def errors(self, logits: Outputs, target: Planes) -> Float[Tensor, "b #t h w"]:
        """Return the loss of each pixel of each plane; any number where the target is void."""

    def cross_entropy(
        self, logits: Outputs, target: Planes, known: Counted
    ) -> tuple[Float[Tensor, "b t h w"], Sequence[Areas]]:
        """Return the cross-entropy of each pixel of each plane, and the areas of soft Dice.

        By default every output is a plane that is there or not.

        Args:
            logits: What a network puts out.
            target: In inside numbering; where it is void the cross-entropy is any number.
            known: How much each pixel counts in the areas; None: all alike.

        Returns:
            The cross-entropy; pixels that are predicted and true, predicted, and true, by mask.
        """
        truth = (target == 1).float()
        logits = logits.float()
        errors = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        said = torch.sigmoid(logits)
        if known is not None:
            said, truth = said * known, truth * known.expand_as(truth)
        # Where a pixel counts several times, once in the product.
        both = said * (target == 1)
        return errors, [each.sum(dim=(2, 3)) for each in (both, said, truth)]

    def true_areas(self, target: Planes, known: Counted) -> Areas:
        """Return the pixels of each mask of each image that count; see ``cross_entropy``."""
        truth = (target == 1).float()
        return (truth if known is None else truth * known).sum(dim=(2, 3))

    def shown(self, target: Planes) -> Bool[Tensor, "b k"]:
        """Return which outputs each target shows anywhere; none where targets are numbers."""
        return self.true_areas(target, self.counted(target, None)) > 0

    def robust_errors(self, logits: Outputs, target: Planes) -> Float[Tensor, "b t h w"]:
        """Return errors that grow no faster than the difference; for numbers alone.

        Raises:
            TypeError: If targets are masks.
        """
        raise TypeError(f"{self.spec.kind} masks hold no numbers")

    def mass(self, target: Planes, weight: Weight) -> Scalar:
        """Return how much the mean loss is of: the pixels that count, by weight.

        Losses of the pieces of a batch, weighted by their shares of its mass, add up to its loss.
        """
        counted = self.counted(target, weight)
        if counted is None:
            return torch.full((), float(target.numel()), device=target.device)
        return counted.expand_as(target).sum()

    def counted(self, target: Planes, weight: Weight) -> Counted:
        """Return how much each pixel of each plane counts in the loss; None: all alike."""
        if not self.spec.has_void:
            return weight
        not_void = (target != VOID).float()
        return not_void if weight is None else weight * not_void

    def vote(self, votes: Votes) -> tuple[Planes, PlaneMask]:
        """Return consensus and inconsistency, plane by plane, of the teachers' hard predictions.

        That is what all say, and where some but not all say it, where a task has no other rule.
        """
        return inconsistency.agree_on_foreground(votes)

    @abstractmethod
    def pool(self, probabilities: Float[Tensor, "v b k h w"], *, how: Pool, of: Origin) -> Planes:
        """Return labels that several opinions give together, not redrawn.

        Args:
            probabilities: Of the same pixels; the best teacher or the plain image first.
            how: By which rule.
            of: Whose opinions; with ``how`` it decides what a probability of one half says.

        Raises:
            ImsegError: If the rule does not go with this kind of target.
        """

    def grow_labels(self, labels: Planes) -> Planes:
        """Return labels dilated class by class, as the reference does when it erodes the mask."""
        return labels

    def redraw(self, labels: Planes) -> Planes:
        """Return labels whose marks have their proper shape: position discs, spaced."""
        return labels

    def exceeds_inconsistency(self, labels: Planes, inconsistent: PlaneMask) -> SomeImages:
        """Return which pseudo-labels the paper's rule admits; other kinds than binary: all."""
        return torch.ones(labels.shape[0], dtype=torch.bool, device=labels.device)

    def survives(self, labels: Planes, kernel: int) -> SomeImages:
        """Return which labels still show something after an erosion; other kinds than binary: all.

        Args:
            labels: Pooled labels.
            kernel: Side of the eroding square in pixels, odd; image borders do not erode.
        """
        return torch.ones(labels.shape[0], dtype=torch.bool, device=labels.device)

    @abstractmethod
    def meter(self) -> EpochMeter:
        """Return an empty meter for choosing the best epoch."""

    def image_scores(self, predicted: Planes, target: Planes) -> dict[str, PerImage]:
        """Return scores an image; the metric's key is among them."""
        return self.scores_of(self.sums(predicted, target))

    def reach(self, size: tuple[int, int]) -> int:
        """Return how many rows above and below others have a say in the sums of those.

        Args:
            size: Height and width of the image.
        """
        return overlap.rim_width(size)

    @abstractmethod
    def sums(
        self,
        predicted: Planes,
        target: Planes,
        *,
        rows: slice = overlap.WHOLE,
        size: tuple[int, int] | None = None,
    ) -> Sums:
        """Return what adds up over the rows of images, and is all that their scores need.

        Args:
            predicted: As from ``discretize``.
            target: The truth.
            rows: Rows that count, ``reach`` rows of the image around them being there too.
            size: Height and width of the images; None: that of ``target``.
        """

    @abstractmethod
    def scores_of(self, sums: Sums) -> dict[str, PerImage]:
        """Return the scores of images from the sums over all their rows."""

    @abstractmethod
    def counts(self, predicted: Planes, target: Planes) -> Tensor:
        """Return a tally of each image, ``b ...``: the first of ``sums``."""

    def tally(self, predicted: Planes, target: Planes) -> Tensor:
        """Return what adds up over images and is all that ``dataset_scores`` needs."""
        return self.tally_of(self.counts(predicted, target))

    def tally_of(self, counts: Tensor) -> Tensor:
        """Return the tallies of images as one."""
        return counts.sum(dim=0)

    @abstractmethod
    def dataset_scores(self, tally: Tensor) -> dict[str, Any]:
        """Return scores over all pixels together, with the user's class names."""

    @abstractmethod
    def precision(self, tally: Tensor) -> float | None:
        """Return how much of what predictions say is true, 0..1; None where they say nothing."""

    def known(self, truth: Planes) -> PixelMask:
        """Return where the truth says something about any plane."""
        return known_in(truth).any(dim=1, keepdim=True)

    def blank(self, truth: Planes, where: PixelMask) -> Planes:
        """Return the truth, void in some places too: nothing counts there."""
        return truth.masked_fill(where, math.nan if truth.is_floating_point() else VOID)

    @abstractmethod
    def strata(self, targets: Planes) -> list[frozenset[int]]:
        """Return labels of images by which to split them evenly."""


def known_in(target: Planes) -> PlaneMask:
    """Return where a target is not void."""
    return target.isfinite() if target.is_floating_point() else target != VOID


def mean_by(
    values: Float[Tensor, "b t h w"], weight: Float[Tensor, "#b #t #h #w"] | None
) -> Scalar:
    """Return the weighted mean, without weights the plain one; 0 where nothing has a weight."""
    if weight is None:
        return values.mean()
    weight = weight.expand_as(values)
    return (values * weight).sum() / weight.sum().clamp(min=1.0)


def by_name(spec: TargetSpec, values: Float[Tensor, "n"]) -> dict[str, float | None]:
    """Return one number a class by its name; None where the class is neither true nor predicted."""
    pairs = zip(spec.names, values.tolist(), strict=True)
    return {name: None if math.isnan(value) else value for name, value in pairs}


def from_confusion(spec: TargetSpec, matrix: Int[Tensor, "n n"]) -> dict[str, Any]:
    """Return what the field reports from one confusion matrix over all images.

    Returns:
        ``miou`` and ``dice``: means over the classes that occur in truth or prediction (background
        included); ``accuracy``; ``iou_per_class`` and ``dice_per_class`` by class name.
    """
    ious, dices = overlap.iou_by_class(matrix), overlap.dice_by_class(matrix)
    total = matrix.sum().item()
    return {
        "miou": ious.nanmean().item() if total else None,
        "dice": dices.nanmean().item() if total else None,
        "accuracy": matrix.diagonal().sum().item() / total if total else None,
        "iou_per_class": by_name(spec, ious),
        "dice_per_class": by_name(spec, dices),
    }


GROUPS = 4
"""Groups into which images are sorted by how much they show."""


def quarters(amounts: Sequence[float]) -> list[frozenset[int]]:
    """Return for each image its quarter (0..3) by an amount of something; none where it is 0."""
    marked = sorted(
        (i for i, amount in enumerate(amounts) if amount > 0 or amount < 0),
        key=lambda i: amounts[i],
    )
    found = {index: rank * GROUPS // len(marked) for rank, index in enumerate(marked)}
    return [frozenset({found[i]}) if i in found else frozenset() for i in range(len(amounts))]


POSSIBLE: dict[str, tuple[Pool, ...]] = {
    "binary": ("paper", "mean", "majority", "unanimous"),
    "multiclass": ("paper", "mean", "majority"),
    "multilabel": ("paper", "mean", "majority", "unanimous"),
    "regression": ("paper", "mean"),
}
"""How opinions about each kind of target can be pooled."""


def check_pool(spec: TargetSpec, how: Pool) -> None:
    """Refuse a way of pooling that does not go with the kind of target.

    Args:
        spec: What mask values mean.
        how: The way.

    Raises:
        ImsegError: If it is none of ``POSSIBLE``.
    """
    possible = POSSIBLE[spec.kind]
    if how in possible:
        return
    if spec.kind == "multiclass":
        # A pixel without a unanimous class would be learned as output 0, with nothing to blame.
        what = "Networks cannot vote unanimously on classes: where they differ there is no label."
        hint = "--approach im, which masks those pixels; or --vote majority."
    else:
        what = f"There is no {how} vote on numbers: hardly two networks say the same one."
        hint = "--vote mean."
    raise ImsegError(what, expected=f"a vote that is {' or '.join(possible)}.", got=how, hint=hint)


def pool_foreground(
    probabilities: Float[Tensor, "v b t h w"], *, how: Pool, at_threshold: bool
) -> UInt8[Tensor, "b t h w"]:
    """Return 1 where the opinions together say that there is something, plane by plane.

    Args:
        probabilities: Of the same pixels, 0..1.
        how: ``mean``, ``majority`` (more than half) or ``unanimous``.
        at_threshold: Whether a probability of exactly one half says so too.
    """
    if how == "mean":
        probabilities = probabilities.mean(dim=0, keepdim=True)
    says = probabilities >= THRESHOLD if at_threshold else probabilities > THRESHOLD
    needed = len(says) if how == "unanimous" else len(says) // 2 + 1
    return (says.sum(dim=0) >= needed).to(torch.uint8)
