"""Every file of a run against its checksum: what is damaged is named, removed and made again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imseg.approaches.record import read_record
from imseg.approaches.run_forms import misfit
from imseg.data.store import damaged_pictures
from imseg.data.store_index import read_index
from imseg.engine.checkpoint import is_whole
from imseg.engine.runs import RunFolder
from imseg.engine.sealed import is_sealed, read_json, read_toml
from imseg.engine.trained_files import read_trained
from imseg.errors import ImsegError


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that was looked at."""

    path: Path
    """Where it is."""
    wrong: str = ""
    """What is wrong with it, in words that name it; empty: nothing."""
    sealed: bool = True
    """Whether there is a checksum to compare it with; files of early versions have none."""


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
            wrong = "" if is_whole(path) else f"{path} is damaged."
            yield Checked(path, wrong)


def _network(weights: Path) -> Iterator[Checked]:
    """Yield weights, if what is known about them says how they were."""
    wrong: list[str] = []
    known = read_trained(weights, tell=wrong.append)
    if known is not None or any(str(weights) in text for text in wrong):
        sealed = known is None or bool(known.sha256)
        yield Checked(weights, "" if known is not None else wrong[0], sealed)


def _document(path: Path) -> Iterator[Checked]:
    if path.parent.name == "cache" and path.suffix == ".json" and read_index(path) is not None:
        names = damaged_pictures(path)
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        yield Checked(path, f"{path}: what is stored of {shown} is damaged." if names else "")
        return
    try:
        content = (read_toml if path.suffix == ".toml" else read_json)(path)
    except ImsegError as error:
        yield Checked(path, error.what)
        return
    wrong = misfit(path, content)
    if wrong:
        yield Checked(path, f"{path} does not hold what it must: {wrong}")
        return
    yield Checked(path, sealed=is_sealed(path))
    for each in _missing(path, content):
        yield Checked(each, f"{each} is missing.")


def _missing(path: Path, content: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the files that another one speaks of and that are not there."""
    expected: list[Path] = []
    if path.name == "DONE":
        weights = [RunFolder(path.parent.parent).weights(name) for name in content["ranking"]]
        expected = [*weights, *(each.with_suffix(".json") for each in weights)]
    elif path.name == "summary.json":
        stages = (*content["stages"], *content.get("aside", ()))
        expected = [RunFolder(path.parent).done(stage["name"]) for stage in stages]
    yield from (each for each in expected if not each.exists())


def mend(folder: RunFolder, tell: Callable[[str], None]) -> None:
    """Remove what is damaged of a run that is continued, so that it is made again.

    Settings are taken from their second copy. Stored images verify themselves.

    Args:
        folder: The run; nobody else is at work in it.
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
