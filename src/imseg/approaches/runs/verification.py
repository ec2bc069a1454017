"""Every file of a run against its checksum: what is damaged is named, removed and made again."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imseg.approaches.runs.record import no_run, read_record
from imseg.approaches.runs.run_files import form_problem
from imseg.data.cache.store import damaged_pictures
from imseg.data.cache.stored_arrays import read_index
from imseg.engine.storage.run_folder import RESULT_FILE, SETTINGS_FILE, RunFolder, owner_of
from imseg.engine.storage.sealed import OtherVersion, read_sealed
from imseg.engine.training.checkpoint import is_whole
from imseg.engine.training.job import read_trained
from imseg.errors import ImsegError, shown


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that was looked at."""

    path: Path
    """Where it is."""
    wrong: str = ""
    """What is wrong with it, in words that name it; empty: nothing."""


def survey(folder: Path) -> Iterator[Checked]:
    """Yield every file of a run or a comparison that has a checksum, compared with it.

    Args:
        folder: Its folder; nothing in it is changed.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.name.startswith("."):
            continue
        if path.suffix == ".safetensors":
            yield from _network(path)
        elif path.name == "DONE" or path.suffix in (".json", ".toml"):
            yield from _document(path)
        elif path.suffix == ".checkpoint":
            yield Checked(path, "" if is_whole(path) else f"{path} is damaged.")


def _network(weights: Path) -> Iterator[Checked]:
    """Yield weights, if what is known about them says how they were."""
    wrong: list[str] = []
    known = read_trained(weights, tell=wrong.append)
    if known is not None or any(str(weights) in text for text in wrong):
        yield Checked(weights, "" if known is not None else wrong[0])


def _document(path: Path) -> Iterator[Checked]:
    if path.parent.name == "cache" and path.suffix == ".json" and read_index(path) is not None:
        names = damaged_pictures(path)
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        yield Checked(path, f"{path}: what is stored of {shown} is damaged." if names else "")
        return
    try:
        content = read_sealed(path)
    except OtherVersion:
        raise
    except ImsegError as error:
        yield Checked(path, error.what)
        return
    wrong = form_problem(path, content)
    yield Checked(path, f"{path} does not hold what it must: {wrong}" if wrong else "")
    if not wrong:
        yield from (Checked(each, f"{each} is missing.") for each in _missing(path, content))


def _missing(path: Path, content: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the files that another one speaks of and that are not there."""
    expected: list[Path] = []
    if path.name == "DONE":
        weights = [RunFolder(path.parent.parent).weights(name) for name in content["ranking"]]
        expected = [*weights, *(each.with_suffix(".json") for each in weights)]
    elif path.name == "summary.json":
        stages = (*content["stages"], *content["aside"])
        expected = [RunFolder(path.parent).done(stage["name"]) for stage in stages]
    yield from (each for each in expected if not each.exists())


def mend(folder: RunFolder, tell: Callable[[str], None]) -> None:
    """Remove what is damaged of a run that is continued, so that it is made again.

    Settings are taken from their second copy. Stored images verify themselves.

    Args:
        folder: The run; no other process is at work in it.
        tell: Called with each damaged file, in words.

    Raises:
        ImsegError: If both copies of the settings are damaged.
    """
    read_record(folder)
    for each in list(survey(folder.path)):
        inside = each.path.relative_to(folder.path)
        if not each.wrong or inside.parts[0] in ("cache", "report"):
            continue
        tell(f"{each.wrong} It is made again.")
        each.path.unlink(missing_ok=True)
        if inside.name == "audit.json":  # written while labels are made, before the stage is done
            folder.done(inside.parts[0]).unlink(missing_ok=True)
        if inside.parent != Path() or inside.name == "summary.json":
            folder.summary.unlink(missing_ok=True)


