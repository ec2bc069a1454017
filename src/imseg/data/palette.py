"""Colors for classes that have none: far apart from each other, for color-blind eyes too."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import numpy.typing as npt

Color = tuple[int, int, int]
"""Red, green, blue; 0..255 each."""

BLACK: Color = (0, 0, 0)
"""Shown for pixels on which teachers disagree."""
GRAY: Color = (128, 128, 128)
"""Shown for void pixels."""

_LEVELS = (0, 48, 96, 160, 208, 255)
_FIRST: Color = (255, 160, 0)  # orange stands out on most pictures, dark or bright
_RESERVED: tuple[Color, ...] = (BLACK, GRAY, (255, 255, 255))


@functools.cache
def distinct_colors(count: int) -> tuple[Color, ...]:
    """Return that many different colors; a longer list begins with the shorter one.

    The first is orange; each other is the candidate farthest from all before it and from black,
    gray and white. Distance counts lightness and blue against yellow in full and red against green
    at a quarter, because that is what the most frequent kinds of color blindness cannot tell apart.
    """
    grid: list[Color] = [(r, g, b) for r in _LEVELS for g in _LEVELS for b in _LEVELS]
    candidates = [color for color in grid if color not in _RESERVED]
    places = _opponent(candidates)
    nearest = np.min([_distance(places, place) for place in _opponent(list(_RESERVED))], axis=0)
    chosen: list[Color] = []
    for number in range(min(count, len(candidates))):
        best = int(np.argmax(nearest)) if number else candidates.index(_FIRST)
        chosen.append(candidates[best])
        nearest = np.minimum(nearest, _distance(places, places[best]))
    # Nobody tells more than two hundred colors apart; past that they repeat.
    return tuple(itertools.islice(itertools.cycle(chosen), count))


def _opponent(colors: list[Color]) -> npt.NDArray[np.float64]:
    red, green, blue = np.asarray(colors, np.float64).T
    lightness = (red + 2 * green + blue / 2) / 3.5
    return np.stack([lightness, (red + green) / 2 - blue, (red - green) / 4], axis=1)


def _distance(
    places: npt.NDArray[np.float64], place: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    squares: npt.NDArray[np.float64] = ((places - place) ** 2).sum(axis=1)
    return squares
