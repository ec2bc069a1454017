"""How far a mean over images can be trusted: resampling the images."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from imseg.data.images.by_rows import size_of
from imseg.data.masks import mask_rows, recognize
from imseg.engine.inference import large, pictures
from imseg.engine.inference.image_scores import ImageScores, score_in_bands, score_whole
from imseg.tasks import Task
from imseg.tasks.multilabel import object_scores, tells_apart
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
    predictor: pictures.Predictor,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Return scores at each mask's own size (``paper``: at working size).

    Large pictures (see ``large``) are looked at in bands, and scored from sums over them.

    Args:
        pairs: Pictures with masks.
        predictor: Networks that are ready to look.
        progress: Told about finished and all images.

    Raises:
        ValueError: If there are no images.
        ImsegError: If a picture or mask cannot be read, or a large picture has a mask of another
            size; as far as headers tell, before anything is computed.
    """
    if not pairs:
        raise ValueError("there is nothing to evaluate")
    scored: list[ImageScores] = []
    for each in _scores_of_each(pairs, predictor):
        scored.append(each)
        if progress is not None:
            progress(len(scored), len(pairs))
    found = _summarize(predictor.task, [pair.name for pair in pairs], scored)
    return replace(found, orientations=scored[-1].orientations)


def _scores_of_each(
    pairs: Sequence[LabeledImage], predictor: pictures.Predictor
) -> Iterator[ImageScores]:
    """Yield the scores of each picture, in order."""
    task = predictor.task
    known = []
    for pair in pairs:
        size = size_of(pair.image, predictor.reading)
        # What the paper scores, at working size, is small however large the picture.
        known.append((task.paper or not large.needs_bands(predictor, pair.image, size), pair))
        if not known[-1][0]:
            mask_rows.check_fits(pair, size, task.spec)
    for whole, some in itertools.groupby(known, key=lambda each: each[0]):
        alike = [pair for _, pair in some]
        if not whole:
            yield from (score_in_bands(pair, predictor) for pair in alike)
            continue
        found = predictor.segment([pair.image for pair in alike])
        for pair, segmented in zip(alike, found, strict=True):
            yield score_whole(pair, segmented, task)


def _summarize(task: Task, names: list[str], scored: Sequence[ImageScores]) -> Evaluation:
    counts, shape = resample_counts(len(names)), scored[0].shape
    tallies, pixels = np.stack([each.tally for each in scored]), shape.numel()
    each = {name: [one.scores[name] for one in scored] for name in scored[0].scores}

    def scores_of(total: np.ndarray) -> dict[str, Any]:
        scores = task.dataset_scores(torch.from_numpy(total[:pixels]).reshape(shape))
        return {**(object_scores(total[pixels:]) if tells_apart(task.spec) else {}), **scores}

    dataset = scores_of(tallies.sum(axis=0))
    present = [name for name, value in dataset.items() if isinstance(value, float)]

    def numbers_of(total: np.ndarray) -> dict[str, float]:
        found = scores_of(total)
        return {
            name: float("nan") if found[name] is None else float(found[name]) for name in present
        }

    return Evaluation(
        task=recognize.word_of(task.spec),
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
