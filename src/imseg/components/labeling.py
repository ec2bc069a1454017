"""Pseudo-label a whole set of unlabeled images and keep the result beside the store."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float
from pydantic import FiniteFloat, NonNegativeInt
from torch import Tensor

from imseg.components.consensus import Block, Labeler, PseudoLabelBatch, Select, TeacherBatch
from imseg.data.cache.store import open_array
from imseg.data.cache.stored_arrays import new_array
from imseg.data.files.atomic import make_folder
from imseg.engine.inference.predictor import BATCH
from imseg.engine.loading.samples import SampleSet
from imseg.engine.storage.sealed import SealedFile, StrictModel
from imseg.errors import ImsegError
from imseg.tasks import Task
from imseg.tasks.collapse import census, collapsed
from imseg.types import Bytes, TargetSpec

PanelFor = Callable[[int, Bytes], TeacherBatch]
"""Seats the teachers in front of the images (``n h w c``) from a row on."""

Answer = tuple[PseudoLabelBatch, Bool[Tensor, "b"]]
"""The labels of some images, and which of them are used."""

Ask = Callable[[int, int], Answer]
"""Gives the labels of the images from one row to before another."""


class Observer(Protocol):
    """Looks at pseudo-labels while they are made, and changes nothing."""

    def __call__(
        self, start: int, agreement: PseudoLabelBatch, admitted: Bool[Tensor, "b"]
    ) -> None:
        """Look at the labels of the images from row ``start`` on, and which of them are used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoLabels:
    """A training part made by teachers, and how much they disagreed."""

    part: SampleSet
    """Images, labels, masks and which images are used."""
    images: int
    """Images looked at."""
    inconsistent_share: float
    """Mean share of inconsistent pixels over all images looked at, 0..1."""

    @property
    def admitted(self) -> int:
        """Images used."""
        return len(self.part.indices)

    def counts(self, *, collapsed: str | None = None) -> "LabelCounts":
        """Return what is kept in the run."""
        return LabelCounts(
            images=self.images,
            admitted=self.admitted,
            inconsistent_share=self.inconsistent_share,
            samples=None if self.part.copies is None else self.part.samples,
            collapsed=collapsed,
        )


class LabelCounts(StrictModel):
    """How many images were pseudo-labeled and admitted, and how much teachers disagreed."""

    images: NonNegativeInt
    """Images looked at."""
    admitted: NonNegativeInt
    """Images used."""
    inconsistent_share: FiniteFloat
    """Mean share of inconsistent pixels over all images looked at, 0..1."""
    samples: NonNegativeInt | None
    """Samples with their copies; None where there are no copies."""
    collapsed: str | None
    """What is wrong with labels of little use, in words; None where nothing is."""


class LabelsFile(SealedFile):
    """``labels.json`` beside stored pseudo-labels."""

    digest: str
    """Hash of the content of images, labels and masks."""
    used: tuple[NonNegativeInt, ...]
    """The rows of images that have a label."""


def ask_teachers(
    images: Path, *, teacher_batch_for: PanelFor, labeler: Labeler, select: Select, task: Task
) -> Ask:
    """Return who gives stored images labels.

    Args:
        images: ``n h w c`` unsigned bytes (.npy).
        teacher_batch_for: Who is asked.
        labeler: How what they say becomes labels.
        select: Which images are used.
        task: What a pixel is.
    """
    pixels = open_array(images)

    def ask(start: int, stop: int) -> Answer:
        teacher_batch = teacher_batch_for(start, pixels[start:stop])
        agreement = labeler.label(teacher_batch)
        used = select(task, teacher_batch.hard_predictions, agreement).cpu()
        if agreement.admitted is not None:
            used = used & agreement.admitted.cpu()
        return agreement, used

    return ask


