"""What a comparison writes down about itself, and how it is recognized when it continues."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imseg.approaches.planning.settings import plain_values
from imseg.data.files.listing import content_of
from imseg.engine.storage.run_folder import SETTINGS_FILE, RunFolder
from imseg.engine.storage.sealed import SealedFile
from imseg.errors import ImsegError
from imseg.types import DataSet, Image, LabeledImage


class ComparisonRecord(SealedFile):
    """What a comparison is: the content of ``comparison.toml``, by which it is known again."""

    approaches: tuple[str, ...]
    """Those that were asked for."""
    seeds: tuple[int, ...]
    """All of them."""
    matched: bool
    """Whether each method has a baseline that trains as long."""
    asked: dict[str, Any]
    """Shared settings as they were asked for."""
    settled: dict[str, Any]
    """The same with every number settled."""
    data: dict[str, str]
    """A hash of each split, and of what masks mean."""


def check_place(place: Path) -> None:
    """Check that a folder is new, empty, or holds a comparison.

    Raises:
        ImsegError: If it holds something else, or cannot be written to.
    """
    if RunFolder(place).experiment.exists():
        raise ImsegError(
            f"{place} is a run, not a comparison.",
            expected="a new or empty folder, or the comparison to continue.",
            hint="--out with another folder.",
        )
    found = {each.name for each in place.iterdir()} - {".lock"} if place.is_dir() else set()
    if found and not any(re.fullmatch(rf"{re.escape(SETTINGS_FILE)}|seed-\d+", n) for n in found):
        raise ImsegError(
            f"{place} is not empty and is not a comparison.",
            expected="a new or empty folder, or the comparison to continue.",
            got=", ".join(sorted(found)[:4]),
            hint="--out with another folder.",
        )
    if not found:
        RunFolder(place).check_place()
    RunFolder(place).check_links()


def check_same_settings(
    place: Path, earlier: ComparisonRecord | None, *, given: Mapping[str, Any]
) -> None:
    """Check that a comparison in progress is the one that is asked for now.

    Raises:
        ImsegError: If any shared setting differs. Approaches and seeds may be added.
    """
    if earlier is None:
        return
    then, now = earlier.asked, plain_values(given)
    # Hidden masks change no network but those of upper bounds, whose runs know them; they may have
    # been moved, or come with the first upper bound.
    names = sorted({*then, *now} - {"unlabeled_masks"})
    changed = [name for name in names if then.get(name) != now.get(name)]
    if changed:
        expected, got = (
            ", ".join(f"{name} = {known.get(name, '(default)')}" for name in changed)
            for known in (then, now)
        )
        raise ImsegError(
            f"{place} holds a comparison under other settings.",
            expected=expected,
            got=got,
            hint="--out with another folder; approaches and seeds can be added to this one.",
        )


def check_same_data(place: Path, earlier: ComparisonRecord, *, dataset: DataSet) -> None:
    """Check that images and masks are those that a comparison began with.

    Raises:
        ImsegError: If any split has changed.
    """
    then, now = earlier.data, digests_of(dataset)
    changed = [split for split in now if then.get(split) != now[split]]
    if changed:
        raise ImsegError(
            f"The data has changed since {place} was begun.",
            expected="the same images and masks as then.",
            got=f"other content in: {', '.join(changed)}.".replace("meaning", "imseg.toml"),
            hint="--out with another folder.",
        )


def digests_of(dataset: DataSet) -> dict[str, str]:
    """Return a hash of the images and masks of each split, and of what they mean."""
    meaning = {"target": dataset.spec.as_dict(), "reading": dataset.reading.as_dict()}
    found = {"meaning": _hash(json.dumps(meaning, sort_keys=True))}
    for split in ("labeled", "unlabeled", "val", "test"):
        lines = [f"{entry.name} {_content(entry, dataset)}" for entry in getattr(dataset, split)]
        found[split] = _hash("\n".join(lines))
    return found


def _content(entry: Image | LabeledImage, dataset: DataSet) -> str:
    known = dataset.digests.get(entry.name)
    if known is not None:
        return known
    if isinstance(entry, LabeledImage):
        return content_of(entry.image.pixels) + content_of(entry.mask)
    return content_of(entry.pixels)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
