"""A finished run: its networks, what they predict, and how good that is."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from imseg.approaches.planning.plan import Plan
from imseg.approaches.runs import orientations as views
from imseg.approaches.runs import predictions, run_files
from imseg.approaches.runs.record import no_run, read_record
from imseg.components.audit import AuditResult
from imseg.data.arrays.items import image_from_item
from imseg.data.files.picture_list import find_pictures
from imseg.data.folder.scan import read_folder
from imseg.data.masks.io import describe_values
from imseg.data.masks.recognize import word_of
from imseg.engine.hardware import device as hardware
from imseg.engine.inference import evaluator, pictures, predictor
from imseg.engine.storage.run_folder import RunFolder
from imseg.engine.training.job import Trained
from imseg.errors import ImsegError, near_miss, shown
from imseg.networks.registry import CustomConfig, NetworkFactory, import_network, provide
from imseg.tasks import Metric, Task, task_for
from imseg.types import DataSet, Image, LabeledImage, Pixels, Reading, TargetSpec

SPLITS = ("test", "val", "labeled")

_log = logging.getLogger(__name__)


def pairs_of(dataset: DataSet, split: str) -> tuple[LabeledImage, ...]:
    """Return the pictures of a split with their masks.

    Raises:
        ImsegError: If there is no such split, or nothing in it.
    """
    if split not in SPLITS:
        known = ", ".join(SPLITS)
        guess = near_miss(split, SPLITS) or SPLITS[0]
        raise ImsegError(
            f"There is no split named {split!r}.",
            expected=known,
            got=split,
            hint=f"--split {guess}",
        )
    pairs: tuple[LabeledImage, ...] = getattr(dataset, split)
    if not pairs:
        there = ", ".join(name for name in SPLITS if getattr(dataset, name))
        raise ImsegError(
            f"{dataset.name} has no {split} images.",
            expected=f"{split}/images and {split}/masks.",
            hint=f"--split with one of: {there}",
        )
    return pairs


def check_meaning(dataset: DataSet, spec: TargetSpec, *, trained_in: Path) -> None:
    """Check that masks mean what they meant when a run was trained.

    Args:
        dataset: What it is to be scored on.
        spec: What masks meant then.
        trained_in: The run.

    Raises:
        ImsegError: If they do not.
    """
    theirs = dataset.spec
    alike = spec.is_like(theirs) and spec.void == theirs.void
    if not alike or set(theirs.values) - set(spec.values):
        raise ImsegError(
            f"The masks of {dataset.name} do not mean what they meant in {trained_in}.",
            expected=f"{word_of(spec)}: {describe_values(spec)}",
            got=f"{word_of(theirs)}: {describe_values(theirs)}",
            hint="a run that was trained on such masks, or masks with the values of this one.",
        )


def entries_of(
    images: str | Path | Sequence[Pixels],
    *,
    recursive: bool = False,
    skip_bad: bool = False,
    pixel_size: float | None = None,
    ask_files: bool = True,
) -> list[Image]:
    """Return the pictures that a path or a list of arrays stands for; log what is passed over."""
    if isinstance(images, (str, Path)):
        found = find_pictures(
            Path(images), recursive=recursive, skip_bad=skip_bad, ask_files=ask_files
        )
        for name, why in found.unusable.items():
            _log.warning("left out %s: %s", shown(name), why)
        for text in found.passed_over_text():
            _log.warning("%s", text)
        return found.with_pixel_size(pixel_size).images
    named = {f"image[{number}]": each for number, each in enumerate(images)}
    return [Image(name, image_from_item(array, name), pixel_size) for name, array in named.items()]


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: Its folder.
        plan: What was done.
        spec: What mask values mean.
        reading: How pictures are read.
        summary: Scores and costs, as in ``summary.json``.
    """

    path: Path
    plan: Plan
    spec: TargetSpec
    reading: Reading
    summary: dict[str, Any]

    @property
    def task(self) -> Task:
        """What a pixel is."""
        return task_for(self.spec, paper=self.plan.paper)

    @property
    def metric(self) -> Metric:
        """What its networks are ranked by."""
        return self.task.metric

    @property
    def start_was_better(self) -> bool:
        """Whether no generation is better on validation than the network it started from."""
        return bool(self.summary["start_was_better"])

    @property
    def best_of_start(self) -> str:
        """The best network of the start."""
        return str(self.summary["stages"][0]["best"])

    @property
    def audits(self) -> dict[str, dict[str, Any]]:
        """What a comparison of pseudo-labels with hidden masks found, by generation.

        Empty where no hidden masks were named.
        """
        names = [stage["name"] for stage in self.summary["stages"]]
        ordered = [path for path in map(RunFolder(self.path).audit, names) if path.exists()]
        return {path.parent.name: AuditResult.read(path).as_dict() for path in ordered}

    @property
    def judgment(self) -> dict[str, Any] | None:
        """How far the mask scorers can be trusted; None where there are none."""
        path = RunFolder(self.path).judgment
        return run_files.Judgment.read(path).as_dict() if path.exists() else None

    def trained(self, name: str) -> Trained:
        """Return what is known about a network, such as ``generation-1/network-0``.

        Raises:
            ImsegError: If the run has no such network.
        """
        if name.startswith("scorers/"):
            raise ImsegError(
                f"{name} scores masks, it makes none.",
                expected=", ".join(self.network_names),
                got=name,
                hint="--network with one of these.",
            )
        return run_files.read_network(
            RunFolder(self.path),
            name,
            known=self.network_names,
            metric=self.metric,
            shape=(self.reading.channels, self.spec.outputs),
        )

    @property
    def network_names(self) -> list[str]:
        """The names of all networks that make masks, stage after stage, best first."""
        stages = (*self.summary["stages"], *self.summary["aside"])
        names = [net["name"] for stage in stages for net in stage["networks"]]
        return [name for name in names if not name.startswith("scorers/")]

    def load(self, names: Sequence[str], *, device: str = "auto") -> list[nn.Module]:
        """Return trained networks in inference mode."""
        known = map(self.trained, names)
        return run_files.load_networks(RunFolder(self.path), known, self.compute(device))

    def members(self, ensemble: int = 1) -> list[str]:
        """Return the names of the best networks of the chosen stage.

        Raises:
            ImsegError: If it has fewer.
        """
        ranking: list[str] = self.summary["ranking"]
        if not 1 <= ensemble <= len(ranking):
            raise ImsegError(
                f"An ensemble of {ensemble} networks cannot be formed.",
                expected=f"1 to {len(ranking)}, the networks of {self.summary['stage']}.",
                got=str(ensemble),
                hint=f"--ensemble {len(ranking)}",
            )
        return ranking[:ensemble]

    def compute(self, device: str = "auto") -> hardware.ComputeConfig:
        """Return how networks predict on this machine."""
        resolved = hardware.resolve_device(device)
        auto = hardware.resolve_precision("auto", resolved)
        return hardware.ComputeConfig(
            device=resolved,
            precision="float32" if resolved == "cpu" else auto,
            threads=hardware.usable_cores(),
            channels_last=self.plan.compute.channels_last,
        )

    def orientations(
        self,
        *,
        tta: bool | None = None,
        ensemble: int = 1,
        networks: Sequence[str] | None = None,
        disagreement: bool = False,
        device: str = "auto",
    ) -> views.Orientations:
        """Return the orientations in which pictures are predicted for use.

        Args:
            tta: Whether predictions are averaged over flipped pictures. None: where the run was
                trained so, and a picture takes less than ``SECONDS_PER_IMAGE`` here, which is
                measured.
            ensemble: As in ``predict``.
            networks: As in ``predict``.
            disagreement: As in ``predict``.
            device: As in ``predict``.
        """
        moves = self.plan.moves(tta)
        if tta is not None or len(moves) == 1:
            return views.Orientations(moves=moves)
        chosen, teachers = self._asked(ensemble, networks, disagreement=disagreement)
        seconds = (
            self.plan.tiles_each
            * len(moves)
            * predictor.seconds_per_image(
                self.load(list(dict.fromkeys((*chosen, *teachers))), device=device),
                (*self.plan.row_size, self.reading.channels),
                task=self.task,
                compute=self.compute(device),
            )
        )
        if seconds < views.SECONDS_PER_IMAGE:
            return views.Orientations(moves=moves)
        return views.Orientations(moves=self.plan.moves(False), too_slow=seconds)

    @property
    def asks_files(self) -> bool:
        """Whether files say how large their pixels are; else one number was said for all images."""
        return self.spec.pixel_size is None

    def evaluate(
        self,
        data: str | Path | DataSet,
        split: str = "test",
        *,
        ensemble: int = 1,
        networks: Sequence[str] | None = None,
        tta: bool | None = None,
        device: str = "auto",
        progress: Callable[[int, int], None] | None = None,
    ) -> evaluator.Evaluation:
        """Return scores on a split of a data set.

        Args:
            data: A folder in the documented layout, or a data set.
            split: ``test``, ``val`` or ``labeled``.
            ensemble: Average the probabilities of so many of the best networks of the chosen stage.
            networks: Names of other networks to evaluate instead.
            tta: Whether predictions are averaged over flipped pictures; None: as the run was
                trained, whatever it takes, so that scores are the same on every machine.
            device: Where to compute.
            progress: Told about finished and all images.

        Raises:
            ImsegError: If the split is empty or its masks do not fit the run.
        """
        dataset = data if isinstance(data, DataSet) else read_folder(data, task=word_of(self.spec))
        pairs = pairs_of(dataset, split)
        check_meaning(dataset, self.spec, trained_in=self.path)
        images = [pair.image for pair in pairs]
        views.check_pixel_sizes(self.plan, images)
        for text in views.pixel_size_notes(self.plan, images):
            _log.info("%s", text)
        looking = self.predictor(ensemble=ensemble, networks=networks, tta=tta, device=device)
        return evaluator.evaluate(pairs, looking, progress=progress)

    def predict(
        self,
        images: str | Path | Sequence[Pixels],
        *,
        ensemble: int = 1,
        networks: Sequence[str] | None = None,
        disagreement: bool = False,
        recursive: bool = False,
        skip_bad: bool = False,
        scale: float | None = None,
        pixel_size: float | None = None,
        tta: bool | None = None,
        device: str = "auto",
    ) -> Iterator[predictions.Prediction]:
        """Yield a prediction for each picture, at its own size, in the user's mask values.

        Large pictures are looked at in bands. A prediction of one takes, for each pixel, the bytes
        of its mask, of the picture and of the target (one per plane; four for numbers), and while
        it is put together twice as many; ``imseg predict`` writes masks of any size with less.

        Args:
            images: A picture, a folder of pictures, or a list of arrays (``h w`` or ``h w c``, of
                the type of the training pictures).
            ensemble: Average the probabilities of so many of the best networks of the chosen stage.
            networks: Names of the networks to average instead.
            disagreement: Whether to also tell where the best networks of the chosen stage disagree;
                they make a forward pass of their own then.
            recursive: Whether to go into the subfolders of a folder too.
            skip_bad: Whether pictures that cannot be read are left out, with a warning in the log.
            scale: At which scale pictures are seen, tile by tile; 0: whole. None: as in training,
                but micrographs twice as high and wide as those learned from tile by tile, and where
                the run knows sizes of pixels, all by theirs.
            pixel_size: Micrometers on a side of the pixels of all pictures; None: as files say.
            tta: Whether predictions are averaged over flipped pictures; None: see ``orientations``.
            device: Where to compute.

        Raises:
            ImsegError: If a picture cannot be read, and those are not left out.
        """
        asked = networks or self.members(ensemble)
        seen = self.orientations(tta=tta, networks=asked, disagreement=disagreement, device=device)
        if seen.text:
            _log.info("%s", seen.text)
        entries = entries_of(
            images,
            recursive=recursive,
            skip_bad=skip_bad,
            pixel_size=pixel_size,
            ask_files=self.asks_files,
        )
        if scale is None:
            views.check_pixel_sizes(self.plan, entries)
            for text in views.pixel_size_notes(self.plan, entries):
                _log.info("%s", text)

        def left_out(image: Image, error: ImsegError) -> None:
            _log.warning("left out %s: %s", shown(image.name), error.what)

        looking = self.predictor(
            networks=asked, disagreement=disagreement, tta=seen.tta, scale=scale, device=device
        )
        unreadable = left_out if skip_bad else None
        yield from predictions.predict_each(looking, entries, unreadable=unreadable)

    def predictor(
        self,
        *,
        ensemble: int = 1,
        networks: Sequence[str] | None = None,
        disagreement: bool = False,
        tta: bool | None = None,
        scale: float | None = None,
        device: str = "auto",
    ) -> pictures.Predictor:
        """Return networks that are ready to look at pictures.

        Arguments are those of ``predict``; without ``tta`` they see them as the run was trained.
        """
        views.check_scale(self.plan, scale)
        chosen, teachers = self._asked(ensemble, networks, disagreement=disagreement)
        names = list(dict.fromkeys((*chosen, *teachers)))
        loaded = dict(zip(names, self.load(names, device=device), strict=True))
        return pictures.Predictor(
            networks=[loaded[name] for name in chosen],
            task=self.task,
            reading=self.reading,
            size=lambda own, size: self.plan.predicted_size(own, scale, pixel_size=size),
            compute=self.compute(device),
            teachers=[loaded[name] for name in teachers] if disagreement else None,
            moves=self.plan.moves(tta),
        )

    def segment(
        self,
        images: Sequence[Image],
        *,
        networks: Sequence[str] | None = None,
        disagreement: bool = False,
        tta: bool | None = None,
        device: str = "auto",
    ) -> Iterator[pictures.Segmented]:
        """Yield probabilities and, if asked for, disagreement for pictures, at working size.

        Arguments are those of ``predictor``.
        """
        asked = self.predictor(networks=networks, disagreement=disagreement, tta=tta, device=device)
        return asked.segment(images)

    def _asked(
        self, ensemble: int, networks: Sequence[str] | None, *, disagreement: bool
    ) -> tuple[Sequence[str], list[str]]:
        """Return the names of the networks whose mean is wanted, and of those that may disagree."""
        ranking: list[str] = self.summary["ranking"]
        teachers = ranking[: max(2, self.plan.teachers)] if disagreement else []
        return networks or self.members(ensemble), teachers


