"""The pictures of an experiment as stored arrays, split into what each step may see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from imseg.approaches.planning.plan import Plan
from imseg.data.cache.store import Stored, changed_sources, open_array, store_split
from imseg.data.folder.inspection import KnownFiles
from imseg.data.folder.scan import split_validation
from imseg.engine.hardware.device import usable_cores
from imseg.engine.loading.samples import SampleSet
from imseg.engine.training import seeds
from imseg.progress import Note, Progress, Working
from imseg.tasks import task_for
from imseg.types import DataSet, Image, LabeledImage

Entry = TypeVar("Entry", Image, LabeledImage)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunData:
    """What an approach may learn from and choose by. Test images are not here."""

    labeled: SampleSet
    """Images with masks to learn from."""
    validation: SampleSet
    """Images with masks to choose epochs, networks and generations by."""
    unlabeled: Stored | None
    """Images without masks; None if the approach has no use for them."""
    hidden: SampleSet | None
    """Unlabeled images with their hidden masks; None unless the approach is an upper bound."""
    indices: tuple[Path, ...] = ()
    """The indices of all that is stored, which know the files it was made of."""

    def changed_files(self) -> list[str]:
        """Return the pictures whose files have changed since they were stored."""
        return [name for index in self.indices for name in changed_sources(index)]

    @property
    def digests(self) -> dict[str, str]:
        """Hashes of the content, to notice when the data has changed."""
        found = {"labeled": self.labeled.digest, "validation": self.validation.digest}
        if self.unlabeled is not None:
            found["unlabeled"] = self.unlabeled.digest
        if self.hidden is not None:
            found["hidden"] = self.hidden.digest
        return found


def gather(
    data: DataSet,
    plan: Plan,
    *,
    folder: Path,
    hidden: tuple[LabeledImage, ...] | None,
    progress: Progress,
    reuse: Sequence[Path] = (),
    files: KnownFiles | None = None,
) -> RunData:
    """Return decoded, resized and encoded pictures.

    Args:
        data: What there is.
        plan: Working size, seed and limits.
        folder: Where the arrays go.
        hidden: Unlabeled images with their masks, for an upper bound alone.
        progress: Told about decoded pictures.
        reuse: Other folders of stored arrays, from which known pictures are taken.
        files: Where pixels wait that were decoded for the checks.
    """
    approach = plan.approach
    indices: list[Path] = []

    def stored(entries: Sequence[Image | LabeledImage], name: str) -> Stored:
        made = store_split(
            entries,
            folder,
            name,
            spec=data.spec,
            reading=data.reading,
            size=plan.image_size,
            workers=usable_cores(),
            reuse=reuse,
            files=files,
            progress=_counted(progress, f"reading {name} images"),
        )
        indices.append(made.index)
        if made.damaged:
            shown = ", ".join(made.damaged[:4]) + (" ..." if len(made.damaged) > 4 else "")
            text = f"{made.index}: what was stored of {shown} is damaged and was read again."
            progress(Note(text=text, warning=True))
        return made

    labeled = part_of(stored(data.labeled, "labeled"))
    if data.val:
        validation = part_of(stored(data.val, "val"))
    else:
        labeled, validation = _split(labeled, data, plan.seed)
    unlabeled = pairs = None
    if approach.sees_truth and hidden is not None:
        pairs = part_of(stored(limited(hidden, plan), "hidden"))
    if approach.needs_unlabeled and not approach.labeled.hidden_too:
        unlabeled = stored(limited(data.unlabeled, plan), "unlabeled")
    return RunData(
        labeled=labeled,
        validation=validation,
        unlabeled=unlabeled,
        hidden=pairs,
        indices=tuple(indices),
    )


def stores_in(reuse: Path | None) -> list[Path]:
    """Return where unfinished runs keep their stored arrays: a run, or the runs of a folder."""
    return [] if reuse is None else [reuse / "cache", *sorted(reuse.glob("*/cache"))]


def part_of(stored: Stored) -> SampleSet:
    """Return all pictures of a split that has masks."""
    if stored.targets is None:
        raise ValueError("a training part needs targets")
    return SampleSet(
        images=stored.images,
        targets=stored.targets,
        digest=stored.digest,
        indices=tuple(range(len(stored.names))),
    )


def _split(labeled: SampleSet, data: DataSet, seed: int) -> tuple[SampleSet, SampleSet]:
    """Return the labeled part in two: to learn from, and to choose by."""
    targets = torch.from_numpy(np.array(open_array(labeled.targets)))
    labels = task_for(data.spec).strata(targets)
    train, chosen_by = split_validation(labels, seed=seeds.derive(seed, "validation"))
    return replace(labeled, indices=tuple(train)), replace(labeled, indices=tuple(chosen_by))


def limited(entries: tuple[Entry, ...], plan: Plan) -> tuple[Entry, ...]:
    """Return the unlabeled pictures that are used: all, or so many, chosen by seed."""
    limit = plan.limit_unlabeled
    if limit is None or limit >= len(entries):
        return entries
    order = seeds.generator(plan.seed, "limit-unlabeled")
    chosen = torch.randperm(len(entries), generator=order)[:limit]
    return tuple(entries[i] for i in sorted(chosen.tolist()))


def _counted(progress: Progress, what: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(Working(what=what, done=done, total=total))
