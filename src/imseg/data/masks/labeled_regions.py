"""Images of which only parts are labeled: boxes in a table beside images and masks."""

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
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
_LIKE_TABLE = re.compile(r"(labeled[ _-]*)?regions?\.(csv|txt|tsv|xlsx?)", re.IGNORECASE)


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
        return tuple(pairs), _misnamed(folder, name)
    boxes, problems = _read(path)
    by_name = Counter(Path(pair.name).name for pair in pairs)
    known = {Path(p.name).name: p for p in pairs if by_name[Path(p.name).name] == 1}
    known |= {Path(p.name).stem: p for p in known.values()} | {p.name: p for p in pairs}
    found: dict[str, list[Region]] = {}
    for line, image, box in boxes:
        pair = known.get(image)
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


def _misnamed(folder: Path, name: str) -> list[Finding]:
    """Return whether a table of boxes is there under another name, by which it is not found."""
    if not folder.is_dir():
        return []
    like = [each.name for each in folder.iterdir() if _LIKE_TABLE.fullmatch(each.name)]
    return [
        Finding(
            severity="error",
            what=f"{name}/{each} is not read.",
            expected=f"{name}/{TABLE}, if it says which parts of images are labeled.",
            hint="rename it, or remove it.",
            files=(f"{name}/{each}",),
        )
        for each in like
    ]


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
            image = row["image"]
            left, top, width, height = (round(float(row[name])) for name in COLUMNS[1:])
        except (KeyError, ValueError, OverflowError):
            problems.append(f"line {line}: {','.join(cells)[:80]}")
            continue
        boxes.append((line, image, (left, top, width, height)))
        if len(boxes) > _MOST_BOXES:
            return [], [f"more than {_MOST_BOXES} lines"]
    return boxes, problems


def without_others(text: str, names: Collection[str]) -> str:
    """Return a table without the lines of images that are not there.

    Args:
        text: The table.
        names: The file names of the images that are.
    """
    lines = text.splitlines()
    head = [cell.strip().lower() for cell in next(csv.reader(lines[:1]), [])]
    if "image" not in head:
        return text
    stems, kept = {Path(name).stem for name in names}, lines[:1]
    for line in lines[1:]:
        cells = next(csv.reader([line]), [])
        name = Path(cells[head.index("image")].strip()).name if len(cells) == len(head) else ""
        if name in names or name in stems or not name:
            kept.append(line)
    return "\n".join(kept) + "\n"


def outside(
    regions: Sequence[Region],
    own: tuple[int, int],
    size: tuple[int, int],
    *,
    among: slice = slice(None),
) -> npt.NDArray[np.bool_]:
    """Return which pixels, ``h w``, are in none of the boxes: their middles are not.

    Args:
        regions: Boxes in pixels of the mask.
        own: Height and width of the mask.
        size: Height and width wanted.
        among: Which of the rows are.
    """
    rows, columns = (
        (np.arange(wanted) + 0.5) * (has / wanted) for has, wanted in zip(own, size, strict=True)
    )
    rows = rows[among]
    unlabeled = np.ones((len(rows), size[1]), bool)
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


def digests_of_parts(pairs: Sequence[LabeledImage], whole: Mapping[str, str]) -> dict[str, str]:
    """Return a hash of the content of images that are labeled in part, with where, by name.

    Args:
        pairs: Pairs of all splits.
        whole: The hash of the content of each image and its masks.
    """
    return {
        pair.name: hashlib.sha256(f"{whole[pair.name]} {pair.regions}".encode()).hexdigest()
        for pair in pairs
        if pair.regions is not None and pair.name in whole
    }


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
