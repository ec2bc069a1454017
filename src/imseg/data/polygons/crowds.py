"""Regions with COCO's ``iscrowd``: many objects in one, or objects painted with a brush."""

import statistics
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Literal

import numpy as np

from imseg.data.files.listing import counted, subject
from imseg.data.polygons.drawings import Annotations, Outline, Region, Runs
from imseg.errors import Finding, ImsegError, and_more

Crowds = Literal["objects", "void"]
"""What regions with ``iscrowd`` are: one object each, or many, so that they are not trained on."""

CROWDS: tuple[Crowds, ...] = ("objects", "void")
"""All of them."""

_RARE = 0.05
"""Share of crowds among the regions of a data set, at most; COCO itself has 0.012."""
_ALONE = 0.9
"""Share of pictures with crowds in which each label has only one, at least."""
_LARGE = 3
"""Times the typical object of its label that a crowd covers, at least; in COCO it is ten objects
or more."""


def settle_crowds(annotations: Annotations, wanted: Crowds | None) -> tuple[bool, list[Finding]]:
    """Return whether regions with ``iscrowd`` are objects, and what to say about it.

    Drawing tools (CVAT, Datumaro) write whatever was painted with a brush as run lengths, and set
    ``iscrowd`` because COCO's own files have run lengths for crowds alone. So a region in run
    lengths is a crowd only if it is much larger than the objects of its label, and then such
    regions must be rare, and hold all that a picture has of a label. An outline with ``iscrowd``
    was marked by hand.

    Args:
        annotations: What was read.
        wanted: What the user says they are; None: nothing.

    Raises:
        ImsegError: If it cannot be told, and the user does not say.
    """
    regions = [region for picture in annotations.pictures for region in picture.regions]
    crowds = [region for region in regions if region.crowd]
    if not crowds:
        return False, []
    if wanted is not None:
        return wanted == "objects", []
    objects = [region for region in regions if region.role == "object"]
    painted = [region for region in crowds if isinstance(region.area, Runs)]
    said = f"{counted(len(crowds), 'region')} of {len(regions)}"
    said += f", {counted(int(sum(map(_pixels, crowds))), 'pixel')}"
    said += f", such as {and_more([region.place for region in crowds])}."
    if not objects:
        return True, [_as_objects(said, "there are no other objects")]
    large = _times_as_large(crowds, objects) >= _LARGE
    if large and len(crowds) <= _RARE * len(regions) and _share_alone(annotations) >= _ALONE:
        return False, []
    if not painted:
        return False, [_as_void(said)]
    if not large:
        return True, [_as_objects(said, "these are no larger than single objects of their label")]
    raise ImsegError(
        f"{subject(len(crowds), 'region')} marked as crowds (iscrowd), and may be objects.",
        expected="crowds: many objects in one region, not trained on; or objects that were painted"
        " with a brush, which CVAT and others mark so.",
        got=said,
        hint="--crowds objects, if each of them is one object; --crowds void, if they are crowds.",
    )


def without_crowds(annotations: Annotations) -> Annotations:
    """Return annotations in which crowds are objects like all others."""
    pictures = [
        replace(picture, regions=tuple(replace(region, crowd=False) for region in picture.regions))
        for picture in annotations.pictures
    ]
    return replace(annotations, pictures=tuple(pictures))


def _share_alone(annotations: Annotations) -> float:
    """Return the share of pictures with crowds that have no two of one label."""
    alone = [
        max(Counter(region.label for region in picture.regions if region.crowd).values()) == 1
        for picture in annotations.pictures
        if any(region.crowd for region in picture.regions)
    ]
    return sum(alone) / len(alone)


def _times_as_large(crowds: list[Region], objects: list[Region]) -> float:
    """Return how much larger crowds are than the typical object of their label, in the middle."""
    sizes: dict[str, list[float]] = defaultdict(list)
    labels = {region.label for region in crowds}
    for region in objects:
        if region.label in labels:
            sizes[region.label].append(_pixels(region))
    typical = {label: statistics.median(found) for label, found in sizes.items()}
    ratios = [
        _pixels(region) / max(typical[region.label], 1.0)
        for region in crowds
        if region.label in typical
    ]
    return statistics.median(ratios) if ratios else 0.0


def _pixels(region: Region) -> float:
    """Return how many pixels a region covers, roughly."""
    area = region.area
    if isinstance(area, Runs):
        return float(area.counts[1::2].sum())
    if not isinstance(area, Outline):
        return float(area.height * area.width)
    total = 0.0
    for ring in area.rings:
        x, y = ring.T
        total += abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2
    return total


def _as_objects(said: str, reason: str) -> Finding:
    return Finding(
        severity="warning",
        what="Regions marked as crowds (iscrowd) are taken for objects.",
        why=f"drawing tools mark what was painted with a brush so, and {reason}; real crowds would"
        " be void.",
        got=said,
        hint="if they are crowds of many objects: --crowds void.",
    )


def _as_void(said: str) -> Finding:
    return Finding(
        severity="warning",
        what="Regions marked as crowds (iscrowd) are void: neither trained on nor scored.",
        why="that is right only if each holds many objects that were not drawn one by one.",
        got=said,
        hint="if each of them is one object: --crowds objects; if not, --crowds void says so.",
    )
