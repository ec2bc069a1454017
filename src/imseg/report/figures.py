"""Pictures of data and results, one row a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from imseg.data.amounts import in_words
from imseg.data.image_io import resize_mask, write_png
from imseg.data.load import load_pixels
from imseg.data.pictures import as_color, draw_inconsistency, draw_objects, draw_overlay
from imseg.data.targets import load_target, load_values
from imseg.data.whole_files import make_folder
from imseg.engine.segment import Segmented
from imseg.report.panels import Panel, panels
from imseg.tasks import Task
from imseg.tasks.objects import find_objects, tells_apart
from imseg.types import Bytes, LabeledImage, Reading, TargetSpec


def result_row(pair: LabeledImage, segmented: Segmented, task: Task, *, score: str) -> list[Panel]:
    """Return image, truth, prediction and inconsistency mask of one labeled picture.

    Args:
        pair: The picture and its mask.
        segmented: What the networks say.
        task: What a pixel is.
        score: How good that is, in words.
    """
    pixels = segmented.pixels
    disputed = segmented.disagreement()[0, 0].numpy()
    found, count = draw_prediction(segmented, task)
    return [
        (pair.name, as_color(pixels)),
        ("truth", draw_truth(pair, pixels, task.spec)),
        (f"prediction, {score}{count}", found),
        (f"inconsistent, {disputed.mean():.1%}", draw_inconsistency(pixels, disputed)),
    ]


def draw_truth(pair: LabeledImage, pixels: Bytes, spec: TargetSpec) -> Bytes:
    """Return a picture with what people drew on it.

    Args:
        pair: The picture and its mask.
        pixels: The picture, decoded.
        spec: What mask values mean.
    """
    size = (pixels.shape[0], pixels.shape[1])
    if tells_apart(spec):
        labels = load_values(pair, spec)
        return draw_objects(pixels, resize_mask(np.where(labels == spec.void, 0, labels), size))
    return draw_overlay(pixels, load_target(pair, spec, size), spec)


def draw_prediction(segmented: Segmented, task: Task) -> tuple[Bytes, str]:
    """Return a picture with what networks say drawn on it, and how many objects that are.

    Args:
        segmented: What the networks say.
        task: What a pixel is.
    """
    pixels, spec = segmented.pixels, task.spec
    if tells_apart(spec):
        guess = find_objects(task, segmented.at_size())
        return draw_objects(pixels, guess), f", {guess.max(initial=0)} objects"
    return draw_overlay(pixels, segmented.predict(task)[0].numpy(), spec), ""


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
    rows: list[list[Panel]] = []
    for number, pair in enumerate(pairs[::step][:most]):
        pixels = load_pixels(pair.image, reading)
        if number % 3 == 0:
            rows.append([])
        rows[-1] += [
            (Path(pair.name).name, as_color(pixels)),
            _labeled_panel(pair, pixels, spec),
        ]
    return panels(rows, side=144, spec=None if tells_apart(spec) else spec)


def save(path: Path, picture: Bytes) -> Path:
    """Write a picture as PNG and return its path.

    Raises:
        ImsegError: If it cannot be written there.
    """
    make_folder(path.parent)
    write_png(path, picture)
    return path


def _labeled_panel(pair: LabeledImage, pixels: Bytes, spec: TargetSpec) -> Panel:
    """Return a picture with what people drew on it, and that in words."""
    size = (pixels.shape[0], pixels.shape[1])
    if tells_apart(spec):
        labels = load_values(pair, spec)
        labels = np.where(labels == spec.void, 0, labels)
        count = len(np.unique(labels[labels > 0]))
        return f"{count} objects", draw_objects(pixels, resize_mask(labels, size))
    target = load_target(pair, spec, size)
    return in_words(target, spec), draw_overlay(pixels, target, spec)
