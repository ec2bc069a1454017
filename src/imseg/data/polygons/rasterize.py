"""From outlines to pixels: a pixel belongs if its center is inside."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from imseg.data.checks.fitness import size_in_words
from imseg.data.polygons import drawings
from imseg.errors import import_extra

LONGEST_OUTLINE = 20_000_000
"""Pixels along all edges of an outline; drawing takes memory by its length."""

Bits = npt.NDArray[np.bool_]
"""Which pixels belong, ``h w``."""


class CannotDraw(Exception):
    """A region makes no sense; the text is the end of a sentence that begins with the region."""


@dataclass(frozen=True, slots=True)
class Patch:
    """The pixels that a region covers, in the smallest window that matters."""

    top: int
    """First row of the window."""
    left: int
    """First column of the window."""
    covers: Bits
    """The window, ``h w``; inside the picture."""

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the window, as an index."""
        height, width = self.covers.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def rasterize(area: drawings.Area, size: tuple[int, int]) -> tuple[Patch | None, bool]:
    """Return the pixels that an area covers, and whether some of it lies outside of the picture.

    Args:
        area: Where the region is.
        size: Height and width of the picture.

    Returns:
        The patch, None if no pixel is covered; and whether the area was clipped.

    Raises:
        CannotDraw: If the area makes no sense for such a picture.
    """
    if isinstance(area, drawings.Outline):
        patch, cut = _draw(area.rings, size)
    else:
        patch, cut = _unpack(area, size)
    return (patch if patch is not None and patch.covers.any() else None), cut


def _unpack(area: drawings.Runs | drawings.Stencil, size: tuple[int, int]) -> tuple[Patch, bool]:
    """Return the part of runs or of a stencil inside the picture, and whether it was cut."""
    shape = area.height, area.width
    whole = isinstance(area, drawings.Runs) and area.by_columns
    # Before anything is decoded: a short text can claim more pixels than there is memory.
    if shape != size if whole else shape[0] > size[0] or shape[1] > size[1]:
        raise CannotDraw(
            f"is a mask of {size_in_words(shape)}, the picture is {size_in_words(size)}"
        )
    covers = _unfold(area) if isinstance(area, drawings.Runs) else _stencil(area)
    top, left = max(0, -area.top), max(0, -area.left)
    bottom, right = max(0, size[0] - area.top), max(0, size[1] - area.left)
    inner = covers[top:bottom, left:right]
    cut = bool(np.count_nonzero(inner) < np.count_nonzero(covers))
    return Patch(area.top + top, area.left + left, inner), cut


def ellipse(
    center: tuple[float, float], radii: tuple[float, float], degrees: float = 0
) -> drawings.Corners:
    """Return corners of an ellipse, so many that no edge is 0.05 px off the curve.

    Args:
        center: x and y.
        radii: Along x and along y, before the turn.
        degrees: How far it is turned, clockwise on the screen.
    """
    corners = max(16, math.ceil(math.pi * math.sqrt(10 * max(abs(radii[0]), abs(radii[1]), 1))))
    angles = 2 * np.pi * np.arange(min(corners, 10_000)) / min(corners, 10_000)
    points = np.stack([radii[0] * np.cos(angles), radii[1] * np.sin(angles)], axis=1)
    return turn(points + np.asarray(center), center, degrees)


def turn(points: drawings.Corners, center: tuple[float, float], degrees: float) -> drawings.Corners:
    """Return points turned about a center, clockwise on the screen."""
    angle = math.radians(degrees)
    matrix = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    turned: drawings.Corners = (points - np.asarray(center)) @ matrix + np.asarray(center)
    return turned


def clip(ring: drawings.Corners, size: tuple[int, int]) -> drawings.Corners:
    """Return the part of a ring inside the picture (Sutherland and Hodgman 1974).

    Args:
        ring: Corners, ``p 2``.
        size: Height and width of the picture.
    """
    height, width = size
    for axis, limit, sign in ((0, 0, 1), (1, 0, 1), (0, width, -1), (1, height, -1)):
        if not len(ring):
            break
        following = np.roll(ring, -1, axis=0)
        here, there = sign * (ring[:, axis] - limit), sign * (following[:, axis] - limit)
        crosses = (here >= 0) != (there >= 0)
        share = here / np.where(crosses, here - there, 1)
        cuts = ring + share[:, None] * (following - ring)
        cuts[:, axis] = limit
        both = np.stack([ring, cuts], axis=1)
        ring = both[np.stack([here >= 0, crosses], axis=1)]
    return ring


