"""Writes the mask of a picture: all of it at once, or of a large one band by band."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.approaches.runs.run import Prediction, Run
from imseg.data.files.atomic import make_folder
from imseg.data.images import image_files as files
from imseg.data.images.by_rows import read_rows
from imseg.data.images.tiff_writing import TiffRows
from imseg.data.masks.colors import GRAY
from imseg.engine.inference.large import Band, bands, scaled_rows
from imseg.engine.inference.pictures import Predictor
from imseg.errors import ImsegError
from imseg.ops.same_objects import JoinedObjects
from imseg.report.figures import draw_prediction, save
from imseg.report.predictions.measurements import Totals
from imseg.report.predictions.places import INCONSISTENCY, OVERLAYS, Written, mask_files
from imseg.tasks.multilabel import tells_apart
from imseg.types import Color, Image, TargetSpec

MOST_DRAWN = 4096
"""Pixels a side at most of large pictures with masks drawn on them."""


class CannotRead(Exception):
    """A picture cannot be read, as was found when some of it was.

    Args:
        reason: Why.
    """

    def __init__(self, reason: ImsegError) -> None:
        self.reason = reason
        super().__init__(reason.what)


def write_at_once(
    predicted: Prediction, out: Path, spec: TargetSpec, *, overlay: bool
) -> tuple[Written, list[Path]]:
    """Write the mask of a picture and what was asked for beside it; return that, and the files."""
    name, share = Path(predicted.name).with_suffix(".png"), None
    paths = write_mask(predicted.mask, predicted.name, out, spec=spec)
    wrote = list(paths)
    if overlay:
        wrote.append(save(out / OVERLAYS / name, draw_prediction(predicted, spec)))
    if predicted.inconsistent is not None:
        shown = predicted.inconsistent.astype(np.uint8) * 255
        wrote.append(save(out / INCONSISTENCY / name, shown))
        share = float(predicted.inconsistent.mean())
    return Written(predicted.name, str(paths[0]), share), wrote


def write_mask(mask: npt.NDArray[Any], image: str, out: Path, *, spec: TargetSpec) -> list[Path]:
    """Write the mask of a picture and return its files."""
    paths = mask_files(image, out, spec)
    if spec.coding == "planes":
        for plane, path in zip(mask, paths, strict=True):
            save(path, plane)
    elif mask.dtype in (np.float32, np.uint32):
        paths = [paths[0].with_suffix(".tif")]
        make_folder(paths[0].parent)
        files.write_tiff(paths[0], mask)
    else:
        save(paths[0], mask, palette=palette_of(spec))
    return paths


def palette_of(spec: TargetSpec) -> list[Color] | None:
    """Return the color of each value, where the user's masks are palette files."""
    if not spec.indexed or max(*spec.values, spec.void or 0) > 255:
        return None
    known = dict(zip(spec.values, spec.colors, strict=True))
    return [known.get(value, GRAY) for value in range(256)]


