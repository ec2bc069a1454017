"""What has changed in the data since an earlier run whose networks may be taken over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imseg.approaches.record import check_same_target, contents
from imseg.engine.progress import Note, Progress
from imseg.engine.runs import RunFolder
from imseg.engine.sealed import read_json
from imseg.errors import ImsegError
from imseg.types import DataSet

Contents = Mapping[str, Mapping[str, str]]
"""The hash of each picture (labeled ones with their masks) by split and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
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


def tell_news(reuse: Path, dataset: DataSet, progress: Progress) -> None:
    """Say what has changed since the run that is most like this one, if there is one."""
    news = news_since(reuse, dataset)
    if news is not None:
        progress(Note(text=str(news)))


def news_since(reuse: Path, dataset: DataSet) -> News | None:
    """Return what has changed since the run whose data is most like it; None if none is like it.

    Args:
        reuse: A run, or a folder of runs.
        dataset: What there is now.
    """
    now = contents(dataset)
    found = []
    for path in (*reuse.glob("data.json"), *sorted(reuse.glob("*/data.json"))):
        try:
            then = read_json(path)
        except ImsegError:
            continue  # a run that was never begun properly has nothing to be taken over
        if set(then.get("labeled", {}).values()) & set(now["labeled"].values()):
            found.append(_compare(path.parent, then, now, same_meaning=_means(path, dataset)))
    return min(found, key=lambda news: news.changes, default=None)


def _means(data: Path, dataset: DataSet) -> bool:
    """Return whether the run beside ``data.json`` understood masks and pictures as we do."""
    try:
        check_same_target(RunFolder(data.parent), dataset)
    except ImsegError:
        return False
    return True


def _compare(run: Path, then: Contents, now: Contents, *, same_meaning: bool) -> News:
    before = {split: set(pictures.values()) for split, pictures in then.items()}
    here = {split: set(pictures.values()) for split, pictures in now.items()}
    return News(
        run=run,
        same_meaning=same_meaning,
        added={split: len(here[split] - before.get(split, set())) for split in here},
        removed={split: len(before.get(split, set()) - here[split]) for split in here},
    )