def _draw(rings: tuple[drawings.Corners, ...], size: tuple[int, int]) -> tuple[Patch | None, bool]:
    """Return the union of rings."""
    height, width = size
    parts, clipped = [], False
    for ring in rings:
        outside = bool((ring < 0).any() or (ring > (width, height)).any())
        clipped |= outside
        part = clip(ring, size) if outside else ring
        if len(part) >= 3:
            parts.append(part)
    if not parts:
        return None, clipped
    edges = sum(np.abs(np.roll(part, -1, axis=0) - part).max(axis=1).sum() for part in parts)
    if edges > LONGEST_OUTLINE:
        raise CannotDraw(f"has an outline of {edges:.0f} px, more than can be drawn")
    corners = np.concatenate(parts)
    left, top = (int(low) for low in np.floor(corners.min(axis=0)))
    right, bottom = (int(high) for high in np.ceil(corners.max(axis=0)))
    shape = min(bottom, height) - top, min(right, width) - left
    if min(shape) < 1:
        return None, clipped
    library = import_extra("pycocotools.mask", extra="polygons", purpose="to draw outlines")
    moved = [(part - (left, top)).reshape(-1).tolist() for part in parts]
    drawn = library.merge(library.frPyObjects(moved, *shape))
    # Unfolded here, because the library's own way is deprecated by NumPy.
    counts = drawings.decode_counts(drawn["counts"].decode("ascii"))
    runs = drawings.Runs(counts=counts, height=shape[0], width=shape[1], by_columns=True)
    return Patch(top, left, _unfold(runs)), clipped


def _unfold(runs: drawings.Runs) -> Bits:
    """Return the window that runs describe."""
    belongs = np.arange(len(runs.counts)) % 2 == 1
    flat = np.repeat(belongs, runs.counts)
    if runs.by_columns:
        return flat.reshape(runs.width, runs.height).T
    return flat.reshape(runs.height, runs.width)


def _stencil(stencil: drawings.Stencil) -> Bits:
    """Return the window that a PNG describes."""
    shape = stencil.height, stencil.width
    try:
        with Pillow.open(io.BytesIO(stencil.png), formats=("PNG",)) as picture:
            # Compared before anything is decoded: a small file can claim a huge picture.
            if picture.size != shape[::-1]:
                found = size_in_words(picture.size[::-1])
                raise CannotDraw(f"has a mask of {found} for a window of {size_in_words(shape)}")
            covers: Bits = np.asarray(picture.convert("L")) != 0
            return covers
    except (OSError, SyntaxError, ValueError, EOFError, Pillow.DecompressionBombError) as error:
        raise CannotDraw(f"has a mask that is not a whole PNG picture ({error})") from error


Mode = Literal["classes", "instances", "labels"]
"""One class number per pixel; a number of its own for every object; one file per label."""

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


@dataclass(slots=True, kw_only=True)
class Drawn:
    """What became of the regions of one picture."""

    mask: Mask | None = None
    """None: no region covers a pixel, or one makes no sense."""
    tally: drawings.Tally = field(default_factory=lambda: drawings.Tally(list))
    """What was clipped, left out or hidden."""
    errors: list[str] = field(default_factory=list)
    """Regions that make no sense, in words."""


Layers = list[tuple[drawings.Region, Patch]]
"""Regions and the pixels that they cover, from the lowest to the topmost."""