def write_in_bands(
    run: Run,
    predictor: Predictor,
    image: Image,
    out: Path,
    totals: Totals,
    *,
    overlay: bool,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Written, list[Path]]:
    """Write the mask of a large picture as TIFF, from top to bottom, and what was asked for beside.

    Objects are told apart in each band, and joined across bands. Overlays are drawn smaller.

    Args:
        run: What predicts.
        predictor: Its networks, ready to look.
        image: The picture.
        out: The folder of the masks.
        totals: Told what the mask amounts to.
        overlay: Whether to draw the mask on the picture too.
        progress: Told about rows: done, and all.

    Returns:
        What was written, and all files.

    Raises:
        CannotRead: If the picture cannot be read, also in its midst; no file is left behind then.
        ImsegError: If files cannot be written.
    """
    spec, joined = run.spec, JoinedObjects() if tells_apart(run.spec) else None
    paths = [path.with_suffix(".tif") for path in mask_files(image.name, out, spec)]
    doubted, beside = 0, out / INCONSISTENCY / Path(image.name).with_suffix(".tif")
    drawing: list[Prediction] = []
    with ExitStack() as files_of_it:
        written: list[TiffRows] = []
        for band in _read(bands(predictor, image)):
            found = run.prediction_of(band.segmented)
            if joined is not None:
                labels, going_on = joined.join(
                    found.mask,
                    first=band.first,
                    top=band.top,
                    stop=band.stop,
                    next_first=band.next_first,
                )
                totals.add_objects(labels, top=band.top, going_on=going_on)
                cut = _cut(found, band, spec, mask=labels)
            else:
                totals.add(found, rows=band.inside)
                cut = _cut(found, band, spec)
            planes = list(cut.mask) if spec.coding == "planes" else [cut.mask]
            if not written:
                dtype = np.int32 if joined is not None else planes[0].dtype
                palette = palette_of(spec)
                written = [
                    files_of_it.enter_context(
                        TiffRows(
                            path, band.size, dtype, colors=spec.coding == "colors", palette=palette
                        )
                    )
                    for path in paths
                ]
                if cut.inconsistent is not None:
                    paths.append(beside)
                    written.append(files_of_it.enter_context(TiffRows(beside, band.size, np.uint8)))
            if cut.inconsistent is not None:
                planes.append(cut.inconsistent.astype(np.uint8) * 255)
                doubted += int(cut.inconsistent.sum())
            for file, plane in zip(written, planes, strict=True):
                file.add(plane)
            if overlay:
                drawing.append(_reduced(cut, band))
            if progress is not None:
                progress(band.stop, band.size[0])
        if overlay:  # before masks get their names: the picture is read again
            place = out / OVERLAYS / Path(image.name).with_suffix(".png")
            paths.append(save(place, draw_prediction(_joined(drawing, image, predictor), spec)))
    share = None
    if predictor.teachers is not None:
        share = doubted / (band.size[0] * band.size[1])
    return Written(image.name, str(paths[0]), share), paths


def _read(found: Iterator[Band]) -> Iterator[Band]:
    try:
        yield from found
    except ImsegError as error:
        raise CannotRead(error) from error


def _cut(
    found: Prediction, band: Band, spec: TargetSpec, *, mask: npt.NDArray[Any] | None = None
) -> Prediction:
    """Return what is said about the rows that a band decides about."""
    if mask is None:
        deep = found.mask.ndim == 3 and spec.coding != "colors"
        mask = found.mask[:, band.inside] if deep else found.mask[band.inside]
    doubts = found.inconsistent
    return replace(
        found,
        mask=mask,
        target=found.target[:, band.inside],
        inconsistent=None if doubts is None else doubts[band.inside],
    )


def _kept(start: int, stop: int, side: int, step: int) -> slice:
    """Return which of some rows or columns are drawn: every so manyth, and at least one of all."""
    first = min(step // 2, side - 1)
    return slice((first - start) % step, stop - start, step)


def _reduced(found: Prediction, band: Band) -> Prediction:
    """Return every so manyth row and column of the labels or classes of a band, to draw them."""
    height, width = band.size
    step = -(-max(band.size) // MOST_DRAWN)
    rows, columns = _kept(band.top, band.stop, height, step), _kept(0, width, width, step)
    apart = found.mask.ndim == 2
    return replace(
        found,
        mask=found.mask[rows, columns].copy() if apart else found.mask[:0],
        target=found.target[:, rows, columns].copy(),
        inconsistent=None,
    )


def _joined(parts: list[Prediction], image: Image, predictor: Predictor) -> Prediction:
    """Return bands that were reduced as one small picture with its mask."""
    target = np.concatenate([each.target for each in parts], axis=1)
    size = (target.shape[1], target.shape[2])
    try:
        rows = scaled_rows(read_rows(image, predictor.reading, least=size), size)
        pixels = np.concatenate(list(rows))
    except ImsegError as error:
        raise CannotRead(error) from error
    return replace(
        parts[0], mask=np.concatenate([each.mask for each in parts]), target=target, pixels=pixels
    )
