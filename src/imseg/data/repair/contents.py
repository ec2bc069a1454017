"""What a look at every file of the copy says must be mended, file by file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.doctor.diagnose import diagnose_masks
from imseg.data.facts import Facts
from imseg.data.folder import FolderScan
from imseg.data.image_io import UnreadablePicture, read_image, read_mask
from imseg.data.inspection import relative_name
from imseg.data.repair.rewriting import Rewrite
from imseg.data.repair.turning import Pair, Turn, find_turn
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
    lying: Sequence[tuple[Facts, Image | LabeledImage]], entries: _Entries, found: FolderScan
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
    kept: dict[str, tuple[str, Facts]] = {}
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
