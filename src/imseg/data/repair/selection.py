"""Which files of the folders for images and masks go into a repaired copy, under which names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from imseg.data.image_io import hash_pixels, probe, read_image, read_mask
from imseg.data.listing import has_odd_name, leads_out, list_pictures
from imseg.data.pairing import find_labels
from imseg.errors import ImsegError

LOSSY = (".jpg", ".jpeg")
"""Suffixes of files that do not keep the values of masks."""

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
    images the one that fits the mask; else nobody can tell which is meant, and all stay behind.

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
            if has_odd_name(path):
                selection.leave([path], "its name has control characters")
            elif leads_out(path, root):
                selection.leave([path], "a link that leads out of the data folder")
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
    return path.suffix.lower() not in LOSSY


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
