"""Writes masks of pictures, tables of what they amount to, and goes on after an interruption."""

import hashlib
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from imseg.approaches.runs.orientations import Orientations, check_pixel_sizes
from imseg.approaches.runs.predictions import prediction_of
from imseg.approaches.runs.run import Run
from imseg.data.files.listing import real_path
from imseg.data.files.picture_list import PictureList, find_pictures
from imseg.data.images import by_rows
from imseg.engine.hardware.device import usable_cores
from imseg.engine.inference.large import needs_bands
from imseg.engine.inference.pictures import Predictor, Segmented, Unreadable
from imseg.errors import ImsegError, and_more
from imseg.report.predictions import measurements, places
from imseg.report.predictions.journal import Journal
from imseg.report.predictions.mask_writing import CannotRead, write_at_once, write_in_bands
from imseg.types import Image

MOST_WRITERS = 4
"""Threads that write masks while the next pictures are predicted."""
_Sized = tuple[Image, tuple[int, int]]
Item = TypeVar("Item")
Result = TypeVar("Result")


def write_predictions(
    run: Run,
    images: Path | PictureList,
    out: Path,
    *,
    overlay: bool = False,
    inconsistency: bool = False,
    networks: Sequence[str] | None = None,
    tta: bool | None = None,
    seen: Orientations | None = None,
    scale: float | None = None,
    device: str = "auto",
    overwrite: bool = False,
    pixel_size: float | None = None,
    skip: Unreadable | None = None,
    progress: Callable[[int, int], None] | None = None,
    rows: Callable[[str, int, int], None] | None = None,
    continued: Callable[[int, int], None] | None = None,
) -> list[places.Written]:
    """Write a mask for each picture and return what was written.

    Large pictures (see ``engine.inference.large``) are read, predicted and written from top to
    bottom, so that memory does not grow with them; their masks are TIFF files. A prediction that
    was interrupted is continued, if it is asked for again with the same arguments.

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
        seen: What follows from ``tta``, if that was looked at before.
        scale: As in ``Run.predict``.
        device: Where to compute.
        overwrite: Replace files that are there already, and continue nothing.
        pixel_size: Side of a pixel in micrometers, of all pictures; None: what each file says, for
            areas else what the training data said.
        skip: Called with each picture that cannot be read, and why; it is left out, and named in
            ``out/skipped.csv``. None: that is an error.
        progress: Told about finished and all pictures.
        rows: Told about a large picture by name: finished and all rows.
        continued: Told once, where an interrupted prediction is continued, how many pictures were
            finished, and how many there are.

    Returns:
        What was written for each picture: in the order of the pictures, or with ``inconsistency``
        the most inconsistent first.

    Raises:
        ImsegError: If a picture cannot be read and none may be left out, if none can be read, or if
            OUT cannot be written, or lies where it would overwrite pictures. What was written
            before stays and is spoken of; every file is whole.
    """
    beside = [places.OVERLAYS] * overlay + [places.INCONSISTENCY] * inconsistency
    if isinstance(images, Path):
        places.check_place(images, out)
        images = find_pictures(images, ask_files=run.asks_files)
    found, names = images.with_pixel_size(pixel_size), list(networks or run.members())
    seen = seen or run.orientations(
        tta=tta, networks=names, disagreement=inconsistency, device=device
    )
    asked = {
        "pictures": [str(real_path(found.place)), found.recursive], "run": _digest(run),
        "networks": names, "overlay": overlay, "inconsistency": inconsistency, "tta": tta,
        "scale": scale, "pixel_size": pixel_size,
    }  # fmt: skip
    # How long a picture takes was measured: what was decided by that before holds on.
    journal = Journal(out, asked, {"flips": seen.tta}, anew=overwrite)
    places.check_places(
        found, out, run.spec, beside=beside, overwrite=overwrite, may_replace=journal.may_replace
    )
    looking = run.predictor(
        networks=names,
        disagreement=inconsistency,
        tta=journal.note["flips"],
        scale=scale,
        device=device,
    )
    work = _Work(
        run, looking, out, overlay=overlay, as_learned=scale is None, rows=rows, begin=journal.begin
    )
    total, unusable = len(found.images), found.unusable
    skipped: list[measurements.Measurements] = [
        {"image": name, "reason": f"{name} {why}."} for name, why in unusable.items()
    ]

    def left_out(image: Image, error: ImsegError) -> None:
        if skip is None:
            if found.place.is_file():
                raise error
            raise _with_hint(error, "--skip-bad goes on without pictures that cannot be read.")
        skipped.append({"image": image.name, "reason": error.what})
        skip(image, error)

    todo = [each for each in found.images if not journal.is_finished(each)]
    done = total - len(todo)
    known = work.readable(todo, left_out)
    with journal:
        if done and continued is not None:
            continued(done, total)
        try:
            for each in work.on(known, left_out):
                journal.add(each.image, each.wrote, each.content)
                done += 1
                if progress is not None:
                    progress(done + len(skipped) - len(unusable), total)
        except ImsegError as error:
            raise _cut_short(error, done, total, out) from error
        written = _write_tables(found.images, journal, skipped, out)
        journal.finish()
    return written


