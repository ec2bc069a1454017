"""What a step of online labels is made of: labels just made, a filter, and the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from imseg.engine.loading.samples import Batch
from imseg.engine.training.objectives import mixed
from imseg.tasks import Task

Filter = Literal["agreement", "confidence", "both", "random", "none"]

FILTERS: dict[Filter, str] = {
    "agreement": "where all labelers agree",
    "confidence": "where their mean is confident",
    "both": "where all labelers agree and their mean is confident",
    "random": "outside the inconsistency mask of another image",
    "none": "everywhere",
}
"""Where a label is learned, in words. ``random`` is a control: as many pixels, of like shapes."""
AGREEING = ("agreement", "both", "random")
CONFIDENT = ("confidence", "both")


@dataclass(frozen=True, slots=True)
class LabeledViews:
    """Views of unlabeled images with the labels they were given."""

    images: Float[Tensor, "b c h w"]
    """0..1."""
    labels: Shaped[Tensor, "b n t h w"]
    """What each of n networks is to say, in inside numbering."""
    weight: Float[Tensor, "b n t h w"]
    """How much that counts; 0 where the filter does not trust it."""
    kept: Float[Tensor, "b f"] | None = None
    """By what the features of the networks are multiplied; None: by 1."""

    def __len__(self) -> int:
        return len(self.images)

    def split(self, sizes: Sequence[int]) -> list[LabeledViews]:
        """Return the views in their order, in pieces of these sizes."""
        pieces = [each.split(list(sizes)) for each in (self.images, self.labels, self.weight)]
        kept = [None] * len(sizes) if self.kept is None else self.kept.split(list(sizes))
        return [LabeledViews(*each) for each in zip(*pieces, kept, strict=True)]


@dataclass(frozen=True, slots=True)
class OnlineBatch:
    """Labeled images, and views of unlabeled ones: the strong ones, and others."""

    labeled: Batch
    views: tuple[LabeledViews, ...]

    def __len__(self) -> int:
        return len(self.labeled) + sum(map(len, self.views))

    def split(self, sizes: Sequence[int]) -> list[OnlineBatch]:
        """Return the samples in pieces of these sizes; each has its share of all kinds."""
        counts, left = mixed.shares_of(sizes, len(self.labeled), len(self))
        labeled, views = self.labeled.split(counts), []
        for each in self.views:
            counts, left = mixed.shares_of(left, len(each), sum(left))
            views.append(each.split(counts))
        return [
            OnlineBatch(*piece) for piece in zip(labeled, zip(*views, strict=True), strict=True)
        ]

    @property
    def seen(self) -> tuple[Tensor, ...]:
        """All images and, if any are to lack some features, by what these are multiplied."""
        images = torch.cat([self.labeled.images, *(views.images for views in self.views)])
        width = next((each.kept.shape[1] for each in self.views if each.kept is not None), None)
        if width is None:
            return (images,)
        whole = images.new_ones(len(self.labeled), width)
        kept = [
            images.new_ones(len(each), width) if each.kept is None else each.kept
            for each in self.views
        ]
        return images, torch.cat([whole, *kept])


def labels_of(
    task: Task,
    probabilities: Float[Tensor, "n b k h w"],
    *,
    filter: Filter,
    confidence: float,
    exchange: bool,
) -> tuple[Shaped[Tensor, "b n t h w"], Float[Tensor, "b n t h w"]]:
    """Return what each of several networks is to learn from what they say, and where.

    Args:
        task: What a pixel is.
        probabilities: What each says about the same images.
        filter: Where that counts.
        confidence: The probability from which on a label is confident.
        exchange: Whether each learns from the mean of the others; else all from the same labels.
    """
    count = len(probabilities)
    hard = torch.stack([task.hard_prediction(each) for each in probabilities])
    if exchange:
        others = [[k for k in range(count) if k != number] for number in range(count)]
        said = [probabilities[each] for each in others]
    else:
        said = [probabilities]
    labels = [
        task.pool(each, how="mean", of="teachers" if len(each) > 1 else "one") for each in said
    ]
    weights = [torch.ones_like(each, dtype=torch.float32) for each in labels]
    if filter in AGREEING:
        consensus, disputed = task.vote(hard)
        agreed = (~disputed).float()
        if filter == "random":  # as many pixels, of the same shapes, in other places
            agreed = agreed.roll(1, 0)
        else:
            labels = [consensus] * len(labels)
        weights = [each * agreed for each in weights]
    if filter in CONFIDENT:
        sure = [task.certainty(each.mean(dim=0)) >= confidence for each in said]
        weights = [each * one for each, one in zip(weights, sure, strict=True)]
    given, trusted = (torch.stack(each, dim=1) for each in (labels, weights))
    return given.expand(-1, count, -1, -1, -1), trusted.expand(-1, count, -1, -1, -1)
