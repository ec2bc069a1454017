"""Annotations of drawing tools: from outlines and pictures to a data folder with masks.

Each format has a reader in :mod:`readers`, which returns what was drawn as :class:`Annotations`;
everything after that is the same for all of them. A new format is such a reader, and a line in
:mod:`convert`.
"""

from imseg.data.polygons.convert import Conversion, convert_polygons, read_annotations
from imseg.data.polygons.drawings import Annotations
from imseg.data.polygons.rasterize import MODES, Mode

__all__ = ["MODES", "Annotations", "Conversion", "Mode", "convert_polygons", "read_annotations"]
