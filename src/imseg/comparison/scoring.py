"""Test scores of finished runs, image by image, and what they say about approaches.

Scores are kept, so that no image is scored twice. An interval covers the choice of test images:
images are drawn anew, each with its scores of all seeds. How much seeds matter is told apart, as a
spread: two or three of them are too few to draw from. What is said in words goes by both.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, PlainSerializer, PositiveInt

from imseg.approaches.runs.run import Run
from imseg.engine.inference import evaluator
from imseg.engine.storage.sealed import StrictModel, in_words, read_sealed, unlike, write_sealed
from imseg.errors import ImsegError
from imseg.types import DataSet, LabeledImage

SPLIT = "test"


def _from_json(value: object) -> object:
    return math.nan if value is None else value


def _to_json(value: float) -> float | None:
    return value if math.isfinite(value) else None


ImageScore = Annotated[float, BeforeValidator(_from_json), PlainSerializer(_to_json)]
"""A number, or not a number where an image has no score: null in JSON."""


class NetworkScores(StrictModel):
    """A network's scores on the test images."""

    job: str
    """A hash of what it was trained on and how."""
    data: str
    """A hash of the test images."""
    task: str
    """What masks hold, in the user's word."""
    metric: str
    """The score by which networks are ranked."""
    unit: str
    """What errors are measured in; empty for scores without a unit."""
    names: tuple[str, ...]
    """The test images."""
    each: dict[str, tuple[ImageScore, ...]]
    """Scores of each image, in the order of ``names``."""
    per_image: dict[str, float]
    """Means over images."""
    dataset: dict[str, Any]
    """Scores over all pixels together."""
    ci95: dict[str, dict[str, evaluator.Interval]]
    """Bootstrap intervals over images for both."""
    orientations: PositiveInt = 1
    """In how many orientations (flipped, turned) it saw each image."""


def images_to_score(dataset: DataSet) -> tuple[LabeledImage, ...]:
    """Return the test images, which only comparisons and evaluations look at.

    Raises:
        ImsegError: If there are none.
    """
    if not dataset.test:
        raise ImsegError(
            f"{dataset.name} has no test images to compare approaches on.",
            expected="test/images and test/masks, which are used for nothing else.",
            got="none.",
            hint="move some labeled images (20 or more) and their masks there.",
        )
    return dataset.test


def scores_file(folder: Path, row: str, seed: int) -> Path:
    """Return the file of a comparison with the test scores of a run.

    Args:
        folder: The comparison.
        row: The name of the run's row.
        seed: The run's seed.
    """
    return folder / "scores" / f"seed-{seed}" / f"{row}.json"


def score(
    run: Run, dataset: DataSet, *, path: Path, digest: str, progress: Callable[[int, int], None]
) -> dict[str, NetworkScores]:
    """Return the test scores of a run's networks, from the file they are kept in where they are.

    Scored are the best network of each stage, and all of the stage that the network of the run is
    from, which show how much single networks differ.

    Args:
        run: A finished run.
        dataset: With the test images.
        path: The file.
        digest: A hash of the test images; scores on others do not count.
        progress: Told about scored and all networks.
    """
    try:
        kept = read_sealed(path)
    except ImsegError:
        kept = {}  # it is scored again
    best = [str(stage["best"]) for stage in run.summary["stages"]]
    names = list(dict.fromkeys([*best, *map(str, run.summary["ranking"])]))
    scored: dict[str, NetworkScores] = {}
    for number, name in enumerate(names):
        job = run.trained(name).job
        known = _known(kept.get(name), job=job, digest=digest, orientations=len(run.plan.moves()))
        if known is None:
            progress(number, len(names))
            found = run.evaluate(dataset, SPLIT, networks=[name])
            known = NetworkScores(
                job=job, data=digest, task=found.task, metric=found.metric, unit=found.unit,
                names=found.names, each=found.each, per_image=found.per_image,
                dataset=found.dataset, ci95=found.ci95, orientations=found.orientations,
            )  # fmt: skip
            kept[name] = known.as_dict()
            write_sealed(path, kept)
        scored[name] = known
    progress(len(names), len(names))
    return scored


def read_scores(path: Path, network: str) -> NetworkScores | None:
    """Return the kept test scores of a network; None where it was not scored.

    Raises:
        ImsegError: If the file is damaged, or holds anything else.
    """
    kept = read_sealed(path).get(network) if path.exists() else None
    try:
        return None if kept is None else NetworkScores.of(kept)
    except ValueError as error:
        raise unlike(path, in_words(error)) from error


def _known(kept: Any, *, job: str, digest: str, orientations: int) -> NetworkScores | None:
    """Return scores that are kept, if they are whole and of this network on these images."""
    try:
        found = NetworkScores.of(kept)
    except ValueError:
        return None
    same = (found.job, found.data, found.orientations) == (job, digest, orientations)
    return found if same else None


Verdict = Literal["better", "worse", "open"]
"""``open``: cannot be told apart."""

