"""From the download of any public data set to a data folder."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imseg.data.datasets import sources
from imseg.data.datasets.download import open_download, read_layouts
from imseg.data.datasets.pairs import class_numbers, refuse_other_values
from imseg.data.datasets.splitting import refuse_bad_share, split_parts
from imseg.data.files.atomic import copy_file, new_folder
from imseg.data.folder.config import FILE_NAME, config_text
from imseg.data.folder.facts import map_in_threads
from imseg.data.images.picture_file import probe

SPLITS = ("labeled", "unlabeled", "val", "test")
"""The splits of a data folder, in the order in which they are written and counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedCounts:
    """What a prepared data folder holds, in images."""

    source: str
    """What it was made from, for example ``ISIC 2017``."""
    labeled: int
    """Images with a mask to learn from."""
    unlabeled: int
    """Images whose masks are in ``hidden/masks``."""
    val: int
    """Images to choose by."""
    test: int
    """Images for the final score."""
    figures: Mapping[str, int] = field(default_factory=dict)
    """Whatever else was counted, such as ``impure_pixels``."""
    notes: tuple[str, ...] = ()
    """What is worth knowing about this preparation, in sentences."""


def prepare(
    dataset: sources.PublicDataset,
    raw: Path,
    out: Path,
    *,
    labeled: float,
    seed: int,
    progress: sources.PreparationProgress | None,
) -> PreparedCounts:
    """Write a public data set as a data folder; see ``prepare_data_set``.

    Raises:
        ImsegError: If ``raw`` is no such download, an image has no mask, there are too few images,
            ``labeled`` leaves no labeled image, or ``out`` cannot be written.
    """
    refuse_bad_share(labeled)
    with (
        new_folder(out) as folder,
        open_download(raw, source=dataset, beside=out, progress=progress) as download,
    ):
        source, parts = (dataset.read or read_layouts)(download, seed)
        if dataset.split is None:
            splits, notes = split_parts(
                parts, labeled=labeled, seed=seed, round_up=dataset.round_up
            )
            figures: Mapping[str, int] = {}
        else:
            splits, notes, figures = dataset.split(parts, labeled=labeled, seed=seed)
        stems, boxes, counted = _write_all(folder, splits, dataset, seed=seed, progress=progress)
        config = config_text(dataset.task, classes=dataset.classes, void=dataset.void)
        (folder / FILE_NAME).write_text(config, encoding="utf-8")
        figures = {**figures, **counted}
        record: dict[str, Any] = {"source": source, "seed": seed, "labeled_share": labeled}
        record |= dataset.options
        if figures:
            record["figures"] = figures
        record["splits"] = {split: sorted(stems[split]) for split in SPLITS}
        if dataset.is_cut:
            record["sources"] = {split: list(images) for split, images in splits.items()}
        if any(boxes.values()):
            record["boxes_left_top_width_height"] = boxes
        text = json.dumps(record, indent=1, ensure_ascii=True) + "\n"
        (folder / "splits.json").write_bytes(text.encode())
    return PreparedCounts(
        source=source,
        **{split: len(stems[split]) for split in SPLITS},
        figures=figures,
        notes=(*notes, *dataset.describe(figures)),
    )


def _write_all(
    folder: Path,
    splits: sources.Parts,
    dataset: sources.PublicDataset,
    *,
    seed: int,
    progress: sources.PreparationProgress | None,
) -> tuple[dict[str, list[str]], dict[str, dict[str, Any]], dict[str, int]]:
    """Write the images of every split; the masks of unlabeled ones go to ``hidden/masks``.

    Returns:
        The stems of each split, where those of each split were cut out, and all counts, added up.
    """
    places = {split: _make_folders(folder, split, seed) for split in splits}
    work = [(split, name, files) for split, part in splits.items() for name, files in part.items()]
    stems: dict[str, list[str]] = {split: [] for split in splits}
    boxes: dict[str, dict[str, Any]] = {split: {} for split in splits}
    counted: Counter[str] = Counter()
    made = map_in_threads(
        lambda each: dataset.write(each[1], each[2], places[each[0]]),
        work,
        workers=os.cpu_count(),
        progress=progress and (lambda done, total: progress("writing images", done, total)),
    )
    for (split, _, _), one in zip(work, made, strict=True):
        stems[split] += one.stems
        boxes[split].update(one.boxes)
        counted.update(one.figures)
    return stems, boxes, dict(sorted(counted.items()))


def _make_folders(folder: Path, split: str, seed: int) -> sources.Destination:
    images = folder / split / "images"
    masks = folder / ("hidden" if split == "unlabeled" else split) / "masks"
    for place in (images, masks):
        place.mkdir(parents=True)
    return sources.Destination(images, masks, seed)


def copy_picture(source: Path, target: Path) -> None:
    """Copy a picture file as it is, after a look at its header.

    Raises:
        ImsegError: If it is no picture, has too many pixels, or cannot be copied.
    """
    probe(source)
    copy_file(source, target)


def copy_files(
    name: str,
    files: sources.Files,
    place: sources.Destination,
    *,
    known: Collection[int] | None = None,
) -> sources.Made:
    """Copy an image and its mask under the name ``name``; their formats stay.

    Args:
        name: The stem of both copies.
        files: The image and the mask.
        place: Where to.
        known: The values that the mask may hold; None: it is not looked at.

    Raises:
        ImsegError: If the mask holds other values, or a file is no picture or cannot be copied.
    """
    if known is not None:
        refuse_other_values(files[1], np.unique(class_numbers(files[1])), known)
    for source, folder in zip(files, (place.images, place.masks), strict=True):
        copy_picture(source, folder / f"{name}{source.suffix.lower()}")
    return sources.Made((name,))
