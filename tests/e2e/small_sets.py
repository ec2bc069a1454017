"""Data sets of 32 x 32 px for every kind of masks, and settings that train in a second."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import imseg
from imseg.approaches.runs.run import Run
from imseg.engine.training.job import Trained, TrainJob, write_trained
from imseg.engine.workers.executors import DoneReport, Executor, NoteReport, Serial, StepReport
from imseg.progress import Event, NetworkFinished, Note
from imseg.types import DataSet

SIDE = 32
LABELED, UNLABELED, VALIDATION = 8, 6, 4
KINDS = ("binary", "multiclass", "multilabel", "regression", "instances")
PLANES = ("alive", "dead", "position")
Masks = npt.NDArray[Any]

SETTINGS: dict[str, Any] = {
    "networks": 2,
    "recipe": "paper",  # whose networks say something after three steps; others are asked for
    "epochs": 2,
    "max_steps": 3,
    "image_size": (SIDE, SIDE),
    "width": 0.25,
    "batch_size": 8,
    "workers": 2,  # a thread each, though Serial trains one after the other: tiny layers gain none
    "device": "cpu",
    "precision": "float32",  # in which tests compute by hand, whatever the processor multiplies in
}


def scenes(seed: int, count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return dark pictures of three bright disks (``n h w``) and the numbers of the disks."""
    generator = np.random.Generator(np.random.PCG64(seed))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    images = generator.normal(40, 10, (count, SIDE, SIDE))
    labels = np.zeros((count, SIDE, SIDE), np.uint8)
    for image, numbers in zip(images, labels, strict=True):
        for number in (1, 2, 3):
            row, column = generator.integers(6, SIDE - 6, 2)
            inside = (rows - row) ** 2 + (columns - column) ** 2 <= generator.integers(12, 36)
            inside &= numbers == 0
            numbers[inside] = number
            image[inside] = 100 + 45 * number
    return np.clip(images, 0, 255).astype(np.uint8), labels


def mask_of(labels: Masks, kind: str) -> Masks:
    """Return what a mask of this kind says about numbered disks."""
    if kind == "binary":
        return (labels > 0).astype(np.uint8)
    if kind == "instances":
        return labels.astype(np.uint16)
    if kind == "regression":
        return np.where(labels > 0, 2.0 + labels, 1.0).astype(np.float32)
    if kind == "multilabel":
        rows, columns = np.mgrid[: labels.shape[0], : labels.shape[1]]
        position = np.zeros(labels.shape, bool)
        for number in np.unique(labels[labels > 0]):
            row, column = np.argwhere(labels == number).mean(axis=0)
            position |= (rows - row) ** 2 + (columns - column) ** 2 <= 9
        return np.stack([labels == 1, labels > 1, position])
    return labels


def pairs(kind: str, seed: int, count: int) -> tuple[Masks, list[Masks]]:
    """Return images and masks."""
    images, labels = scenes(seed, count)
    return images, [mask_of(each, kind) for each in labels]


def small_set(kind: str, *, labeled: int = LABELED, validation: int = VALIDATION) -> DataSet:
    """Return a data set in memory; its unlabeled images are those of ``write_hidden``."""
    return imseg.dataset_from_arrays(
        pairs(kind, 0, labeled),
        unlabeled=scenes(1, UNLABELED)[0],
        val=pairs(kind, 2, validation),
        task=kind,
        class_names=PLANES if kind == "multilabel" else None,
    )


def write_hidden(folder: Path, kind: str) -> Path:
    """Write the masks of the unlabeled images of ``small_set`` as files, and return the folder."""
    for number, mask in enumerate(pairs(kind, 1, UNLABELED)[1]):
        files = {folder / f"unlabeled[{number}].png": mask}
        if kind == "regression":
            files = {folder / f"unlabeled[{number}].tif": mask}
        elif kind == "multilabel":
            planes = zip(PLANES, mask.astype(np.uint8) * 255, strict=True)
            files = {folder / name / f"unlabeled[{number}].png": plane for name, plane in planes}
        for path, values in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path)
    return folder


class Told:
    """Keeps what a training says while it goes on."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.reused: list[str] = []

    def __call__(self, event: Event) -> None:
        """Keep notes and the names of networks that were not trained anew."""
        if isinstance(event, Note):
            (self.warnings if event.warning else self.notes).append(event.text)
        if isinstance(event, NetworkFinished) and event.reused:
            self.reused.append(event.network)

    def said(self, words: str) -> bool:
        """Return whether a note or a warning has these words."""
        return any(words in text for text in (*self.notes, *self.warnings))


class Watched(Serial):
    """Trains in this process and remembers the jobs, by the stage they belong to."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, list[TrainJob]] = {}

    def run(
        self, jobs: Sequence[TrainJob], *, stepped: StepReport, noted: NoteReport, done: DoneReport
    ) -> None:
        """Train all jobs in order."""
        self.remember(jobs)
        super().run(jobs, stepped=stepped, noted=noted, done=done)

    def remember(self, jobs: Sequence[TrainJob]) -> None:
        """Keep jobs of one stage."""
        self.jobs.setdefault(stage_of(jobs[0]), []).extend(jobs)


class Scored(Watched):
    """Writes down scores of its own in place of those on validation images.

    Args:
        scores: The IoU of every network of a stage, by the stage.
    """

    def __init__(self, scores: Mapping[str, float]) -> None:
        super().__init__()
        self._scores = scores

    def run(
        self, jobs: Sequence[TrainJob], *, stepped: StepReport, noted: NoteReport, done: DoneReport
    ) -> None:
        """Train all jobs in order."""

        def scored(job: TrainJob, trained: Trained | None, why: str) -> None:
            if trained is not None and stage_of(job) in self._scores:
                scores = {**trained.scores, "iou": self._scores[stage_of(job)]}
                trained = dataclasses.replace(trained, scores=scores)
                write_trained(job.output, trained)
            done(job, trained, why)

        super().run(jobs, stepped=stepped, noted=noted, done=scored)


class Killed(BaseException):
    """The process ends here."""


class Mortal(Watched):
    """Trains so many networks and is killed before the next; its job is remembered.

    Args:
        networks: How many are trained.
    """

    def __init__(self, networks: int) -> None:
        super().__init__()
        self._left = networks

    def run(
        self, jobs: Sequence[TrainJob], *, stepped: StepReport, noted: NoteReport, done: DoneReport
    ) -> None:
        """Train jobs in order until the end.

        Raises:
            Killed: At the end.
        """
        self.remember(jobs)
        Serial.run(self, jobs[: self._left], stepped=stepped, noted=noted, done=done)
        self._left -= len(jobs)
        if self._left < 0:
            raise Killed


def stage_of(job: Job) -> str:
    """Return the stage that a job belongs to."""
    return job.name.split("/")[0]


def train(
    data: DataSet,
    approach: str,
    out: Path,
    *,
    told: Told | None = None,
    executor: Executor | None = None,
    leave_out: Sequence[str] = (),
    **options: Any,
) -> Run:
    """Train in this process with ``SETTINGS``, but for those that are left out or replaced."""
    kept = {name: value for name, value in SETTINGS.items() if name not in leave_out}
    return imseg.fit(
        data,
        approach=approach,
        out=out,
        progress=told or Told(),
        executor=executor or Serial(),
        **{**kept, **options},
    )


def weights_of(run: Path) -> dict[str, bytes]:
    """Return the content of the network files of a run by their place in it."""
    files = sorted(run.rglob("*.safetensors"))
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files}


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return every file of a folder: its bytes, and when it was written."""
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
