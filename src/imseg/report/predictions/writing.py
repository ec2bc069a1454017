"""Writes masks of pictures, tables of what they amount to, and goes on after an interruption."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from imseg.approaches.runs.orientations import Orientations
from imseg.approaches.runs.run import Run
from imseg.data.files.listing import real_path
from imseg.data.files.picture_list import PictureList, find_pictures
from imseg.engine.inference.pictures import Unreadable
from imseg.engine.workers.executors import Spread
from imseg.errors import ImsegError, and_more
from imseg.report.predictions import measurements, places
from imseg.report.predictions.journal import Journal
from imseg.report.predictions.work import How, Work
from imseg.types import Image


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
    spread: Spread | None = None,
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
        spread: Has nodes of a cluster do it, which see the run, the pictures and OUT; None: this
            process does.

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
    how = How(
        run=str(run.path), digest=_digest(run), out=str(out), networks=tuple(names),
        overlay=overlay, inconsistency=inconsistency, tta=journal.note["flips"], scale=scale,
        device=device,
    )  # fmt: skip
    work = Work(run, how, rows=rows, begin=journal.begin)
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
            some = work.spread_on(spread, known, left_out) if spread else work.on(known, left_out)
            for each in some:
                journal.add(each.image, each.wrote, each.content)
                done += 1
                if progress is not None:
                    progress(done + len(skipped) - len(unusable), total)
        except ImsegError as error:
            raise _cut_short(error, done, total, out) from error
        written = _write_tables(found.images, journal, skipped, out)
        journal.finish()
    return written


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
