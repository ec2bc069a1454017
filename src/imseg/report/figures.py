"""Pictures of results: panels side by side with captions, drawn with Pillow alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from imseg.data.image_io import to_channels, write_png
from imseg.data.pictures import draw_inconsistency, draw_overlay
from imseg.data.store import load_pixels, load_target
from imseg.engine.segment import Segmented
from imseg.tasks import Task
from imseg.types import VOID, Bytes, LabeledImage, TargetSpec

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


def result_row(pair: LabeledImage, segmented: Segmented, task: Task, *, iou: float) -> list[Panel]:
    """Return image, truth, prediction and inconsistency mask of one labeled picture."""
    pixels, spec = segmented.pixels, task.spec
    truth = load_target(pair, spec, (pixels.shape[0], pixels.shape[1]))
    predicted = segmented.predict(task)[0, 0].numpy()
    disputed = segmented.disagreement()[0, 0].numpy()
    return [
        (pair.name, to_channels(pixels, 3)),
        ("truth", draw_overlay(pixels, truth, spec)),
        (f"prediction, IoU {iou:.2f}", draw_overlay(pixels, predicted, spec)),
        (f"inconsistent, {disputed.mean():.1%}", draw_inconsistency(pixels, disputed)),
    ]


def contact_sheet(
    pairs: Sequence[LabeledImage], spec: TargetSpec, *, channels: int, most: int = 12
) -> Bytes:
    """Return labeled pictures beside their masks, evenly chosen.

    Args:
        pairs: Labeled pictures.
        spec: What mask values mean.
        channels: 1 or 3.
        most: Pictures shown.
    """
    step = max(1, len(pairs) // most)
    rows: list[list[Panel]] = []
    for number, pair in enumerate(pairs[::step][:most]):
        pixels = load_pixels(pair.image, channels)
        target = load_target(pair, spec, (pixels.shape[0], pixels.shape[1]))
        if number % 3 == 0:
            rows.append([])
        rows[-1] += [
            (Path(pair.name).name, to_channels(pixels, 3)),
            (_classes_in(target, spec), draw_overlay(pixels, target, spec)),
        ]
    return panels(rows, side=144, spec=spec)


def save(path: Path, picture: Bytes) -> Path:
    """Write a picture as PNG and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, picture)
    return path


def _legend(spec: TargetSpec, width: int, font: Font) -> Pillow.Image:
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


def _classes_in(target: Bytes, spec: TargetSpec) -> str:
    found = [value for value in np.unique(target).tolist() if value != VOID]
    names = [spec.names[value - spec.first_index] for value in found]
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} classes"


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
