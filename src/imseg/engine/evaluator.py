"""Scores of networks on labeled images: the only reader of test data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from imseg.data.store import load_target
from imseg.engine.bootstrap import interval_of_mean, intervals_of, resample_counts
from imseg.engine.device import Numerics
from imseg.engine.segment import segment
from imseg.tasks import Task
from imseg.types import LabeledImage

WITH_INTERVAL = ("iou", "miou", "dice", "accuracy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How good predictions are on a set of images."""

    task: str
    """Binary or multiclass."""
    names: tuple[str, ...]
    """The images."""
    each: dict[str, tuple[float, ...]]
    """Scores of each image, in the order of ``names``."""
    per_image: dict[str, float]
    """Means over images, as the paper reports them."""
    dataset: dict[str, Any]
    """Scores of one confusion matrix over all pixels, as the field reports them."""
    ci95: dict[str, dict[str, tuple[float, float]]]
    """Bootstrap intervals over images for both."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "task": self.task,
            "images": len(self.names),
            "per_image": self.per_image,
            "dataset": self.dataset,
            "ci95": self.ci95,
        }


def evaluate(
    pairs: Sequence[LabeledImage],
    networks: Sequence[nn.Module],
    *,
    task: Task,
    channels: int,
    size: tuple[int, int],
    numerics: Numerics,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Return scores at each mask's own size (``paper``: at working size).

    Args:
        pairs: Pictures with masks.
        networks: Their mean probability is the prediction.
        task: What a pixel is.
        channels: Image channels the networks were trained on.
        size: Height and width at which they work.
        numerics: How they are computed.
        progress: Told about finished and all images.

    Raises:
        ValueError: If there are no images.
    """
    if not pairs:
        raise ValueError("there is nothing to evaluate")
    each: dict[str, list[float]] = {}
    matrices = []
    images = [pair.image for pair in pairs]
    found = segment(images, networks, task=task, channels=channels, size=size, numerics=numerics)
    for number, (pair, segmented) in enumerate(zip(pairs, found, strict=True), 1):
        truth = load_target(pair, task.spec, size if task.paper else None)
        target = torch.from_numpy(np.ascontiguousarray(truth))[None, None]
        predicted = segmented.predict(task, (truth.shape[0], truth.shape[1]))
        for name, value in task.image_scores(predicted, target).items():
            each.setdefault(name, []).append(value.item())
        matrices.append(task.confusion(predicted, target).numpy())
        if progress is not None:
            progress(number, len(pairs))
    return _summarize(task, [pair.name for pair in pairs], each, np.stack(matrices))


def _summarize(
    task: Task, names: list[str], each: dict[str, list[float]], matrices: np.ndarray
) -> Evaluation:
    counts = resample_counts(len(names))
    dataset = task.dataset_scores(torch.from_numpy(matrices.sum(axis=0)))

    present = [name for name in WITH_INTERVAL if dataset.get(name) is not None]

    def scores(matrix: np.ndarray) -> dict[str, float]:
        found = task.dataset_scores(torch.from_numpy(matrix))
        return {
            name: float("nan") if found[name] is None else float(found[name]) for name in present
        }

    return Evaluation(
        task=task.spec.kind,
        names=tuple(names),
        each={name: tuple(values) for name, values in each.items()},
        per_image={name: float(np.mean(values)) for name, values in each.items()},
        dataset=dataset,
        ci95={
            "per_image": {
                name: interval_of_mean(np.array(values), counts) for name, values in each.items()
            },
            "dataset": intervals_of(matrices, counts, scores),
        },
    )
