"""What predicted masks amount to: areas, counts and means, as rows of a table."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from imseg.approaches.runs.run import Prediction, Run
from imseg.data.files.atomic import NewFile, make_folder, sweep, writing_into
from imseg.data.files.listing import (
    Lines,
    counted,
    folded,
    folder_names,
    folders_in,
    list_pictures,
    real_path,
)
from imseg.data.files.picture_list import PREDICTED, PictureList, find_pictures
from imseg.data.images import image_files as files
from imseg.data.masks.colors import GRAY, areas_of, counts_of, numbers_of
from imseg.engine.hardware.device import usable_cores
from imseg.engine.inference.predictor import Segmented, Unreadable
from imseg.errors import ImsegError, and_more, shown
from imseg.report.figures import draw_prediction, save
from imseg.tasks.multilabel import tells_apart
from imseg.types import Color, Image, TargetSpec

FILE_NAME = PREDICTED
"""Name of the table beside predicted masks."""

COUNTS_NAME = "counts.csv"
"""Name of the table of how many objects each picture has; only where objects are told apart."""

Measurements = dict[str, str | int | float]


class MeasurementFile:
    """A CSV file to which rows of equal columns are written as they come; none stays in memory.

    The file appears whole when its block ends, and not at all if that ends with an error or no row
    has come.

    Args:
        path: Where the file goes.

    Raises:
        ImsegError: From all methods, if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lines, self._end = path, Lines(), 0
        self._file: NewFile | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._file is None:
            return
        try:
            if kind is None:
                self._file.seal()
                self._file.publish()
        finally:
            self._file.discard()

    def add(self, rows: Iterable[Measurements]) -> None:
        """Write rows; the keys of the first one become the header."""
        for row in rows:
            if self._file is None:
                sweep(self._path)
                make_folder(self._path.parent)
                self._file, self._header = NewFile(self._path), list(row)
                self._write(self._file, self._header)
            self._write(self._file, [row[name] for name in self._header])

    def _write(self, file: NewFile, cells: Sequence[str | int | float]) -> None:
        content = self._lines.of(cells).encode("utf-8", "backslashreplace")
        file.write_at(self._end, content)
        self._end += len(content)


def measure(prediction: Prediction, spec: TargetSpec) -> Iterator[Measurements]:
    """Yield what a prediction amounts to.

    One row per picture: the area of each class or label (pixels, and square micrometers where the
    size of a pixel is known), or the mean, least and greatest number. Objects: one row each, with
    its number in the mask, its area and the middle of its pixels (row and column, from 0).
    """
    if tells_apart(spec):
        yield from _objects(prediction, spec)
        return
    row: Measurements = {"image": prediction.name}
    for name, pixels in areas_of(prediction.target, spec).items():
        row |= _area(f"{name} ", pixels, spec)
    row |= {f"{name} cells": n for name, n in counts_of(prediction.target, spec).items()}
    unit = f" [{spec.unit}]" if spec.unit else ""
    for name, number in numbers_of(prediction.target, spec).items():
        row[f"{name}{unit}"] = float(f"{number:.6g}")
    yield row


def count_objects(prediction: Prediction, spec: TargetSpec) -> Iterator[Measurements]:
    """Yield how many objects a picture has and how large they are together, none included."""
    if tells_apart(spec):
        count, covered = int(prediction.mask.max(initial=0)), int((prediction.mask > 0).sum())
        yield {"image": prediction.name, "objects": count, **_area("", covered, spec)}


def _objects(prediction: Prediction, spec: TargetSpec) -> Iterator[Measurements]:
    labels = prediction.mask
    rows, columns = np.nonzero(labels)
    numbers = labels[rows, columns].astype(np.int64)
    areas = np.bincount(numbers)
    middles = [np.bincount(numbers, weights=axis) for axis in (rows, columns)]
    for number in np.flatnonzero(areas).tolist():
        row, column = (float(round(axis[number] / areas[number], 1)) for axis in middles)
        area = _area("", int(areas[number]), spec)
        yield {"image": prediction.name, "object": number, **area, "row": row, "column": column}


def _area(prefix: str, pixels: int, spec: TargetSpec) -> Measurements:
    found: Measurements = {f"{prefix}area [px]": pixels}
    if spec.pixel_size is not None:
        found[f"{prefix}area [um2]"] = float(f"{pixels * spec.pixel_size * spec.pixel_size:.6g}")
    return found


