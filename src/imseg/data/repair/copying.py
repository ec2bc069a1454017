"""The first step of a repair: a copy of the files that can be used, the right way up."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from PIL import Image as Pillow

from imseg.data.image_io import SUFFIXES, read_image, read_mask, write_png
from imseg.data.listing import has_odd_name, leads_out
from imseg.data.repair.record import CSV, JSON, Repair
from imseg.data.repair.rewriting import write_mask
from imseg.data.repair.selection import select_files
from imseg.errors import ImsegError

_ORIENTATION = 0x0112
_SPLITS = ("labeled", "labelled", "unlabeled", "unlabelled", "val", "test")


def copy_usable(root: Path, target: Path) -> tuple[list[Repair], dict[str, int]]:
    """Copy a data folder without what cannot be used, and turn pictures upright.

    Hidden files stay behind without a word. Everything that needs no repair is copied byte for
    byte, what lies outside of the splits too.

    Args:
        root: The data folder.
        target: An existing, empty folder.

    Returns:
        What was done, and the EXIF orientation that each turned picture had, by its new name.

    Raises:
        ImsegError: If a file cannot be copied.
    """
    selection = select_files(root)
    repairs: list[Repair] = []
    orientations: dict[str, int] = {}
    for path in _files(root, root):
        name = _shown(path.relative_to(root).as_posix())
        why, about = selection.left_out.get(path) or (_refusal(path, root), "")
        if why:
            repairs.append(Repair(name, "left out", "", "", why, about))
            continue
        goal = target / path.relative_to(root)
        if path in selection.renamed:
            goal = goal.with_name(selection.renamed[path])
            became = goal.relative_to(target).as_posix()
            why = "another file has the same stem"
            repairs.append(Repair(name, "renamed", became, "", why))
        goal.parent.mkdir(parents=True, exist_ok=True)
        orientation = _orientation(path) if _is_picture(path, root) else 1
        upright = _write_upright(path, goal) if orientation != 1 else None
        if upright is None:
            _copy(path, goal)
            continue
        became = upright.relative_to(target).as_posix()
        orientations[became] = orientation
        why = "an EXIF orientation, which other programs may ignore"
        did, about = "turned upright, saved as PNG", f"orientation {orientation}"
        repairs.append(Repair(name, "rewritten", became, did, why, about))
    return repairs, orientations


def _files(folder: Path, root: Path, seen: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Yield the files below a folder, in the order of their names; links in circles end."""
    here = folder.resolve()
    if here in seen:
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or (folder == root and path.name in (CSV, JSON)):
            continue
        if path.is_dir() and not (path.is_symlink() and leads_out(path, root)):
            yield from _files(path, root, seen | {here})
        else:
            yield path


def _refusal(path: Path, root: Path) -> str:
    """Return why a file cannot be in the copy whatever it is; empty if it can."""
    if has_odd_name(path):
        return "its name has control characters"
    if path.is_symlink() and leads_out(path, root):
        return "a link that leads out of the data folder"
    if not path.is_file():
        return "not a file, or a link that leads nowhere"
    return ""


def _is_picture(path: Path, root: Path) -> bool:
    """Return whether this is a picture in one of the splits."""
    split = path.relative_to(root).parts[0]
    return split in _SPLITS and path.suffix.lower() in SUFFIXES


def _orientation(path: Path) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (upright) if there is none or the file is broken."""
    try:
        with path.open("rb") as file, Pillow.open(file) as picture:
            found = picture.getexif().get(_ORIENTATION, 1)
    except Exception:
        # Whatever is broken in one way or another is found when all files are decoded.
        return 1
    return found if found in range(2, 9) else 1


def _write_upright(path: Path, goal: Path) -> Path | None:
    """Write a picture as it is meant to be seen; None if it cannot be a PNG file."""
    goal = goal.with_suffix(".png")
    try:
        if "masks" in path.parts:
            return write_mask(goal, read_mask(path))
        pixels = read_image(path)
        write_png(goal, pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    except (ImsegError, ValueError):
        return None
    return goal


def _copy(path: Path, goal: Path) -> None:
    try:
        shutil.copyfile(path, goal)
        # The dates say which picture was taken when, and help nobody else.
        os.utime(goal, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    except OSError as error:
        raise ImsegError(
            f"{path} could not be copied.",
            expected="a readable file, and room for its copy.",
            got=f"{error.strerror or error}.",
            hint="mend the permissions, or name a folder on another disk.",
        ) from error


def _shown(name: str) -> str:
    """Return a name that can be printed, whatever it holds."""
    return name if name.isprintable() else ascii(name)[1:-1]
