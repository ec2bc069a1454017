"""Cells: HeLa, and the nuclei of the Data Science Bowl 2018.

HeLa in bright field as the authors published it, cut into overlapping squares.

Pictures of equal stems lie in four folders: the image, and a plane each for living cells, for dead
ones and for their centers, in which pixels above 10 are marked. Pictures are split before they are
cut, so that no two splits share pixels; each square is written once. Masks go to
``masks/<label>/``, 0 and 255.

Source: https://github.com/MichaelVorndran/InconsistencyMasks

Nuclei: Data Science Bowl 2018, stage 1, as downloaded or as label images.

As downloaded there is a folder for each image, with ``images/<id>.png`` and one file for each
nucleus in ``masks``. Label images lie in ``instances`` under the names of ``images``: 0 is
background, and each nucleus has a number of its own. Masks are written as label images of 16 bits;
where masks of single nuclei overlap, the smaller nucleus is on top.

Dark fluorescence images, bright ones and colored histology are split apart, each in the same
proportions, so that every split shows all of them.

Source: https://bbbc.broadinstitute.org/BBBC038
"""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.datasets import download, sources
from imseg.data.files.listing import folders_in
from imseg.data.images.decoding import SUFFIXES, is_gray, to_channels
from imseg.data.images.image_files import write_png
from imseg.data.images.picture_file import probe, read_image
from imseg.data.masks.merging import merge_objects
from imseg.errors import ImsegError, and_more
from imseg.types import POSITION, Pixels

Box = tuple[int, int, int, int]
"""Left, top, width, height in pixels."""


def overlapping_boxes(height: int, width: int, *, side: int, overlap: float) -> list[Box]:
    """Return squares that cover an image and overlap their neighbors, each place once.

    As many as fit best at this overlap are spread evenly; the last ones are moved in to the edge.

    Args:
        height: Of the image, in pixels; at least ``side``.
        width: Of the image, in pixels; at least ``side``.
        side: Of the squares, in pixels.
        overlap: Share of a side that neighbors have in common, about; from 0 up to 1.
    """
    tops, lefts = (_starts(length, side, overlap) for length in (height, width))
    return [(left, top, side, side) for left in lefts for top in tops]


