"""Test scores of finished runs, image by image, kept so that no image is scored twice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imseg.approaches.runs.run import Run, pairs_of
from imseg.engine.storage.sealed import read_json, write_json
from imseg.errors import ImsegError
from imseg.types import DataSet, LabeledImage

SPLIT = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A network's scores on the test images."""

    network: str
    """Its name in its run."""
    each: dict[str, tuple[float, ...]]
    """Scores of each image."""
    per_image: dict[str, float]
    """Means over images."""
    dataset: dict[str, Any]
    """Scores over all pixels together."""
    ci95: dict[str, dict[str, tuple[float, float]]]
    """Bootstrap intervals over images for both."""


def images_to_score(dataset: DataSet) -> tuple[LabeledImage, ...]:
    """Return the test images; nobody but a comparison and an evaluation looks at them.

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


def networks_to_score(run: Run) -> list[str]:
    """Return the networks of a run that a comparison looks at.

    The best of each stage, for scores by generation, and all of the stage that the network of the
    run is from: how much single networks differ.
    """
    stages = run.summary["stages"]
    best = [str(stage["best"]) for stage in stages]
    return list(dict.fromkeys([*best, *map(str, run.summary["ranking"])]))


def score(
    run: Run,
    dataset: DataSet,
    *,
    path: Path,
    digest: str,
    progress: Callable[[int, int], None],
) -> dict[str, Scored]:
    """Return the test scores of a run's networks, from the file they are kept in where they are.

    Args:
        run: A finished run.
        dataset: With the test images.
        path: The file.
        digest: A hash of the test images; scores on others do not count.
        progress: Told about scored and all networks.
    """
    kept = _read(path)
    scored: dict[str, Scored] = {}
    names = networks_to_score(run)
    for number, name in enumerate(names):
        job = run.trained(name).job
        known = _known(name, kept.get(name), job=job, digest=digest)
        if known is None:
            progress(number, len(names))
            found = run.evaluate(dataset, SPLIT, networks=[name])
            kept[name] = {
                "job": job,
                "data": digest,
                **found.as_dict(),
                "names": found.names,
                "each": {key: _plain(values) for key, values in found.each.items()},
            }
            write_json(path, kept)
            known = _scored(name, kept[name])
        scored[name] = known
    progress(len(names), len(names))
    return scored


def _read(path: Path) -> dict[str, Any]:
    """Return what is kept in a file; what cannot be read is scored again."""
    try:
        return read_json(path)
    except ImsegError:
        return {}


def _known(name: str, kept: object, *, job: str, digest: str) -> Scored | None:
    """Return scores that are kept, if they are of this network on these images and whole."""
    if not isinstance(kept, dict) or kept.get("job") != job or kept.get("data") != digest:
        return None
    try:
        return _scored(name, kept)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _scored(name: str, kept: dict[str, Any]) -> Scored:
    intervals = {
        kind: {score: (float(low), float(high)) for score, (low, high) in found.items()}
        for kind, found in kept["ci95"].items()
    }
    return Scored(
        network=name,
        each={
            score: tuple(math.nan if value is None else float(value) for value in values)
            for score, values in kept["each"].items()
        },
        per_image=dict(kept["per_image"]),
        dataset=dict(kept["dataset"]),
        ci95=intervals,
    )


def _plain(values: Sequence[float]) -> list[float | None]:
    """Return numbers as JSON knows them, which has no word for "not a number"."""
    return [value if math.isfinite(value) else None for value in values]