def draw(
    picture: drawings.AnnotatedPicture,
    size: tuple[int, int],
    *,
    mode: Mode,
    numbers: Mapping[str, int],
) -> Drawn:
    """Return the mask of a picture.

    Args:
        picture: What the annotations say.
        size: Height and width of the picture as it is displayed.
        mode: How masks are written.
        numbers: The number of each class, from 1; their order is that of the planes.
    """
    drawn = Drawn()
    layers: Layers = []
    for region in sorted(picture.regions, key=lambda region: region.order):
        try:
            patch, clipped = rasterize(region.area, size)
        except CannotDraw as error:
            drawn.errors.append(f"{region.place} {error}")
            continue
        if patch is None:
            drawn.tally[NO_PIXEL].append(region.place)
            continue
        if clipped:
            drawn.tally[CLIPPED].append(region.place)
        layers.append((region, patch))
    if drawn.errors or not layers:
        return drawn
    if mode == "labels":
        drawn.mask = _planes(layers, size, tuple(numbers))
    elif (count := len(_objects(layers))) <= MOST_OBJECTS:
        drawn.mask = _compose(layers, size, drawn.tally, mode=mode, numbers=numbers)
    else:
        limit = "more than a mask of 16 bits can number"
        drawn.errors.append(f"{picture.name} has {count} objects, {limit}")
    return drawn


def _compose(
    layers: Layers,
    size: tuple[int, int],
    tally: drawings.Tally,
    *,
    mode: Mode,
    numbers: Mapping[str, int],
) -> Mask:
    """Return one mask of class or object numbers; objects that turn out to be hidden are noted."""
    objects = _objects(layers)
    keys = list(objects)
    values = np.arange(len(keys) + 1)
    if mode == "classes":
        values[1:] = [numbers[label] for label, _ in keys]
    places = {key: index for index, key in enumerate(keys, start=1)}
    seen, settled, overlap = np.zeros(size, np.int32), np.zeros(size, bool), np.zeros(size, bool)
    for region, patch in layers:
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
        tally[HIDDEN].append(objects[keys[index - 1]])
    if mode == "instances":
        values[visible] = np.arange(1, len(visible) + 1)
    undecided = void_value(mode, numbers)
    pixels = values[seen].astype(np.uint16 if undecided == WIDE_VOID else np.uint8)
    void = _void(layers, size) & ~settled
    pixels[void] = undecided
    return Mask(
        pixels={"": pixels},
        overlap=int(overlap.sum()),
        void=int(void.sum()),
        objects=Counter(keys[index - 1][0] for index in visible),
    )


def object_key(region: drawings.Region) -> tuple[str, str]:
    """Return which object a region belongs to: its label, and its group or itself."""
    group = f"group {region.group}" if region.group is not None else region.place
    return region.label, group


def void_value(mode: Mode, numbers: Mapping[str, int]) -> int:
    """Return the file value of void pixels."""
    if mode == "labels":
        return PLANE_VOID
    wide = mode == "instances" or max(numbers.values(), default=0) >= BYTE_VOID
    return WIDE_VOID if wide else BYTE_VOID


def _planes(layers: Layers, size: tuple[int, int], labels: tuple[str, ...]) -> Mask:
    """Return one mask per label, 0 and 255; where labels overlap, each has its pixels."""
    planes = {label: np.zeros(size, np.uint8) for label in labels}
    for region, patch in layers:
        if region.role == "object":
            planes[region.label][patch.window][patch.covers] = 255
        elif region.role == "background":
            for plane in planes.values():
                plane[patch.window][patch.covers] = 0
    shared = sum((plane == 255).astype(np.int32) for plane in planes.values())
    void = 0
    for label, plane in planes.items():
        doubtful = _void(layers, size, label) & (plane == 0)
        plane[doubtful] = PLANE_VOID
        void += int(doubtful.sum())
    return Mask(
        pixels=planes,
        overlap=int((np.asarray(shared) > 1).sum()),
        void=void,
        objects=Counter(label for label, _ in _objects(layers)),
    )


def _void(layers: Layers, size: tuple[int, int], label: str | None = None) -> Bits:
    """Return the pixels of void regions; of one label, those that speak of another are left out."""
    found = np.zeros(size, bool)
    for region, patch in layers:
        others = label is not None and region.crowd and region.label != label
        if region.role == "void" and not others:
            found[patch.window] |= patch.covers
    return found


def _objects(layers: Layers) -> dict[tuple[str, str], str]:
    """Return the objects from the lowest to the topmost, and where each stands."""
    found: dict[tuple[str, str], str] = {}
    for region, _ in layers:
        if region.role == "object":
            found.setdefault(object_key(region), region.place)
    return found
