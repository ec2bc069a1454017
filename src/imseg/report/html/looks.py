"""Looking at the data with the networks of a run: scores of images, and images worth labeling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from imseg.approaches.evaluation_data import check_meaning
from imseg.approaches.run import Run
from imseg.data.image_io import probe, read_image
from imseg.engine import evaluator
from imseg.engine.bootstrap import interval_of_mean, resample_counts
from imseg.engine.evaluator import Evaluation
from imseg.engine.progress import Progress, Working
from imseg.report.html.facts import RunFacts
from imseg.tasks import Metric
from imseg.types import DataSet, Image, LabeledImage, Reading

HELD = 300 * 10**6
"""Values of decoded pictures that are kept while several networks look at them."""
QUICK_PIXELS = 60 * 10**6
"""Pixels decoded for each part of a quick report, so that it takes seconds."""
QUICK_IMAGES = 100
MOST_UNLABELED = 200
"""Unlabeled images looked at."""

Entry = TypeVar("Entry", Image, LabeledImage)


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What networks do on a split of the data."""

    split: str
    """``test`` or ``val``."""
    pairs: tuple[LabeledImage, ...]
    """The images that were looked at."""
    of: int
    """Images of the split."""
    by_stage: dict[str, Evaluation]
    """Scores of the best network of each stage."""
    final: str
    """The stage of the network of the run."""
    metric: Metric
    """What networks are ranked by."""

    @property
    def whole(self) -> bool:
        """Whether all images of the split were looked at."""
        return len(self.pairs) == self.of

    @property
    def found(self) -> Evaluation:
        """Scores of the network of the run."""
        return self.by_stage[self.final]

    @property
    def words(self) -> str:
        """How these images are called."""
        return "test images" if self.split == "test" else "validation images"

    def gain(self, one: str, other: str) -> tuple[float, tuple[float, float]]:
        """Return by how much one stage is better than another, image by image, and its interval.

        Higher is better whatever the score.
        """
        here, there = (np.array(self.by_stage[name].each[self.metric.key]) for name in (one, other))
        differences = here - there if self.metric.higher_is_better else there - here
        counts = resample_counts(len(differences))
        return float(np.nanmean(differences)), interval_of_mean(differences, counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disputed:
    """An unlabeled image on which networks disagree."""

    image: Image
    """The image."""
    share: float
    """Share of its pixels, 0..1."""


def look(
    facts: RunFacts,
    dataset: DataSet,
    *,
    test: bool,
    quick: bool,
    device: str,
    progress: Progress,
) -> Looked | None:
    """Return scores of the best network of every stage; None where there are no images.

    Args:
        facts: The run.
        dataset: Its data.
        test: Look at test images, if there are any.
        quick: Look at few.
        device: Where to compute.
        progress: Told how it goes on.

    Raises:
        ImsegError: If the masks do not mean what they meant in the run.
    """
    split = "test" if test and dataset.test else "val"
    pairs: tuple[LabeledImage, ...] = getattr(dataset, split)
    if not pairs:
        return None
    run = facts.run
    check_meaning(dataset, run.spec, trained_in=run.path)
    chosen = few(pairs, run.reading) if quick else pairs
    stages = facts.stages
    pictures, held = _decoded(chosen, run.reading) if len(stages) > 1 else (chosen, False)
    if len(stages) > 2 and not held:
        stages = tuple({stage.name: stage for stage in (stages[0], facts.final)}.values())
    by_stage = {}
    for number, stage in enumerate(stages):
        names = [facts.network if stage.name == facts.final.name else stage.best]

        def told(done: int, _: int, before: int = number * len(chosen)) -> None:
            total = len(stages) * len(chosen)
            progress(Working(what=f"looking at {split} images", done=before + done, total=total))

        by_stage[stage.name] = evaluator.evaluate(
            pictures,
            run.load(names, device=device),
            task=run.task,
            reading=run.reading,
            size=run.plan.image_size,
            numerics=run.numerics(device),
            progress=told,
        )
    return Looked(
        split=split,
        pairs=tuple(chosen),
        of=len(pairs),
        by_stage=by_stage,
        final=facts.final.name,
        metric=facts.metric,
    )


def most_disputed(
    run: Run, dataset: DataSet, *, shown: int, quick: bool, device: str, progress: Progress
) -> tuple[list[Disputed], int]:
    """Return the unlabeled images with most disagreement, and how many were looked at.

    Args:
        run: The run.
        dataset: Its data.
        shown: How many are wanted.
        quick: Look at few.
        device: Where to compute.
        progress: Told how it goes on.
    """
    if len(run.summary["ranking"]) < 2:
        return [], 0
    chosen: Sequence[Image] = evenly(dataset.unlabeled, MOST_UNLABELED)
    if quick:
        chosen = few(chosen, run.reading)
    found = []
    for number, each in enumerate(run.segment(chosen, device=device), 1):
        disputed = Disputed(image=each.image, share=float(each.inconsistent.float().mean()))
        found.append(disputed)
        progress(Working(what="looking at unlabeled images", done=number, total=len(chosen)))
    ranked = sorted(found, key=lambda each: -each.share)
    return [each for each in ranked[:shown] if each.share > 0], len(chosen)


def few(entries: Sequence[Entry], reading: Reading) -> tuple[Entry, ...]:
    """Return as many entries, evenly chosen, as can be looked at in a few seconds; at least 3."""
    chosen = evenly(entries, QUICK_IMAGES)
    values = max((math.prod(_size(entry, reading)) for entry in chosen[:3]), default=1)
    values *= max(1, reading.channels // 3)
    return evenly(chosen, max(3, QUICK_PIXELS // max(1, values)))


def evenly(entries: Sequence[Entry], most: int) -> tuple[Entry, ...]:
    """Return at most so many entries, evenly spaced."""
    count = min(most, len(entries))
    return tuple(entries[math.floor(i * len(entries) / count)] for i in range(count))


def _decoded(
    pairs: Sequence[LabeledImage], reading: Reading
) -> tuple[tuple[LabeledImage, ...], bool]:
    """Return pairs with decoded pictures, and whether that was possible in memory."""
    values = sum(math.prod(_size(pair, reading)) for pair in pairs) * reading.channels
    if values > HELD:
        return tuple(pairs), False
    return tuple(LabeledImage(_read(pair.image, reading), pair.mask) for pair in pairs), True


def _read(image: Image, reading: Reading) -> Image:
    if not isinstance(image.pixels, Path):
        return image
    return Image(image.name, read_image(image.pixels, pages=reading.pages))


def _size(entry: Image | LabeledImage, reading: Reading) -> tuple[int, int]:
    pixels = entry.image.pixels if isinstance(entry, LabeledImage) else entry.pixels
    size = probe(pixels, pages=reading.pages).size if isinstance(pixels, Path) else pixels.shape
    return int(size[0]), int(size[1])