SKIPPED_NAME = "skipped.csv"
"""Name of the table of pictures that were left out, and why."""
SHARES_NAME = "inconsistency.csv"
"""Name of the table of how much networks disagree on each picture."""
OVERLAYS, INCONSISTENCY = "overlays", "inconsistency"
"""Folders beside masks."""
MOST_WRITERS = 4
"""Threads that write masks while the next pictures are predicted."""
Result = TypeVar("Result")
_TABLES = {
    FILE_NAME: b"image,",
    COUNTS_NAME: b"image,objects",
    SKIPPED_NAME: b"image,reason",
    SHARES_NAME: b"share_of_inconsistent_pixels,",
}
"""The tables beside masks, and how they begin."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was written for a picture."""

    image: str
    """The picture's name."""
    mask: str
    """The path of its mask."""
    inconsistent: float | None = None
    """Share of pixels on which the best networks disagree, 0..1; None unless asked for."""


def write_predictions(
    run: Run,
    images: Path | PictureList,
    out: Path,
    *,
    overlay: bool = False,
    inconsistency: bool = False,
    networks: Sequence[str] | None = None,
    tta: bool | None = None,
    scale: float | None = None,
    device: str = "auto",
    overwrite: bool = False,
    pixel_size: float | None = None,
    skip: Unreadable | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Written]:
    """Write a mask for each picture and return what was written.

    Args:
        run: A finished run.
        images: A picture, a folder of pictures, or what was found there.
        out: Masks go here under the pictures' names (see ``mask_files``), and
            ``measurements.csv`` with areas, counts or means.
        overlay: Also draw masks on pictures, in ``out/overlays``.
        inconsistency: Also write where the best networks disagree (255) or not (0), in
            ``out/inconsistency``, and the share of such pixels in ``out/inconsistency.csv``. They
            make a forward pass of their own, which takes as long again per network.
        networks: Whose mean is predicted; None: the chosen one.
        tta: Whether predictions are averaged over flipped pictures; None: see ``Run.orientations``.
        scale: As in ``Run.predict``.
        device: Where to compute.
        overwrite: Replace files that are there already.
        pixel_size: Side of a pixel in micrometers; None: what the training data said.
        skip: Called with each picture that cannot be read, and why; it is left out, and named in
            ``out/skipped.csv``. None: that is an error.
        progress: Told about finished and all pictures.

    Returns:
        What was written for each picture: in the order of the pictures, or with ``inconsistency``
        the most inconsistent first.

    Raises:
        ImsegError: If a picture cannot be read and none may be left out, if none can be read, or if
            OUT cannot be written, or lies where it would overwrite pictures. What was written
            before stays and is spoken of; every file is whole.
    """
    beside = [OVERLAYS] * overlay + [INCONSISTENCY] * inconsistency
    found = _checked(run, images, out, beside=beside, overwrite=overwrite)
    total, unusable = len(found.images), found.unusable
    spec = run.spec if pixel_size is None else replace(run.spec, pixel_size=pixel_size)
    written: list[Written] = []
    skipped: list[Measurements] = [
        {"image": name, "reason": f"{name} {why}."} for name, why in unusable.items()
    ]

    def left_out(image: Image, error: ImsegError) -> None:
        if skip is None:
            if found.place.is_file():
                raise error
            raise _with_hint(error, "--skip-bad goes on without pictures that cannot be read.")
        skipped.append({"image": image.name, "reason": error.what})
        skip(image, error)

    def write(segmented: Segmented) -> tuple[Written, list[Measurements], list[Measurements]]:
        predicted = run.prediction_of(segmented)
        name, share = Path(predicted.name).with_suffix(".png"), None
        paths = write_mask(predicted.mask, predicted.name, out, spec=run.spec)
        if overlay:
            save(out / OVERLAYS / name, draw_prediction(predicted, run.spec))
        if predicted.inconsistent is not None:
            save(out / INCONSISTENCY / name, predicted.inconsistent.astype(np.uint8) * 255)
            share = float(predicted.inconsistent.mean())
        written.append(Written(predicted.name, str(paths[0]), share))
        return written[-1], list(measure(predicted, spec)), list(count_objects(predicted, spec))

    seen = run.orientations(tta=tta, networks=networks, disagreement=inconsistency, device=device)
    found_in = run.segment(
        found.images,
        networks=networks,
        disagreement=inconsistency,
        tta=seen.tta,
        scale=scale,
        device=device,
        unreadable=left_out,
    )
    try:
        with (
            MeasurementFile(out / FILE_NAME) as measurements,
            MeasurementFile(out / COUNTS_NAME) as counts,
        ):
            done = []
            for each, measured, objects in _beside(write, found_in):
                measurements.add(measured)
                counts.add(objects)
                done.append(each)
                if progress is not None:
                    progress(len(done) + len(skipped) - len(unusable), total)
    except ImsegError as error:
        raise _cut_short(error, len(written), total, out) from error
    _write_tables(done, skipped, out)
    return done


