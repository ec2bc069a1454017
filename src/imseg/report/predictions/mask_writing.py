"""Writes the mask of a picture: all of it at once, or of a large one band by band."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.approaches.runs import predictions
from imseg.approaches.runs.run import Run
from imseg.data.files.atomic import make_folder
from imseg.data.images import image_files as files
from imseg.data.images.tiff_writing import TiffRows
from imseg.data.masks.colors import GRAY
from imseg.engine.inference.pictures import Predictor
from imseg.errors import ImsegError
from imseg.report.figures import MOST_DRAWN, draw_prediction, save
from imseg.report.predictions.measurements import Totals
from imseg.report.predictions.places import INCONSISTENCY, OVERLAYS, Written, mask_files
from imseg.tasks.multilabel import tells_apart
from imseg.types import Color, Image, TargetSpec


class CannotRead(Exception):
    """A picture cannot be read, as was found when some of it was.

    Args:
        reason: Why.
    """

    def __init__(self, reason: ImsegError) -> None:
        self.reason = reason
        super().__init__(reason.what)


def write_at_once(
    predicted: predictions.Prediction, out: Path, spec: TargetSpec, *, overlay: bool
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
    spec, apart = run.spec, tells_apart(run.spec)
    paths = [path.with_suffix(".tif") for path in mask_files(image.name, out, spec)]
    doubted, beside = 0, out / INCONSISTENCY / Path(image.name).with_suffix(".tif")
    drawing: list[predictions.Prediction] = []
    with ExitStack() as files_of_it:
        written: list[TiffRows] = []
        for each in _read(predictions.in_bands(predictor, image)):
            band, cut = each.band, each.inside
            if apart:
                totals.add_objects(cut.mask, top=band.top, going_on=each.going_on)
            else:
                totals.add(each.around, rows=band.inside)
            planes = list(cut.mask) if spec.coding == "planes" else [cut.mask]
            if not written:
                dtype = np.int32 if apart else planes[0].dtype
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
                drawing.append(predictions.thinned(each, MOST_DRAWN))
            if progress is not None:
                progress(band.stop, band.size[0])
        if overlay:  # before masks get their names: the picture is read again
            place = out / OVERLAYS / Path(image.name).with_suffix(".png")
            try:
                drawn = predictions.join_bands(drawing, image, predictor)
            except ImsegError as error:
                raise CannotRead(error) from error
            paths.append(save(place, draw_prediction(drawn, spec)))
    share = None
    if predictor.teachers is not None:
        share = doubted / (band.size[0] * band.size[1])
    return Written(image.name, str(paths[0]), share), paths


def _read(found: Iterator[predictions.BandPrediction]) -> Iterator[predictions.BandPrediction]:
    try:
        yield from found
    except ImsegError as error:
        raise CannotRead(error) from error
