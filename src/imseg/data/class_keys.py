"""What masks know a class by, and how users write it: a value, a color, or a label."""

from __future__ import annotations

import re

from imseg.types import Color

Key = int | str
"""A mask value, a color as ``#rrggbb`` in lower case, or the name of a label's folder."""

_COLOR = re.compile("#[0-9a-fA-F]{6}")


def parse_key(text: str) -> Key:
    """Return what masks know a class by, from how it is written in ``[classes]`` or as a folder."""
    if re.fullmatch("[0-9]{1,18}", text):
        return int(text)
    return text.lower() if _COLOR.fullmatch(text) else text


def is_color(key: Key | None) -> bool:
    """Return whether this is a color such as ``#00ff00``."""
    return isinstance(key, str) and _COLOR.fullmatch(key) is not None


def packed_color(key: str) -> int:
    """Return ``#rrggbb`` as a whole number: 65536 red + 256 green + blue."""
    return int(key[1:], 16)


def color_of(packed: int) -> Color:
    """Return red, green and blue of a packed color."""
    return packed >> 16, packed >> 8 & 255, packed & 255


def as_number(key: Key | None) -> int | None:
    """Return a mask value or a gray color as a number; None for everything else."""
    if isinstance(key, str) and is_color(key):
        red, green, blue = color_of(packed_color(key))
        return red if red == green == blue else None
    return key if isinstance(key, int) else None


def as_color(key: Key | None) -> int | None:
    """Return a color or a gray level as a packed color; None for everything else."""
    if isinstance(key, str):
        return packed_color(key) if is_color(key) else None
    return key * 0x010101 if key is not None and 0 <= key <= 255 else None
