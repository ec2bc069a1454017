"""Images of which only parts are labeled: boxes in a table beside images and masks."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.files.atomic import read_text
from imseg.errors import Finding, and_more
from imseg.types import LabeledImage, Region

TABLE = "regions.csv"
"""In ``labeled``, ``val`` or ``test``: image, left, top, width, height, in pixels."""
LABELED = ("labeled", "val", "test")
"""The splits that may have such a table."""
COLUMNS = ("image", "left", "top", "width", "height")

_EXPECTED = "a table with the columns image,left,top,width,height, one line per box, in pixels."
_MOST_BOXES = 1_000_000
_FINE = 1024


def with_regions(
    pairs: Sequence[LabeledImage], folder: Path, name: str
) -> tuple[tuple[LabeledImage, ...], list[Finding]]:
    """Return the pairs of a split with the boxes in which they are labeled, and what is wrong.

    Args:
        pairs: The pairs of the split.
        folder: Its folder; without a table in it all pixels are labeled.
        name: What to call the folder.
    """
    path, table = folder / TABLE, f"{name}/{TABLE}"
    if not path.exists():
        return tuple(pairs), []
    boxes, problems = _read(path)
    known = {Path(pair.name).name: pair for pair in pairs}
    known |= {Path(pair.name).stem: pair for pair in pairs}
    found: dict[str, list[Region]] = {}
    for line, image, box in boxes:
        pair = known.get(image) or known.get(Path(image).name)
        if pair is None:
            problems.append(f"line {line}: there is no image {image} in {name}")
        elif min(box) < 0 or min(box[2:]) < 1:
            problems.append(f"line {line}: {','.join(map(str, box))} is no box")
        else:
            found.setdefault(pair.name, []).append(box)
    findings = []
    if problems:
        findings.append(
            Finding(
                severity="error",
                what=f"{table} cannot be used.",
                expected=_EXPECTED,
                got=and_more(problems) + ".",
                hint="mend these lines; images that are not named there are labeled as a whole.",
                files=(table,),
            )
        )
    return tuple(
        replace(pair, regions=tuple(found[pair.name])) if pair.name in found else pair
        for pair in pairs
    ), findings


def _read(path: Path) -> tuple[list[tuple[int, str, Region]], list[str]]:
    """Return the boxes of a table with their lines and images, and what is wrong with others."""
    rows = csv.reader(read_text(path).splitlines())
    head = [cell.strip().lower() for cell in next(rows, [])]
    if sorted(head) != sorted(COLUMNS):
        return [], [f"the first line is {','.join(head)[:80] or 'empty'}"]
    boxes, problems = [], []
    for line, cells in enumerate(rows, 2):
        if not any(cells):
            continue
        row = dict(zip(head, (cell.strip() for cell in cells), strict=False))
        try:
            left, top, width, height = (round(float(row[name])) for name in COLUMNS[1:])
        except (KeyError, ValueError, OverflowError):
            problems.append(f"line {line}: {','.join(cells)[:80]}")
            continue
        boxes.append((line, row["image"], (left, top, width, height)))
        if len(boxes) > _MOST_BOXES:
            return [], [f"more than {_MOST_BOXES} lines"]
    return boxes, problems


def outside(
    regions: Sequence[Region], own: tuple[int, int], size: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Return which pixels, ``h w``, are in none of the boxes: their middles are not.

    Args:
        regions: Boxes in pixels of the mask.
        own: Height and width of the mask.
        size: Height and width wanted.
    """
    rows, columns = (
        (np.arange(wanted) + 0.5) * (has / wanted) for has, wanted in zip(own, size, strict=True)
    )
    unlabeled = np.ones(size, bool)
    for left, top, width, height in regions:
        inside = (rows >= top) & (rows < top + height)
        unlabeled[np.ix_(inside, (columns >= left) & (columns < left + width))] = False
    return unlabeled


def blot_out(target: npt.NDArray[Any], unlabeled: npt.NDArray[np.bool_], void: int) -> None:
    """Make pixels of a ``t h w`` target count as unlabeled."""
    target[:, unlabeled] = np.nan if target.dtype.kind == "f" else void


def plain_regions(pairs: Sequence[LabeledImage]) -> dict[str, Any]:
    """Return the boxes of pairs as plain values; empty where all are labeled as a whole."""
    found = {str(n): list(pair.regions) for n, pair in enumerate(pairs) if pair.regions is not None}
    return {"regions": found} if found else {}


def beyond_images(
    pairs: Sequence[LabeledImage], sizes: Mapping[str, tuple[int, int]], name: str
) -> list[Finding]:
    """Return whether boxes reach beyond their images.

    Args:
        pairs: The pairs of a split.
        sizes: Height and width of the images that can be read, by name.
        name: The folder of the split.
    """
    told = []
    for pair in pairs:
        height, width = sizes.get(pair.name, (0, 0))
        for left, top, wide, high in pair.regions or ():
            if width and (left + wide > width or top + high > height):
                box = f"{left},{top},{wide},{high}"
                told.append(f"{box} on {pair.name}, which has {width}x{height} px")
    if not told:
        return []
    return [
        Finding(
            severity="error",
            what=f"Boxes in {name}/{TABLE} reach beyond their images.",
            expected="left, top, width and height in pixels of the image as it is.",
            got=and_more(told) + ".",
            hint="mend these lines.",
            files=(f"{name}/{TABLE}",),
        )
    ]


def labeled_in_part(
    pairs: Sequence[LabeledImage], sizes: Mapping[str, tuple[int, int]], name: str
) -> list[Finding]:
    """Return how much of the images of a split is labeled, if that is not all.

    Arguments are those of ``beyond_images``.
    """
    parts = [pair for pair in pairs if pair.regions is not None and pair.name in sizes]
    if not parts:
        return []
    shares = []
    for pair in parts:
        height, width = sizes[pair.name]
        small = (min(height, _FINE), min(width, _FINE))
        shares.append(1 - outside(pair.regions or (), (height, width), small).mean())
    share = 100 * float(np.mean(shares))
    return [
        Finding(
            severity="note",
            what=f"{len(parts)} of {len(pairs)} images in {name} are labeled in part: {share:.2g} %"
            f" of their pixels, in the boxes of {name}/{TABLE}.",
            got="all else has no label: it is neither trained on nor scored.",
            files=(f"{name}/{TABLE}",),
        )
    ]
