"""Where a run comes from: versions, machine, settings, data and the state of the code."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from imseg.approaches.planning.settings import Settings
from imseg.approaches.runs import run_files
from imseg.approaches.runs.run_files import DataContents, Provenance, Record, Surroundings
from imseg.data.masks.io import describe_values
from imseg.engine.hardware.device import usable_cores
from imseg.engine.storage.run_folder import SETTINGS_FILE, RunFolder
from imseg.engine.storage.sealed import OtherVersion, write_sealed
from imseg.engine.training.job import decisive_target
from imseg.errors import ImsegError, shown
from imseg.progress import Note, Progress
from imseg.types import VERSION, DataSet, Image, LabeledImage

PACKAGES = ("torch", "numpy", "pillow", "safetensors")


def provenance_of(dataset: DataSet, record: Record) -> Provenance:
    """Return what ``provenance.json`` holds.

    Args:
        dataset: What is learned from.
        record: The content of ``experiment.toml``, of which this is the second copy.
    """
    return Provenance(
        **dict(surroundings()),
        command=tuple(sys.argv),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        data=run_files.DataNames(
            name=dataset.name,
            labeled=tuple(pair.name for pair in dataset.labeled),
            validation=tuple(pair.name for pair in dataset.val),
            unlabeled=len(dataset.unlabeled),
        ),
        experiment=record,
    )


def surroundings() -> Surroundings:
    """Return versions and machine: what the same training may depend on."""
    return Surroundings(
        versions={"imseg": VERSION, **{name: metadata.version(name) for name in PACKAGES}},
        git=git_state(Path(__file__).parent),
        python=platform.python_version(),
        machine=platform.platform(),
        cores=usable_cores(),
        cpu=torch.backends.cpu.get_cpu_capability(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    )


def command_in(words: Sequence[str]) -> str | None:
    """Return the command that began a run, to be copied; None if it was begun otherwise.

    Args:
        words: The ``command`` of ``provenance.json``.
    """
    if not words:
        return None
    place = Path(words[0])
    if place.stem == "imseg" or place.parts[-2:] == ("imseg", "__main__.py"):
        return shlex.join(["imseg", *words[1:]])
    return shlex.join(["python", *words]) if place.suffix == ".py" else None


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return the commit of a checkout and whether files differ from it; None outside of one.

    Args:
        folder: A folder of the checkout.
    """

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(folder), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    # An environment may lie in another repository, which does not track what is in it.
    tracked = git("ls-files", "--", ".")
    commit = git("rev-parse", "HEAD")
    if not tracked or not commit:
        return None
    return {"commit": commit, "changed": bool(git("status", "--porcelain", "--", "."))}


def no_run(path: Path, *, expected: str) -> ImsegError:
    """Return the error about a folder that is not what is expected, such as that of a run."""
    hint = "check the folder's name."
    if (path / SETTINGS_FILE).is_file():
        hint = "of a comparison, name one of its runs: seed-0/ldt below its folder."
    return ImsegError(
        f"There is no run in {path}.",
        expected=expected,
        got="no experiment.toml." if path.is_dir() else "no such folder.",
        hint=hint,
    )


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
        return Record.read(folder.experiment)
    except OtherVersion:
        raise
    except ImsegError:
        try:
            return Provenance.read(folder.provenance).experiment
        except ImsegError:
            pass
        raise


def write_record(
    folder: RunFolder, record: Record, dataset: DataSet, hidden: Mapping[str, str]
) -> None:
    """Write ``target.json``, ``data.json``, ``provenance.json`` and, last, ``experiment.toml``.

    Those that are there stay as they are.

    Args:
        folder: The run.
        record: Its settings.
        dataset: What it learns from.
        hidden: The hash of the hidden mask of each unlabeled picture, as far as they are known.
    """
    target = {**dataset.spec.as_dict(), "reading": dataset.reading.as_dict()}
    if not folder.target.exists():
        write_sealed(folder.target, target)
    if not folder.data.exists():
        contents(dataset, hidden).write(folder.data)
    if not folder.provenance.exists():
        provenance_of(dataset, record).write(folder.provenance)
    if not folder.experiment.exists():
        record.write(folder.experiment)


def check_same(folder: RunFolder, record: Record, asked: Settings) -> None:
    """Check that a run in progress is the one that is asked for now.

    Raises:
        ImsegError: If any setting differs.
    """
    now = asked.plain()
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


def is_unchanged(
    folder: RunFolder, record: Record, dataset: DataSet, hidden: Mapping[str, str]
) -> bool:
    """Return whether pictures and masks are those of the run, as far as hashes of files tell.

    Args:
        folder: The run.
        record: Its settings.
        dataset: What there is now.
        hidden: See ``write_record``.
    """
    try:
        then = DataContents.read(folder.data)
    except ImsegError:
        return False
    now = contents(dataset, hidden)
    # By content, in order: names do not matter.
    splits = ["val" if name == "validation" else name for name in record.digests]
    pairs = [[list(getattr(each, split).values()) for each in (now, then)] for split in splits]
    known = all(all(ours) for ours, _ in pairs) and ("hidden" not in splits or bool(hidden))
    return known and all(ours == theirs for ours, theirs in pairs)


