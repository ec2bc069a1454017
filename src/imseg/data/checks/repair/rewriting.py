"""What a look at every file of the copy says must be mended, file by file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from imseg.data.checks.diagnosis import Recode, Snap
from imseg.data.checks.folder_check import diagnose_masks
from imseg.data.checks.repair.file_selection import (
    CSV,
    JSON,
    Pair,
    Repair,
    Turn,
    find_turn,
    select_files,
)
from imseg.data.files.listing import has_odd_name, leads_out
from imseg.data.folder.facts import ImageFacts
from imseg.data.folder.inspection import relative_name
from imseg.data.folder.scan import FolderScan
from imseg.data.images.decoding import SUFFIXES, UnreadablePicture
from imseg.data.images.image_files import write_png, write_tiff
from imseg.data.images.picture_file import read_image
from imseg.data.masks.encoding import unpack_colors
from imseg.data.masks.io import MaskFile, as_packed_colors, read_mask, resize_mask
from imseg.errors import ImsegError
from imseg.types import Image, LabeledImage

PRECEDENCE = ("test", "val", "labeled", "unlabeled")
"""Which split keeps a picture that several have: what is measured on stays whole."""

_MOST_COMPARED = 40


@dataclass(kw_only=True)
class Round:
    """What is to be done at once."""

    left_out: dict[Path, tuple[str, str]] = field(default_factory=dict)
    """Files to remove from the copy, why, and what that refers to."""
    rewrites: dict[Path, list[Rewrite]] = field(default_factory=dict)
    """Masks to rewrite."""

    def leave(self, entry: Image | LabeledImage, why: str, about: str = "") -> None:
        """Remove a picture with all of its masks."""
        for path in files_of(entry):
            self.left_out.setdefault(path, (why, about))


def plan_round(found: FolderScan, orientations: Mapping[str, int]) -> Round:
    """Return what is to be done next; nothing, if all that can be mended is.

    Args:
        found: What a look at every file of the copy gave.
        orientations: The EXIF orientation that pictures had before they were turned upright.
    """
    plan = Round()
    entries = {name: (split, entry) for split, name, entry in _entries(found)}
    known = {facts.name: facts for facts in found.survey.every()}
    for name, (_, entry) in entries.items():
        if name not in known:
            plan.leave(entry, "it or its partner cannot be read", _what_is_broken(entry, found))
    _fit_masks(found, plan, entries, orientations)
    root = found.layout.root
    for diagnosis in diagnose_masks(found):
        for cure in diagnosis.cures:
            rewrite = Rewrite(recodes=(cure.recode,), reasons=(cure.why,))
            plan.rewrites.setdefault(root / cure.name, []).append(rewrite)
    _drop_copies(found, plan, entries)
    plan.rewrites = {
        path: steps for path, steps in plan.rewrites.items() if path not in plan.left_out
    }
    return plan


def files_of(entry: Image | LabeledImage) -> list[Path]:
    """Return the files of a picture and its masks."""
    if isinstance(entry, Image):
        return [entry.pixels] if isinstance(entry.pixels, Path) else []
    masks = entry.mask.values() if isinstance(entry.mask, Mapping) else [entry.mask]
    return files_of(entry.image) + [mask for mask in masks if isinstance(mask, Path)]


_Entries = Mapping[str, tuple[str, Image | LabeledImage]]


def _entries(found: FolderScan) -> Iterator[tuple[str, str, Image | LabeledImage]]:
    layout = found.layout
    for split in PRECEDENCE:
        for entry in getattr(layout, split):
            yield split, entry.name, entry


def _what_is_broken(entry: Image | LabeledImage, found: FolderScan) -> str:
    for path in files_of(entry):
        try:
            if "masks" in path.parts:
                read_mask(path)
            else:
                read_image(path, pages=found.config.pages)
        except UnreadablePicture as error:
            return f"{relative_name(path, found.layout.root)} {error.reason}"
    return ""


def _fit_masks(
    found: FolderScan, plan: Round, entries: _Entries, orientations: Mapping[str, int]
) -> None:
    """Turn, resize or leave out what does not have the size of its image."""
    root = found.layout.root
    wrong = [
        (facts, entries[facts.name][1])
        for facts in found.survey.every()
        if any(mask.size != facts.size for mask in facts.masks)
    ]
    lying = [
        (facts, entry)
        for facts, entry in wrong
        if all(mask.size == facts.size[::-1] for mask in facts.masks)
    ]
    turn = _common_turn(lying, entries, found)
    for facts, entry in wrong:
        if (facts, entry) in lying:
            own = orientations.get(facts.name, 1)
            back, reason = turn, "the mask lay on its side"
            if own in (5, 6, 7, 8):
                back = Turn(own)
                reason += ": drawn on the picture as it was stored, before its EXIF turn"
            if back is None:
                text = "the mask lies on its side, and it is not clear which way it must be turned"
                plan.leave(entry, text)
                continue
            for mask in facts.masks:
                rewrite = Rewrite(turn=back, reasons=(reason,))
                plan.rewrites.setdefault(root / mask.name, []).append(rewrite)
        elif all(_same_shape(mask.size, facts.size) for mask in facts.masks):
            for mask in facts.masks:
                if mask.size != facts.size:
                    reason = "the mask was not of the size of its image"
                    rewrite = Rewrite(size=facts.size, reasons=(reason,))
                    plan.rewrites.setdefault(root / mask.name, []).append(rewrite)
        else:
            plan.leave(entry, "the mask has another size and another shape than its image")


def _same_shape(mask: tuple[int, int], image: tuple[int, int]) -> bool:
    """Return whether a mask has the sides of an image in proportion, to half a pixel."""
    (low_h, low_w), (high_h, high_w) = sorted((mask, image))
    return abs(low_h * high_w - low_w * high_h) <= max(high_h, high_w) / 2


def _common_turn(
    lying: Sequence[tuple[ImageFacts, Image | LabeledImage]], entries: _Entries, found: FolderScan
) -> Turn | None:
    """Return how masks on their side must be turned, as their images show; None: not clear."""
    if not lying:
        return None
    fitting = [
        entries[facts.name][1]
        for facts in found.survey.every()
        if facts.masks and all(mask.size == facts.size for mask in facts.masks)
    ]
    pages = found.config.pages
    return find_turn(
        [_pair(entry, pages=pages) for _, entry in lying[:_MOST_COMPARED]],
        [_pair(entry, pages=pages) for entry in fitting[:_MOST_COMPARED]],
    )


def _pair(entry: Image | LabeledImage, *, pages: bool) -> Pair:
    """Return a picture and its mask; of several masks, a number for each mixture of labels."""
    image, *masks = files_of(entry)
    mixture: npt.NDArray[Any] = np.zeros((1, 1), np.int64)
    for place, path in enumerate(masks):
        values = read_mask(path).values
        # Of a single mask the values count, of several where each is set.
        mixture = mixture + (values if len(masks) == 1 else (values != 0) * (1 << place))
    return read_image(image, pages=pages), mixture


def _drop_copies(found: FolderScan, plan: Round, entries: _Entries) -> None:
    """Leave out pictures that are there already, in the order of ``PRECEDENCE``."""
    splits = found.survey.splits()
    kept: dict[str, tuple[str, ImageFacts]] = {}
    for split in PRECEDENCE:
        for facts in splits[split]:
            entry = entries[facts.name][1]
            if any(path in plan.left_out for path in files_of(entry)):
                continue
            place, first = kept.setdefault(facts.digest, (split, facts))
            if first is facts:
                continue
            same = [mask.digest for mask in first.masks] == [mask.digest for mask in facts.masks]
            # Whose mask is right, only a person can say.
            if place != split or same:
                plan.leave(entry, "an exact copy", f"the same picture as {first.name}")


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What is to be done to a mask file; the steps are made in this order."""

    turn: Turn | None = None
    """How it is turned back."""
    size: tuple[int, int] | None = None
    """The height and width it is brought to."""
    recodes: tuple[Recode, ...] = ()
    """What is done to its values."""
    reasons: tuple[str, ...] = ()
    """Why."""

    def __str__(self) -> str:
        steps = [str(self.turn)] if self.turn else []
        if self.size:
            steps.append(f"resized to {self.size[0]}x{self.size[1]} by nearest neighbor")
        return "; ".join([*steps, *(str(recode) for recode in self.recodes)])