def _starts(length: int, side: int, overlap: float) -> list[int]:
    """Return where squares begin along one side of the image, ascending."""
    count = max(1, round(Fraction(length) / (side * (1 - Fraction(str(overlap))))))
    return sorted({min(index * length // count, length - side) for index in range(count)})


SIDE, OVERLAP = 256, 0.6
"""Pixels of a prepared image, both ways, and the share of a side that neighbors have in common."""

_MARKED, _SHOWN = 10, 255
_COLORS = {"alive": (64, 192, 64), "dead": (208, 48, 48), POSITION: (64, 128, 255)}
_FOLDERS = ("brightfield|bright_field|bf|images", "alive", "dead", "mod_position|position|pos")
_PARTS = {"training": "train|training", "validation": "val|valid|validation", "test": "test"}


def _cut(name: str, files: sources.Files, place: sources.Destination) -> sources.Made:
    pixels = _gray(files[0])
    planes = {label: _gray(path) for label, path in zip(_COLORS, files[1:], strict=True)}
    sizes = {
        f"{label}/{path.name}": planes[label].shape
        for label, path in zip(planes, files[1:], strict=True)
    }
    sources.refuse_other_sizes(name, {files[0].name: pixels.shape, **sizes})
    height, width = pixels.shape
    if min(height, width) < SIDE:
        raise ImsegError(
            f"{files[0]} is smaller than the squares to cut it into.",
            expected=f"at least {SIDE}x{SIDE} pixels.",
            got=f"{width}x{height}.",
        )
    stems = []
    for left, top, across, down in overlapping_boxes(height, width, side=SIDE, overlap=OVERLAP):
        stem = f"{name}_x{left:04}_y{top:04}"
        part = slice(top, top + down), slice(left, left + across)
        write_png(place.images / f"{stem}.png", pixels[part])
        for label, plane in planes.items():
            (place.masks / label).mkdir(exist_ok=True)
            marked = np.where(plane[part] > _MARKED, np.uint8(_SHOWN), np.uint8(0))
            write_png(place.masks / label / f"{stem}.png", marked)
        stems.append(stem)
    return sources.Made(tuple(stems), {"source_images": 1})


def _gray(path: Path) -> npt.NDArray[Any]:
    """Return the grey values of a picture, ``h w``, with its own 8 or 16 bits."""
    pixels = read_image(path)
    if pixels.shape[2] == 3 and (is_gray(pixels) or pixels.dtype == np.uint8):
        pixels = pixels[..., :1] if is_gray(pixels) else to_channels(pixels, 1)
    if pixels.shape[2] != 1 or pixels.dtype not in (np.uint8, np.uint16):
        raise ImsegError(
            f"{path} is not a grey picture.",
            expected="one channel of 8 or 16 bits.",
            got=f"{pixels.shape[2]} of {pixels.dtype}.",
        )
    return pixels[..., 0]


HELA = sources.PublicDataset(
    name="hela",
    title="HeLa",
    page="https://github.com/MichaelVorndran/InconsistencyMasks",
    tree="pictures of equal stems (PNG, TIFF ...) in four folders:\n"
    "train/brightfield/   a.png ...\n"
    "train/alive/         a.png ... (marked above 10)\n"
    "train/dead/          a.png ...\n"
    "train/mod_position/  a.png ... (or position/)\n"
    "val/ and test/ with the same four; without train/, val/ and test/ the four alone",
    layouts=(
        sources.SourceLayout(
            "HeLa, bright field",
            {part: tuple(f"{top}/{each}" for each in _FOLDERS) for part, top in _PARTS.items()},
            frozenset({"validation", "test"}),
        ),
        sources.SourceLayout("HeLa, bright field", {"training": _FOLDERS}),
    ),
    round_up=True,
    write=_cut,
    task="multilabel",
    classes={label: (label, color) for label, color in _COLORS.items()},
    is_cut=True,
)


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


def merge_nuclei(masks: list[npt.NDArray[np.bool_]]) -> tuple[npt.NDArray[Any], dict[str, int]]:
    """Return a label image, and how much of the masks it does not show; see ``merge_objects``.

    Args:
        masks: ``h w`` each, at least one.
    """
    merged = merge_objects(masks)
    return merged.labels, {
        "overlapping_pixels": merged.overlapping,
        "covered_nuclei": merged.covered,
        "empty_masks": merged.empty,
    }


def _read(given: download.Download, seed: int) -> tuple[str, sources.Parts]:
    """Return the images, by look instead of by part."""
    found = _find_images(given)
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
        given.progress("looking at images", done, len(found))
    return NUCLEI.layouts[0].source, dict(sorted(looks.items()))


def _find_images(given: download.Download) -> sources.Images:
    """Return the images by name, in whichever of the two layouts they are."""
    images, labels = given.find("images"), given.find("|".join(_LABEL_FOLDERS))
    if images is not None and labels is not None:
        return download.read_pairs(images, labels, given.source)
    stage = given.find("stage1_train")
    for root in (*((stage,) if stage else ()), *given.roots):
        folders = [each for each in folders_in(root) if (each / "masks").is_dir()]
        if folders:
            return {folder.name: _read_folder(folder) for folder in folders}
    if images or labels:
        raise given.wrong_tree(["instances" if images else "images"], found_some=True)
    raise given.wrong_tree(["stage1_train", "images", "instances"], found_some=False)


def _read_folder(folder: Path) -> sources.Files:
    """Return the files of one image of the original download."""
    if not (folder / "images").is_dir():
        raise ImsegError(
            f"{folder} has no folder images.",
            expected="images/ and masks/ in each of these folders.",
            hint="unpack the download again.",
        )
    images = download.pictures_by_name(
        folder / "images", noun="images", example=f"{folder.name}.png"
    )
    masks = download.pictures_by_name(folder / "masks", noun="masks", example="a.png")
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
    groups: list[sources.Images] = []
    for alike in sorted(looks.values(), key=len, reverse=True):
        if groups and len(alike) < _LEAST_OF_A_LOOK:
            groups[0] = groups[0] | alike
        else:
            groups.append(alike)
    splits: sources.Parts = {split: {} for split in sources.SPLITS}
    notes: dict[str, None] = {}
    for alike in groups:
        parts, said = sources.split_parts(
            {"training": alike}, labeled=labeled, seed=seed, round_up=True
        )
        notes |= dict.fromkeys(said)
        for split, images in parts.items():
            splits[split] |= images
    return splits, list(notes), {f"{look}_images": len(alike) for look, alike in looks.items()}


def _write(name: str, files: sources.Files, place: sources.Destination) -> sources.Made:
    image, *masks = files
    if masks[0].parent.name.lower() in _LABEL_FOLDERS:
        merged, figures = sources.class_numbers(masks[0]), dict[str, int]()
    else:
        single = {path.name: sources.class_numbers(path) > 0 for path in masks}
        sources.refuse_other_sizes(name, {file: mask.shape for file, mask in single.items()})
        merged, figures = merge_nuclei(list(single.values()))
    sources.refuse_other_sizes(
        name, {image.name: probe(image).size, f"masks of {name}": merged.shape}
    )
    if merged.max(initial=0) > _MOST_NUCLEI:
        raise ImsegError(
            f"{masks[0]} numbers its nuclei beyond {_MOST_NUCLEI}.",
            expected="numbers that fit 16 bits.",
            got=f"{merged.max()}.",
        )
    sources.copy_picture(image, place.images / f"{name}{image.suffix.lower()}")
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