def _beside(write: Callable[[Segmented], Result], found: Iterable[Segmented]) -> Iterator[Result]:
    """Yield what ``write`` returns for each picture, in order; threads do it while others compute.

    Where one fails, those that are under way are finished first.
    """
    with ThreadPoolExecutor(min(usable_cores(), MOST_WRITERS)) as pool:
        waiting: deque[Future[Result]] = deque()
        for each in found:
            waiting.append(pool.submit(write, each))
            if len(waiting) > 2 * MOST_WRITERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def others_beside(
    written: Sequence[Written], out: Path, spec: TargetSpec, *, beside: Sequence[str]
) -> list[str]:
    """Return the pictures in ``out`` that are no masks of a prediction, and folders with such.

    Args:
        written: What was written.
        out: Where.
        spec: What masks may hold.
        beside: Folders of further pictures that were written, below ``out``.
    """
    planes = spec.coding == "planes"
    own = {
        path
        for each in written
        for path in (mask_files(each.image, out, spec) if planes else [Path(each.mask)])
    }
    pictures = [
        path
        for place in sorted({out, *(path.parent for path in own)})
        for paths in list_pictures(place)[0].values()
        for path in paths
        if path not in own
    ]
    used = {out / each for each in beside}.union(*(path.parents for path in own))
    folders = [each for each in folders_in(out) if each not in used and list_pictures(each)[0]]
    names = [path.relative_to(out).as_posix() for path in pictures]
    return names + [f"{folder.name}/" for folder in folders]


def mask_files(image: str, out: Path, spec: TargetSpec) -> list[Path]:
    """Return the files that hold the mask of a picture.

    One PNG in the user's own values or colors; maps of fractions and label images of more than
    65535 objects are TIFF files; planes lie in a folder per label, as they do in a data folder.
    None of them lies outside of ``out``, whatever labels are called.
    """
    name = Path(image)
    if spec.coding == "planes":
        folders = folder_names(spec.names, others=(OVERLAYS, INCONSISTENCY))
        return [out / folder / name.with_suffix(".png") for folder in folders]
    fractions = spec.coding == "numbers" and np.dtype(spec.stored).kind == "f"
    return [out / name.with_suffix(".tif" if fractions else ".png")]


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
        save(paths[0], mask, palette=_palette(spec))
    return paths


def _palette(spec: TargetSpec) -> list[Color] | None:
    """Return the color of each value, where the user's masks are palette files."""
    if not spec.indexed or max(*spec.values, spec.void or 0) > 255:
        return None
    known = dict(zip(spec.values, spec.colors, strict=True))
    return [known.get(value, GRAY) for value in range(256)]


def _with_hint(error: ImsegError, text: str) -> ImsegError:
    """Return an error with one more thing to try."""
    hint = f"{error.hint}\n{text}" if error.hint else text
    return ImsegError(error.what, expected=error.expected, got=error.got, hint=hint)


def _cut_short(error: ImsegError, done: int, total: int, out: Path) -> ImsegError:
    """Return an error that ended a prediction with what it has left behind."""
    if not done:
        return error
    left = f"{done} of {total} masks are written in {out}, without tables; --overwrite to repeat."
    return _with_hint(error, left)


def _check_apart(
    entries: Sequence[Image], out: Path, spec: TargetSpec, *, beside: Sequence[str]
) -> None:
    """Check that no two files that will be written have one name, folders beside masks included."""
    places: dict[str, str] = {}
    for entry in entries:
        for path in _targets(entry, out, spec, beside=beside):
            other = places.setdefault(folded(str(path.with_suffix(""))), entry.name)
            if other != entry.name:
                raise ImsegError(
                    f"{other} and {entry.name} would be written to the same place.",
                    expected="pictures whose masks get names of their own.",
                    got=f"both would be {path}.",
                    hint="rename one of them, or the folder that it is in.",
                )


