"""How masks are written, and from outlines to pixels: one belongs if its center is inside."""

import io
import re
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from imseg.data.checks.fitness import size_in_words
from imseg.data.folder.config import config_text
from imseg.data.masks.colors import BLACK, GRAY, distinct_colors
from imseg.data.polygons import drawings
from imseg.errors import ImsegError, and_more, import_extra
from imseg.types import MAX_CLASSES, POSITION, Color, Pages

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
        scaled = (ring * size[::-1] if area.shares else ring for ring in area.rings)
        patch, cut = _draw(tuple(scaled), size)
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


BACKGROUND = "background"
"""The name of class 0."""

_SEVERAL = 2
_LONGEST = 50  # characters; file systems end at 255 bytes
_SPECIAL = re.compile("[0-9]+|#[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskPlan:
    """How the masks of a data set are written."""

    mode: Mode
    """One class number per pixel, one number per object, or one file per label."""
    reason: str
    """Why so, in words."""
    numbers: Mapping[str, int]
    """The number of each label that is drawn somewhere, from 1."""
    folders: Mapping[str, str]
    """The folder of each label's masks (way ``labels``)."""
    colors: Mapping[str, Color]
    """A color for each label."""

    @property
    def void(self) -> int:
        """The file value of void pixels."""
        if self.mode == "labels":
            return PLANE_VOID
        wide = self.mode == "instances" or max(self.numbers.values(), default=0) >= BYTE_VOID
        return WIDE_VOID if wide else BYTE_VOID

    @property
    def palette(self) -> tuple[Color, ...] | None:
        """The color of each byte of a class mask, so that any viewer shows it; None: no bytes."""
        if self.void != BYTE_VOID:
            return None
        shown = {number: self.colors[label] for label, number in self.numbers.items()}
        return (BLACK, *(shown.get(value, GRAY) for value in range(1, 256)))


def choose_plan(annotations: drawings.Annotations, mode: Mode | None = None) -> MaskPlan:
    """Return how to write masks.

    Numbers follow all labels that are declared, so that two exports of one project agree; those
    that are drawn nowhere leave gaps.

    Args:
        annotations: What was drawn.
        mode: The way that was asked for; None: ``instances`` if there is one label, and half of
            the annotated pictures or more have several objects; else ``classes``.

    Raises:
        ImsegError: If nothing is drawn, or there are more classes than a network can tell apart.
    """
    used = annotations.used
    if not used:
        noted = [f"{len(places)} {what}" for what, places in annotations.tally.items()]
        listed = f"{len(annotations.pictures)} pictures listed"
        raise ImsegError(
            f"{annotations.source} has no region that gives a mask.",
            expected="polygons or masks with a label.",
            got="; ".join([listed, *noted]) + ".",
            hint="draw outlines with the annotation tool; boxes of COCO, points and lines have"
            " none.",
        )
    reason = "as asked for"
    if mode is None:
        mode, reason = _choose_mode(annotations)
    if mode == "classes" and len(used) + 1 > MAX_CLASSES:
        raise ImsegError(
            f"{annotations.source} has {len(used)} labels, too many for one mask.",
            expected=f"at most {MAX_CLASSES - 1} labels beside the background.",
            got=f"{and_more(used)}.",
            hint="--as labels, or merge labels in the annotation tool.",
        )
    ranks = {label: rank for rank, label in enumerate(annotations.objects, start=1)}
    return MaskPlan(
        mode=mode,
        reason=reason,
        numbers={label: ranks[label] for label in used},
        folders=name_folders(used),
        colors=dict(zip(used, distinct_colors(len(used)), strict=True)),
    )


def settings_text(plan: MaskPlan, *, void: bool, pages: Pages) -> str:
    """Return what ``imseg.toml`` says: the task, void pixels, pages, names and colors.

    Objects are learned without their labels, so for them no names are listed.

    Args:
        plan: How the masks are written.
        void: Whether some mask has void pixels.
        pages: What several pages in one picture file are.
    """
    write = partial(config_text, void=plan.void if void else None, pages=pages)
    named = {label: (label, plan.colors[label]) for label in plan.numbers}
    if plan.mode == "instances":
        return write("instances", classes={})
    if plan.mode == "labels":
        planes = {plan.folders[label]: each for label, each in named.items()}
        return write("multilabel", classes=planes)
    values = {number: named[label] for label, number in plan.numbers.items()}
    task = "binary" if len(values) == 1 else "multiclass"
    return write(task, classes={0: (BACKGROUND, BLACK), **values})


def name_folders(labels: tuple[str, ...]) -> dict[str, str]:
    """Return a folder name for each label: safe on every system, and none twice.

    Whatever is not a letter, a digit, a space, "-", "_" or "." becomes "_". Names that mean
    something else as a folder of masks (a number, ``position``) get ``label_`` before them.
    """
    chosen: dict[str, str] = {}
    taken: set[str] = set()
    for label in labels:
        safe = re.sub(r"[^\w .-]", "_", label)[:_LONGEST].strip(". ") or "label"
        if safe.lower() == POSITION or _SPECIAL.fullmatch(safe):
            safe = f"label_{safe}"
        name, number = safe, 2
        while name.lower() in taken:
            name, number = f"{safe}_{number}", number + 1
        taken.add(name.lower())
        chosen[label] = name
    return chosen


def _choose_mode(annotations: drawings.Annotations) -> tuple[Mode, str]:
    """Return the way that fits what was drawn, and why."""
    used = annotations.used
    if len(used) > 1:
        return "classes", f"{len(used)} labels"
    objects = [
        {object_key(region) for region in picture.regions if region.role == "object"}
        for picture in annotations.pictures
    ]
    counts = [len(keys) for keys in objects if keys]
    typical = statistics.median(counts) if counts else 0
    if typical >= _SEVERAL:
        return "instances", f"one label, typically {typical:g} objects per picture"
    return "classes", "one label, typically one object per picture"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """The mask of one picture."""

    pixels: Mapping[str, npt.NDArray[Any]]
    """File values ``h w`` by label (way ``labels``), or under an empty name."""
    overlap: int
    """Pixels that belong to two classes (or objects, where those are told apart)."""
    void: int
    """Pixels that are neither trained on nor scored."""
    objects: Counter[str]
    """Objects seen of each label."""


@dataclass(slots=True, kw_only=True)
class Drawn:
    """What became of the regions of one picture."""

    mask: Mask | None = None
    """None: no region covers a pixel, and that may mean anything, or one makes no sense."""
    tally: drawings.Tally = field(default_factory=lambda: drawings.Tally(list))
    """What was clipped, left out or hidden."""
    errors: list[str] = field(default_factory=list)
    """Regions that make no sense, in words."""


Layers = list[tuple[drawings.Region, Patch]]
"""Regions and the pixels that they cover, from the lowest to the topmost."""


def draw(picture: drawings.AnnotatedPicture, size: tuple[int, int], plan: MaskPlan) -> Drawn:
    """Return the mask of a picture.

    Args:
        picture: What the annotations say.
        size: Height and width of the picture as it is displayed.
        plan: How masks are written.
    """
    drawn = Drawn()
    layers: Layers = []
    for region in sorted(picture.regions, key=lambda region: region.order):
        try:
            patch, clipped = rasterize(region.area, size)
        except CannotDraw as error:
            drawn.errors.append(f"{region.place} {error}")
            continue
        if patch is None and clipped and picture.size is None:
            # Nothing else tells that the outlines were drawn on a larger copy.
            larger = f"lies outside of its picture, which is {size_in_words(size)}"
            drawn.errors.append(f"{region.place} {larger}")
            continue
        if patch is None:
            drawn.tally[NO_PIXEL].append(region.place)
            continue
        if clipped:
            drawn.tally[CLIPPED].append(region.place)
        layers.append((region, patch))
    if drawn.errors or not (layers or picture.finished):
        return drawn
    if plan.mode == "labels":
        drawn.mask = _planes(layers, size, plan)
    elif (count := len(_objects(layers))) <= MOST_OBJECTS:
        drawn.mask = _compose(layers, size, plan, tally=drawn.tally)
    else:
        limit = "more than a mask of 16 bits can number"
        drawn.errors.append(f"{picture.name} has {count} objects, {limit}")
    return drawn


def _compose(
    layers: Layers, size: tuple[int, int], plan: MaskPlan, *, tally: drawings.Tally
) -> Mask:
    """Return one mask of class or object numbers; objects that turn out to be hidden are noted."""
    objects = _objects(layers)
    keys = list(objects)
    values = np.arange(len(keys) + 1)
    if plan.mode == "classes":
        values[1:] = [plan.numbers[label] for label, _ in keys]
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
    if plan.mode == "instances":
        values[visible] = np.arange(1, len(visible) + 1)
    pixels = values[seen].astype(np.uint16 if plan.void == WIDE_VOID else np.uint8)
    void = _void(layers, size) & ~settled
    pixels[void] = plan.void
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


def _planes(layers: Layers, size: tuple[int, int], plan: MaskPlan) -> Mask:
    """Return one mask per label, 0 and 255; where labels overlap, each has its pixels."""
    planes = {label: np.zeros(size, np.uint8) for label in plan.numbers}
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
        plane[doubtful] = plan.void
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