def check_same_target(folder: RunFolder, dataset: DataSet) -> None:
    """Check that masks and pictures mean what they meant when the run began.

    Raises:
        ImsegError: If classes, planes, void or the scale of the pictures have changed.
    """
    spec, reading = run_files.read_target(folder.target)
    here = decisive_target(dataset.spec.as_dict())
    if decisive_target(spec.as_dict()) != here or reading != dataset.reading:
        raise ImsegError(
            f"What the data means has changed since {folder.path} was begun.",
            expected=f"{spec.kind}: {describe_values(spec)}",
            got=f"{dataset.spec.kind}: {describe_values(dataset.spec)}",
            hint="undo the change in imseg.toml, or --out with another folder and"
            f" --reuse {shown(folder.path)}",
        )


def contents(dataset: DataSet, hidden: Mapping[str, str] | None = None) -> DataContents:
    """Return the hash of each picture (and its mask) by split and name."""

    def hashes(entries: Sequence[Image | LabeledImage]) -> dict[str, str]:
        return {entry.name: dataset.digests.get(entry.name, "") for entry in entries}

    return DataContents(
        labeled=hashes(dataset.labeled),
        unlabeled=hashes(dataset.unlabeled),
        val=hashes(dataset.val),
        hidden=dict(hidden or {}),
    )


def _in_words(values: Mapping[str, Any], names: list[str]) -> str:
    return ", ".join(f"{name} = {values.get(name, '(default)')}" for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataChanges:
    """Pictures by content, compared with an earlier run; names do not matter."""

    run: Path
    """The earlier run."""
    added: Mapping[str, int]
    """Pictures that a split did not have then."""
    removed: Mapping[str, int]
    """Pictures that a split no longer has."""
    same_meaning: bool
    """Whether masks mean, and pictures are scaled, as they were then."""

    def __str__(self) -> str:
        parts = []
        for split in self.added:
            changes = [
                f"{count} {word}"
                for count, word in ((self.added[split], "new"), (self.removed[split], "gone"))
                if count
            ]
            if changes:
                parts.append(f"{split}: {' and '.join(changes)}")
        if not self.same_meaning:
            parts.append("the classes, or the scale of the pictures")
        if not parts:
            return f"The data is that of {self.run}; networks of equal settings are taken over."
        changed = {split for split in self.added if self.added[split] or self.removed[split]}
        redone = (
            "all networks learn from it or are chosen by it, so all are trained anew"
            if changed & {"labeled", "val"} or not self.same_meaning
            else "networks of equal settings that learn from labels alone are taken over, students"
            " are trained anew"
        )
        return f"Since {self.run} the data has changed ({'; '.join(parts)}): {redone}."

    @property
    def changes(self) -> int:
        """Pictures that are new or gone."""
        return sum(self.added.values()) + sum(self.removed.values())


def tell_data_changes(reuse: Path, dataset: DataSet, progress: Progress) -> None:
    """Tell what has changed since the run that is most like this one, if there is one.

    Raises:
        ImsegError: If ``reuse`` is a run that another version of imseg wrote.
    """
    changes = data_changes_since(reuse, dataset)
    if changes is not None:
        progress(Note(text=str(changes)))


def data_changes_since(reuse: Path, dataset: DataSet) -> DataChanges | None:
    """Return what has changed since the run whose data is most like it; None if none is like it.

    Args:
        reuse: A run, or a folder of runs.
        dataset: What there is now.

    Raises:
        ImsegError: If ``reuse`` is a run that another version of imseg wrote.
    """
    here = contents(dataset).by_split()
    found = []
    for path in (*reuse.glob("data.json"), *sorted(reuse.glob("*/data.json"))):
        try:
            before = DataContents.read(path).by_split()
        except ImsegError as error:
            if isinstance(error, OtherVersion) and path.parent == reuse:
                raise
            continue  # a run that was never begun properly has nothing to be taken over
        if before["labeled"] & here["labeled"]:
            change = DataChanges(
                run=path.parent,
                same_meaning=_means(path, dataset),
                added={split: len(here[split] - before[split]) for split in here},
                removed={split: len(before[split] - here[split]) for split in here},
            )
            found.append(change)
    return min(found, key=lambda each: each.changes, default=None)


def _means(data: Path, dataset: DataSet) -> bool:
    """Return whether the run beside ``data.json`` understood masks and pictures as we do."""
    try:
        check_same_target(RunFolder(data.parent), dataset)
    except ImsegError:
        return False
    return True
