"""Pictures side by side with captions and a legend, drawn with Pillow alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from imseg.data.paint import ends_of_scale, scale_bar
from imseg.types import Bytes, TargetSpec

PANEL = 192
"""Pixels of the longer side of a panel."""
GAP = 8
CAPTION = 18
INK, PAPER = (30, 30, 30), (255, 255, 255)

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
Panel = tuple[str, Bytes]
"""A caption and a picture (``h w 3``)."""


def panels(
    rows: Sequence[Sequence[Panel]], *, side: int = PANEL, spec: TargetSpec | None = None
) -> Bytes:
    """Return rows of pictures side by side, each with its caption above it.

    Args:
        rows: Pictures of any size; rows may differ in length.
        side: Pixels of the longer side of each panel.
        spec: Classes whose colors are explained below the pictures.
    """
    scaled = [[(text, _fit(picture, side)) for text, picture in row] for row in rows]
    widths = [sum(picture.width + GAP for _, picture in row) + GAP for row in scaled]
    heights = [max(picture.height for _, picture in row) + CAPTION + GAP for row in scaled]
    font = ImageFont.load_default(11)
    legend = _legend(spec, max(widths), font) if spec is not None else None
    below = legend.height if legend is not None else 0
    sheet = Pillow.new("RGB", (max(widths), sum(heights) + GAP + below), PAPER)
    pen = ImageDraw.Draw(sheet)
    top = GAP
    for row, height in zip(scaled, heights, strict=True):
        left = GAP
        for text, picture in row:
            pen.text((left, top), _shorten(text, picture.width, pen, font), INK, font)
            sheet.paste(picture, (left, top + CAPTION))
            left += picture.width + GAP
        top += height
    if legend is not None:
        sheet.paste(legend, (0, top))
    return np.asarray(sheet)


def _legend(spec: TargetSpec, width: int, font: Font) -> Pillow.Image:
    """Return what colors mean: names of classes, or the scale of numbers."""
    ends = ends_of_scale(spec)
    return _names(spec, width, font) if ends is None else _scale(*ends, width=width, font=font)


def _scale(low: str, high: str, *, width: int, font: Font) -> Pillow.Image:
    """Return the colors of numbers between the least and the greatest."""
    strip = Pillow.new("RGB", (width, CAPTION + GAP), PAPER)
    pen = ImageDraw.Draw(strip)
    left = 2 * GAP + round(pen.textlength(low, font))
    length = max(16, min(PANEL, width - left - 2 * GAP - round(pen.textlength(high, font))))
    pen.text((GAP, 0), low, INK, font)
    strip.paste(Pillow.fromarray(scale_bar(10, length)), (left, 2))
    pen.text((left + length + GAP, 0), high, INK, font)
    return strip


def _names(spec: TargetSpec, width: int, font: Font) -> Pillow.Image:
    """Return the names of the classes behind squares of their colors."""
    measure = ImageDraw.Draw(Pillow.new("RGB", (1, 1)))
    places, left, top = [], GAP, 0
    for name, color in zip(spec.names, spec.colors, strict=True):
        needed = CAPTION + round(measure.textlength(name, font)) + 2 * GAP
        if left + needed > width and left > GAP:
            left, top = GAP, top + CAPTION
        places.append((left, top, name, color))
        left += needed
    strip = Pillow.new("RGB", (width, top + CAPTION + GAP), PAPER)
    pen = ImageDraw.Draw(strip)
    for left, top, name, color in places:
        pen.rectangle((left, top + 2, left + 10, top + 12), fill=color, outline=INK)
        pen.text((left + CAPTION, top), name, INK, font)
    return strip


def _fit(picture: Bytes, side: int) -> Pillow.Image:
    image = Pillow.fromarray(np.ascontiguousarray(picture))
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    # Small pictures are enlarged without smoothing, so that their pixels stay visible.
    return image.resize(size, Pillow.Resampling.NEAREST if scale > 1 else Pillow.Resampling.BOX)


def _shorten(text: str, width: int, pen: ImageDraw.ImageDraw, font: Font) -> str:
    while text and pen.textlength(text, font) > width:
        text = "…" + text[2:] if len(text) > 2 else ""
    return text
