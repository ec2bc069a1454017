"""From outlines to pixels: a pixel belongs if its center is inside."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from imseg.data.polygons.annotations import Area, Outline, Points, Runs, Stencil
from imseg.data.polygons.runs import decode_counts
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


def rasterize(area: Area, size: tuple[int, int]) -> tuple[Patch | None, bool]:
    """Return the pixels that an area covers, and whether some of it lies outside of the picture.

    Args:
        area: Where the region is.
        size: Height and width of the picture.

    Returns:
        The patch, None if no pixel is covered; and whether the area was clipped.

    Raises:
        CannotDraw: If the area makes no sense for such a picture.
    """
    if isinstance(area, Outline):
        return _draw(area.rings, size)
    shape = area.height, area.width
    whole = isinstance(area, Runs) and area.by_columns
    # Before anything is decoded: a short text can claim more pixels than there is memory.
    if shape != size if whole else shape[0] > size[0] or shape[1] > size[1]:
        raise CannotDraw(f"is a mask of {_words(shape)}, the picture is {_words(size)}")
    window = _unfold(area) if isinstance(area, Runs) else _stencil(area)
    return _inside(Patch(area.top, area.left, window), size)


def ellipse(center: tuple[float, float], radii: tuple[float, float], degrees: float = 0) -> Points:
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


def turn(points: Points, center: tuple[float, float], degrees: float) -> Points:
    """Return points turned about a center, clockwise on the screen."""
    angle = math.radians(degrees)
    matrix = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    turned: Points = (points - np.asarray(center)) @ matrix + np.asarray(center)
    return turned


def clip(ring: Points, size: tuple[int, int]) -> Points:
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


def _draw(rings: tuple[Points, ...], size: tuple[int, int]) -> tuple[Patch | None, bool]:
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
    counts = decode_counts(drawn["counts"].decode("ascii"))
    runs = Runs(counts=counts, height=shape[0], width=shape[1], by_columns=True)
    return _filled(Patch(top, left, _unfold(runs))), clipped


def _unfold(runs: Runs) -> Bits:
    """Return the window that runs describe."""
    belongs = np.arange(len(runs.counts)) % 2 == 1
    flat = np.repeat(belongs, runs.counts)
    if runs.by_columns:
        return flat.reshape(runs.width, runs.height).T
    return flat.reshape(runs.height, runs.width)


def _stencil(stencil: Stencil) -> Bits:
    """Return the window that a PNG describes."""
    shape = stencil.height, stencil.width
    try:
        with Pillow.open(io.BytesIO(stencil.png), formats=("PNG",)) as picture:
            # Compared before anything is decoded: a small file can claim a huge picture.
            if picture.size != shape[::-1]:
                found = _words(picture.size[::-1])
                raise CannotDraw(f"has a mask of {found} for a window of {_words(shape)}")
            covers: Bits = np.asarray(picture.convert("L")) != 0
            return covers
    except (OSError, SyntaxError, ValueError, EOFError, Pillow.DecompressionBombError) as error:
        raise CannotDraw(f"has a mask that is not a whole PNG picture ({error})") from error


def _inside(patch: Patch, size: tuple[int, int]) -> tuple[Patch | None, bool]:
    """Return the part of a patch inside the picture, and whether it was cut."""
    top, left = max(0, -patch.top), max(0, -patch.left)
    bottom, right = max(0, size[0] - patch.top), max(0, size[1] - patch.left)
    inner = patch.covers[top:bottom, left:right]
    cut = bool(np.count_nonzero(inner) < np.count_nonzero(patch.covers))
    return _filled(Patch(patch.top + top, patch.left + left, inner)), cut


def _filled(patch: Patch) -> Patch | None:
    return patch if patch.covers.any() else None


def _words(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]}"
