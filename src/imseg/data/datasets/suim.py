"""Underwater scenes: SUIM as downloaded, eight classes by color.

``train_val`` and ``TEST`` hold ``images`` (JPEG) and ``masks`` (BMP) of equal stems; a few samples
may come as ``images`` and ``masks`` alone. The three bits of a color, red, green and blue, are the
number of its class; some masks have colors in between. Images are split first; then two random
squares are cut out of each image, the test images too. Masks are written as class numbers, 0 to 7.

Source: https://irvlab.cs.umn.edu/resources/suim-dataset
"""

import random
from collections.abc import Mapping

import numpy as np

from imseg.data.datasets import sources
from imseg.data.images.decoding import resize_image
from imseg.data.images.image_files import write_png
from imseg.data.images.picture_file import read_image
from imseg.data.masks.io import resize_mask
from imseg.types import Bytes

SIDE = 256
"""Pixels of a prepared image, both ways."""

CROPS, CROP_SIDES = 2, (256, 511)
"""Squares cut out of each image, and the least and greatest side of one, in pixels."""

_ON, _FULL = 128, 255
_NAMES = ("water", "diver", "plants", "wreck", "robot", "reef", "fish", "sea floor")


def random_squares(
    height: int, width: int, *, count: int, sides: tuple[int, int], key: str
) -> list[tuple[int, int, int, int]]:
    """Return random squares of an image, drawn by ``key``; equal ones are returned once.

    Of each its left, its top, its width and its height are returned, in pixels.

    A side is drawn that is below the image's longer side. If the square does not fit the shorter
    one, or there is no such side, the whole image is taken.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        count: How many squares to draw.
        sides: Least and greatest side, in pixels.
        key: The same key draws the same squares on every machine.
    """
    # Of the random module only random() is promised to stay the same in later versions of Python.
    numbers = random.Random(key)
    least, most = sides[0], min(sides[1], max(height, width) - 1)
    boxes: list[tuple[int, int, int, int]] = []
    for _ in range(count):
        size, across, down = numbers.random(), numbers.random(), numbers.random()
        side = least + int(size * (most - least + 1))
        if most < least or side > min(height, width):
            boxes.append((0, 0, width, height))
        else:
            left, top = int(across * (width - side + 1)), int(down * (height - side + 1))
            boxes.append((left, top, side, side))
    return list(dict.fromkeys(boxes))


def class_numbers_of(colors: Bytes) -> tuple[Bytes, int]:
    """Return the class of each pixel by its color, and how many pixels have an impure color.

    Args:
        colors: ``h w 3``; each channel is meant to be 0 or 255, and counts as on from 128.
    """
    red, green, blue = (colors[..., channel] >= _ON for channel in range(3))
    impure = ((colors != 0) & (colors != _FULL)).any(axis=2)
    numbers = (red * np.uint8(4) + green * np.uint8(2) + blue * np.uint8(1)).astype(np.uint8)
    return numbers, int(np.count_nonzero(impure))


def _write_squares(name: str, files: sources.Files, place: sources.Destination) -> sources.Made:
    pixels = read_image(files[0], channels=3)
    numbers, impure = class_numbers_of(read_image(files[1], channels=3))
    height, width = pixels.shape[:2]
    resized = numbers.shape != (height, width)
    numbers = resize_mask(numbers, (height, width))
    key = f"{place.seed}/squares/{name}"
    boxes = random_squares(height, width, count=CROPS, sides=CROP_SIDES, key=key)
    made = {f"{name}_crop{index}": box for index, box in enumerate(boxes, start=1)}
    for stem, (left, top, across, down) in made.items():
        part = slice(top, top + down), slice(left, left + across)
        write_png(place.images / f"{stem}.png", resize_image(pixels[part], (SIDE, SIDE)))
        write_png(place.masks / f"{stem}.png", resize_mask(numbers[part], (SIDE, SIDE)))
    figures = {
        "source_images": 1,
        "impure_pixels": impure,
        "impure_files": int(impure > 0),
        "resized_masks": int(resized),
    }
    return sources.Made(tuple(made), figures, {stem: list(box) for stem, box in made.items()})


def _describe(figures: Mapping[str, int]) -> list[str]:
    notes = []
    if figures["impure_files"]:
        notes.append(
            f"{figures['impure_pixels']:,} pixels in {figures['impure_files']} masks have impure"
            " colors; each channel counts as on from 128."
        )
    if count := figures["resized_masks"]:
        masks = "1 mask is not of the size of its image"
        if count > 1:
            masks = f"{count} masks are not of the size of their images"
        notes.append(f"{masks}: resized to it.")
    return notes


SUIM = sources.PublicDataset(
    name="suim",
    title="SUIM",
    page="https://irvlab.cs.umn.edu/resources/suim-dataset",
    tree="four folders; an image and its mask have equal stems:\n"
    "train_val/images/  d_r_47_.jpg ...\n"
    "train_val/masks/   d_r_47_.bmp ...\n"
    "TEST/images/ TEST/masks/\n"
    "or, for a few samples, images/ and masks/ alone",
    layouts=(
        sources.SourceLayout(
            "SUIM",
            {
                "training": ("train_val/images", "train_val/masks"),
                "test": ("TEST/images", "TEST/masks"),
            },
        ),
        sources.SourceLayout("SUIM", {"training": ("images", "masks")}),
    ),
    example=("d_r_47_.jpg", "d_r_47_.bmp"),
    round_up=True,
    write=_write_squares,
    task="multiclass",
    classes={
        number: (name, (_FULL * (number >> 2), _FULL * (number >> 1 & 1), _FULL * (number & 1)))
        for number, name in enumerate(_NAMES)
    },
    is_cut=True,
    describe=_describe,
)
