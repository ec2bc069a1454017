"""Where masks and what lies beside them go, and that nothing of others is overwritten there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imseg.data.files import listing
from imseg.data.files.atomic import writing_into
from imseg.data.files.picture_list import PictureList
from imseg.errors import ImsegError, and_more, shown
from imseg.report.predictions.journal import UNFINISHED
from imseg.report.predictions.measurements import COUNTS_NAME, FILE_NAME
from imseg.types import Image, TargetSpec

SKIPPED_NAME = "skipped.csv"
"""Name of the table of pictures that were left out, and why."""
SHARES_NAME = "inconsistency.csv"
"""Name of the table of how much networks disagree on each picture."""
OVERLAYS, INCONSISTENCY = "overlays", "inconsistency"
"""Folders beside masks."""
TABLES = {
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
        for path in (
            _with_large(mask_files(each.image, out, spec)) if planes else [Path(each.mask)]
        )
    }
    pictures = [
        path
        for place in sorted({out, *(path.parent for path in own)})
        for paths in listing.list_pictures(place)[0].values()
        for path in paths
        if path not in own
    ]
    used = {out / each for each in beside}.union(*(path.parents for path in own))
    folders = [
        each
        for each in listing.folders_in(out)
        if each not in used and listing.list_pictures(each)[0]
    ]
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
        folders = listing.folder_names(spec.names, others=(OVERLAYS, INCONSISTENCY))
        return [out / folder / name.with_suffix(".png") for folder in folders]
    fractions = spec.coding == "numbers" and np.dtype(spec.stored).kind == "f"
    return [out / name.with_suffix(".tif" if fractions else ".png")]


def _check_apart(
    entries: Sequence[Image], out: Path, spec: TargetSpec, *, beside: Sequence[str]
) -> None:
    """Check that no two files that will be written have one name, folders beside masks included."""
    places: dict[str, str] = {}
    for entry in entries:
        for path in _targets(entry, out, spec, beside=beside):
            other = places.setdefault(listing.folded(str(path.with_suffix(""))), entry.name)
            if other != entry.name:
                raise ImsegError(
                    f"{other} and {entry.name} would be written to the same place.",
                    expected="pictures whose masks get names of their own.",
                    got=f"both would be {path}.",
                    hint="rename one of them, or the folder that it is in.",
                )


def check_places(
    found: PictureList,
    out: Path,
    spec: TargetSpec,
    *,
    beside: Sequence[str],
    overwrite: bool,
    may_replace: Callable[[str], bool],
) -> None:
    """Check that masks can go where they are to go; with ``overwrite``, remove earlier tables.

    Args:
        found: What is to be predicted.
        out: Where masks go.
        spec: What masks may hold.
        beside: Folders of further pictures, below ``out``.
        overwrite: Whether files that are there already are replaced.
        may_replace: Tells of a picture by name whether its files that are there already are those
            of an interrupted prediction that is continued.

    Raises:
        ImsegError: If they cannot.
    """
    check_place(found.place, out, recursive=found.recursive)
    _check_apart(found.images, out, spec, beside=beside)
    if overwrite:
        _check_kept(found.images, out, spec, beside=beside)
        _remove_tables(out)
    else:
        others = [each for each in found.images if not may_replace(each.name)]
        _check_free(others, out, spec, beside=beside)


def _targets(entry: Image, out: Path, spec: TargetSpec, *, beside: Sequence[str]) -> list[Path]:
    """Return the files that may be written for a picture."""
    paths = _with_large(mask_files(entry.name, out, spec))
    name = Path(entry.name).with_suffix(".png")
    return [*paths, *(out / each / name for each in beside)]


def _with_large(paths: Sequence[Path]) -> list[Path]:
    """Return the names that masks may have: those of large pictures are TIFF files."""
    return list(dict.fromkeys((*paths, *(path.with_suffix(".tif") for path in paths))))


def _check_kept(
    entries: Sequence[Image], out: Path, spec: TargetSpec, *, beside: Sequence[str]
) -> None:
    """Check that no picture that is to be predicted would be overwritten."""
    pictures = {listing.real_path(each.pixels) for each in entries if isinstance(each.pixels, Path)}
    for entry in entries:
        for path in _targets(entry, out, spec, beside=beside):
            if listing.real_path(path) in pictures:
                raise ImsegError(
                    f"The mask of {entry.name} would replace a picture that is to be predicted.",
                    expected="--out with another folder than that of the pictures.",
                    got=f"{path}.",
                    hint=f"--out {shown(out)}-masks",
                )


def _remove_tables(out: Path) -> None:
    """Remove the tables of an earlier prediction: not each of them is written every time."""
    with writing_into(out):
        for name, start in TABLES.items():
            if (out / name).is_file() and (out / name).read_bytes().startswith(start):
                (out / name).unlink()


def _check_free(
    entries: Sequence[Image], out: Path, spec: TargetSpec, *, beside: Sequence[str]
) -> None:
    """Check that no file is there already: it may be a mask that a person drew."""
    paths = [path for entry in entries for path in _targets(entry, out, spec, beside=beside)]
    with writing_into(out):
        taken = [str(path) for path in (*paths, *(out / name for name in TABLES)) if path.exists()]
    if taken:
        raise ImsegError(
            f"{listing.counted(len(taken), 'file')} would be overwritten in {out}.",
            expected="a folder without masks of these names.",
            got=and_more(taken),
            hint="--out with another folder, or --overwrite."
            + " A prediction that was interrupted there is continued by the very same command."
            * (out / UNFINISHED).exists(),
        )


def check_place(images: Path, out: Path, *, recursive: bool = False) -> None:
    """Check that masks do not go among pictures; a subfolder is passed over if ``recursive``."""
    source, goal = (
        listing.real_path(images if images.is_dir() else images.parent),
        listing.real_path(out),
    )
    if source == goal or (images.is_dir() and source in goal.parents and not recursive):
        raise ImsegError(
            f"Masks would be written among the pictures of {source}.",
            expected="--out outside the folder of pictures.",
            got=shown(out),
            hint=f"--out {shown(source.name)}-masks",
        )
