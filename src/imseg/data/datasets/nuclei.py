"""Cell nuclei: Data Science Bowl 2018, stage 1, as downloaded or as label images.

As downloaded there is a folder an image, with ``images/<id>.png`` and one file a nucleus in
``masks``. Label images lie in ``instances`` under the names of ``images``: 0 is background, and
each nucleus has a number of its own.

Source: https://bbbc.broadinstitute.org/BBBC038
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from imseg.data.datasets.download import Download, Source, folders_in, open_download
from imseg.data.datasets.pairs import (
    class_numbers,
    pictures_by_name,
    read_pairs,
    refuse_other_sizes,
)
from imseg.data.datasets.splitting import (
    SPLITS,
    Made,
    PreparedCounts,
    Progress,
    copy_picture,
    fill,
    refuse_bad_share,
    split_parts,
    write_config,
    write_summary,
)
from imseg.data.files.atomic import new_folder
from imseg.data.images.decoding import SUFFIXES
from imseg.data.images.image_files import write_png
from imseg.data.images.picture_file import probe, read_image, to_channels
from imseg.errors import ImsegError, and_more
from imseg.types import Pixels

_OTHER_STAGES = ("stage1_test", "stage2_test", "stage2_test_final")
_MOST_NUCLEI = 65535
_LEAST_OF_A_LOOK = 4
_COLORFUL, _BRIGHT = 8, 128


def _is_wanted(path: PurePosixPath) -> bool:
    folders = [part.lower() for part in path.parts[:-1]]
    kind = folders[-1] in ("images", "masks", "instances", "labels") if folders else False
    return kind and path.suffix.lower() in SUFFIXES and not set(folders) & set(_OTHER_STAGES)


SOURCE = Source(
    name="nuclei",
    title="nuclei",
    page="https://bbbc.broadinstitute.org/BBBC038",
    tree="stage1_train.zip, or unpacked, a folder an image:\n"
    "stage1_train/<id>/images/<id>.png\n"
    "stage1_train/<id>/masks/*.png (one nucleus each)\n"
    "or label images, 0 is background and each nucleus has a number of its own:\n"
    "images/     a.png ...\n"
    "instances/  a.png ...",
    wanted=_is_wanted,
)


@dataclass(frozen=True, slots=True)
class _Cells:
    """The files of one image: a label image, or a mask a nucleus."""

    image: Path
    masks: tuple[Path, ...]
    is_label_image: bool


def prepare_nuclei(
    raw: Path,
    out: Path,
    *,
    labeled: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
) -> PreparedCounts:
    """Copy images of nuclei, with label images of 16 bits, into the layout of a data folder.

    Dark fluorescence images, bright ones and colored histology are split apart, each in the same
    proportions, so that every split shows all of them: a fifth is for test, a tenth of the others
    for validation, and of the rest a seeded share is labeled. Where masks of single nuclei overlap,
    the smaller nucleus is on top.

    Args:
        raw: A folder that holds the images or their archives, or one archive.
        out: Must not exist yet, or be empty. It appears when everything is in it.
        labeled: Share of the training images that keep their masks, between 0 and 1; rounded up.
        seed: Chooses the images.
        progress: Called after each file unpacked, each image looked at, and each image written.

    Raises:
        ImsegError: If ``raw`` is not such a download, an image has no mask, there are too few
            images, or ``out`` cannot be written.
    """
    refuse_bad_share(labeled)
    with (
        new_folder(out) as folder,
        open_download(raw, source=SOURCE, beside=out, progress=progress) as download,
    ):
        cells = _read_cells(download)
        looks = _by_look(cells, progress)
        splits: dict[str, dict[str, _Cells]] = {split: {} for split in SPLITS}
        notes: dict[str, None] = {}
        for alike in _large_enough(looks):
            part, said = split_parts({"training": alike}, labeled=labeled, seed=seed, round_up=True)
            notes |= dict.fromkeys(said)
            for split, images in part.items():
                splits[split] |= images
        filled = fill(folder, splits, _write, progress=progress)
        write_config(folder, task="instances")
        looked = {f"{look}_images": len(alike) for look, alike in looks.items()}
        return write_summary(
            folder,
            source="nuclei of the Data Science Bowl 2018, stage 1",
            options={"seed": seed, "labeled_share": labeled},
            splits=filled.splits,
            figures=looked | filled.figures,
            notes=[*notes, *_notes(filled.figures)],
        )


def look_of(pixels: Pixels) -> str:
    """Return ``colored``, ``bright`` or ``dark``.

    Args:
        pixels: ``h w c`` bytes. An image is colored if the strongest channel is on average more
            than 8 above the weakest; else it is bright if its mean is 128 or more.
    """
    # Sums of whole numbers: means would depend on the order in which a machine adds fractions.
    wide = to_channels(pixels, 3) if pixels.shape[2] == 1 else pixels
    spread = (wide.max(axis=2) - wide.min(axis=2)).sum(dtype=np.int64)
    area = wide.shape[0] * wide.shape[1]
    if spread > _COLORFUL * area:
        return "colored"
    bright = wide.sum(dtype=np.int64) >= _BRIGHT * area * wide.shape[2]
    return "bright" if bright else "dark"


def merge_nuclei(
    masks: list[npt.NDArray[np.bool_]],
) -> tuple[npt.NDArray[np.uint16], dict[str, int]]:
    """Return a label image, and how much of the masks it does not show.

    Nucleus ``k`` is the ``k``-th mask. Where masks overlap, the smaller nucleus is on top, and of
    two equally large ones the later: a small nucleus on a large one would vanish otherwise.

    Args:
        masks: ``h w`` each, at least one.
    """
    merged = np.zeros(masks[0].shape, np.uint16)
    covered = np.zeros(masks[0].shape, np.uint16)
    areas = [int(np.count_nonzero(mask)) for mask in masks]
    for index in sorted(range(len(masks)), key=lambda each: (-areas[each], each)):
        merged[masks[index]] = index + 1
        covered += masks[index]
    seen = set(np.unique(merged).tolist())
    lost = [index for index, area in enumerate(areas) if area and index + 1 not in seen]
    return merged, {
        "overlapping_pixels": int(np.count_nonzero(covered > 1)),
        "covered_nuclei": len(lost),
        "empty_masks": areas.count(0),
    }


def _read_cells(download: Download) -> dict[str, _Cells]:
    """Return the images by name, in whichever of the two layouts they are."""
    images, labels = download.find("images"), download.find("instances|labels")
    if images is not None and labels is not None:
        pairs = read_pairs(images, labels, example=("a.png", "a.png"))
        return {name: _Cells(image, (mask,), True) for name, (image, mask) in pairs.items()}
    stage = download.find("stage1_train")
    for root in (*((stage,) if stage else ()), *download.roots):
        folders = [each for each in folders_in(root) if (each / "masks").is_dir()]
        if folders:
            return {folder.name: _read_folder(folder) for folder in folders}
    if images or labels:
        raise download.wrong_tree(["instances" if images else "images"], found_some=True)
    raise download.wrong_tree(["stage1_train", "images", "instances"], found_some=False)


def _read_folder(folder: Path) -> _Cells:
    """Return the files of one image of the original download."""
    if not (folder / "images").is_dir():
        raise ImsegError(
            f"{folder} has no folder images.",
            expected="images/ and masks/ in each of these folders.",
            hint="unpack the download again.",
        )
    images = pictures_by_name(folder / "images", noun="images", example=f"{folder.name}.png")
    masks = pictures_by_name(folder / "masks", noun="masks", example="a.png")
    if len(images) > 1:
        raise ImsegError(
            f"{folder / 'images'} holds {len(images)} images.",
            expected="one image, whose nuclei are in masks/.",
            got=and_more([path.name for path in images.values()]) + ".",
            hint="unpack the download again.",
        )
    return _Cells(next(iter(images.values())), tuple(masks.values()), False)


def _by_look(cells: dict[str, _Cells], progress: Progress | None) -> dict[str, dict[str, _Cells]]:
    """Return the images of each look."""
    looks: dict[str, dict[str, _Cells]] = {}
    for done, (name, files) in enumerate(cells.items(), start=1):
        pixels = read_image(files.image)
        if pixels.dtype != np.uint8:
            raise ImsegError(
                f"{files.image} has {pixels.dtype} pixels.",
                expected="8 bits a channel, as the download has.",
                hint="unpack the download again.",
            )
        looks.setdefault(look_of(pixels), {})[name] = files
        if progress is not None:
            progress("looking at images", done, len(cells))
    return dict(sorted(looks.items()))


def _large_enough(looks: dict[str, dict[str, _Cells]]) -> list[dict[str, _Cells]]:
    """Return the looks; those too rare for every split join the most frequent one."""
    ordered = sorted(looks.values(), key=len, reverse=True)
    first, rest = dict(ordered[0]), ordered[1:]
    for rare in rest:
        if len(rare) < _LEAST_OF_A_LOOK:
            first |= rare
    return [first, *(alike for alike in rest if len(alike) >= _LEAST_OF_A_LOOK)]


def _write(name: str, cells: _Cells, images: Path, masks: Path) -> Made:
    if cells.is_label_image:
        merged, figures = class_numbers(cells.masks[0]), dict[str, int]()
    else:
        single = {path.name: class_numbers(path) > 0 for path in cells.masks}
        refuse_other_sizes(name, {file: mask.shape for file, mask in single.items()})
        merged, figures = merge_nuclei(list(single.values()))
    sizes = {cells.image.name: probe(cells.image).size, f"masks of {name}": merged.shape}
    refuse_other_sizes(name, sizes)
    if merged.max(initial=0) > _MOST_NUCLEI:
        raise ImsegError(
            f"{cells.masks[0]} numbers its nuclei beyond {_MOST_NUCLEI}.",
            expected="numbers that fit 16 bits.",
            got=f"{merged.max()}.",
        )
    copy_picture(cells.image, images / f"{name}{cells.image.suffix.lower()}")
    write_png(masks / f"{name}.png", merged.astype(np.uint16))
    nuclei = int(np.count_nonzero(np.unique(merged)))
    return Made((name,), figures | {"nuclei": nuclei})


def _notes(figures: dict[str, int]) -> list[str]:
    notes = []
    if figures.get("overlapping_pixels"):
        notes.append(
            f"{figures['overlapping_pixels']:,} pixels belong to several nuclei; the smallest has"
            f" them. {figures.get('covered_nuclei', 0)} nuclei are not to be seen at all."
        )
    if figures.get("empty_masks"):
        notes.append(f"{figures['empty_masks']} masks are empty and were left out.")
    return notes
