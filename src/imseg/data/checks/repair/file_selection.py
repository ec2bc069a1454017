"""Which files of a data folder go into the repaired copy, under which names, and upright."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image as Pillow

from imseg.data.checks.repair.rewriting import Repair, write_mask
from imseg.data.files.atomic import copy_file
from imseg.data.files.listing import has_odd_name, leads_out, list_pictures
from imseg.data.folder.folder_layout import find_labels
from imseg.data.images.decoding import SUFFIXES, hash_pixels
from imseg.data.images.image_files import write_png
from imseg.data.images.picture_file import probe, read_image
from imseg.data.masks.io import read_mask
from imseg.errors import ImsegError

CSV, JSON = "repairs.csv", "repairs.json"
"""Names of the lists in the copy."""

_PAIRED = ("labeled", "labelled", "val", "test")
_ALONE = ("unlabeled", "unlabelled")

_Result = TypeVar("_Result")


@dataclass(kw_only=True)
class Selection:
    """What happens to the files in folders for images and masks; all others are copied."""

    left_out: dict[Path, tuple[str, str]] = field(default_factory=dict)
    """Files that stay behind, why, and what that refers to."""
    renamed: dict[Path, str] = field(default_factory=dict)
    """Files that get another name, with suffix."""

    def leave(self, paths: Sequence[Path], why: str, about: str = "") -> None:
        """Leave files behind."""
        for path in paths:
            self.left_out.setdefault(path, (why, about))


def select_files(root: Path) -> Selection:
    """Return what happens to the files in the folders for images and masks.

    Files that are no pictures, pictures without a partner, names that are refused and links out of
    the folder stay behind. Where several files have one stem, unlabeled ones are renamed, and so
    are pairs with equal suffixes; of equal files one is kept, of masks the one that is no JPEG, of
    images the one that fits the mask; else it is not clear which is meant, and all stay behind.

    Args:
        root: The data folder.
    """
    selection = Selection()
    for name in _PAIRED:
        if (root / name / "images").is_dir():
            _select_pairs(root / name, root, selection)
    for name in _ALONE:
        folder = root / name / "images"
        folder = folder if folder.is_dir() else root / name
        if folder.is_dir():
            for stem, paths in _usable(folder, root, selection).items():
                _rename(paths[1:], stem, selection)
    return selection


def _usable(folder: Path, root: Path, selection: Selection) -> dict[str, list[Path]]:
    """Return the picture files of a folder by stem; everything else stays behind."""
    if not folder.is_dir() or leads_out(folder, root):
        return {}
    pictures, strange, _ = list_pictures(folder)
    selection.leave(strange, "not a picture that can be read")
    usable: dict[str, list[Path]] = {}
    for stem, paths in pictures.items():
        for path in paths:
            if why := _refusal(path, root):
                selection.leave([path], why)
            else:
                usable.setdefault(stem, []).append(path)
    return usable


def _select_pairs(folder: Path, root: Path, selection: Selection) -> None:
    images = _usable(folder / "images", root, selection)
    place = folder / "masks"
    labels = find_labels(place)
    folders = [place / label for label in labels] if labels else [place]
    masks = [_usable(each, root, selection) for each in folders]
    for stem in sorted({*images, *(stem for files in masks for stem in files)}):
        found = [images.get(stem, []), *(files.get(stem, []) for files in masks)]
        suffixes = {tuple(sorted(path.suffix.lower() for path in paths)) for paths in found}
        if len(suffixes) == 1 and len(found[0]) > 1:
            for paths in found:
                _rename(sorted(paths, key=lambda path: path.suffix.lower())[1:], stem, selection)
            continue
        _select_one(found, selection)


def _select_one(found: Sequence[list[Path]], selection: Selection) -> None:
    """Keep one image and its masks, or none of them."""
    masks = [_choose(paths, _hash_mask, selection, fits=_no_jpeg) for paths in found[1:]]
    single = masks[0] if len(masks) == 1 else None

    def fits(path: Path) -> bool:
        return single is None or read_mask(single).values.shape == probe(path).size

    image = _choose(found[0], _hash_image, selection, fits=fits)
    chosen = [image, *masks]
    kept = [path for path in chosen if path is not None]
    if len(kept) == len(chosen):
        return
    if image is None:
        selection.leave(kept, "a mask without an image")
    elif not any(masks):
        selection.leave(kept, "an image without a mask")
    else:
        selection.leave(kept, "the mask of another label is missing")


def _choose(
    paths: list[Path],
    content: Callable[[Path], str],
    selection: Selection,
    *,
    fits: Callable[[Path], bool],
) -> Path | None:
    """Return the one file that is meant, or None; the others stay behind."""
    if len(paths) < 2:
        return paths[0] if paths else None
    readable = [path for path in paths if _try(content, path) is not None]
    selection.leave([path for path in paths if path not in readable], "cannot be read")
    if not readable:
        return None
    if len({_try(content, path) for path in readable}) == 1:
        selection.leave(readable[1:], "an exact copy with the same stem", readable[0].name)
        return readable[0]
    fitting = [path for path in readable if _try(fits, path)]
    if len(fitting) == 1:
        others = [path for path in readable if path not in fitting]
        why = "another file has the same stem and fits better"
        selection.leave(others, why, fitting[0].name)
        return fitting[0]
    selection.leave(readable, "several files with one stem, and nothing tells which is meant")
    return None


def _rename(paths: Sequence[Path], stem: str, selection: Selection) -> None:
    """Give files a stem of their own."""
    for path in paths:
        suffix = path.suffix.lower().removeprefix(".")
        name = f"{stem}-{suffix}"
        number = 2
        while any(other.stem == name for other in path.parent.iterdir()):
            name, number = f"{stem}-{suffix}-{number}", number + 1
        selection.renamed[path] = name + path.suffix


def _no_jpeg(path: Path) -> bool:
    return path.suffix.lower() not in (".jpg", ".jpeg")


def _hash_image(path: Path) -> str:
    return hash_pixels(read_image(path))


def _hash_mask(path: Path) -> str:
    values = read_mask(path).values
    return hash_pixels(np.ascontiguousarray(values)[..., None])


def _try(function: Callable[[Path], _Result], path: Path) -> _Result | None:
    try:
        return function(path)
    except ImsegError:
        return None


_ORIENTATION = 0x0112


def copy_usable(root: Path, target: Path) -> tuple[list[Repair], dict[str, int]]:
    """Copy a data folder without what cannot be used, and turn pictures upright.

    Hidden files stay behind and are not listed. Everything that needs no repair is copied byte for
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
            copy_file(path, goal)
            with suppress(OSError):  # the dates only say which picture was taken when
                os.utime(goal, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
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
    return split in (*_PAIRED, *_ALONE) and path.suffix.lower() in SUFFIXES


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


def _shown(name: str) -> str:
    """Return a name that can be printed, whatever it holds."""
    return name if name.isprintable() else ascii(name)[1:-1]