def pseudo_label(
    images: Path,
    digest: str,
    *,
    ask: Ask,
    block: Block | None,
    task: Task,
    folder: Path,
    progress: Callable[[int, int], None],
    observe: Observer | None = None,
) -> PseudoLabels:
    """Return pseudo-labels for stored images.

    Args:
        images: ``n h w c`` unsigned bytes (.npy).
        digest: Hash of their content.
        ask: Who gives them labels.
        block: What becomes of inconsistent pixels; None if none are known.
        task: What a pixel is.
        folder: Where labels and masks go.
        progress: Told about finished and all images.
        observe: Looks on.
    """
    pixels = open_array(images)
    count, (height, width) = len(pixels), pixels.shape[1:3]
    make_folder(folder)
    _place_of_words(folder).unlink(missing_ok=True)
    used: list[int] = []
    shares: list[float] = []
    content = hashlib.sha256(digest.encode())
    planes = (count, task.spec.planes, height, width)
    with (
        new_array(folder / "labels.npy", task.spec.dtype, planes) as labels,
        new_array(folder / "inconsistent.npy", np.uint8, (count, 1, height, width)) as masks,
    ):
        for start in range(0, count, BATCH):
            agreement, chosen = ask(start, min(start + BATCH, count))
            made = agreement.labels.cpu().numpy().astype(task.spec.dtype, copy=False)
            mask = agreement.inconsistent.cpu().numpy().astype(np.uint8)
            for array, rows in ((labels, made), (masks, mask)):
                content.update(array.put_all(start, rows).data)
            shares += mask.reshape(len(mask), -1).mean(axis=1).tolist()
            used.extend(start + index for index in chosen.nonzero().flatten().tolist())
            if observe is not None:
                observe(start, agreement, chosen)
            progress(start + len(made), count)
    part = _part(images, folder, block, task, content.hexdigest(), tuple(used))
    share = float(np.mean(shares)) if shares else 0.0
    LabelsFile(digest=part.digest, used=part.indices).write(_place_of_words(folder))
    return PseudoLabels(part=part, images=count, inconsistent_share=share)


def labels_in(folder: Path) -> tuple[Path, list[int]]:
    """Return the labels in a folder that holds them whole, and which images have one.

    Raises:
        ImsegError: If it does not.
    """
    return folder / "labels.npy", list(LabelsFile.read(_place_of_words(folder)).used)


def are_whole(folder: Path, digest: str) -> bool:
    """Return whether a folder holds labels as they were made, which is looked at byte by byte.

    Args:
        folder: Where labels and masks are.
        digest: Hash of the content of the images.
    """
    content = hashlib.sha256(digest.encode())
    try:
        kept = LabelsFile.read(_place_of_words(folder))
        labels, masks = (open_array(folder / f"{name}.npy") for name in ("labels", "inconsistent"))
        for start in range(0, len(labels), BATCH):
            for array in (labels, masks):
                content.update(array[start : start + BATCH].tobytes())
        return kept.digest == content.hexdigest()
    except (ImsegError, OSError, ValueError):
        return False


def admitted_in(folder: Path) -> int | None:
    """Return how many images have a label in a folder; None if none were made, or not yet.

    Args:
        folder: Where labels and masks are; they are not looked at.
    """
    try:
        return len(LabelsFile.read(_place_of_words(folder)).used)
    except ImsegError:
        return None  # what is damaged there is made again


def _place_of_words(folder: Path) -> Path:
    return folder / "labels.json"


def _part(
    images: Path, folder: Path, block: Block | None, task: Task, digest: str, used: tuple[int, ...]
) -> SampleSet:
    part = SampleSet(images=images, targets=folder / "labels.npy", digest=digest, indices=used)
    if block is None:
        return part
    return replace(
        part,
        inconsistent=folder / "inconsistent.npy",
        blocks_input=block.input,
        blocks_output=block.output and task.zero_is_nothing,
        ignores=block.ignore or (block.output and not task.zero_is_nothing),
        block_color=block.color,
    )


class LabelCensus:
    """Counts what the pseudo-labels of one generation show, while they are made.

    Counted are the pixels that are learned from as they are: the consistent ones of admitted
    images.

    Args:
        spec: What values mean.
    """

    def __init__(self, spec: TargetSpec) -> None:
        self._spec = spec
        self._made: Float[Tensor, "t n"] | None = None

    def __call__(
        self, start: int, agreement: PseudoLabelBatch, admitted: Bool[Tensor, "b"]
    ) -> None:
        """Count the labels of a batch of images."""
        chosen = admitted.to(agreement.labels.device)
        found = census(self._spec, agreement.labels[chosen], ~agreement.inconsistent[chosen])
        self._made = found if self._made is None else self._made + found

    def lost(self, drawn: Float[Tensor, "t n"]) -> str:
        """Return in words what was lost of the variety of people's labels; empty if little.

        Args:
            drawn: The census of the labels that people made.
        """
        return "" if self._made is None else collapsed(self._spec, self._made, drawn)