LEAST_IMAGES = 10
"""Test images below which nothing is said to be better or worse."""

T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t, two-sided 95 %, for 1 to 10 degrees of freedom; for more, the last is kept."""

Scores = npt.NDArray[np.float64]
"""``s n``: a score for each seed and test image, in the metric's unit; not a number where an image
has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanScore:
    """How good an approach is."""

    mean: float
    """Mean over seeds of the mean over images."""
    spread: float
    """Sample standard deviation over seeds; 0 for a single one."""
    interval: evaluator.Interval
    """Where 95 % of resampled sets of test images have the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """An approach against another on the same images, seed by seed."""

    mean: float
    """Its score minus the other's."""
    interval: evaluator.Interval
    """Where 95 % of resampled sets of test images have it."""
    of_seeds: tuple[float, ...]
    """The same for each seed."""
    images_better: float
    """Share of the images on which it is better, ties half; 0..1."""
    margin: float | None
    """What the difference must exceed to be believed: chance in images and in training together;
    None where one seed, or fewer than ``LEAST_IMAGES`` images, cannot say."""
    verdict: Verdict
    """Whether it is believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """How much of the way from the labeled images to all labels an approach has come."""

    mean: float
    """0: as good as ``ldt``, 1: as good as ``fdt``."""
    interval: evaluator.Interval
    """Where 95 % of resampled sets of test images have it."""


def level_of(scores: Scores) -> MeanScore:
    """Return how good an approach is."""
    means = np.nanmean(scores, axis=1).tolist()
    counts = evaluator.resample_counts(scores.shape[1])
    return MeanScore(
        mean=statistics.fmean(means),
        spread=statistics.stdev(means) if len(means) > 1 else 0.0,
        interval=evaluator.interval_of_mean(_over_seeds(scores), counts),
    )


def difference(one: Scores, other: Scores, *, higher_is_better: bool = True) -> PairedDifference:
    """Return an approach's scores minus another's, paired by seed and image.

    Args:
        one: Of the approach.
        other: Of what it is compared with: the same seeds and images in the same order.
        higher_is_better: Whether more is better.

    Raises:
        ValueError: If there are not as many of both.
    """
    if one.shape != other.shape:
        raise ValueError(f"scores of {one.shape} cannot be paired with {other.shape}")
    gained = one - other
    each = _over_seeds(gained)
    known = each[np.isfinite(each)]
    better = (known > 0) if higher_is_better else (known < 0)
    of_seeds = np.nanmean(gained, axis=1).tolist()
    mean = statistics.fmean(of_seeds)
    interval = evaluator.interval_of_mean(each, evaluator.resample_counts(len(each)))
    margin = _margin(of_seeds, interval) if len(known) >= LEAST_IMAGES else None
    verdict: Verdict = "open"
    if margin is not None and abs(mean) > margin:
        verdict = "better" if (mean > 0) == higher_is_better else "worse"
    return PairedDifference(
        mean=mean,
        interval=interval,
        of_seeds=tuple(of_seeds),
        images_better=float((better + 0.5 * (known == 0)).mean()),
        margin=margin,
        verdict=verdict,
    )


def _margin(of_seeds: Sequence[float], interval: evaluator.Interval) -> float | None:
    """Return half the width of an interval that allows for images and for seeds.

    Both are taken to be independent, so that their squares add up. With few seeds Student's t makes
    it wide: two runs that agree say little.
    """
    freedom = len(of_seeds) - 1
    if freedom < 1:
        return None
    of_images = (interval[1] - interval[0]) / 2
    t = T_975[min(freedom, len(T_975)) - 1]
    of_training = t * statistics.stdev(of_seeds) / math.sqrt(len(of_seeds))
    return math.hypot(of_images, of_training)


def gap_closed(
    scores: Scores, *, labels: Scores, bound: Scores, higher_is_better: bool = True
) -> Gap | None:
    """Return the share of the way from labels alone to all labels; None where there is no way.

    There is none where all labels are not clearly better than the few: the share of nothing would
    be any number.

    Args:
        scores: Of the approach.
        labels: Of the labeled images alone.
        bound: Of all labels.
        higher_is_better: Whether more is better.
    """
    counts = evaluator.resample_counts(scores.shape[1])
    way = _over_seeds(bound) - _over_seeds(labels)
    low, high = evaluator.interval_of_mean(way, counts)
    if (low <= 0) if higher_is_better else (high >= 0):
        return None
    come = _over_seeds(scores) - _over_seeds(labels)
    shares = evaluator.resampled_means(come, counts) / evaluator.resampled_means(way, counts)
    return Gap(mean=float(np.nanmean(come) / np.nanmean(way)), interval=evaluator.middle(shares))


def _over_seeds(scores: Scores) -> npt.NDArray[np.float64]:
    """Return the mean over seeds for each image; not a number where any seed has none."""
    means: npt.NDArray[np.float64] = scores.mean(axis=0)
    return means
