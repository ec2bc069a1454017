"""Pictures side by side with captions and a legend, drawn with Pillow alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from imseg.approaches.runs.predictions import Prediction, predict_each
from imseg.approaches.runs.run import Run
from imseg.data.files.atomic import make_folder
from imseg.data.images import image_files as files
from imseg.data.masks.colors import ends_of_scale, in_words, scale_bar
from imseg.data.masks.io import load_target, resize_mask
from imseg.data.masks.mask_rows import whole_values
from imseg.engine.inference.evaluator import Evaluation
from imseg.tasks.multilabel import tells_apart
from imseg.types import Bytes, Color, LabeledImage, Reading, TargetSpec

CELL = 192
"""Pixels of the longer side of a picture."""
GAP = 8
CAPTION = 18
INK, PAPER = (30, 30, 30), (255, 255, 255)

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
CaptionedImage = tuple[str, Bytes]
"""A caption and a picture (``h w 3``)."""


def image_grid(
    rows: Sequence[Sequence[CaptionedImage]], *, side: int = CELL, spec: TargetSpec | None = None
) -> Bytes:
    """Return rows of pictures side by side, each with its caption above it.

    Args:
        rows: Pictures of any size; rows may differ in length.
        side: Pixels of the longer side of each picture.
        spec: Classes whose colors are explained below the pictures.
    """
    scaled = [[(text, fit(picture, side)) for text, picture in row] for row in rows]
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
    length = max(16, min(CELL, width - left - 2 * GAP - round(pen.textlength(high, font))))
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


def fit(picture: Bytes, side: int, *, whole: bool = False) -> Pillow.Image:
    """Return a picture (``h w 3``) at another size.

    Args:
        picture: Of any size.
        side: Pixels of the longer side.
        whole: Enlarge by whole multiples only, so that every pixel stays a square; the longer side
            may then be shorter.
    """
    image = Pillow.fromarray(np.ascontiguousarray(picture))
    scale = side / max(image.size)
    scale = scale // 1 if whole and scale > 1 else scale
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    # Small pictures are enlarged without smoothing, so that their pixels stay visible.
    return image.resize(size, Pillow.Resampling.NEAREST if scale > 1 else Pillow.Resampling.BOX)


def _shorten(text: str, width: int, pen: ImageDraw.ImageDraw, font: Font) -> str:
    while text and pen.textlength(text, font) > width:
        text = "…" + text[2:] if len(text) > 2 else ""
    return text


def result_row(
    pair: LabeledImage, found: Prediction, spec: TargetSpec, *, score: str
) -> list[CaptionedImage]:
    """Return image, truth, prediction and inconsistency mask of one labeled picture.

    Args:
        pair: The picture and its mask.
        found: What the networks say, and where they disagree.
        spec: What mask values mean.
        score: How good that is, in words.
    """
    count = f", {found.mask.max(initial=0)} objects" if tells_apart(spec) else ""
    row = [
        (pair.name, files.as_color(found.pixels)),
        ("truth", draw_truth(pair, found.pixels, spec)[1]),
        (f"prediction, {score}{count}", draw_prediction(found, spec)),
    ]
    if found.inconsistent is not None:
        drawn = files.draw_inconsistency(found.pixels, found.inconsistent)
        row.append((f"inconsistent, {found.inconsistent.mean():.1%}", drawn))
    return row


def draw_prediction(found: Prediction, spec: TargetSpec) -> Bytes:
    """Return a picture with what networks say drawn on it."""
    if tells_apart(spec):
        return files.draw_objects(found.pixels, found.mask)
    return files.draw_overlay(found.pixels, found.target, spec)


def contact_sheet(
    pairs: Sequence[LabeledImage], spec: TargetSpec, *, reading: Reading, most: int = 12
) -> Bytes:
    """Return labeled pictures beside their masks, evenly chosen.

    Args:
        pairs: Labeled pictures.
        spec: What mask values mean.
        reading: How pictures are read.
        most: Pictures shown.
    """
    step = max(1, len(pairs) // most)
    shown: list[CaptionedImage] = []
    for pair in pairs[::step][:most]:
        pixels = files.load_pixels(pair.image, reading)
        shown.append((Path(pair.name).name, files.as_color(pixels)))
        shown.append(draw_truth(pair, pixels, spec))
    rows = [shown[start : start + 6] for start in range(0, len(shown), 6)]
    return image_grid(rows, side=144, spec=None if tells_apart(spec) else spec)


def save(path: Path, picture: Bytes, *, palette: Sequence[Color] | None = None) -> Path:
    """Write a picture as PNG and return its path.

    Args:
        path: Where; missing folders are made.
        picture: What it shows.
        palette: The color of each value; None: values are grays or colors themselves.

    Raises:
        ImsegError: If it cannot be written there.
    """
    make_folder(path.parent)
    files.write_png(path, picture, palette=palette)
    return path


def draw_truth(pair: LabeledImage, pixels: Bytes, spec: TargetSpec) -> CaptionedImage:
    """Return a picture with what people drew on it, and that in words.

    Args:
        pair: The picture and its mask.
        pixels: The picture, decoded.
        spec: What mask values mean.
    """
    size, labels = (pixels.shape[0], pixels.shape[1]), whole_values(pair, spec)
    if tells_apart(spec):
        labels = np.where(labels == spec.void, 0, labels)
        count = len(np.unique(labels[labels > 0]))
        return f"{count} objects", files.draw_objects(pixels, resize_mask(labels, size))
    target = load_target(replace(pair, mask=labels), spec, size)
    return in_words(target, spec), files.draw_overlay(pixels, target, spec)


SHOWN = 6
"""Images in a gallery."""
MOST_DRAWN = 4096
"""Pixels a side at most of large pictures with masks drawn on them."""


def gallery(
    run: Run,
    pairs: Sequence[LabeledImage],
    found: Evaluation,
    *,
    networks: Sequence[str] | None = None,
    most: int = SHOWN,
) -> Bytes:
    """Return image, truth, prediction and inconsistency of images evenly spaced from best to worst.

    Args:
        run: The run that was evaluated.
        pairs: The images it was evaluated on.
        found: Its scores on them.
        networks: Which of its networks; None: the chosen one.
        most: Images shown.
    """
    metric, values = run.metric, found.each[run.metric.key]
    merits = [metric.merit({metric.key: value}) for value in values]
    shown = from_best_to_worst(merits, most)
    images = [pairs[i].image for i in shown]
    looking = run.predictor(networks=networks, disagreement=True, tta=found.orientations > 1)
    predictions = predict_each(looking, images, most=MOST_DRAWN)
    rows = [
        result_row(pairs[i], each, run.spec, score=metric.text({metric.key: values[i]}))
        for i, each in zip(shown, predictions, strict=True)
    ]
    return image_grid(rows, spec=None if tells_apart(run.spec) else run.spec)


def from_best_to_worst(merits: Sequence[float], most: int) -> list[int]:
    """Return the places of images evenly spaced from the best to the worst.

    Args:
        merits: A number for each image, higher is better; images without a number are left out.
        most: How many there are at most.
    """
    order = sorted((i for i, m in enumerate(merits) if m == m), key=lambda i: -merits[i])
    count, last = min(most, len(order)), len(order) - 1
    return [order[round(i * last / max(1, count - 1))] for i in range(count)]
