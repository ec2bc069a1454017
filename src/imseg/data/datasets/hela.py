"""Cells: HeLa in bright field as the authors published it, cut into overlapping squares.

Pictures of equal stems lie in four folders: the image, and a plane each for living cells, for dead
ones and for their centers, in which pixels above 10 are marked. Pictures are split before they are
cut, so that no two splits share pixels; each square is written once. Masks go to
``masks/<label>/``, 0 and 255.

Source: https://github.com/MichaelVorndran/InconsistencyMasks
"""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.datasets import sources
from imseg.data.datasets.pairs import refuse_other_sizes
from imseg.data.images.decoding import is_gray, to_channels
from imseg.data.images.image_files import write_png
from imseg.data.images.picture_file import read_image
from imseg.errors import ImsegError
from imseg.types import POSITION

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


def random_squares(
    height: int, width: int, *, count: int, sides: tuple[int, int], key: str
) -> list[Box]:
    """Return random squares of an image, drawn by ``key``; equal ones are returned once.

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
    boxes: list[Box] = []
    for _ in range(count):
        size, across, down = numbers.random(), numbers.random(), numbers.random()
        side = least + int(size * (most - least + 1))
        if most < least or side > min(height, width):
            boxes.append((0, 0, width, height))
        else:
            left, top = int(across * (width - side + 1)), int(down * (height - side + 1))
            boxes.append((left, top, side, side))
    return list(dict.fromkeys(boxes))


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
    height, width = pixels.shape
    sizes = {files[0].name: (height, width)}
    for (label, plane), path in zip(planes.items(), files[1:], strict=True):
        sizes[f"{label}/{path.name}"] = plane.shape
    refuse_other_sizes(name, sizes)
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