def load_run(
    path: str | Path, *, network: NetworkFactory | None = None, trust_network: bool = False
) -> Run:
    """Return a finished run from its folder, or from a copy of it on another machine.

    Args:
        path: The folder.
        network: The user's own network, if it was trained with one.
        trust_network: Whether the network of the user's own that the run names may be imported,
            which runs its module.

    Raises:
        ImsegError: If there is no finished run, or its network cannot be imported.
    """
    folder = RunFolder(Path(path))
    record = read_record(folder)
    if record is None and (folder.path / "comparison.toml").exists():
        finished = sorted(folder.path.glob("seed-*/*/summary.json"))
        later = f"{shown(path)}/seed-0/ldt, once it is finished."
        example = shown(finished[0].parent) if finished else later
        raise ImsegError(
            f"{path} is a comparison, not a run.",
            expected=f"one of its runs, such as {example}",
            hint="imseg report shows the comparison; repeat its command if it is not finished.",
        )
    if record is None:
        expected = "the folder of a run, as `imseg train --out` makes it."
        raise no_run(folder.path, expected=expected)
    if not folder.summary.exists():
        raise ImsegError(
            f"The run in {path} is not finished.",
            expected="a run whose training has ended.",
            got="no summary.json yet.",
            hint="wait until its training has ended; if it was stopped, repeat its train command,"
            " which continues it.",
        )
    if network is not None and isinstance(record.plan.network, CustomConfig):
        provide(network, record.plan.network.callable)
    elif trust_network:
        import_network(record.plan.network)
    spec, reading = run_files.read_target(folder.target)
    metric = task_for(spec, paper=record.plan.paper).metric
    summary = run_files.read_summary(folder, metric).as_dict()
    return Run(path=folder.path, plan=record.plan, spec=spec, reading=reading, summary=summary)
