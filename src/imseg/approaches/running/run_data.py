"""The pictures of an experiment as stored arrays, split into what each step may see."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imseg.approaches.planning.plan import Plan
from imseg.data.cache.store import Stored, open_array, store_split
from imseg.data.folder import inspection, scan
from imseg.engine.hardware.device import usable_cores
from imseg.engine.loading.samples import Mosaic, SampleSet
from imseg.engine.training import seeds
from imseg.ops.tiling import join
from imseg.progress import Note, Progress, Working
from imseg.tasks import task_for
from imseg.tasks.base import known_in
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

    @property
    def digests(self) -> dict[str, str]:
        """Hashes of the content, to notice when the data has changed."""
        found = {"labeled": self.labeled.digest, "validation": self.validation.digest}
        if self.unlabeled is not None:
            found["unlabeled"] = self.unlabeled.digest
        if self.hidden is not None:
            found["hidden"] = self.hidden.digest
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureStore:
    """Keeps decoded, resized and encoded pictures of a run."""

    data: DataSet
    """What there is, what masks mean and how pictures are read."""
    plan: Plan
    """Working size, seed and limits."""
    folder: Path
    """Where the arrays go."""
    progress: Progress
    """Told about decoded pictures."""
    reuse: Sequence[Path] = ()
    """Other folders of stored arrays, from which known pictures are taken."""
    files: inspection.KnownFiles | None = None
    """Where pixels wait that were decoded for the checks."""

    def split(self, entries: Sequence[Image | LabeledImage], name: str, what: str) -> Stored:
        """Return a split that is stored now or was earlier.

        Args:
            entries: All with masks, or all without.
            name: Begins the names of the files.
            what: What is done, for the user.
        """
        return store_split(
            entries,
            self.folder,
            name,
            spec=self.data.spec,
            reading=self.data.reading,
            size=self.plan.stored_size,
            workers=usable_cores(),
            reuse=self.reuse,
            files=self.files,
            progress=counting(self.progress, what),
        )


def gather(store: PictureStore, *, hidden: tuple[LabeledImage, ...] | None) -> RunData:
    """Return decoded, resized and encoded pictures.

    Args:
        store: Where the arrays go.
        hidden: Unlabeled images with their masks, for an upper bound alone.
    """
    data, plan, approach = store.data, store.plan, store.plan.approach
    indices: list[Path] = []

    def stored(entries: Sequence[Image | LabeledImage], name: str) -> Stored:
        made = store.split(entries, name, f"reading {name} images")
        indices.append(made.index)
        if made.damaged:
            shown = ", ".join(made.damaged[:4]) + (" ..." if len(made.damaged) > 4 else "")
            text = f"{made.index}: what was stored of {shown} is damaged and was read again."
            store.progress(Note(text=text, warning=True))
        return made

    labeled = part_of(stored(data.labeled, "labeled"), plan)
    if data.val:
        validation = part_of(stored(data.val, "val"), plan)
    else:
        labeled, validation = _split(labeled, data, plan.seed)
    # Validation sees all of every image.
    labeled, validation = replace(labeled, mosaic=None), replace(validation, window=None)
    if data.spec.partly:
        labeled = replace(labeled, indices=tuple(_with_labels(labeled)))
    unlabeled = pairs = None
    if approach.sees_truth and hidden is not None:
        pairs = replace(part_of(stored(limited(hidden, plan), "hidden"), plan), mosaic=None)
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


def part_of(stored: Stored, plan: Plan) -> SampleSet:
    """Return all pictures of a split that has masks."""
    if stored.targets is None:
        raise ValueError("a training part needs targets")
    mosaic = None
    if plan.tiles is not None and stored.sizes is not None:
        tiling = plan.tiles.tiling
        mosaic = Mosaic(sizes=stored.sizes, tile=tiling.tile, step=tiling.step)
    return SampleSet(
        images=stored.images,
        targets=stored.targets,
        digest=stored.digest,
        indices=tuple(range(len(stored.names))),
        window=plan.window,
        mosaic=mosaic,
    )


def _with_labels(part: SampleSet) -> Iterator[int]:
    """Yield the rows of a part that have a label anywhere: tiles of images labeled in part may not.

    Without any, all of them: a training says then what is wrong with them.
    """
    targets, found = open_array(part.targets), False
    for index in part.indices:
        if known_in(torch.from_numpy(np.array(targets[index]))).any():
            found = True
            yield index
    if not found:
        yield from part.indices


OVERVIEW = 128
"""Rows and columns of a large image's mask that are looked at to see what it shows."""


def _overviews(targets: npt.NDArray[Any], mosaic: Mosaic) -> Tensor:
    """Return a small mask (``t h w``) of each image that was cut into tiles."""
    found = []
    for rows, (height, width) in zip(mosaic.rows, mosaic.sizes, strict=True):
        tiles = torch.from_numpy(np.array(targets[rows[0] : rows[-1] + 1]))
        whole = join(tiles, mosaic.tiling, (height, width))
        places = (torch.linspace(0, side - 1, OVERVIEW).long() for side in (height, width))
        down, across = places
        found.append(whole[:, down][:, :, across])
    return torch.stack(found)


def _split(labeled: SampleSet, data: DataSet, seed: int) -> tuple[SampleSet, SampleSet]:
    """Return the labeled part in two: to learn from, and to choose by."""
    targets, mosaic, task = open_array(labeled.targets), labeled.mosaic, task_for(data.spec)
    rows: list[tuple[int, ...]] = [(row,) for row in labeled.indices]
    if mosaic is None:
        labels = task.strata(torch.from_numpy(np.array(targets)))
    else:  # images are split, not their tiles
        rows, labels = mosaic.rows, task.strata(_overviews(targets, mosaic))

    def those(images: Sequence[int]) -> SampleSet:
        chosen = None
        if mosaic is not None:
            chosen = replace(mosaic, sizes=tuple(mosaic.sizes[each] for each in images))
        indices = tuple(row for each in images for row in rows[each])
        return replace(labeled, indices=indices, mosaic=chosen)

    train, chosen_by = scan.split_validation(labels, seed=seeds.derive(seed, "validation"))
    return those(train), those(chosen_by)


def limited(entries: tuple[Entry, ...], plan: Plan) -> tuple[Entry, ...]:
    """Return the unlabeled pictures that are used: all, or so many, chosen by seed."""
    limit = plan.limit_unlabeled
    if limit is None or limit >= len(entries):
        return entries
    order = seeds.generator(plan.seed, "limit-unlabeled")
    chosen = torch.randperm(len(entries), generator=order)[:limit]
    return tuple(entries[i] for i in sorted(chosen.tolist()))


def counting(progress: Progress, what: str) -> Callable[[int, int], None]:
    """Return what tells how countable work goes on."""
    return lambda done, total: progress(Working(what=what, done=done, total=total))
