"""What a run folder alone knows, without any data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from imseg.approaches.runs.record import read_log
from imseg.approaches.runs.run import Run, check_meaning
from imseg.approaches.runs.run_files import DataContents, Provenance
from imseg.data.folder.scan import held_out
from imseg.data.images.picture_file import probe, read_image
from imseg.engine.inference import evaluator
from imseg.engine.storage.run_folder import RunFolder
from imseg.engine.training.job import Trained
from imseg.progress import Progress, Working
from imseg.types import DataSet, Image, LabeledImage, Reading


@dataclass(frozen=True)
class StageFacts:
    """A stage of a run."""

    name: str
    """``start`` or ``generation-K``."""
    best: str
    """Its network ranked first."""
    networks: tuple[Trained, ...]
    """Its networks, best by validation first."""
    failed: tuple[str, ...]
    """Why networks are missing."""
    labels: dict[str, Any] | None
    """What became of the unlabeled images."""
    values: tuple[float, ...]
    """What its networks score on validation images."""

    @property
    def title(self) -> str:
        """Its name for people: ``Start`` or ``Generation 2``."""
        return self.name.replace("-", " ").capitalize()

    @property
    def short(self) -> str:
        """Its name where there is little room: ``start`` or ``2``."""
        return self.name.removeprefix("generation-")


class RunFacts:
    """What a run folder knows.

    Args:
        run: The run.

    Attributes:
        run: The run.
        metric: What networks are ranked by.
        folder: The files of the run.
        summary: The content of ``summary.json``.
        provenance: The content of ``provenance.json``: where the run comes from.
        stages: The start and the generations, in order.
        aside: Stages whose networks only help to train mask scorers.
        final: The stage that the network of the run is from.
        network: The name of the network of the run.
        validation_score: What it scores on validation images.
        gained: How much better it is there than the best network of the start; higher is better.
        chosen_by_labels: Whether validation images were taken from the labeled ones.
        validation: Number of images that epochs, networks and generations were chosen by.
        labeled: Number of labeled images to learn from.
        unlabeled: Number of unlabeled images that were learned from; 0 without generations.
        upper_bound_images: Number of unlabeled images whose hidden masks were learned from.
        warnings: What the run warned of while it went on, each once.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.metric, self.summary = run, run.metric, run.summary
        self.folder = RunFolder(run.path)
        self.provenance = Provenance.read(self.folder.provenance).as_dict()
        self.stages = tuple(map(self._stage, run.summary["stages"]))
        self.aside = tuple(map(self._stage, run.summary.get("aside", ())))
        self.final = next(each for each in self.stages if each.name == run.summary["stage"])
        self.network = str(run.summary["network"])
        scores = run.summary["validation"]
        self.validation_score = float(scores[self.metric.key])
        start = self.stages[0].networks[0].scores
        self.gained = self.metric.merit(scores) - self.metric.merit(start)
        contents = DataContents.read(self.folder.data).as_dict()
        images = {name: len(each or ()) for name, each in contents.items()}
        self.chosen_by_labels = not images.get("val")
        self.validation = images.get("val") or held_out(images["labeled"])
        self.labeled = images["labeled"] - self.validation * self.chosen_by_labels
        learned_from = [stage.labels["images"] for stage in self.stages if stage.labels is not None]
        others = images.get("unlabeled", 0)
        approach = run.plan.approach
        self.unlabeled = int([*learned_from, others * approach.learns_from_unlabeled][0])
        self.upper_bound_images = others * approach.labeled.hidden_too
        told = [e["text"] for e in read_log(self.folder) if e.get("warning") and e.get("text")]
        self.warnings = tuple(dict.fromkeys(map(str, told)))

    def _stage(self, plain: dict[str, Any]) -> StageFacts:
        # Networks of the stage "scorers" score masks, they make none.
        names = [each["name"] for each in plain["networks"] if plain["name"] != "scorers"]
        networks = tuple(map(self.run.trained, names))
        return StageFacts(
            name=plain["name"],
            best=plain["best"],
            networks=networks,
            failed=tuple(plain.get("failed", ())),
            labels=plain.get("pseudo_labels"),
            values=tuple(network.scores[self.metric.key] for network in networks),
        )


HELD = 300 * 10**6
"""Values of decoded pictures that are kept while several networks look at them."""
QUICK_PIXELS = 60 * 10**6
"""Pixels decoded for each part of a quick report, so that it takes seconds."""
QUICK_IMAGES = 100
MOST_UNLABELED = 200
"""Unlabeled images looked at."""

Entry = TypeVar("Entry", Image, LabeledImage)


@dataclass(frozen=True, kw_only=True)
class ScoredSplit:
    """Scores of networks on a split of the data."""

    split: str
    """``test`` or ``val``."""
    pairs: tuple[LabeledImage, ...]
    """The images that were scored."""
    of: int
    """Images of the split."""
    by_stage: dict[str, evaluator.Evaluation]
    """Scores of the best network of each stage."""
    facts: RunFacts
    """The run."""
    tta: bool | None = None
    """Whether networks saw flipped images too; None: as the run was trained."""

    @property
    def whole(self) -> bool:
        """Whether all images of the split were scored."""
        return len(self.pairs) == self.of

    @property
    def found(self) -> evaluator.Evaluation:
        """Scores of the network of the run."""
        return self.by_stage[self.facts.final.name]

    @property
    def words(self) -> str:
        """How these images are called."""
        return "test images" if self.split == "test" else "validation images"

    def merits(self, stage: str) -> npt.NDArray[np.float64]:
        """Return a number for each image that is higher for better scores of a stage."""
        metric = self.facts.metric
        values = np.array(self.by_stage[stage].each[metric.key])
        return values if metric.higher_is_better else -values

    def gain(self, one: str, other: str) -> tuple[float, tuple[float, float]]:
        """Return by how much one stage is better than another, image by image, and its interval.

        Higher is better whatever the score.
        """
        gained = self.merits(one) - self.merits(other)
        return float(np.nanmean(gained)), evaluator.interval_of_mean(
            gained, evaluator.resample_counts(len(gained))
        )


