"""COCO instances: one JSON file of images, categories and annotations; masks as lengths of runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import PlainValidator

from imseg.data.polygons import drawings
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
"""What is noted for left-overs of images that were removed."""
REPEATED = "category names that stand there twice (taken as one category)"
"""What is noted for categories of one name."""


def _runs(drawn: Mapping[str, Any]) -> drawings.Runs:
    size, counts = drawn.get("size"), drawn.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(type(n) is int for n in size)):
        raise drawings.wrong("has runs of a wrong size.", '"size": [height, width].', size)
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
        found = check_counts(found, height * width)
    except (ValueError, OverflowError) as error:
        expected = "run lengths that fill the picture, as a list or COCO's compressed text."
        what = f"has runs that cannot be read: {error}."
        raise drawings.wrong(what, expected, counts) from error
    return drawings.Runs(counts=found, height=height, width=width, by_columns=True)


def _segmentation(drawn: object) -> drawings.Runs | list[drawings.Corners]:
    """Return runs, or rings; no rings: it was not drawn."""
    if isinstance(drawn, Mapping):
        return _runs(drawn)
    if not isinstance(drawn, list):
        expected = "[[x, y, x, y, ...]] or runs."
        raise drawings.wrong("has a wrong segmentation.", expected, drawn)
    # Some tools write a single ring without the list around it.
    parts = drawn if not drawn or isinstance(drawn[0], list) else [drawn]
    return [drawings.ring(part) for part in parts]


class CocoFile(drawings.ParsedEntry):
    """A whole file."""

    images: list[Any]
    categories: list[Any]
    annotations: list[Any]


class CocoImage(drawings.SizedEntry):
    """An image that is listed."""

    id: drawings.Identity
    file_name: drawings.Text


class CocoCategory(drawings.ParsedEntry):
    """A label."""

    id: drawings.Identity
    name: drawings.LabelText


class CocoAnnotation(drawings.ParsedEntry):
    """One object, or several (a crowd)."""

    category_id: drawings.Identity
    image_id: drawings.Identity
    iscrowd: Any = False
    segmentation: Annotated[Any, PlainValidator(_segmentation)] = ()


def is_coco(plain: object) -> bool:
    """Return whether parsed JSON looks like COCO instances."""
    return isinstance(plain, Mapping) and "images" in plain and "annotations" in plain


def read_coco(plain: Mapping[str, Any], path: Path) -> drawings.Annotations:
    """Return what a COCO file says. Labels come in the order of the category ids.

    Args:
        plain: The parsed JSON.
        path: Where it comes from.

    Raises:
        ImsegError: If an entry is not as COCO has it.
    """
    file = drawings.parse(CocoFile, plain, f"{path}:")
    tally = drawings.Tally()
    categories = _categories(file.categories, path, tally)
    images: dict[str, CocoImage] = {}
    for index, each in enumerate(file.images):
        place = f"{path}: images[{index}]"
        image = drawings.parse(CocoImage, each, place)
        _refuse_twice(image.id, images, place, "has an id that another image has.")
        images[image.id] = image
    regions: dict[str, list[drawings.Region]] = {identity: [] for identity in images}
    unknown: dict[str, None] = {}
    for index, each in enumerate(file.annotations):
        place = f"annotations[{index}]"
        entry = drawings.parse(CocoAnnotation, each, f"{path}: {place}")
        if entry.category_id not in categories:
            unknown[entry.category_id] = None
            continue
        if entry.image_id not in regions:
            tally[NO_IMAGE].append(place)
            continue
        place = f"{place} ({images[entry.image_id].file_name})"
        area = _area(entry.segmentation, place, tally)
        if area is not None:
            label, crowd = categories[entry.category_id], bool(entry.iscrowd)
            region = drawings.Region(label=label, area=area, place=place, crowd=crowd)
            regions[entry.image_id].append(region)
    if unknown:
        raise _unknown_categories(path, list(unknown), categories)
    return drawings.Annotations(
        format="COCO",
        source=path,
        labels=tuple(dict.fromkeys(categories.values())),
        pictures=tuple(
            drawings.AnnotatedPicture(
                name=image.file_name, size=image.size, regions=tuple(regions[identity]), file=path
            )
            for identity, image in images.items()
        ),
        tally=tally,
    )


def _categories(entries: list[Any], path: Path, tally: drawings.Tally) -> dict[str, str]:
    """Return the names of the categories by id, in the order of the ids."""
    found: dict[str, str] = {}
    for index, each in enumerate(entries):
        place = f"{path}: categories[{index}]"
        category = drawings.parse(CocoCategory, each, place)
        _refuse_twice(category.id, found, place, "has an id that another has.")
        if category.name in found.values():
            tally[REPEATED].append(category.name)
        found[category.id] = category.name
    ordered = sorted(found, key=lambda each: (not each.isdigit(), each.zfill(20)))
    return {identity: found[identity] for identity in ordered}


def _refuse_twice(identity: str, known: Mapping[str, object], place: str, what: str) -> None:
    if identity in known:
        raise drawings.entry_error(place, drawings.wrong(what, "ids of their own.", identity))


def _area(
    drawn: drawings.Runs | list[drawings.Corners], place: str, tally: drawings.Tally
) -> drawings.Area | None:
    """Return where an annotation is; None if it encloses nothing, which is noted."""
    if isinstance(drawn, drawings.Runs):
        return drawn
    if not drawn:
        tally[NO_OUTLINE].append(place)
    whole = tuple(ring for ring in drawn if len(ring) >= 3)
    for _ in range(len(drawn) - len(whole)):
        tally[FEW_POINTS].append(place)
    return drawings.Outline(whole) if whole else None


def _unknown_categories(path: Path, unknown: list[str], known: Mapping[str, str]) -> ImsegError:
    listed = [f"{identity} ({name})" for identity, name in known.items()]
    return ImsegError(
        f"{path}: annotations name categories that are not listed.",
        expected=f"a category_id among {and_more(listed, 8) or 'none, the list is empty'}.",
        got=f"{and_more(unknown, 8)}.",
        hint="add the missing categories to the file, or remove those annotations.",
    )
