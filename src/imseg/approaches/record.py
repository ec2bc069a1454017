"""What a run writes down about itself, and how it is recognized when it continues."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imseg.approaches.plan import Plan
from imseg.approaches.provenance import provenance_of
from imseg.approaches.run_files import read_target
from imseg.approaches.settings import Settings
from imseg.data.encoding import describe_values
from imseg.engine.job import decisive_target
from imseg.engine.runs import RunFolder
from imseg.engine.sealed import read_json, read_toml, write_json, write_toml
from imseg.errors import ImsegError, shown
from imseg.types import DataSet, Image, LabeledImage


@dataclass(frozen=True, slots=True)
class Record:
    """The content of ``experiment.toml``."""

    asked: Mapping[str, Any]
    """The settings that were given, as plain values."""
    plan: Plan
    """Every number, settled."""
    digests: Mapping[str, str]
    """Hashes of the images and targets."""
    data: str
    """The data folder's name."""


def plain_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that differ from the defaults, as TOML knows them."""
    plain: dict[str, Any] = {}
    for entry in dataclasses.fields(Settings):
        value = getattr(settings, entry.name)
        if entry.name == "reuse":
            continue  # where networks come from does not change them
        if value == entry.default and entry.name not in ("approach", "effort", "seed"):
            continue
        if isinstance(value, Path):
            value = str(value.resolve())
        plain[entry.name] = list(value) if isinstance(value, tuple) else value
    return plain


def read_record(folder: RunFolder) -> Record | None:
    """Return what a run wrote down, or None if it has not begun.

    Raises:
        ImsegError: If the file is damaged.
    """
    try:
        if not folder.experiment.exists():
            return None
    except OSError as error:  # a name longer than any, or a folder that may not be looked into
        raise ImsegError(
            f"{folder.path} cannot be looked into.",
            expected="the folder of a run, or a place for a new one.",
            got=f"{error.strerror or error}.",
            hint="--out with another folder.",
        ) from error
    try:
        return record_in(read_toml(folder.experiment))
    except (ImsegError, KeyError, TypeError, ValueError) as error:
        copy = _second_copy(folder)
        if copy is not None:
            return copy
        if isinstance(error, ImsegError):
            raise
        raise _damaged(folder, f"{type(error).__name__}: {error}") from error


def record_in(content: Mapping[str, Any]) -> Record:
    """Return what the content of ``experiment.toml`` says.

    Raises:
        KeyError, TypeError, ValueError: If it is not as ``write_record`` writes it.
    """
    return Record(
        asked=content["asked"],
        plan=Plan.from_dict(content["plan"]),
        digests=content["data"]["digests"],
        data=content["data"]["name"],
    )


def _second_copy(folder: RunFolder) -> Record | None:
    """Return what ``provenance.json`` knows of the settings, if it is whole."""
    try:
        return record_in(read_json(folder.provenance)["experiment"])
    except (ImsegError, KeyError, TypeError, ValueError):
        return None


def write_record(folder: RunFolder, record: Record, dataset: DataSet) -> None:
    """Write ``target.json``, ``data.json``, ``provenance.json`` and, last, ``experiment.toml``.

    Those that are there stay as they are.
    """
    experiment = {
        "asked": dict(record.asked),
        "plan": record.plan.as_dict(),
        "data": {"name": record.data, "digests": dict(record.digests)},
    }
    target = {**dataset.spec.as_dict(), "reading": dataset.reading.as_dict()}
    if not folder.target.exists():
        write_json(folder.target, target)
    if not folder.data.exists():
        write_json(folder.data, contents(dataset))
    if not folder.provenance.exists():
        write_json(folder.provenance, provenance_of(dataset, experiment))
    if not folder.experiment.exists():
        write_toml(folder.experiment, experiment)


def check_same(folder: RunFolder, record: Record, asked: Settings) -> None:
    """Check that a run in progress is the one that is asked for now.

    Raises:
        ImsegError: If any setting differs.
    """
    now = plain_settings(asked)
    names = sorted(set(now) | set(record.asked))
    changed = [name for name in names if now.get(name) != record.asked.get(name)]
    if changed:
        raise ImsegError(
            f"{folder.path} holds another experiment.",
            expected=_in_words(record.asked, changed),
            got=_in_words(now, changed),
            hint="--out with another folder (--reuse with this one keeps what is still valid).",
        )


def check_same_data(folder: RunFolder, record: Record, digests: Mapping[str, str]) -> None:
    """Check that the data is the one the run began with.

    Raises:
        ImsegError: If any split has changed.
    """
    changed = [name for name in digests if record.digests.get(name) != digests[name]]
    if changed:
        raise ImsegError(
            f"The data has changed since {folder.path} was begun.",
            expected=f"the same images and masks as in {shown(record.data)} then.",
            got=f"other content in: {', '.join(changed)}.",
            hint=f"--out with another folder and --reuse {shown(folder.path)}",
        )


def check_same_target(folder: RunFolder, dataset: DataSet) -> None:
    """Check that masks and pictures mean what they meant when the run began.

    Raises:
        ImsegError: If classes, planes, void or the scale of the pictures have changed.
    """
    spec, reading = read_target(folder.target)
    here = decisive_target(dataset.spec.as_dict())
    if decisive_target(spec.as_dict()) != here or reading != dataset.reading:
        raise ImsegError(
            f"What the data means has changed since {folder.path} was begun.",
            expected=f"{spec.kind}: {describe_values(spec)}",
            got=f"{dataset.spec.kind}: {describe_values(dataset.spec)}",
            hint="undo the change in imseg.toml, or --out with another folder and"
            f" --reuse {shown(folder.path)}",
        )


def contents(dataset: DataSet) -> dict[str, dict[str, str]]:
    """Return the hash of each picture (and its mask) by split and name."""
    splits: dict[str, Sequence[Image | LabeledImage]] = {
        "labeled": dataset.labeled,
        "unlabeled": dataset.unlabeled,
        "val": dataset.val,
    }
    return {
        split: {entry.name: dataset.digests.get(entry.name, "") for entry in entries}
        for split, entries in splits.items()
    }


def _in_words(values: Mapping[str, Any], names: list[str]) -> str:
    return ", ".join(f"{name} = {values.get(name, '(default)')}" for name in names)


def _damaged(folder: RunFolder, why: str) -> ImsegError:
    return ImsegError(
        f"{folder.experiment} cannot be read.",
        expected="the settings of a run, as imseg wrote them.",
        got=why,
        hint="--out with another folder.",
    )