def score_split(
    facts: RunFacts, dataset: DataSet, *, test: bool, quick: bool, device: str, progress: Progress
) -> ScoredSplit | None:
    """Return scores of the best network of every stage; None where there are no images.

    Args:
        facts: The run.
        dataset: Its data.
        test: Score test images, if there are any.
        quick: Score few, and flipped ones only where that takes less than a second an image.
        device: Where to compute.
        progress: Told how it goes on.

    Raises:
        ImsegError: If the masks do not mean what they meant in the run.
    """
    split = "test" if test and dataset.test else "val"
    pairs: tuple[LabeledImage, ...] = getattr(dataset, split)
    if not pairs:
        return None
    run, stages = facts.run, facts.stages
    check_meaning(dataset, run.spec, trained_in=run.path)
    chosen = few(pairs, run.reading) if quick else pairs
    images, held = _decoded(chosen, run.reading) if len(stages) > 1 else (chosen, False)
    if len(stages) > 2 and not held:
        stages = tuple({stage.name: stage for stage in (stages[0], facts.final)}.values())
    by_stage, tta = {}, None
    if quick:
        tta = run.orientations(networks=[facts.network], device=device).tta
    for number, stage in enumerate(stages):

        def told(done: int, _: int, before: int = number * len(chosen)) -> None:
            total = len(stages) * len(chosen)
            progress(Working(what=f"looking at {split} images", done=before + done, total=total))

        name = facts.network if stage.name == facts.final.name else stage.best
        looking = run.predictor(networks=[name], tta=tta, device=device)
        by_stage[stage.name] = evaluator.evaluate(images, looking, progress=told)
    return ScoredSplit(
        split=split, pairs=tuple(chosen), of=len(pairs), by_stage=by_stage, facts=facts, tta=tta
    )


def most_inconsistent(
    run: Run, dataset: DataSet, *, shown: int, quick: bool, device: str, progress: Progress
) -> tuple[list[tuple[Image, float]], int]:
    """Return the unlabeled images with most disagreement, and how many were looked at.

    Args:
        run: The run.
        dataset: Its data.
        shown: How many are wanted.
        quick: Look at few.
        device: Where to compute.
        progress: Told how it goes on.

    Returns:
        Images with the share of their pixels (0..1) on which networks disagree, the largest first.
    """
    if len(run.summary["ranking"]) < 2:
        return [], 0
    chosen: Sequence[Image] = evenly(dataset.unlabeled, MOST_UNLABELED)
    found, tta = [], None
    if quick:
        chosen = few(chosen, run.reading)
        tta = run.orientations(disagreement=True, device=device).tta
    segmented = run.segment(chosen, disagreement=True, tta=tta, device=device)
    for number, each in enumerate(segmented, 1):
        if each.inconsistent is not None:
            found.append((each.image, float(each.inconsistent.float().mean())))
        progress(Working(what="looking at unlabeled images", done=number, total=len(chosen)))
    ranked = sorted(found, key=lambda each: -each[1])
    return [each for each in ranked[:shown] if each[1] > 0], len(chosen)


def few(entries: Sequence[Entry], reading: Reading) -> tuple[Entry, ...]:
    """Return as many entries, evenly chosen, as can be looked at in a few seconds; at least 3."""
    chosen = evenly(entries, QUICK_IMAGES)
    values = max((math.prod(_size(entry, reading)) for entry in chosen[:3]), default=1)
    values *= max(1, reading.channels // 3)
    return evenly(chosen, max(3, QUICK_PIXELS // max(1, values)))


def evenly(entries: Sequence[Entry], most: int) -> tuple[Entry, ...]:
    """Return at most so many entries, evenly spaced."""
    count = min(most, len(entries))
    return tuple(entries[i * len(entries) // count] for i in range(count))


def _decoded(
    pairs: Sequence[LabeledImage], reading: Reading
) -> tuple[tuple[LabeledImage, ...], bool]:
    """Return pairs with decoded pictures, and whether that was possible in memory."""
    values = sum(math.prod(_size(pair, reading)) for pair in pairs) * reading.channels
    if values > HELD:
        return tuple(pairs), False
    return tuple(replace(pair, image=_read(pair.image, reading)) for pair in pairs), True


def _read(image: Image, reading: Reading) -> Image:
    if not isinstance(image.pixels, Path):
        return image
    return replace(image, pixels=read_image(image.pixels, pages=reading.pages))


def _size(entry: Image | LabeledImage, reading: Reading) -> tuple[int, int]:
    pixels = entry.image.pixels if isinstance(entry, LabeledImage) else entry.pixels
    size = probe(pixels, pages=reading.pages).size if isinstance(pixels, Path) else pixels.shape
    return int(size[0]), int(size[1])
