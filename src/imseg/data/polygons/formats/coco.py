"""COCO instances (JSON)."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import PlainValidator

from imseg.data.polygons import drawings
from imseg.errors import ImsegError, and_more

NO_OUTLINE = "annotations without an outline (a box or points only)"
"""What is noted for annotations that were not made for segmentation (COCO)."""
OTHER_KIND = "files of COCO beside the instances (left out)"
"""What is noted for key points and captions of the same pictures."""
NO_IMAGE = "annotations of images that are not listed"
"""What is noted for left-overs of images that were removed (COCO)."""
REPEATED = "category names that stand there twice (taken as one category)"
"""What is noted for categories of one name (COCO)."""


def _runs(drawn: Mapping[str, Any]) -> drawings.Runs:
    size, counts = drawn.get("size"), drawn.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(type(n) is int for n in size)):
        raise drawings.wrong("has runs of a wrong size.", '"size": [height, width].', size)
    height, width = size
    try:
        if isinstance(counts, str):
            found = drawings.decode_counts(counts)
        elif isinstance(counts, list) and all(type(count) is int for count in counts):
            found = np.asarray(counts, np.int64)
        else:
            raise ValueError("they are neither a text nor a list of whole numbers")
        if min(size) < 1 or height * width >= 2**40:
            raise ValueError("the size is impossible")
        found = drawings.check_counts(found, height * width)
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


_OTHER_KINDS = re.compile("(person_keypoints|captions|image_info|labels|panoptic|stuff)_")


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


class CocoFile(drawings.ParsedEntry):
    """A whole file."""

    images: list[CocoImage]
    categories: list[CocoCategory]
    annotations: list[Any]
    """See ``CocoAnnotation``; there may be a million of them, so they are parsed one by one."""


def is_coco(file: drawings.AnnotationFile) -> bool:
    """Return whether a file looks like COCO instances."""
    plain = file.plain
    return isinstance(plain, Mapping) and "images" in plain and "annotations" in plain


def read_coco(files: Sequence[drawings.AnnotationFile], source: Path) -> drawings.Annotations:
    """Return what COCO files say. Labels come in the order of the category ids.

    Args:
        files: At least one.
        source: The file or folder that the user named.

    Raises:
        ImsegError: If an entry is not as COCO has it.
    """
    instances = [file for file in files if file.path.name.startswith("instances_")]
    others = [file for file in files if instances and _OTHER_KINDS.match(file.path.name)]
    read = [_read_file(file.plain, file.path) for file in files if file not in others]
    annotations = drawings.join(read, source)
    if others:
        annotations.tally[OTHER_KIND] += [file.path.name for file in others]
    return annotations


def _read_file(plain: Mapping[str, Any], path: Path) -> drawings.Annotations:
    """Return what one COCO file says."""
    file = drawings.parse(CocoFile, plain, f"{path}:")
    images = _by_id(file.images, f"{path}: images", "has an id that another image has.")
    listed = _by_id(file.categories, f"{path}: categories", "has an id that another has.")
    ordered = sorted(listed, key=lambda each: (not each.isdigit(), each.zfill(20)))
    labels = {identity: listed[identity].name for identity in ordered}
    tally = drawings.Tally(list)
    names = [category.name for category in file.categories]
    for index, name in enumerate(names):
        if name in names[:index]:
            tally[REPEATED].append(name)
    regions: dict[str, list[drawings.Region]] = {identity: [] for identity in images}
    unknown: dict[str, None] = {}
    for index, each in enumerate(file.annotations):
        place = f"annotations[{index}]"
        entry = drawings.parse(CocoAnnotation, each, f"{path}: {place}")
        if entry.category_id not in labels:
            unknown[entry.category_id] = None
            continue
        if entry.image_id not in images:
            tally[NO_IMAGE].append(place)
            continue
        place = f"{place} ({images[entry.image_id].file_name})"
        if not entry.segmentation:
            tally[NO_OUTLINE].append(place)
        area = drawings.as_area(entry.segmentation, place, tally)
        if area is not None:
            label, crowd = labels[entry.category_id], bool(entry.iscrowd)
            region = drawings.Region(label=label, area=area, place=place, crowd=crowd)
            regions[entry.image_id].append(region)
    if unknown:
        known = [f"{identity} ({name})" for identity, name in labels.items()]
        raise ImsegError(
            f"{path}: annotations name categories that are not listed.",
            expected=f"a category_id among {and_more(known, 8) or 'none, the list is empty'}.",
            got=f"{and_more(list(unknown), 8)}.",
            hint="add the missing categories to the file, or remove those annotations.",
        )
    return drawings.Annotations(
        format="COCO",
        source=path,
        labels=tuple(dict.fromkeys(labels.values())),
        pictures=tuple(
            drawings.AnnotatedPicture(
                name=image.file_name,
                size=image.size,
                regions=tuple(regions[identity]),
                file=path,
                # CVAT has a folder of pictures for each subset.
                subset=path.stem.partition("instances_")[2],
            )
            for identity, image in images.items()
        ),
        tally=tally,
    )


_Entry = TypeVar("_Entry", CocoImage, CocoCategory)


def _by_id(entries: Sequence[_Entry], place: str, what: str) -> dict[str, _Entry]:
    """Return the entries of a list by their ids; ``what`` is said of one that is there twice."""
    found: dict[str, _Entry] = {}
    for index, entry in enumerate(entries):
        if entry.id in found:
            reason = drawings.wrong(what, "ids of their own.", entry.id)
            raise drawings.entry_error(f"{place}[{index}]", reason)
        found[entry.id] = entry
    return found
