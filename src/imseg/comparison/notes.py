"""What a comparison writes down about itself, and how it is recognized when it continues."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imseg.approaches.planning.settings import plain_values
from imseg.data.files.listing import content_of
from imseg.engine.storage.run_folder import SETTINGS_FILE, RunFolder
from imseg.engine.storage.sealed import read_toml, write_toml
from imseg.errors import ImsegError
from imseg.types import DataSet, Image, LabeledImage


def write_settings(
    place: Path,
    dataset: DataSet,
    *,
    approaches: Sequence[str],
    seeds: Sequence[int],
    asked: Mapping[str, Any],
    settled: Mapping[str, Any],
    matched: bool,
) -> None:
    """Write down what a comparison is, so that it is known again.

    Args:
        place: Its folder.
        dataset: What is learned from and scored on.
        approaches: Those that were asked for.
        seeds: All of them.
        asked: Shared settings as they were asked for.
        settled: The same with every number settled.
        matched: Whether each method has a baseline that trains as long.
    """
    content = {
        "approaches": list(approaches),
        "seeds": list(seeds),
        "matched": matched,
        "asked": plain_values(asked),
        "settled": plain_values(settled),
        "data": digests_of(dataset),
    }
    write_toml(place / SETTINGS_FILE, content)


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
    found = [each.name for each in place.iterdir()] if place.is_dir() else []
    found = [name for name in found if name != ".lock"]
    ours = [name for name in found if name == SETTINGS_FILE or re.fullmatch(r"seed-\d+", name)]
    if found and not ours:
        raise ImsegError(
            f"{place} is not empty and is not a comparison.",
            expected="a new or empty folder, or the comparison to continue.",
            got=", ".join(sorted(found)[:4]),
            hint="--out with another folder.",
        )
    if not found:
        RunFolder(place).check_place()
    RunFolder(place).check_links()


def read_settings(place: Path) -> dict[str, Any] | None:
    """Return what a comparison wrote down, as ``write_settings`` did; None if nothing.

    Raises:
        ImsegError: If the file is damaged.
    """
    if not (place / SETTINGS_FILE).exists():
        return None
    content = read_toml(place / SETTINGS_FILE)
    try:
        return {
            **{name: dict(content[name]) for name in ("asked", "settled", "data")},
            **{name: list(content[name]) for name in ("approaches", "seeds")},
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ImsegError(
            f"{place / SETTINGS_FILE} cannot be read.",
            expected="the settings of a comparison, as imseg wrote them.",
            got=str(error),
            hint="--out with another folder.",
        ) from error


def check_same(place: Path, earlier: Mapping[str, Any] | None, *, given: Mapping[str, Any]) -> None:
    """Check that a comparison in progress is the one that is asked for now.

    Raises:
        ImsegError: If any shared setting differs. Approaches and seeds may be added.
    """
    if earlier is None:
        return
    then, now = earlier["asked"], plain_values(given)
    # Hidden masks change no network but those of upper bounds, whose runs know them; they may have
    # been moved, or come with the first upper bound.
    names = sorted({*then, *now} - {"unlabeled_masks"})
    changed = [name for name in names if then.get(name) != now.get(name)]
    if changed:
        raise ImsegError(
            f"{place} holds a comparison under other settings.",
            expected=", ".join(f"{name} = {then.get(name, '(default)')}" for name in changed),
            got=", ".join(f"{name} = {now.get(name, '(default)')}" for name in changed),
            hint="--out with another folder; approaches and seeds can be added to this one.",
        )


def check_same_data(place: Path, earlier: Mapping[str, Any], *, dataset: DataSet) -> None:
    """Check that images and masks are those that a comparison began with.

    Raises:
        ImsegError: If any split has changed.
    """
    then, now = earlier["data"], digests_of(dataset)
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
