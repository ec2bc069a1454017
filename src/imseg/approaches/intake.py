"""What an experiment is given: read, checked against what is asked for, and counted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from imseg.approaches.catalog import find_approach
from imseg.approaches.material import Material
from imseg.approaches.paper import PAPER
from imseg.approaches.run import Run
from imseg.approaches.schedule import Facts
from imseg.approaches.settings import Settings
from imseg.data.check import report_of
from imseg.data.encoding import describe_values
from imseg.data.folder import data_set_of, scan
from imseg.data.image_io import probe
from imseg.data.listing import counted, real_path
from imseg.data.recognize import word_of
from imseg.data.splits import held_out
from imseg.engine.progress import Note, Progress, Working
from imseg.errors import ImsegError, and_more, import_extra, raise_all, shown
from imseg.stages.quality import LEAST_LABELED, LEAST_VALIDATION, enough_for_judges
from imseg.tasks import check_pool, task_for
from imseg.tasks.quality import quality_for
from imseg.types import DataSet

SAMPLED_FOR_SIZE = 50
"""Labeled images whose size is looked at to choose the working size."""


def read_data(folder: Path, asked: Settings, progress: Progress) -> DataSet:
    """Return the data set in a folder, and tell every warning about it.

    Raises:
        ImsegError: If anything is wrong with the folder; everything at once.
    """

    def read(done: int, total: int) -> None:
        progress(Working(what="checking images", done=done, total=total))

    found = scan(folder, task=asked.task, progress=read)
    report = report_of(found)
    raise_all(finding.as_error() for finding in report.errors)
    dataset = data_set_of(found)
    for warning in report.warnings:
        progress(Note(text=str(warning.as_error()), warning=True))
    return dataset


def check_paths(paths: Iterable[object]) -> None:
    """Check that names can be written down, in the settings of a run and for its workers.

    Args:
        paths: Folders and files; whatever is neither a path nor a name is passed over.

    Raises:
        ImsegError: If one has bytes that are no text.
    """
    for path in paths:
        if not isinstance(path, str | Path):
            continue
        place = str(real_path(Path(path)))
        try:
            place.encode()
        except UnicodeEncodeError as error:
            raise ImsegError(
                f"The path {path} has bytes that are no text.",
                expected="names of folders in UTF-8.",
                got=f"{shown(place)}.",
                hint="rename the folder, or work in another one.",
            ) from error


def check_fits(dataset: DataSet, asked: Settings, matched: Run | None) -> None:
    """Check that the data has what the approach needs, and the machine what the data needs."""
    if dataset.spec.position is not None:
        for module in ("cv2", "skimage"):
            import_extra(module, extra="cells", purpose="for cell centers and objects")
    approach = find_approach(asked.approach)
    if approach.needs_unlabeled and not dataset.unlabeled:
        raise ImsegError(
            f"{approach.name} learns from unlabeled images, and {dataset.name} has none.",
            expected="images in unlabeled/ (no masks needed).",
            got="no unlabeled images.",
            hint=f"copy images into {shown(dataset.name)}/unlabeled/, or --approach ldt.",
        )
    if asked.select == "same-classes" and not dataset.spec.has_classes:
        raise ImsegError(
            f"--select same-classes says nothing about {word_of(dataset.spec)} masks.",
            expected="it with masks of classes only.",
            hint="--select paper or all.",
        )
    if approach.has_thresholds:
        check_judged(approach.name, dataset)
    if asked.vote is not None:
        check_pool(dataset.spec, asked.vote)
    if asked.grow_labels and not task_for(dataset.spec).grows_labels:
        raise ImsegError(
            f"--grow-labels changes nothing about {word_of(dataset.spec)} masks.",
            expected="it with masks of several classes or labels, as in the paper.",
            hint="leave it out.",
        )
    blocks = asked.blocking in ("both", "output")
    if asked.ignore and blocks and not task_for(dataset.spec).zero_is_nothing:
        raise ImsegError(
            f"--ignore changes nothing about {word_of(dataset.spec)} masks.",
            expected="inconsistent pixels have no weight there, because 0 is a number like any.",
            hint="leave it out, or --blocking input --ignore.",
        )
    if matched is not None and not (
        matched.spec.is_like(dataset.spec) and matched.spec.values == dataset.spec.values
    ):
        raise ImsegError(
            f"{matched.path} was trained on other classes than {dataset.name} has.",
            expected=describe_values(matched.spec),
            got=describe_values(dataset.spec),
            hint="--match with a run on the same data.",
        )


def check_judged(name: str, dataset: DataSet) -> None:
    """Check that masks have a quality that an approach can go by.

    Raises:
        ImsegError: If they hold numbers, of which there is no IoU.
    """
    try:
        quality_for(task_for(dataset.spec))
    except ImsegError as error:
        raise ImsegError(
            f"{name} does not fit {word_of(dataset.spec)} masks.",
            expected="masks of classes or labels: it goes by their IoU, and numbers have none.",
            got=f"{word_of(dataset.spec)} masks in {shown(dataset.name)}.",
            hint="--approach im+ or aim+, which disturb every image equally often.",
        ) from error


def check_facts(asked: Settings, facts: Facts, dataset: DataSet) -> None:
    """Check that what was counted is what the approach and the paper's settings need.

    Raises:
        ImsegError: If the paper's settings are for other masks, or if judges of masks choose
            pseudo-labels and cannot be trained.
    """
    if asked.paper is not None and PAPER[asked.paper].kind != facts.task:
        raise ImsegError(
            f"--paper {asked.paper} is for {PAPER[asked.paper].kind} masks.",
            expected=f"masks of that kind, as `imseg prepare {asked.paper}` makes them.",
            got=f"{word_of(dataset.spec)} masks in {shown(dataset.name)}.",
            hint="--effort paper keeps the schedule and takes sizes and strengths from your data.",
        )
    approach = find_approach(asked.approach)
    if approach.carry and not enough_for_judges(facts.labeled, facts.validation):
        short = facts.labeled >= LEAST_LABELED
        raise ImsegError(
            f"{approach.name} has too few labels to learn what a good mask looks like.",
            expected=f"at least {LEAST_LABELED} labeled images to learn from and"
            f" {LEAST_VALIDATION} validation images.",
            got=f"{facts.labeled} and {facts.validation}.",
            hint=f"{'put more images into val/' if short else 'label more images'}, or --approach"
            " im+, which needs no judges.",
        )


def facts_of(dataset: DataSet) -> Facts:
    """Return what a plan needs to know about a data set."""
    sizes = []
    for pair in dataset.labeled[:SAMPLED_FOR_SIZE]:
        pixels = pair.image.pixels
        if isinstance(pixels, Path):
            info = probe(pixels, pages=dataset.reading.pages)
            sizes.append((info.height, info.width))
        else:
            sizes.append((pixels.shape[0], pixels.shape[1]))
    height, width = np.median(np.array(sizes), axis=0).astype(int).tolist()
    labeled = len(dataset.labeled)
    return Facts(
        task=dataset.spec.kind,
        labeled=labeled if dataset.val else labeled - held_out(labeled),
        validation=len(dataset.val) or held_out(labeled),
        unlabeled=len(dataset.unlabeled),
        channels=dataset.reading.channels,
        outputs=dataset.spec.outputs,
        typical_size=(height, width),
    )


def note_changes(material: Material, progress: Progress) -> None:
    """Say if files changed while networks learned from what they had been."""
    changed = material.changed_files()
    if changed:
        count = counted(len(changed), "image or mask", "images or masks")
        text = f"{count} changed during training: {and_more(changed)}. The run has learned from"
        text += " what they were before; train again to learn from what they are now."
        progress(Note(text=text, warning=True))
