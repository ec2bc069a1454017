"""Which values of a mask lie on its edges only, between two others, and which form areas."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.folder.facts import Counts
from imseg.data.masks.io import pack_colors, unpack_colors

SAME = 24
"""Colors of which no channel differs by more are hardly two classes."""

_MOST_AREAS = 64
_CLOSE = 8


def on_edges(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return where an ``h w`` mask leads from one value to another, as smooth edges do.

    Such a pixel has both a lower and a higher neighbor among the eight around it, and is in no
    square of 2x2 pixels of one value. The pixels of classes and objects are next to never so: their
    areas are wider, and what is thin has other values on one side only, all lower or all higher.
    """
    edges: npt.NDArray[np.bool_] = _around(values, np.minimum) < values
    edges &= values < _around(values, np.maximum)
    same = values[1:] == values[:-1]
    square = same[:, 1:] & same[:, :-1] & (values[:-1, 1:] == values[:-1, :-1])
    for part in (edges[1:, 1:], edges[1:, :-1], edges[:-1, 1:], edges[:-1, :-1]):
        part &= ~square
    return edges


def count_on_edges(values: npt.NDArray[Any], found: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return how many pixels of each value lie on such edges; with two values there are none.

    Args:
        values: A mask, ``h w``.
        found: Its different values, ascending.
    """
    if len(found) < 3:
        return np.zeros(len(found), np.int64)
    places = np.searchsorted(found, values[on_edges(values)])
    return np.bincount(places, minlength=len(found))


def _around(values: npt.NDArray[Any], choose: Callable[..., Any]) -> npt.NDArray[Any]:
    """Return the least or the greatest value in the 3x3 pixels around each."""
    for axis in (0, 1):
        before, chosen = np.moveaxis(values, axis, 0), values.copy()
        after = np.moveaxis(chosen, axis, 0)
        choose(after[1:], before[:-1], out=after[1:])
        choose(after[:-1], before[1:], out=after[:-1])
        values = chosen
    return values


def solid_colors(values: npt.NDArray[Any]) -> Counts:
    """Return packed colors of areas that are nearly of one color, and the pixels inside of these.

    They are at least 3x3 pixels large; around each pixel that counts, no channel varies by more
    than ``SAME``. Colors that are as close are taken for one; at most 64 are returned.

    Args:
        values: Packed colors, ``h w``.
    """
    planes = unpack_colors(values)
    spread = _around(planes, np.maximum) - _around(planes, np.minimum)
    inside = planes[(spread <= SAME).all(axis=2)]
    found, places, pixels = np.unique(
        pack_colors(inside >> 2), return_inverse=True, return_counts=True
    )
    sums = np.stack([np.bincount(places, plane, len(found)) for plane in inside.T], axis=1)
    colors = sums / pixels[:, None]
    solid: dict[int, int] = {}
    while len(pixels) and len(solid) < _MOST_AREAS:
        gaps = np.abs(colors - colors[pixels.argmax()]).max(axis=1)
        near, close = gaps <= SAME, gaps <= _CLOSE
        mean = np.rint(sums[close].sum(axis=0) / pixels[close].sum())
        solid[int(pack_colors(mean))] = int(pixels[near].sum())
        colors, sums, pixels = colors[~near], sums[~near], pixels[~near]
    ordered = sorted(solid)
    return Counts(np.array(ordered), np.array([solid[color] for color in ordered]))
