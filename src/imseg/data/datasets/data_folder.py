"""From the download of any public data set to a data folder."""

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from imseg.data.datasets import cells, sources, streets
from imseg.data.datasets.download import open_download, read_layouts
from imseg.data.datasets.isic2018 import ISIC2018
from imseg.data.datasets.suim import SUIM
from imseg.data.files.atomic import new_folder
from imseg.data.folder.config import FILE_NAME, config_text
from imseg.data.folder.facts import map_in_threads
from imseg.errors import ImsegError, look_up, shown

DATASETS: dict[str, sources.PublicDataset] = {
    dataset.name: dataset
    for dataset in (ISIC2018, cells.HELA, SUIM, streets.cityscapes(), streets.CAMVID, cells.NUCLEI)
}
"""Every data set that can be prepared, by the name used on the command line."""


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


def prepare_data_set(
    name: str,
    raw: Path,
    out: Path,
    *,
    labeled: float = 0.1,
    seed: int = 0,
    progress: sources.PreparationProgress | None = None,
    **options: Any,
) -> PreparedCounts:
    """Write a public data set as a data folder.

    A share of the training images is labeled, drawn by the seed; the masks of the others go to
    ``hidden/masks``. A larger share contains the images of a smaller one. The same seed chooses the
    same images on every machine.

    Args:
        name: Which; see ``DATASETS``.
        raw: The download as its source gives it: unpacked, an archive, or a folder of archives.
        out: Must not exist yet, or be empty. It appears when everything is in it.
        labeled: Share of the training images that keep their masks, between 0 and 1.
        seed: Chooses among the images.
        progress: Called with what is being done, how much of it is done, and how much there is.
        options: What only some data sets have; None: not given.

    Raises:
        ImsegError: If there is no such data set (the nearest name is suggested), it has no such
            option, ``raw`` is no such download, an image has no mask, there are too few images,
            ``labeled`` leaves no labeled image, or ``out`` cannot be written.
    """
    dataset = look_up(
        name,
        DATASETS,
        noun="data set",
        command="imseg prepare {} RAW --out DATA",
        otherwise="prepare reads the downloads of these data sets alone; for your own:"
        f" imseg check {shown(raw)}",
    )
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        if option not in dataset.options:
            word = f"--{option.replace('_', '-')}"
            having = [other.name for other in DATASETS.values() if option in other.options]
            raise ImsegError(
                f"{name} has no use for {word}.",
                expected=f"{word} for {', '.join(having) or 'no data set'} only.",
                hint=f"leave {word} away.",
            )
    if given and dataset.with_options is not None:
        dataset = dataset.with_options(**given)
    sources.refuse_bad_share(labeled)
    tell = progress or (lambda what, done, total: None)
    with (
        new_folder(out) as folder,
        open_download(raw, source=dataset, beside=out, progress=tell) as download,
    ):
        source, parts = (dataset.read or read_layouts)(download, seed)
        if dataset.split is None:
            splits, notes = sources.split_parts(
                parts, labeled=labeled, seed=seed, round_up=dataset.round_up
            )
            figures: Mapping[str, int] = {}
        else:
            splits, notes, figures = dataset.split(parts, labeled=labeled, seed=seed)
        stems, boxes, counted = _write_all(folder, splits, dataset, seed=seed, progress=tell)
        config = config_text(dataset.task, classes=dataset.classes, void=dataset.void)
        (folder / FILE_NAME).write_text(config, encoding="utf-8")
        figures = {**figures, **counted}
        record: dict[str, Any] = {"source": source, "seed": seed, "labeled_share": labeled}
        record |= dataset.options
        if figures:
            record["figures"] = figures
        record["splits"] = {split: sorted(stems[split]) for split in sources.SPLITS}
        if dataset.is_cut:
            record["sources"] = {split: list(images) for split, images in splits.items()}
        if any(boxes.values()):
            record["boxes_left_top_width_height"] = boxes
        text = json.dumps(record, indent=1, ensure_ascii=True) + "\n"
        (folder / "splits.json").write_bytes(text.encode())
    return PreparedCounts(
        source=source,
        **{split: len(stems[split]) for split in sources.SPLITS},
        figures=figures,
        notes=(*notes, *dataset.describe(figures)),
    )


def _write_all(
    folder: Path,
    splits: sources.Parts,
    dataset: sources.PublicDataset,
    *,
    seed: int,
    progress: sources.PreparationProgress,
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
        progress=partial(progress, "writing images"),
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