@dataclass(frozen=True, slots=True)
class _Done:
    """A picture whose files are written."""

    image: Image
    wrote: list[Path]
    content: dict[str, Any]
    """What tables are made from, as plain values."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What is done to each picture."""

    run: Run
    predictor: Predictor
    out: Path
    overlay: bool
    as_learned: bool
    """Whether no scale was asked for."""
    rows: Callable[[str, int, int], None] | None
    begin: Callable[[Image], None]

    def on(self, known: Sequence[_Sized], left_out: Unreadable) -> Iterator[_Done]:
        """Yield what was written for each picture, in order; unreadable ones are told about."""
        for large, some in itertools.groupby(known, self._is_large):
            if large:
                yield from self._in_bands([image for image, _ in some], left_out)
            else:
                found = self.predictor.segment([image for image, _ in some], unreadable=left_out)
                yield from _beside(self._at_once, found)

    def readable(self, images: Sequence[Image], left_out: Unreadable) -> list[_Sized]:
        """Return pictures with their sizes, by their headers; unreadable ones are told about.

        So that what is no picture is told before anything is computed.
        """
        known = []
        for image in images:
            try:
                if self.as_learned:
                    check_pixel_sizes(self.run.plan, [image])
                known.append((image, by_rows.size_of(image, self.predictor.reading)))
            except ImsegError as error:
                left_out(image, error)
        return known

    def _totals(self, image: Image) -> measurements.Totals:
        size = image.pixel_size or self.run.spec.pixel_size
        return measurements.Totals(image.name, replace(self.run.spec, pixel_size=size))

    def _is_large(self, known: _Sized) -> bool:
        return needs_bands(self.predictor, *known)

    def _at_once(self, segmented: Segmented) -> _Done:
        predicted = prediction_of(segmented, self.run.task)
        totals = self._totals(segmented.image)
        self.begin(segmented.image)
        written, wrote = write_at_once(predicted, self.out, self.run.spec, overlay=self.overlay)
        totals.add(predicted)
        return self._done(segmented.image, written, wrote, totals)

    def _in_bands(self, images: Sequence[Image], left_out: Unreadable) -> Iterator[_Done]:
        for image in images:
            totals = self._totals(image)
            self.begin(image)
            told = None if self.rows is None else _named(self.rows, image.name)
            try:
                written, wrote = write_in_bands(
                    self.run,
                    self.predictor,
                    image,
                    self.out,
                    totals,
                    overlay=self.overlay,
                    progress=told,
                )
            except CannotRead as error:
                left_out(image, error.reason)
            else:
                yield self._done(image, written, wrote, totals)

    def _done(
        self, image: Image, written: places.Written, wrote: list[Path], totals: measurements.Totals
    ) -> _Done:
        content = {
            "mask": written.mask,
            "inconsistent": written.inconsistent,
            "measured": list(totals.measured()),
            "objects": list(totals.counted()),
        }
        return _Done(image, wrote, content)


def _named(rows: Callable[[str, int, int], None], name: str) -> Callable[[int, int], None]:
    return lambda done, total: rows(name, done, total)


def _beside(write: Callable[[Item], Result], found: Iterable[Item]) -> Iterator[Result]:
    """Yield what ``write`` returns for each picture, in order; threads do it while others compute.

    Where a picture cannot be made, those before it are yielded first.
    """
    pictures, failure = iter(found), None
    with ThreadPoolExecutor(min(usable_cores(), MOST_WRITERS)) as pool:
        waiting: deque[Future[Result]] = deque()
        while failure is None:
            try:
                waiting.append(pool.submit(write, next(pictures)))
            except StopIteration:
                break
            except ImsegError as error:
                failure = error
            while waiting and (len(waiting) > 2 * MOST_WRITERS or waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    if failure is not None:
        raise failure


def _digest(run: Run) -> str:
    """Return what tells a run from others, and from itself trained again."""
    return hashlib.sha256(json.dumps(run.summary, sort_keys=True).encode()).hexdigest()


def _with_hint(error: ImsegError, text: str) -> ImsegError:
    """Return an error with one more thing to try."""
    hint = f"{error.hint}\n{text}" if error.hint else text
    return ImsegError(error.what, expected=error.expected, got=error.got, hint=hint)


def _cut_short(error: ImsegError, done: int, total: int, out: Path) -> ImsegError:
    """Return an error that ended a prediction with what it has left behind."""
    if not done:
        return error
    left = (
        f"{done} of {total} masks are written in {out}, without tables; the same command goes on"
        " after them."
    )
    return _with_hint(error, left)


def _write_tables(
    images: Sequence[Image],
    journal: Journal,
    skipped: Sequence[measurements.Measurements],
    out: Path,
) -> list[places.Written]:
    """Write the tables about the pictures that are finished, in their order, and return those.

    The most inconsistent pictures come first in what is returned, if that was asked for.

    Raises:
        ImsegError: If all pictures were left out.
    """
    done: list[places.Written] = []
    finished = [image.name for image in images if image.name in journal]
    kinds, entries = ("measured", "objects"), map(journal.entry, finished)
    known = any(measurements.has_areas(entry[kind]) for entry in entries for kind in kinds)
    with (
        measurements.MeasurementFile(out / measurements.FILE_NAME) as amounts,
        measurements.MeasurementFile(out / measurements.COUNTS_NAME) as counts,
    ):
        for name in finished:
            entry = journal.entry(name)
            for table, kind in zip((amounts, counts), kinds, strict=True):
                table.add(measurements.without_unknown(entry[kind], known=known))
            done.append(places.Written(name, entry["mask"], entry["inconsistent"]))
    if not done:
        raise ImsegError(
            f"None of the {len(skipped)} pictures can be predicted.",
            expected="pictures like those that the run was trained on.",
            got=and_more([str(each["reason"]) for each in skipped]),
            hint="imseg predict with one of them says what is wrong with it.",
        )
    with measurements.MeasurementFile(out / places.SKIPPED_NAME) as table:
        table.add(skipped)
    if done[0].inconsistent is not None:
        done.sort(key=lambda each: -(each.inconsistent or 0.0))
        with measurements.MeasurementFile(out / places.SHARES_NAME) as shares:
            shares.add(
                {"share_of_inconsistent_pixels": f"{each.inconsistent:.6f}", "image": each.image}
                for each in done
            )
    return done