def _write_tables(done: list[Written], skipped: Sequence[Measurements], out: Path) -> None:
    """Write which pictures were left out, and how much networks disagree, if that was asked for.

    The most inconsistent pictures come first then, in ``done`` too.

    Raises:
        ImsegError: If all pictures were left out.
    """
    if not done:
        raise ImsegError(
            f"None of the {len(skipped)} pictures can be predicted.",
            expected="pictures like those that the run was trained on.",
            got=and_more([str(each["reason"]) for each in skipped]),
            hint="imseg predict with one of them says what is wrong with it.",
        )
    with MeasurementFile(out / SKIPPED_NAME) as table:
        table.add(skipped)
    if done[0].inconsistent is not None:
        done.sort(key=lambda each: -(each.inconsistent or 0.0))
        with MeasurementFile(out / SHARES_NAME) as shares:
            shares.add(
                {"share_of_inconsistent_pixels": f"{each.inconsistent:.6f}", "image": each.image}
                for each in done
            )


def _checked(
    run: Run, images: Path | PictureList, out: Path, *, beside: Sequence[str], overwrite: bool
) -> PictureList:
    """Return what is to be predicted, if masks can go where they are to go.

    Args:
        run: What predicts.
        images: A picture, a folder of pictures, or what was found there.
        out: Where masks go.
        beside: Folders of further pictures, below ``out``.
        overwrite: Whether files that are there already are replaced.
    """
    if isinstance(images, Path):
        _check_place(images, out)
        images = find_pictures(images)
    else:
        _check_place(images.place, out, recursive=images.recursive)
    _check_apart(images.images, out, run.spec, beside=beside)
    if overwrite:
        _check_kept(images.images, out, run.spec, beside=beside)
        _remove_tables(out)
    else:
        _check_free(images.images, out, run.spec, beside=beside)
    return images


def _targets(entry: Image, out: Path, spec: TargetSpec, *, beside: Sequence[str]) -> list[Path]:
    """Return the files that may be written for a picture."""
    paths = mask_files(entry.name, out, spec)
    if tells_apart(spec):
        paths += [path.with_suffix(".tif") for path in paths]
    name = Path(entry.name).with_suffix(".png")
    return [*paths, *(out / each / name for each in beside)]


def _check_kept(
    entries: Sequence[Image], out: Path, spec: TargetSpec, *, beside: Sequence[str]
) -> None:
    """Check that no picture that is to be predicted would be overwritten."""
    pictures = {real_path(each.pixels) for each in entries if isinstance(each.pixels, Path)}
    for entry in entries:
        for path in _targets(entry, out, spec, beside=beside):
            if real_path(path) in pictures:
                raise ImsegError(
                    f"The mask of {entry.name} would replace a picture that is to be predicted.",
                    expected="--out with another folder than that of the pictures.",
                    got=f"{path}.",
                    hint=f"--out {shown(out)}-masks",
                )


def _remove_tables(out: Path) -> None:
    """Remove the tables of an earlier prediction: not each of them is written every time."""
    with writing_into(out):
        for name, start in _TABLES.items():
            if (out / name).is_file() and (out / name).read_bytes().startswith(start):
                (out / name).unlink()


def _check_free(
    entries: Sequence[Image], out: Path, spec: TargetSpec, *, beside: Sequence[str]
) -> None:
    """Check that no file is there already: it may be a mask that a person drew."""
    paths = [path for entry in entries for path in _targets(entry, out, spec, beside=beside)]
    with writing_into(out):
        taken = [str(path) for path in (*paths, *(out / name for name in _TABLES)) if path.exists()]
    if taken:
        raise ImsegError(
            f"{counted(len(taken), 'file')} would be overwritten in {out}.",
            expected="a folder without masks of these names.",
            got=and_more(taken),
            hint="--out with another folder, or --overwrite.",
        )


def _check_place(images: Path, out: Path, *, recursive: bool = False) -> None:
    """Check that masks do not go among pictures; a subfolder is passed over if ``recursive``."""
    source, goal = real_path(images if images.is_dir() else images.parent), real_path(out)
    if source == goal or (images.is_dir() and source in goal.parents and not recursive):
        raise ImsegError(
            f"Masks would be written among the pictures of {source}.",
            expected="--out outside the folder of pictures.",
            got=shown(out),
            hint=f"--out {shown(source.name)}-masks",
        )
