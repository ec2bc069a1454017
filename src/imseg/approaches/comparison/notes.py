"""What a comparison writes down about itself, and how it is recognized when it continues."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from imseg.engine.runs import RunFolder, write_whole
from imseg.errors import ImsegError
from imseg.types import DataSet

SETTINGS_FILE = "comparison.toml"
"""What was asked for, and what was settled."""
RESULT_FILE = "comparison.json"
"""What was found."""


def write_settings(
    place: Path,
    dataset: DataSet,
    *,
    approaches: Sequence[str],
    seeds: Sequence[int],
    asked: Mapping[str, Any],
    settled: Mapping[str, Any],
) -> None:
    """Write down what a comparison is, so that it is known again.

    Args:
        place: Its folder.
        dataset: What is learned from and scored on.
        approaches: Those that were asked for.
        seeds: All of them.
        asked: Shared settings as they were asked for.
        settled: The same with every number settled.
    """
    content = {
        "approaches": list(approaches),
        "seeds": list(seeds),
        "asked": plain(asked),
        "settled": plain(settled),
        "data": digests_of(dataset),
    }
    write_whole(place / SETTINGS_FILE, tomli_w.dumps(content).encode())


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as TOML and JSON know them."""
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Path):
            value = str(value.resolve())
        kept[name] = list(value) if isinstance(value, tuple) else value
    return kept


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
    ours = [name for name in found if name == SETTINGS_FILE or name.startswith((".", "seed-"))]
    if found and not ours:
        raise ImsegError(
            f"{place} is not empty and is not a comparison.",
            expected="a new or empty folder, or the comparison to continue.",
            got=", ".join(sorted(found)[:4]),
            hint="--out with another folder.",
        )
    if not found:
        RunFolder(place).check_place()


def read_settings(place: Path) -> dict[str, Any] | None:
    """Return what a comparison wrote down: ``asked``, ``settled`` and ``data``; None if nothing.

    Raises:
        ImsegError: If the file is damaged.
    """
    try:
        content = tomllib.loads((place / SETTINGS_FILE).read_text(encoding="utf-8"))
        return {name: dict(content[name]) for name in ("asked", "settled", "data")}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ImsegError(
            f"{place / SETTINGS_FILE} cannot be read.",
            expected="the settings of a comparison, as imseg wrote them.",
            got=str(error),
            hint="--out with another folder.",
        ) from error


def check_same(place: Path, earlier: Mapping[str, Any] | None, given: Mapping[str, Any]) -> None:
    """Check that a comparison in progress is the one that is asked for now.

    Raises:
        ImsegError: If any shared setting differs. Approaches and seeds may be added.
    """
    if earlier is None:
        return
    then, now = earlier["asked"], plain(given)
    changed = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    if changed:
        raise ImsegError(
            f"{place} holds a comparison under other settings.",
            expected=", ".join(f"{name} = {then.get(name, '(default)')}" for name in changed),
            got=", ".join(f"{name} = {now.get(name, '(default)')}" for name in changed),
            hint="--out with another folder; approaches and seeds can be added to this one.",
        )


def check_same_data(place: Path, earlier: Mapping[str, Any], dataset: DataSet) -> None:
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
            got=f"other content in: {', '.join(changed)}.",
            hint="--out with another folder.",
        )


def digests_of(dataset: DataSet) -> dict[str, str]:
    """Return a hash of the images and masks of each split, by name and content."""
    found = {}
    for split in ("labeled", "unlabeled", "val", "test"):
        names = [entry.name for entry in getattr(dataset, split)]
        lines = [f"{name} {dataset.digests.get(name, '')}" for name in names]
        found[split] = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return found
