"""Underwater scenes: SUIM as downloaded, eight classes by color.

``train_val`` and ``TEST`` hold ``images`` (JPEG) and ``masks`` (BMP) of equal stems. The three bits
of a color, red, green and blue, are the number of its class; some masks have colors in between.

Source: https://irvlab.cs.umn.edu/resources/suim-dataset
"""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from imseg.data.datasets.download import Download, Source, open_download
from imseg.data.datasets.hela import random_squares
from imseg.data.datasets.pairs import Pairs, read_pairs
from imseg.data.datasets.splitting import (
    Made,
    PreparedCounts,
    Progress,
    fill,
    refuse_bad_share,
    split_parts,
    write_config,
    write_summary,
)
from imseg.data.files.atomic import new_folder
from imseg.data.images.decoding import SUFFIXES
from imseg.data.images.image_files import write_png
from imseg.data.images.picture_file import read_image, resize_image
from imseg.data.masks.io import resize_mask
from imseg.types import Bytes

SIDE = 256
"""Pixels of a prepared image, both ways."""

CROPS, CROP_SIDES = 2, (256, 511)
"""Squares cut out of each image, and the least and greatest side of one, in pixels."""

_ON, _FULL = 128, 255
_NAMES = ("water", "diver", "plants", "wreck", "robot", "reef", "fish", "sea floor")
_CLASSES = {
    number: (name, (number >> 2 & 1, number >> 1 & 1, number & 1))
    for number, name in enumerate(_NAMES)
}
_EXAMPLE = ("d_r_47_.jpg", "d_r_47_.bmp")


def _is_wanted(path: PurePosixPath) -> bool:
    # TEST/masks holds a folder a class as well, which says nothing new.
    return path.suffix.lower() in SUFFIXES and path.parent.name.lower() in ("images", "masks")


SOURCE = Source(
    name="suim",
    title="SUIM",
    page="https://irvlab.cs.umn.edu/resources/suim-dataset",
    tree="four folders; an image and its mask have equal stems:\n"
    "train_val/images/  d_r_47_.jpg ...\n"
    "train_val/masks/   d_r_47_.bmp ...\n"
    "TEST/images/ TEST/masks/\n"
    "or, for a few samples, images/ and masks/ alone",
    wanted=_is_wanted,
)


def prepare_suim(
    raw: Path,
    out: Path,
    *,
    labeled: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
) -> PreparedCounts:
    """Cut SUIM into squares of 256 pixels, in the layout of a data folder.

    Images are split first: a tenth of ``train_val`` is for validation, a seeded share of the others
    is labeled; both are rounded up. Then two random squares are cut out of each image, the test
    images too. Masks are written as class numbers, 0 to 7.

    Args:
        raw: A folder that holds ``train_val`` and ``TEST`` or their archives, or one archive.
            Without these two, ``images`` and ``masks``: then a fifth of the images is for test.
        out: Must not exist yet, or be empty. It appears when everything is in it.
        labeled: Share of the training images that keep their masks, between 0 and 1; rounded up.
        seed: Chooses the images and the squares.
        progress: Called after each file unpacked and each image written.

    Raises:
        ImsegError: If ``raw`` is not such a download, an image has no mask, there are too few
            images, or ``out`` cannot be written.
    """
    refuse_bad_share(labeled)
    with (
        new_folder(out) as folder,
        open_download(raw, source=SOURCE, beside=out, progress=progress) as download,
    ):
        parts = _read_parts(download)
        splits, notes = split_parts(parts, labeled=labeled, seed=seed, round_up=True)
        filled = fill(folder, splits, partial(_write_squares, seed), progress=progress)
        colors = {
            number: (name, (red * _FULL, green * _FULL, blue * _FULL))
            for number, (name, (red, green, blue)) in _CLASSES.items()
        }
        write_config(folder, task="multiclass", classes=colors)
        return write_summary(
            folder,
            source="SUIM",
            options={"seed": seed, "labeled_share": labeled},
            splits=filled.splits,
            details={
                "sources": {split: list(images) for split, images in splits.items()},
                "boxes_left_top_width_height": filled.details,
            },
            figures=filled.figures,
            notes=[*notes, *_notes(filled.figures)],
        )


def class_numbers_of(colors: Bytes) -> tuple[Bytes, int]:
    """Return the class of each pixel by its color, and how many pixels have an impure color.

    Args:
        colors: ``h w 3``; each channel is meant to be 0 or 255, and counts as on from 128.
    """
    red, green, blue = (colors[..., channel] >= _ON for channel in range(3))
    impure = ((colors != 0) & (colors != _FULL)).any(axis=2)
    numbers = (red * np.uint8(4) + green * np.uint8(2) + blue * np.uint8(1)).astype(np.uint8)
    return numbers, int(np.count_nonzero(impure))


def _read_parts(download: Download) -> dict[str, Pairs]:
    published = [f"{part}/{kind}" for part in ("train_val", "TEST") for kind in ("images", "masks")]
    if not any(download.find(path) for path in published):
        images, masks = download.find("images"), download.find("masks")
        if images is None or masks is None:
            raise download.wrong_tree(published, found_some=False)
        return {"training": read_pairs(images, masks, example=_EXAMPLE)}
    images, masks, test_images, test_masks = download.need(*published)
    return {
        "training": read_pairs(images, masks, example=_EXAMPLE),
        "test": read_pairs(test_images, test_masks, example=_EXAMPLE),
    }


def _write_squares(
    seed: int, name: str, pair: tuple[Path, Path], images: Path, masks: Path
) -> Made:
    pixels = read_image(pair[0], channels=3)
    numbers, impure = class_numbers_of(read_image(pair[1], channels=3))
    height, width = pixels.shape[:2]
    resized = numbers.shape != (height, width)
    numbers = resize_mask(numbers, (height, width))
    boxes = random_squares(
        height, width, count=CROPS, sides=CROP_SIDES, key=f"{seed}/squares/{name}"
    )
    made = {f"{name}_crop{index}": box for index, box in enumerate(boxes, start=1)}
    for stem, (left, top, across, down) in made.items():
        part = slice(top, top + down), slice(left, left + across)
        write_png(images / f"{stem}.png", resize_image(pixels[part], (SIDE, SIDE)))
        write_png(masks / f"{stem}.png", resize_mask(numbers[part], (SIDE, SIDE)))
    figures = {
        "source_images": 1,
        "impure_pixels": impure,
        "impure_files": int(impure > 0),
        "resized_masks": int(resized),
    }
    return Made(tuple(made), figures, {stem: list(box) for stem, box in made.items()})


def _notes(figures: dict[str, int]) -> list[str]:
    notes = []
    if figures["impure_files"]:
        notes.append(
            f"{figures['impure_pixels']:,} pixels in {figures['impure_files']} masks have impure"
            " colors; each channel counts as on from 128."
        )
    if figures["resized_masks"]:
        count = figures["resized_masks"]
        masks = "1 mask is not of the size of its image"
        if count > 1:
            masks = f"{count} masks are not of the size of their images"
        notes.append(f"{masks}: resized to it.")
    return notes
