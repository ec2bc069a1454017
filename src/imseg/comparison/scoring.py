"""Test scores of finished runs, image by image, kept so that no image is scored twice."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from imseg.approaches.runs.run import Run, pairs_of
from imseg.engine.inference.evaluator import Interval
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
    ci95: dict[str, dict[str, Interval]]
    """Bootstrap intervals over images for both."""


def images_to_score(dataset: DataSet) -> tuple[LabeledImage, ...]:
    """Return the test images, which only comparisons and evaluations look at.

    Raises:
        ImsegError: If there are none.
    """
    try:
        return pairs_of(dataset, SPLIT)
    except ImsegError as error:
        raise ImsegError(
            f"{dataset.name} has no test images to compare approaches on.",
            expected="test/images and test/masks, which are used for nothing else.",
            got="none.",
            hint="move some labeled images (20 or more) and their masks there.",
        ) from error


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
        known = _known(kept.get(name), job=job, digest=digest)
        if known is None:
            progress(number, len(names))
            found = run.evaluate(dataset, SPLIT, networks=[name])
            known = NetworkScores(
                job=job, data=digest, task=found.task, metric=found.metric, unit=found.unit,
                names=found.names, each=found.each, per_image=found.per_image,
                dataset=found.dataset, ci95=found.ci95,
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


def _known(kept: Any, *, job: str, digest: str) -> NetworkScores | None:
    """Return scores that are kept, if they are whole and of this network on these images."""
    try:
        found = NetworkScores.of(kept)
    except ValueError:
        return None
    return found if (found.job, found.data) == (job, digest) else None
