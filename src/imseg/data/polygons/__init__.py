"""Annotations of drawing tools: from outlines and pictures to a data folder with masks.

Each format has a module in :mod:`formats`, which returns what was drawn as :class:`Annotations`;
everything after that is the same for all of them. A new format is such a module, and an entry of
``FORMATS`` in :mod:`readers`.
"""

from imseg.data.polygons.convert import Conversion, convert_polygons
from imseg.data.polygons.crowds import CROWDS, Crowds
from imseg.data.polygons.drawings import Annotations
from imseg.data.polygons.rasterize import MODES, Mode
from imseg.data.polygons.readers import read_annotations

__all__ = [
    "CROWDS",
    "MODES",
    "Annotations",
    "Conversion",
    "Crowds",
    "Mode",
    "convert_polygons",
    "read_annotations",
]
