"""Where pieces are cut out of large images."""

from __future__ import annotations

import random
from fractions import Fraction

Box = tuple[int, int, int, int]
"""Left, top, width, height in pixels."""


def overlapping_boxes(height: int, width: int, *, side: int, overlap: float) -> list[Box]:
    """Return squares that cover an image and overlap their neighbors, each place once.

    As many as fit best at this overlap are spread evenly; the last ones are moved in to the edge.

    Args:
        height: Of the image, in pixels; at least ``side``.
        width: Of the image, in pixels; at least ``side``.
        side: Of the squares, in pixels.
        overlap: Share of a side that neighbors have in common, about; from 0 up to 1.
    """
    tops, lefts = (_starts(length, side, overlap) for length in (height, width))
    return [(left, top, side, side) for left in lefts for top in tops]


def random_squares(
    height: int, width: int, *, count: int, sides: tuple[int, int], key: str
) -> list[Box]:
    """Return random squares of an image, drawn by ``key``; equal ones are returned once.

    A side is drawn that is below the image's longer side. If the square does not fit the shorter
    one, or there is no such side, the whole image is taken.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        count: How many squares to draw.
        sides: Least and greatest side, in pixels.
        key: The same key draws the same squares on every machine.
    """
    # Of the random module only random() is promised to stay the same in later versions of Python.
    numbers = random.Random(key)
    least, most = sides[0], min(sides[1], max(height, width) - 1)
    boxes: list[Box] = []
    for _ in range(count):
        size, across, down = numbers.random(), numbers.random(), numbers.random()
        side = least + int(size * (most - least + 1))
        if most < least or side > min(height, width):
            boxes.append((0, 0, width, height))
        else:
            left, top = int(across * (width - side + 1)), int(down * (height - side + 1))
            boxes.append((left, top, side, side))
    return list(dict.fromkeys(boxes))


def _starts(length: int, side: int, overlap: float) -> list[int]:
    """Return where squares begin along one side of the image, ascending."""
    count = max(1, round(Fraction(length) / (side * (1 - Fraction(str(overlap))))))
    return sorted({min(index * length // count, length - side) for index in range(count)})
