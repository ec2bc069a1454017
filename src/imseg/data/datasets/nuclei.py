"""Cell nuclei: Data Science Bowl 2018, stage 1, as downloaded or as label images.

As downloaded there is a folder for each image, with ``images/<id>.png`` and one file for each
nucleus in ``masks``. Label images lie in ``instances`` under the names of ``images``: 0 is
background, and each nucleus has a number of its own. Masks are written as label images of 16 bits;
where masks of single nuclei overlap, the smaller nucleus is on top.

Dark fluorescence images, bright ones and colored histology are split apart, each in the same
proportions, so that every split shows all of them.

Source: https://bbbc.broadinstitute.org/BBBC038
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from imseg.data.datasets import pairs, sources
from imseg.data.datasets.data_folder import SPLITS, copy_picture
from imseg.data.datasets.download import Download, folders_in
from imseg.data.datasets.splitting import split_parts
from imseg.data.images.decoding import SUFFIXES, to_channels
from imseg.data.images.image_files import write_png
from imseg.data.images.picture_file import probe, read_image
from imseg.errors import ImsegError, and_more
from imseg.types import Pixels

_OTHER_STAGES = ("stage1_test", "stage2_test", "stage2_test_final")
_LABEL_FOLDERS = ("instances", "labels")
_MOST_NUCLEI = 65535
_LEAST_OF_A_LOOK = 4
_COLORFUL, _BRIGHT = 8, 128


def _is_wanted(path: PurePosixPath) -> bool:
    folders = [part.lower() for part in path.parts[:-1]]
    kind = folders[-1] in ("images", "masks", *_LABEL_FOLDERS) if folders else False
    return kind and path.suffix.lower() in SUFFIXES and not set(folders) & set(_OTHER_STAGES)


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


def _read(download: Download, seed: int) -> tuple[str, sources.Parts]:
    """Return the images, by look instead of by part."""
    found = _find_images(download)
    looks: sources.Parts = {}
    for done, (name, files) in enumerate(found.items(), start=1):
        pixels = read_image(files[0])
        if pixels.dtype != np.uint8:
            raise ImsegError(
                f"{files[0]} has {pixels.dtype} pixels.",
                expected="8 bits a channel, as the download has.",
                hint="unpack the download again.",
            )
        looks.setdefault(look_of(pixels), {})[name] = files
        download.tell("looking at images", done, len(found))
    return NUCLEI.layouts[0].source, dict(sorted(looks.items()))


def _find_images(download: Download) -> sources.Images:
    """Return the images by name, in whichever of the two layouts they are."""
    images, labels = download.find("images"), download.find("|".join(_LABEL_FOLDERS))
    if images is not None and labels is not None:
        return pairs.read_pairs(images, labels)
    stage = download.find("stage1_train")
    for root in (*((stage,) if stage else ()), *download.roots):
        folders = [each for each in folders_in(root) if (each / "masks").is_dir()]
        if folders:
            return {folder.name: _read_folder(folder) for folder in folders}
    if images or labels:
        raise download.wrong_tree(["instances" if images else "images"], found_some=True)
    raise download.wrong_tree(["stage1_train", "images", "instances"], found_some=False)


def _read_folder(folder: Path) -> sources.Files:
    """Return the files of one image of the original download."""
    if not (folder / "images").is_dir():
        raise ImsegError(
            f"{folder} has no folder images.",
            expected="images/ and masks/ in each of these folders.",
            hint="unpack the download again.",
        )
    images = pairs.pictures_by_name(folder / "images", noun="images", example=f"{folder.name}.png")
    masks = pairs.pictures_by_name(folder / "masks", noun="masks", example="a.png")
    if len(images) > 1:
        raise ImsegError(
            f"{folder / 'images'} holds {len(images)} images.",
            expected="one image, whose nuclei are in masks/.",
            got=and_more([path.name for path in images.values()]) + ".",
            hint="unpack the download again.",
        )
    return *images.values(), *masks.values()


def _split(
    looks: sources.Parts, *, labeled: float, seed: int
) -> tuple[sources.Parts, list[str], dict[str, int]]:
    """Split each look; those too rare for every split join the most frequent one."""
    first, *rest = sorted(looks.values(), key=len, reverse=True)
    groups = [dict(first)]
    for alike in rest:
        if len(alike) < _LEAST_OF_A_LOOK:
            groups[0] |= alike
        else:
            groups.append(alike)
    splits: sources.Parts = {split: {} for split in SPLITS}
    notes: dict[str, None] = {}
    for alike in groups:
        parts, said = split_parts({"training": alike}, labeled=labeled, seed=seed, round_up=True)
        notes |= dict.fromkeys(said)
        for split, images in parts.items():
            splits[split] |= images
    return splits, list(notes), {f"{look}_images": len(alike) for look, alike in looks.items()}


def _write(name: str, files: sources.Files, place: sources.Destination) -> sources.Made:
    image, *masks = files
    if masks[0].parent.name.lower() in _LABEL_FOLDERS:
        merged, figures = pairs.class_numbers(masks[0]), dict[str, int]()
    else:
        single = {path.name: pairs.class_numbers(path) > 0 for path in masks}
        pairs.refuse_other_sizes(name, {file: mask.shape for file, mask in single.items()})
        merged, figures = merge_nuclei(list(single.values()))
    pairs.refuse_other_sizes(
        name, {image.name: probe(image).size, f"masks of {name}": merged.shape}
    )
    if merged.max(initial=0) > _MOST_NUCLEI:
        raise ImsegError(
            f"{masks[0]} numbers its nuclei beyond {_MOST_NUCLEI}.",
            expected="numbers that fit 16 bits.",
            got=f"{merged.max()}.",
        )
    copy_picture(image, place.images / f"{name}{image.suffix.lower()}")
    write_png(place.masks / f"{name}.png", merged.astype(np.uint16))
    nuclei = int(np.count_nonzero(np.unique(merged)))
    return sources.Made((name,), figures | {"nuclei": nuclei})


def _describe(figures: Mapping[str, int]) -> list[str]:
    notes = []
    if figures.get("overlapping_pixels"):
        notes.append(
            f"{figures['overlapping_pixels']:,} pixels belong to several nuclei; the smallest has"
            f" them. {figures.get('covered_nuclei', 0)} nuclei are not to be seen at all."
        )
    if figures.get("empty_masks"):
        notes.append(f"{figures['empty_masks']} masks are empty and were left out.")
    return notes


NUCLEI = sources.PublicDataset(
    name="nuclei",
    title="nuclei",
    page="https://bbbc.broadinstitute.org/BBBC038",
    tree="stage1_train.zip, or unpacked, a folder for each image:\n"
    "stage1_train/<id>/images/<id>.png\n"
    "stage1_train/<id>/masks/*.png (one nucleus each)\n"
    "or label images, 0 is background and each nucleus has a number of its own:\n"
    "images/     a.png ...\n"
    "instances/  a.png ...",
    layouts=(sources.SourceLayout("nuclei of the Data Science Bowl 2018, stage 1", {}),),
    wanted=_is_wanted,
    read=_read,
    split=_split,
    write=_write,
    task="instances",
    describe=_describe,
)
