"""How far a mean over images can be trusted: resampling the images."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imseg.data.masks import labeled_regions
from imseg.data.masks.io import load_target, load_values, resize_mask
from imseg.data.masks.recognize import word_of
from imseg.engine.inference.pictures import Segmented
from imseg.tasks import Task
from imseg.tasks.multilabel import compare_objects, find_objects, object_scores, tells_apart
from imseg.types import LabeledImage

RESAMPLES = 2000
SEED = 20240114

Interval = tuple[float, float]
"""Lower and upper end of a 95 % interval."""


def resample_counts(images: int, *, resamples: int = RESAMPLES) -> npt.NDArray[np.int64]:
    """Return how often each image is drawn in each resample (``resamples`` x ``images``)."""
    generator = np.random.Generator(np.random.PCG64(SEED))
    return generator.multinomial(images, np.full(images, 1 / images), size=resamples)


def interval_of_mean(values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> Interval:
    """Return the 95 % percentile interval of the mean over images.

    Args:
        values: One score per image; what is not a number is left out.
        counts: From ``resample_counts``.
    """
    return middle(resampled_means(values, counts))


def resampled_means(
    values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return the mean over images in each resample; not a number where none of them counts.

    Args:
        values: One score per image; what is not a number is left out.
        counts: From ``resample_counts``.
    """
    known = np.isfinite(values)
    drawn = counts[:, known].sum(axis=1)
    means: npt.NDArray[np.float64] = (
        counts[:, known] @ values[known] / np.where(drawn == 0, np.nan, drawn)
    )
    return means


def intervals_of(
    tallies: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    scores: Callable[[npt.NDArray[np.float64]], Mapping[str, float]],
) -> dict[str, Interval]:
    """Return the 95 % percentile intervals of scores of summed tallies.

    Args:
        tallies: One per image, ``n ...``: whatever adds up over images.
        counts: From ``resample_counts``.
        scores: From one sum to named numbers, the same names every time.
    """
    sums = np.tensordot(counts, tallies, axes=1)
    found = [scores(each) for each in sums]
    return {name: middle(np.array([each[name] for each in found])) for name in found[0]}


def middle(samples: npt.NDArray[np.float64]) -> Interval:
    """Return the middle 95 % of samples; what is not a number is left out."""
    low, high = np.nanpercentile(samples, [2.5, 97.5])
    return float(low), float(high)


def rank_correlation(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Return Spearman's correlation of two lists, -1..1; equal values share their mean rank.

    Where all values of a list are equal nothing is ranked: 0.
    """
    first, second = (_ranks(np.asarray(values, np.float64)) for values in (one, other))
    first, second = first - first.mean(), second - second.mean()
    scale = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / scale) if scale > 0 else 0.0


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    middles: npt.NDArray[np.float64] = counts.cumsum() - (counts - 1) / 2
    return middles[places]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How good predictions are on a set of images."""

    task: str
    """What masks hold, in the user's word."""
    metric: str
    """The score by which networks are ranked."""
    unit: str
    """What errors are measured in; empty for scores without a unit."""
    names: tuple[str, ...]
    """The images."""
    each: dict[str, tuple[float, ...]]
    """Scores of each image, in the order of ``names``."""
    per_image: dict[str, float]
    """Means over images, as the paper reports them."""
    dataset: dict[str, Any]
    """Scores over all pixels together, as the field reports them."""
    ci95: dict[str, dict[str, tuple[float, float]]]
    """Bootstrap intervals over images for both."""
    orientations: int = 1
    """In how many orientations (flipped, turned) networks saw each image; 1: as it is."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        names = ("task", "metric", "unit", "orientations", "per_image", "dataset", "ci95")
        return {"images": len(self.names), **{name: getattr(self, name) for name in names}}


def evaluate(
    pairs: Sequence[LabeledImage],
    found: Iterable[Segmented],
    *,
    task: Task,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Return scores at each mask's own size (``paper``: at working size).

    Args:
        pairs: Pictures with masks.
        found: What networks say about each picture.
        task: What a pixel is.
        progress: Told about finished and all images.

    Raises:
        ValueError: If there are no images.
    """
    if not pairs:
        raise ValueError("there is nothing to evaluate")
    each: dict[str, list[float]] = {}
    tallies: list[np.ndarray] = []
    for number, (pair, segmented) in enumerate(zip(pairs, found, strict=True), 1):
        height, width = segmented.probabilities.shape[-2:]
        truth = load_target(pair, task.spec, (height, width) if task.paper else None)
        target = torch.from_numpy(np.ascontiguousarray(truth))[None]
        own = (truth.shape[1], truth.shape[2])
        predicted = segmented.predict(task, own)
        scores = {k: v.item() for k, v in task.image_scores(predicted, target).items()}
        tally = task.tally(predicted, target).numpy().astype(np.float64).reshape(-1)
        if tells_apart(task.spec):
            matched = _match(task, segmented, pair, own)
            errors = {"object_count_error": abs(matched[1] - matched[2])}
            scores = {**object_scores(matched), **errors, **scores}
            tally = np.concatenate([tally, matched])
        for name, value in scores.items():
            each.setdefault(name, []).append(value)
        tallies.append(tally)
        if progress is not None:
            progress(number, len(pairs))
    like = task.tally(predicted, target)
    found_all = _summarize(task, [pair.name for pair in pairs], each, np.stack(tallies), like)
    return replace(found_all, orientations=segmented.orientations)


def _match(
    task: Task, segmented: Segmented, pair: LabeledImage, size: tuple[int, int]
) -> tuple[float, float, float]:
    """Return how many objects are right, too many and missing."""
    truth = load_values(pair, task.spec)
    if truth.shape != size:
        truth = resize_mask(truth, size)
    void = task.spec.void
    outside = None if void is None else truth == void
    if pair.regions is not None:
        unlabeled = labeled_regions.outside(pair.regions, size, size)
        outside = unlabeled if outside is None else outside | unlabeled
    matches = compare_objects(find_objects(task, segmented.at_size(size)), truth, outside=outside)
    return float(matches.tp), float(matches.fp), float(matches.fn)


def _summarize(
    task: Task, names: list[str], each: dict[str, list[float]], tallies: np.ndarray, like: Tensor
) -> Evaluation:
    counts = resample_counts(len(names))
    pixels = like.numel()

    def scores_of(total: np.ndarray) -> dict[str, Any]:
        scores = task.dataset_scores(torch.from_numpy(total[:pixels]).reshape(like.shape))
        return {**(object_scores(total[pixels:]) if tells_apart(task.spec) else {}), **scores}

    dataset = scores_of(tallies.sum(axis=0))
    present = [name for name, value in dataset.items() if isinstance(value, float)]

    def numbers_of(total: np.ndarray) -> dict[str, float]:
        found = scores_of(total)
        return {
            name: float("nan") if found[name] is None else float(found[name]) for name in present
        }

    return Evaluation(
        task=word_of(task.spec),
        metric=task.metric.key,
        unit=task.metric.unit,
        names=tuple(names),
        each={name: tuple(values) for name, values in each.items()},
        per_image={name: float(np.nanmean(values)) for name, values in each.items()},
        dataset=dataset,
        ci95={
            "per_image": {
                name: interval_of_mean(np.array(values), counts) for name, values in each.items()
            },
            "dataset": intervals_of(tallies, counts, numbers_of),
        },
    )
