"""From the regions of a picture to its mask, in each of the three ways to write one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imseg.data.polygons.annotations import Picture, Region, Tally
from imseg.data.polygons.raster import Bits, CannotDraw, Patch, rasterize

Mode = Literal["classes", "instances", "labels"]
"""One class number a pixel; a number of its own for every object; one file a label."""

MODES: tuple[Mode, ...] = ("classes", "instances", "labels")
"""All of them."""

BYTE_VOID = 255
"""Void in masks of at most 254 classes."""
WIDE_VOID = 65535
"""Void in masks of 16 bits."""
PLANE_VOID = 128
"""Void in the files of labels, which hold 0 and 255."""
MOST_OBJECTS = WIDE_VOID - 1
"""Objects that a label image of 16 bits can hold beside background and void."""

CLIPPED = "regions that reached out of their picture (clipped)"
"""What is noted for regions that were cut."""
NO_PIXEL = "regions that cover the center of no pixel, or lie outside of their picture (left out)"
"""What is noted for regions of no area."""
HIDDEN = "objects that others cover completely (not in the mask)"
"""What is noted for objects of which nothing is seen."""


@dataclass(slots=True, kw_only=True)
class Drawn:
    """The regions of one picture as pixels, in the order in which they lie on each other."""

    size: tuple[int, int]
    """Height and width."""
    layers: list[tuple[Region, Patch]]
    """From the lowest to the topmost."""
    tally: Tally = field(default_factory=Tally)
    """What was clipped or left out."""
    errors: list[str] = field(default_factory=list)
    """Regions that make no sense, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """The mask of one picture."""

    pixels: Mapping[str, npt.NDArray[Any]]
    """File values ``h w`` by label (way ``labels``), or under an empty name."""
    overlap: int
    """Pixels that belong to two classes (or objects, where those are told apart)."""
    void: int
    """Pixels that are neither trained on nor scored."""
    objects: Mapping[str, int]
    """Objects seen of each label."""


def draw(picture: Picture, size: tuple[int, int]) -> Drawn:
    """Return the regions of a picture as pixels.

    Args:
        picture: What the annotations say.
        size: Height and width of the picture as it is displayed.
    """
    drawn = Drawn(size=size, layers=[])
    for region in sorted(picture.regions, key=lambda region: region.order):
        place = region.place
        try:
            patch, clipped = rasterize(region.area, size)
        except CannotDraw as error:
            drawn.errors.append(f"{place} {error}")
            continue
        if patch is None:
            drawn.tally.add(NO_PIXEL, place)
            continue
        if clipped:
            drawn.tally.add(CLIPPED, place)
        drawn.layers.append((region, patch))
    return drawn


def compose(drawn: Drawn, mode: Mode, numbers: Mapping[str, int]) -> Mask:
    """Return the mask of a picture.

    Args:
        drawn: Its regions; objects that turn out to be hidden are noted in its tally.
        mode: How masks are written.
        numbers: The number of each class, from 1; their order is that of the planes.

    Raises:
        CannotDraw: If there are more objects than a label image can hold.
    """
    if mode == "labels":
        return _planes(drawn, tuple(numbers))
    objects = _objects(drawn.layers)
    if len(objects) > MOST_OBJECTS:
        raise CannotDraw(f"has {len(objects)} objects, more than a mask of 16 bits can number")
    values = np.arange(len(objects) + 1)
    if mode == "classes":
        values[1:] = [numbers[label] for label, _ in objects]
    places = {key: index for index, key in enumerate(objects, start=1)}
    seen, settled = np.zeros(drawn.size, np.int32), np.zeros(drawn.size, bool)
    overlap = np.zeros(drawn.size, bool)
    for region, patch in drawn.layers:
        if region.role == "void":
            continue
        index = places[object_key(region)] if region.role == "object" else 0
        below = seen[patch.window]
        other = (below != 0) & (values[below] != values[index]) & (index != 0)
        overlap[patch.window] |= patch.covers & other
        below[patch.covers] = index
        settled[patch.window] |= patch.covers
    visible = np.unique(seen[seen != 0]).tolist()
    for index in sorted(set(places.values()) - set(visible)):
        drawn.tally.add(HIDDEN, objects[list(objects)[index - 1]])
    if mode == "instances":
        values[visible] = np.arange(1, len(visible) + 1)
    wide = mode == "instances" or max(numbers.values(), default=0) >= BYTE_VOID
    pixels = values[seen].astype(np.uint16 if wide else np.uint8)
    void = _void(drawn) & ~settled
    pixels[void] = WIDE_VOID if wide else BYTE_VOID
    names = list(objects)
    return Mask(
        pixels={"": pixels},
        overlap=int(overlap.sum()),
        void=int(void.sum()),
        objects=Counter(names[index - 1][0] for index in visible),
    )


def object_key(region: Region) -> tuple[str, str]:
    """Return which object a region belongs to: its label, and its group or itself."""
    group = f"group {region.group}" if region.group is not None else region.place
    return region.label, group


def void_value(mode: Mode, numbers: Mapping[str, int]) -> int:
    """Return the file value of void pixels."""
    if mode == "labels":
        return PLANE_VOID
    wide = mode == "instances" or max(numbers.values(), default=0) >= BYTE_VOID
    return WIDE_VOID if wide else BYTE_VOID


def _planes(drawn: Drawn, labels: tuple[str, ...]) -> Mask:
    """Return one mask a label, 0 and 255; where labels overlap, each has its pixels."""
    planes = {label: np.zeros(drawn.size, np.uint8) for label in labels}
    for region, patch in drawn.layers:
        if region.role == "object":
            planes[region.label][patch.window][patch.covers] = 255
        elif region.role == "background":
            for plane in planes.values():
                plane[patch.window][patch.covers] = 0
    shared = sum((plane == 255).astype(np.int32) for plane in planes.values())
    void = 0
    for label, plane in planes.items():
        doubtful = _void(drawn, label) & (plane == 0)
        plane[doubtful] = PLANE_VOID
        void += int(doubtful.sum())
    return Mask(
        pixels=planes,
        overlap=int((np.asarray(shared) > 1).sum()),
        void=void,
        objects=Counter(label for label, _ in _objects(drawn.layers)),
    )


def _void(drawn: Drawn, label: str | None = None) -> Bits:
    """Return the pixels of void regions; of one label, those that speak of another are left out."""
    found = np.zeros(drawn.size, bool)
    for region, patch in drawn.layers:
        others = label is not None and region.crowd and region.label != label
        if region.role == "void" and not others:
            found[patch.window] |= patch.covers
    return found


def _objects(layers: Sequence[tuple[Region, Patch]]) -> dict[tuple[str, str], str]:
    """Return the objects from the lowest to the topmost, and where each stands."""
    found: dict[tuple[str, str], str] = {}
    for region, _ in layers:
        if region.role == "object":
            found.setdefault(object_key(region), region.place)
    return found