KINDS = (
    "weights",
    "scores of networks",
    "rankings of stages",
    "settings and provenance",
    "results",
    "stored images",
    "checkpoints",
    "others",
)
"""Kinds of files, in the order in which they are told."""
_SETTINGS = ("experiment.toml", "provenance.json", "target.json", "data.json", SETTINGS_FILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many files of a kind there are."""

    whole: int = 0
    """Files that have the content they were written with."""
    damaged: int = 0
    """Files that are damaged or missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A file that is damaged or missing."""

    path: Path
    """Where it is, or was."""
    wrong: str
    """What is wrong with it, in words that name it."""
    remedy: str
    """What to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a look at every file found."""

    path: Path
    """The run or the comparison."""
    counts: dict[str, Count]
    """Files by kind, as in ``KINDS``; kinds without files are left out."""
    damages: tuple[Damage, ...]
    """Files that are damaged or missing; empty: all is whole."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "folder": str(self.path),
            "whole": not self.damages,
            "files": {kind: asdict(each) for kind, each in self.counts.items()},
            "damaged": [
                {"file": str(each.path), "wrong": each.wrong, "remedy": each.remedy}
                for each in self.damages
            ],
        }


def verify(
    path: str | Path, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Verified:
    """Return what a look at every byte of a run or a comparison finds; nothing is changed.

    Args:
        path: Its folder.
        progress: Told about files that were looked at, and about how many there are.

    Raises:
        ImsegError: If there is neither a run nor a comparison, if another version of imseg wrote
            it, or if it is being trained: files come and go then.
    """
    folder = Path(path)
    _check_there(folder)
    _check_quiet(folder)
    total = sum(1 for each in folder.rglob("*") if each.is_file() and each.name[0] != ".")
    kinds: dict[str, dict[Path, str]] = {kind: {} for kind in KINDS}
    for number, each in enumerate(survey(folder), 1):
        progress(min(number, total), total)
        kinds[kind_of(each.path)][each.path] = each.wrong
    progress(total, total)
    wrong = {path: text for files in kinds.values() for path, text in files.items() if text}
    damaged = {kind: sum(map(bool, files.values())) for kind, files in kinds.items() if files}
    return Verified(
        path=folder,
        counts={
            kind: Count(whole=len(kinds[kind]) - count, damaged=count)
            for kind, count in damaged.items()
        },
        damages=tuple(
            Damage(path=path, wrong=text, remedy=remedy_of(path, folder))
            for path, text in wrong.items()
        ),
    )


def kind_of(path: Path) -> str:
    """Return the kind of a file, one of ``KINDS``."""
    name = path.name
    if name.startswith("network-"):
        kinds = {".safetensors": "weights", ".json": "scores of networks"}
        return kinds.get(path.suffix, "checkpoints")
    if name == "DONE":
        return "rankings of stages"
    if "cache" in path.parts[-3:-1]:
        return "stored images"
    if name in _SETTINGS:
        return "settings and provenance"
    results = ("summary.json", "audit.json", "judgment.json", RESULT_FILE)
    return "results" if name in results or "scores" in path.parts[-3:-1] else "others"


def remedy_of(path: Path, folder: Path) -> str:
    """Return what to do about a file that is damaged or missing.

    Args:
        path: The file.
        folder: The run or the comparison that it belongs to.
    """
    inside = path.relative_to(folder)
    if inside.name == SETTINGS_FILE:
        return "compare into another folder; the runs in this one stay as they are."
    if kind_of(path) == "stored images":
        return "nothing: it is made again when the training continues, and deleted at its end."
    if inside.name == "experiment.toml":
        return (
            "repeat the train command; it is taken from provenance.json. If that is damaged too,"
            " --out with another folder and --reuse this one."
        )
    if inside.parts[0] == "report":
        return f"imseg report {folder}"
    command = "compare" if (folder / SETTINGS_FILE).exists() else "train"
    again = "trained again" if kind_of(path) in ("weights", "scores of networks") else "made again"
    return f"repeat the {command} command; only what is damaged is {again}."


def _check_there(folder: Path) -> None:
    run = RunFolder(folder)
    own = (run.experiment, run.provenance, folder / SETTINGS_FILE)
    if not any(path.exists() for path in own):
        raise no_run(folder, expected="the folder of a run or a comparison, finished or not.")


def _check_quiet(folder: Path) -> None:
    owner = owner_of(folder)
    if owner is not None:
        raise ImsegError(
            f"{folder} is being trained, so its files come and go.",
            expected="a folder in which no process is at work.",
            got=f"process {owner.pid} on {owner.host} is at work since {owner.since}.",
            hint=f"imseg status {shown(folder)} shows how far it is. Finished runs of a comparison"
            " can be verified one by one.",
        )
