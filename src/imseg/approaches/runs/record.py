"""Where a run comes from: versions, machine, settings, data and the state of the code."""

import contextlib
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import torch

from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.settings import Settings
from imseg.approaches.runs import run_files
from imseg.data.files.atomic import read_bounded
from imseg.data.folder.scan import held_out
from imseg.data.masks.io import describe_values
from imseg.engine.hardware.device import usable_cores
from imseg.engine.storage.run_folder import SETTINGS_FILE, RunFolder
from imseg.engine.storage.sealed import OtherVersion, write_sealed
from imseg.engine.training.job import decisive_target
from imseg.errors import ImsegError, shown
from imseg.progress import Note, Progress
from imseg.tasks import Metric, task_for
from imseg.types import VERSION, DataSet, Image, LabeledImage

PACKAGES = ("torch", "numpy", "pillow", "safetensors")


def provenance_of(dataset: DataSet, record: run_files.Record) -> run_files.Provenance:
    """Return what ``provenance.json`` holds.

    Args:
        dataset: What is learned from.
        record: The content of ``experiment.toml``, of which this is the second copy.
    """
    return run_files.Provenance(
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


def surroundings() -> run_files.Surroundings:
    """Return versions and machine: what the same training may depend on."""
    return run_files.Surroundings(
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


def read_record(folder: RunFolder) -> run_files.Record | None:
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
        return run_files.Record.read(folder.experiment)
    except OtherVersion:
        raise
    except ImsegError:
        with contextlib.suppress(ImsegError):
            return run_files.Provenance.read(folder.provenance).experiment
        raise


def write_record(
    folder: RunFolder, record: run_files.Record, dataset: DataSet, hidden: Mapping[str, str]
) -> None:
    """Write ``target.json``, ``data.json``, ``provenance.json`` and, last, ``experiment.toml``.

    Those that are there stay as they are.

    Args:
        folder: The run.
        record: Its settings.
        dataset: What it learns from.
        hidden: The hash of the hidden mask of each unlabeled picture, as far as they are known.
    """
    if not folder.target.exists():
        target = {**dataset.spec.as_dict(), "reading": dataset.reading.as_dict()}
        write_sealed(folder.target, target)
    if not folder.data.exists():
        contents(dataset, hidden).write(folder.data)
    if not folder.provenance.exists():
        provenance_of(dataset, record).write(folder.provenance)
    if not folder.experiment.exists():
        record.write(folder.experiment)


def check_same(folder: RunFolder, record: run_files.Record, asked: Settings) -> None:
    """Check that a run in progress is the one that is asked for now.

    How files are reached may differ: what they hold is compared by itself. Where no approach is
    named, the run is one that was begun without a name.

    Raises:
        ImsegError: If any setting differs.
    """
    now, then = asked.plain(), {"approach": record.plan.approach.name} | record.asked
    # Earlier versions wrote down their default, im, where none was named.
    if "approach" not in now and record.asked.get("approach", "im") == "im":
        now["approach"] = then["approach"]
    names = sorted((set(now) | set(then)) - {"follow_links"})
    changed = [name for name in names if now.get(name) != then.get(name)]
    if changed:
        raise ImsegError(
            f"{folder.path} holds another experiment.",
            expected=_in_words(then, changed),
            got=_in_words(now, changed),
            hint="--out with another folder (--reuse with this one keeps what is still valid).",
        )


def check_same_data(
    folder: RunFolder, record: run_files.Record, digests: Mapping[str, str]
) -> None:
    """Check that the data is the one the run began with.

    Raises:
        ImsegError: If any split has changed.
    """
    changed = [name for name in digests if record.digests.get(name) != digests[name]]
    if changed:
        raise ImsegError(
            f"The data has changed since {folder.path} was begun.",
            expected=f"the same images, masks and sizes of pixels as in {shown(record.data)} then.",
            got=f"other content in: {', '.join(changed)}.",
            hint=f"--out with another folder and --reuse {shown(folder.path)}",
        )


def is_unchanged(
    folder: RunFolder, record: run_files.Record, dataset: DataSet, hidden: Mapping[str, str]
) -> bool:
    """Return whether pictures and masks are those of the run, as far as hashes of files tell.

    Args:
        folder: The run.
        record: Its settings.
        dataset: What there is now.
        hidden: See ``write_record``.
    """
    try:
        then = run_files.DataContents.read(folder.data)
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


def contents(dataset: DataSet, hidden: Mapping[str, str] | None = None) -> run_files.DataContents:
    """Return the hash of each picture (and its mask) by split and name."""

    def hashes(entries: Sequence[Image | LabeledImage]) -> dict[str, str]:
        return {entry.name: dataset.digests.get(entry.name, "") for entry in entries}

    return run_files.DataContents(
        labeled=hashes(dataset.labeled),
        unlabeled=hashes(dataset.unlabeled),
        val=hashes(dataset.val),
        hidden=dict(hidden or {}),
    )


def _in_words(values: Mapping[str, Any], names: list[str]) -> str:
    return ", ".join(f"{name} = {values.get(name, '(default)')}" for name in names)


def _data_changes(run: Path, counts: Mapping[str, tuple[int, int]], *, same_meaning: bool) -> str:
    """Return what has changed since an earlier run.

    Args:
        run: The earlier run.
        counts: By split, the pictures that it did not have then and those that it no longer has.
        same_meaning: Whether masks mean, and pictures are scaled, as they were then.
    """
    parts = []
    for split, (new, gone) in counts.items():
        words = [f"{count} {word}" for count, word in ((new, "new"), (gone, "gone")) if count]
        if words:
            parts.append(f"{split}: {' and '.join(words)}")
    if not same_meaning:
        parts.append("the classes, or the scale of the pictures")
    if not parts:
        return f"The data is that of {run}; networks of equal settings are taken over."
    redone = (
        "all networks learn from it or are chosen by it, so all are trained anew"
        if any(counts["labeled"]) or any(counts["val"]) or not same_meaning
        else "networks of equal settings that learn from labels alone are taken over, students"
        " are trained anew"
    )
    return f"Since {run} the data has changed ({'; '.join(parts)}): {redone}."


def tell_data_changes(reuse: Path, dataset: DataSet, progress: Progress) -> None:
    """Tell what has changed since the run that is most like this one, if there is one.

    Pictures are compared by content; names do not matter.

    Raises:
        ImsegError: If ``reuse`` is a run that another version of imseg wrote.
    """
    here = contents(dataset).by_split()
    found = []
    for path in (*reuse.glob("data.json"), *sorted(reuse.glob("*/data.json"))):
        try:
            before = run_files.DataContents.read(path).by_split()
        except ImsegError as error:
            if isinstance(error, OtherVersion) and path.parent == reuse:
                raise
            continue  # a run that was never begun properly has nothing to be taken over
        if before["labeled"] & here["labeled"]:
            alike = False
            with contextlib.suppress(ImsegError):
                check_same_target(RunFolder(path.parent), dataset)
                alike = True
            pairs = {split: (here[split], was) for split, was in before.items()}
            counts = {name: (len(now - was), len(was - now)) for name, (now, was) in pairs.items()}
            text = _data_changes(path.parent, counts, same_meaning=alike)
            found.append((sum(map(sum, counts.values())), text))
    if found:
        _, text = min(found, key=lambda each: each[0])
        progress(Note(text=text))


Found = TypeVar("Found")


@dataclass(frozen=True)
class Recovery:
    """Reads the files of a run folder, and keeps what is wrong with them.

    Attributes:
        folder: The run; nothing in it is changed.
        damaged: What is wrong with files, in words that name them.
    """

    folder: RunFolder
    damaged: list[str] = field(default_factory=list)

    def tell(self, wrong: str) -> None:
        """Keep what is wrong with a file, once."""
        if wrong not in self.damaged:
            self.damaged.append(wrong)

    def content(self, path: Path, read: Callable[[Path], Found]) -> Found | None:
        """Return the content of a file; None where it is not there, or damaged, which is kept.

        Args:
            path: The file.
            read: Reads it.

        Raises:
            OtherVersion: If another version of imseg wrote it.
        """
        if not path.exists():
            return None
        try:
            return read(path)
        except OtherVersion:
            raise
        except ImsegError as error:
            if path.exists():  # else it went away meanwhile, as files of a training do
                self.tell(error.what)
            return None

    def record(self) -> run_files.Record | None:
        """Return the settings of the run, from their second copy where the first is damaged."""
        first = self.content(self.folder.experiment, run_files.Record.read)
        if first is not None:
            return first
        try:
            return read_record(self.folder)
        except ImsegError as error:
            self.tell(error.what)
            return None

    def facts(self, plan: Plan) -> Facts | None:
        """Return how many pictures the run began with; None where no file knows.

        Channels and outputs are 1 where no file knows them: they do not change what is planned.
        """
        data = self.content(self.folder.data, run_files.DataContents.read)
        told = None if data else self.content(self.folder.provenance, run_files.Provenance.read)
        if data is not None:
            labeled, chosen_by, unlabeled = len(data.labeled), len(data.val), len(data.unlabeled)
        elif told is not None:
            labeled, chosen_by = len(told.data.labeled), len(told.data.validation)
            unlabeled = told.data.unlabeled
        else:
            return None
        target = self.content(self.folder.target, run_files.read_target)
        return Facts(
            task=plan.task,
            labeled=labeled if chosen_by else labeled - held_out(labeled),
            validation=chosen_by or held_out(labeled),
            unlabeled=unlabeled,
            channels=target[1].channels if target else 1,
            outputs=target[0].outputs if target else 1,
            typical_size=plan.image_size,
        )

    def metric(self, plan: Plan) -> Metric | None:
        """Return what networks are ranked by; None where no file knows."""
        target = self.content(self.folder.target, run_files.read_target)
        return task_for(target[0], paper=plan.paper).metric if target else None


def read_log(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the events of a run's log, oldest first, without lines that were torn."""
    try:
        lines = read_bounded(folder.log).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    found: list[Any] = []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            found.append(json.loads(line))
    return [entry for entry in found if isinstance(entry, dict) and "event" in entry]


def age_of(time: str | None) -> float | None:
    """Return the seconds since a date and time of ours; None if it cannot be read."""
    try:
        then = datetime.fromisoformat(time or "")
        return max(0.0, (datetime.now(UTC) - then).total_seconds())
    except (TypeError, ValueError):
        return None