def rewrite_mask(path: Path, rewrite: Rewrite, root: Path) -> Repair:
    """Mend a mask file in place; the name changes where the format must.

    Args:
        path: The file.
        rewrite: What is to be done.
        root: The copy, to which names are relative.

    Raises:
        ImsegError: If the file cannot be read or written.
    """
    mask = read_mask(path)
    values, form, palette = mask.values, mask.form, mask.palette
    if rewrite.turn is not None:
        values = rewrite.turn(values)
    if rewrite.size is not None:
        values = resize_mask(values, rewrite.size)
    for recode in rewrite.recodes:
        if isinstance(recode, Snap) and form == "values":
            values, form = as_packed_colors(values), "colors"
        values = recode(values)
    if palette is not None and int(values.max(initial=0)) >= len(palette):
        palette = None
    written = write_mask(path.with_suffix(".png"), MaskFile(values, form, palette))
    if written != path:
        path.unlink()
    return Repair(
        path.relative_to(root).as_posix(),
        "rewritten",
        written.relative_to(root).as_posix(),
        str(rewrite),
        "; ".join(dict.fromkeys(rewrite.reasons)),
    )


def write_mask(path: Path, mask: MaskFile) -> Path:
    """Write a mask without loss and return its path: PNG, or TIFF where PNG cannot hold it.

    Args:
        path: Where to, with the suffix ``.png``.
        mask: What to write.

    Raises:
        ImsegError: If the file cannot be written.
    """
    values = mask.values
    if mask.form == "colors":
        write_png(path, unpack_colors(values))
        return path
    if mask.form == "numbers" or int(values.max(initial=0)) > np.iinfo(np.uint16).max:
        path = path.with_suffix(".tif")
        write_tiff(path, values)
        return path
    small = int(values.max(initial=0)) <= np.iinfo(np.uint8).max
    whole = values.astype(np.uint8 if small else np.uint16)
    write_png(path, whole, palette=mask.palette if small else None)
    return path


def merged(rewrites: Sequence[Rewrite]) -> Rewrite:
    """Return several rewrites of one mask as one."""
    return Rewrite(
        next((each.turn for each in rewrites if each.turn), None),
        next((each.size for each in rewrites if each.size), None),
        tuple(recode for each in rewrites for recode in each.recodes),
        tuple(reason for each in rewrites for reason in each.reasons),
    )


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
