"""Masks as lengths of runs: COCO's compressed text, and whether runs fill their window."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.polygons.annotations import (
    Annotations,
    Area,
    Entry,
    Outline,
    Picture,
    Region,
    Runs,
    Tally,
)
from imseg.errors import ImsegError, and_more


def decode_counts(text: str) -> npt.NDArray[np.int64]:
    """Return the run lengths of COCO's compressed text.

    Each number is a chain of characters: ``"0"`` plus five bits, lowest first, and 32 if another
    follows; the last one's bit of 16 is the sign. From the fourth number on it is the difference
    to the last but one. The library's own decoder reads past the end of damaged texts.

    Raises:
        ValueError: If the text has other characters or ends inside a number.
    """
    counts: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"the character {character!r} cannot stand there")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        counts.append(number + counts[-2] if len(counts) > 2 else number)
        number = shift = 0
    if shift:
        raise ValueError("the text ends inside a number")
    return np.asarray(counts, np.int64)


def check_counts(counts: npt.NDArray[np.int64], pixels: int) -> npt.NDArray[np.int64]:
    """Return run lengths that fill a window of so many pixels.

    Raises:
        ValueError: If one is negative, or their sum is another.
    """
    if len(counts) and (counts.min() < 0 or counts.max() > pixels):
        raise ValueError("a run is negative or longer than the picture")
    if int(counts.sum()) != pixels:
        raise ValueError(f"the runs are {int(counts.sum())} pixels long, not {pixels}")
    return counts


FEW_POINTS = "outlines with fewer than 3 points"
"""What is noted for outlines that enclose nothing."""
NO_OUTLINE = "annotations without an outline (a box or points only)"
"""What is noted for annotations that were not made for segmentation."""
NO_IMAGE = "annotations of images that are not listed"
"""What is noted for left-overs of images that somebody removed."""
REPEATED = "category names that stand there twice (taken as one category)"
"""What is noted for categories of one name."""


def is_coco(plain: object) -> bool:
    """Return whether parsed JSON looks like COCO instances."""
    return isinstance(plain, Mapping) and "images" in plain and "annotations" in plain


def read_coco(plain: Mapping[str, Any], path: Path) -> Annotations:
    """Return what a COCO file says. Labels come in the order of the category ids.

    Args:
        plain: The parsed JSON.
        path: Where it comes from.

    Raises:
        ImsegError: If an entry is not as COCO has it.
    """
    root = Entry(plain, f"{path}:")
    tally = Tally()
    categories = _categories(root, tally)
    images: dict[str, Entry] = {}
    regions: dict[str, list[Region]] = {}
    for index, each in enumerate(root.entries("images")):
        image = Entry(each, f"{path}: images[{index}]")
        identity = image.identity("id")
        if identity in images:
            raise image.wrong("has an id that another image has.", "ids of their own.", identity)
        images[identity], regions[identity] = image, []
    unknown: dict[str, None] = {}
    for index, each in enumerate(root.entries("annotations")):
        place = f"annotations[{index}]"
        entry = Entry(each, f"{path}: {place}")
        category = entry.identity("category_id")
        if category not in categories:
            unknown[category] = None
            continue
        owner = entry.identity("image_id")
        if owner not in regions:
            tally.add(NO_IMAGE, place)
            continue
        place = f"{place} ({images[owner].text('file_name')})"
        area = _area(entry, place, tally)
        if area is not None:
            crowd = bool(entry.plain.get("iscrowd"))
            label = categories[category]
            regions[owner].append(Region(label=label, area=area, place=place, crowd=crowd))
    if unknown:
        raise _unknown_categories(path, list(unknown), categories)
    pictures = [
        Picture(
            name=image.text("file_name"),
            size=image.size("height", "width"),
            regions=tuple(regions[identity]),
            file=path,
        )
        for identity, image in images.items()
    ]
    return Annotations(
        format="COCO",
        source=path,
        labels=tuple(dict.fromkeys(categories.values())),
        pictures=tuple(pictures),
        tally=tally,
    )


def _categories(root: Entry, tally: Tally) -> dict[str, str]:
    """Return the names of the categories by id, in the order of the ids."""
    found: dict[str, str] = {}
    for index, each in enumerate(root.entries("categories")):
        category = Entry(each, f"{root.place} categories[{index}]")
        identity, name = category.identity("id"), category.label("name")
        if identity in found:
            raise category.wrong("has an id that another has.", "ids of their own.", identity)
        if name in found.values():
            tally.add(REPEATED, name)
        found[identity] = name
    ordered = sorted(found, key=lambda each: (not each.isdigit(), each.zfill(20)))
    return {identity: found[identity] for identity in ordered}


def _area(entry: Entry, place: str, tally: Tally) -> Area | None:
    """Return where an annotation is; None if it encloses nothing, which is noted."""
    drawn = entry.plain.get("segmentation")
    if isinstance(drawn, Mapping):
        return _runs(entry, drawn)
    if drawn is None or drawn == []:
        tally.add(NO_OUTLINE, place)
        return None
    if not isinstance(drawn, list):
        raise entry.wrong("has a wrong segmentation.", "[[x, y, x, y, ...]] or runs.", drawn)
    # Some tools write a single ring without the list around it.
    parts = drawn if isinstance(drawn[0], list) else [drawn]
    rings = [entry.ring(part) for part in parts]
    whole = tuple(ring for ring in rings if len(ring) >= 3)
    for _ in range(len(rings) - len(whole)):
        tally.add(FEW_POINTS, place)
    return Outline(whole) if whole else None


def _runs(entry: Entry, drawn: Mapping[str, Any]) -> Runs:
    size, counts = drawn.get("size"), drawn.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(type(n) is int for n in size)):
        raise entry.wrong("has runs of a wrong size.", '"size": [height, width].', size)
    height, width = size
    try:
        if isinstance(counts, str):
            found = decode_counts(counts)
        elif isinstance(counts, list) and all(type(count) is int for count in counts):
            found = np.asarray(counts, np.int64)
        else:
            raise ValueError("they are neither a text nor a list of whole numbers")
        if min(size) < 1 or height * width >= 2**40:
            raise ValueError("the size is impossible")
        counted = check_counts(found, height * width)
    except (ValueError, OverflowError) as error:
        expected = "run lengths that fill the picture, as a list or COCO's compressed text."
        raise entry.wrong(f"has runs that cannot be read: {error}.", expected, counts) from error
    return Runs(counts=counted, height=height, width=width, by_columns=True)


def _unknown_categories(path: Path, unknown: list[str], known: Mapping[str, str]) -> ImsegError:
    listed = [f"{identity} ({name})" for identity, name in known.items()]
    return ImsegError(
        f"{path}: annotations name categories that are not listed.",
        expected=f"a category_id among {and_more(listed, 8) or 'none, the list is empty'}.",
        got=f"{and_more(unknown, 8)}.",
        hint="add the missing categories to the file, or remove those annotations.",
    )
