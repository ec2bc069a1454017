"""Where pieces are cut out of large images."""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.datasets.download import Download, Source, open_download
from imseg.data.datasets.pairs import pictures_by_name, refuse_other_sizes
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
from imseg.data.images.picture_file import is_gray, read_image, to_channels
from imseg.errors import ImsegError, and_more
from imseg.types import POSITION, Bytes

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
_IMAGES = "brightfield|bright_field|bf|images"
_PLANES = {"alive": "alive", "dead": "dead", POSITION: "mod_position|position|pos"}
_COLORS = {"alive": (64, 192, 64), "dead": (208, 48, 48), POSITION: (64, 128, 255)}
_PARTS = {"training": "train|training", "validation": "val|valid|validation", "test": "test"}
_FOLDERS = frozenset("|".join((_IMAGES, *_PLANES.values())).split("|"))


def _is_wanted(path: PurePosixPath) -> bool:
    return path.suffix.lower() in SUFFIXES and path.parent.name.lower() in _FOLDERS


SOURCE = Source(
    name="hela",
    title="HeLa",
    page="https://github.com/MichaelVorndran/InconsistencyMasks",
    tree="pictures of equal stems (PNG, TIFF ...) in four folders:\n"
    "train/brightfield/   a.png ...\n"
    "train/alive/         a.png ... (marked above 10)\n"
    "train/dead/          a.png ...\n"
    "train/mod_position/  a.png ... (or position/)\n"
    "val/ and test/ with the same four; without train/, val/ and test/ the four alone",
    wanted=_is_wanted,
)


@dataclass(frozen=True, slots=True)
class _Cells:
    """The files of one picture."""

    image: Path
    planes: dict[str, Path]


def prepare_hela(
    raw: Path,
    out: Path,
    *,
    labeled: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
) -> PreparedCounts:
    """Cut the HeLa pictures into overlapping squares of 256 pixels, as a data folder.

    Pictures are split before they are cut, so that no two splits share pixels; each square is
    written once. Masks go to ``masks/<label>/``, 0 and 255.

    Args:
        raw: A folder that holds the pictures or their archives, or one archive.
        out: Must not exist yet, or be empty. It appears when everything is in it.
        labeled: Share of the training pictures that keep their masks, between 0 and 1; rounded up.
        seed: Chooses the pictures.
        progress: Called after each file unpacked and each picture cut.

    Raises:
        ImsegError: If ``raw`` is not such a download, a picture lacks a mask or is smaller than a
            square, there are too few pictures, or ``out`` cannot be written.
    """
    refuse_bad_share(labeled)
    with (
        new_folder(out) as folder,
        open_download(raw, source=SOURCE, beside=out, progress=progress) as download,
    ):
        parts = _read_parts(download)
        splits, notes = split_parts(parts, labeled=labeled, seed=seed, round_up=True)
        filled = fill(folder, splits, _cut, progress=progress)
        write_config(
            folder,
            task="multilabel",
            classes={label: (label, color) for label, color in _COLORS.items()},
        )
        return write_summary(
            folder,
            source="HeLa, bright field",
            options={"seed": seed, "labeled_share": labeled},
            splits=filled.splits,
            details={"sources": {split: list(cells) for split, cells in splits.items()}},
            figures=filled.figures,
            notes=notes,
        )


def _read_parts(download: Download) -> dict[str, dict[str, _Cells]]:
    """Return the pictures of each part; of one part if the source has none."""
    four = (_IMAGES, *_PLANES.values())
    started = [
        part
        for part, name in _PARTS.items()
        if any(download.find(f"{name}/{folder}") for folder in four)
    ]
    if not started:
        if not any(download.find(folder) for folder in four):
            raise download.wrong_tree([f"train/{folder}" for folder in four], found_some=False)
        return {"training": _read_part(download.need(*four))}
    if "training" not in started:
        started.insert(0, "training")
    wanted = [f"{_PARTS[part]}/{folder}" for part in started for folder in four]
    folders = iter(download.need(*wanted))
    return {part: _read_part([next(folders) for _ in four]) for part in started}


def _read_part(folders: list[Path]) -> dict[str, _Cells]:
    images, *planes = (
        pictures_by_name(folder, noun="pictures", example="a.png") for folder in folders
    )
    for folder, plane in zip(folders[1:], planes, strict=True):
        alone = sorted(images.keys() ^ plane.keys())
        if alone:
            raise ImsegError(
                f"The pictures in {folders[0]} and the masks in {folder} do not match.",
                expected="equal stems in all four folders.",
                got=f"one of the two only: {and_more(alone)}.",
                hint="unpack this part again, or remove what has no partner.",
            )
    return {
        name: _Cells(
            image, {label: plane[name] for label, plane in zip(_PLANES, planes, strict=True)}
        )
        for name, image in images.items()
    }


def _cut(name: str, cells: _Cells, images: Path, masks: Path) -> Made:
    pixels = _gray(cells.image)
    planes = {label: _marked(path) for label, path in cells.planes.items()}
    height, width = pixels.shape
    sizes = {cells.image.name: (height, width)}
    sizes |= {f"{label}/{cells.planes[label].name}": p.shape for label, p in planes.items()}
    refuse_other_sizes(name, sizes)
    if min(height, width) < SIDE:
        raise ImsegError(
            f"{cells.image} is smaller than the squares to cut it into.",
            expected=f"at least {SIDE}x{SIDE} pixels.",
            got=f"{width}x{height}.",
        )
    stems = []
    for left, top, across, down in overlapping_boxes(height, width, side=SIDE, overlap=OVERLAP):
        stem = f"{name}_x{left:04}_y{top:04}"
        part = slice(top, top + down), slice(left, left + across)
        write_png(images / f"{stem}.png", pixels[part])
        for label, plane in planes.items():
            (masks / label).mkdir(exist_ok=True)
            write_png(masks / label / f"{stem}.png", plane[part])
        stems.append(stem)
    return Made(tuple(stems), {"source_images": 1})


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


def _marked(path: Path) -> Bytes:
    """Return a plane, ``h w``, 0 or 255."""
    return np.where(_gray(path) > _MARKED, np.uint8(_SHOWN), np.uint8(0))
