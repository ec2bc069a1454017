"""How large the pixels of a TIFF file are, as its header says: OME, ImageJ, or plain resolution.

PNG and JPEG files are not asked: they hold the dots per inch of a screen or a printer.
"""

import html
import math
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import Any

import tifffile

from imseg.data.files.atomic import open_plain
from imseg.errors import ImsegError

LEAST, MOST = 1e-5, 1e6
"""Micrometers on a side of a pixel that a header may say."""
MOST_BY_DPI = 10.0
"""Micrometers above which a resolution per inch or centimeter is that of a screen or a printer."""
MOST_UNLIKE = 1.1
"""How many times as wide as high a pixel may be, or as high as wide."""
ALIKE = 1.05
"""Pixels that are at most so many times as large as others are not spoken of."""

_SUFFIXES = frozenset({".tif", ".tiff"})
_MOST_TEXT = 1 << 20
_INCH, _CENTIMETER = 2, 3
_MICROMETERS = {
    **dict.fromkeys(("pm", "picometer"), 1e-6),
    **dict.fromkeys(("å", "a", "angstrom"), 1e-4),
    **dict.fromkeys(("nm", "nanometer"), 1e-3),
    **dict.fromkeys(("um", "micron", "micrometer"), 1.0),
    **dict.fromkeys(("mm", "millimeter"), 1e3),
    **dict.fromkeys(("cm", "centimeter"), 1e4),
    **dict.fromkeys(("in", "inch", "inche"), 25_400.0),
}
_OF_SCREENS = frozenset({1e4, 25_400.0})
# Read with patterns, not as XML: nothing that the text declares can be expanded.
_PIXELS = re.compile(r"""<(?:\w+:)?Pixels((?:\s+[\w:.-]+\s*=\s*(?:"[^"]*"|'[^']*'))*)\s*/?>""")
_ATTRIBUTE = re.compile(r"""([\w:.-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_BROKEN = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, struct.error)


@dataclass(frozen=True, slots=True)
class PixelSizes:
    """How large the pixels of images are, in micrometers on a side."""

    least: float
    """Of all images of which it is known."""
    reference: float
    """The median of the labeled images, of two in the middle the lower one."""
    greatest: float
    """Of all images of which it is known."""
    unknown: int = 0
    """Images of which it is not known."""

    @property
    def differ(self) -> bool:
        """Whether that is worth a word."""
        return self.greatest > ALIKE * self.least

    def seen_in_words(self, scale: float) -> str:
        """Return a sentence about what networks see of images of which the pixels differ.

        Args:
            scale: At which images with pixels of the reference are seen.
        """
        others = ""
        if self.unknown:
            others = (
                f" {self.unknown} do not say it: they are seen as if of {self.reference:.3g} um;"
                " pixel_size in imseg.toml says it."
            )
        return (
            f"Images have pixels of {self.least:.3g} to {self.greatest:.3g} um: each is scaled so"
            f" that networks see pixels of {self.reference / scale:.3g} um (scale {scale:.2g} for"
            f" {self.reference:.3g} um).{others}"
        )


def summarize_pixel_sizes(
    labeled: Sequence[float | None], others: Iterable[float | None] = ()
) -> PixelSizes | None:
    """Return how large the pixels of images are; None if that is not known of labeled ones.

    Args:
        labeled: Micrometers on a side of the pixels of each labeled image; None: not known.
        others: The same of other images.
    """
    known = [size for size in labeled if size is not None]
    if not known:
        return None
    every = [*labeled, *others]
    there = [size for size in every if size is not None]
    return PixelSizes(min(there), median_low(known), max(there), len(every) - len(there))


def may_say_pixel_size(path: Path) -> bool:
    """Return whether a file is called a TIFF file."""
    return path.suffix.lower() in _SUFFIXES


def read_pixel_size(path: Path) -> float | None:
    """Return the micrometers on a side of a pixel that a file says; None: it does not.

    Args:
        path: Any file; only those that are called TIFF files are looked into.
    """
    if not may_say_pixel_size(path):
        return None
    try:
        with open_plain(path) as file, tifffile.TiffFile(file) as opened:
            return pixel_size_of(opened.pages.first)
    except (OSError, ImsegError, tifffile.TiffFileError, *_BROKEN):
        return None  # what is wrong with it is told where it is decoded


def pixel_size_of(page: tifffile.TiffPage) -> float | None:
    """Return the micrometers on a side of a pixel that the header of a file says.

    None where it says nothing, or nothing that can be true: pixels that are not square, 0, not a
    number or beyond ``LEAST`` and ``MOST``, several images of different sizes in one file, and a
    resolution by which pixels are larger than ``MOST_BY_DPI``.

    Args:
        page: A page of an open file.
    """
    file = page.parent
    try:
        if file.is_ome and (sizes := _by_ome((file.ome_metadata or "")[:_MOST_TEXT])):
            found = {_square(*size) for size in sizes}
            return found.pop() if len(found) == 1 else None
        if file.is_imagej:
            unit = str((file.imagej_metadata or {}).get("unit", ""))
            return _by_resolution(page, _in_micrometers(unit))
        unit = page.tags.valueof("ResolutionUnit", _INCH)
        return _by_resolution(page, {_INCH: 25_400.0, _CENTIMETER: 1e4}.get(int(unit)))
    except _BROKEN:
        return None


def _in_micrometers(unit: str) -> float | None:
    """Return how many micrometers a unit is; None for pixels and for what is not known."""
    plain = unit.strip().replace("\\u00B5", "u").replace("\\u00b5", "u").replace("metre", "meter")
    plain = re.sub("[\u00b5\u03bc]", "u", plain).lower()
    return _MICROMETERS.get(plain, _MICROMETERS.get(plain.removesuffix("s")))


def _by_ome(text: str) -> Iterable[tuple[float, float]]:
    """Return width and height in micrometers of the pixels of each image that OME-XML tells of.

    Not a number where it cannot be understood; nothing where it does not say.
    """
    found = []
    for pixels in _PIXELS.finditer(text):
        said = {name: html.unescape(a or b) for name, a, b in _ATTRIBUTE.findall(pixels[1])}
        names = [name for name in ("PhysicalSizeX", "PhysicalSizeY") if name in said]
        sides = [_side(said, name) for name in names]
        if sides:
            found.append((sides[0], sides[-1]))
    return found


def _side(said: dict[str, str], name: str) -> float:
    unit = _in_micrometers(said.get(f"{name}Unit", "um"))
    return math.nan if unit is None else float(said[name]) * unit


def _by_resolution(page: tifffile.TiffPage, unit: float | None) -> float | None:
    """Return the size of a pixel from the pixels per unit that a page says.

    Args:
        page: The page.
        unit: Micrometers; None: the unit is not known.
    """
    values: list[Any] = [page.tags.valueof(name) for name in ("XResolution", "YResolution")]
    if unit is None or None in values:
        return None
    width, height = (unit * value[1] / value[0] for value in values)
    size = _square(width, height)
    return None if size is None or (unit in _OF_SCREENS and size > MOST_BY_DPI) else size


def _square(width: float, height: float) -> float | None:
    """Return the side of a pixel; None if it is not square or beyond reason."""
    size = (width + height) / 2
    alike = min(width, height) > 0 and max(width, height) <= MOST_UNLIKE * min(width, height)
    return size if alike and LEAST <= size <= MOST else None
