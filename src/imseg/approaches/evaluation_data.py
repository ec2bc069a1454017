"""Which pairs of a data set a finished run is scored on, and whether it can be."""

from __future__ import annotations

from pathlib import Path

from imseg.data.encoding import describe_values
from imseg.data.recognize import word_of
from imseg.errors import ImsegError
from imseg.types import DataSet, LabeledImage, TargetSpec

SPLITS = ("test", "val", "labeled")


def pairs_of(dataset: DataSet, split: str) -> tuple[LabeledImage, ...]:
    """Return the pictures of a split with their masks.

    Raises:
        ImsegError: If there is no such split, or nothing in it.
    """
    if split not in SPLITS:
        raise ImsegError(
            f"There is no split named {split!r}.", expected=", ".join(SPLITS), got=split
        )
    pairs: tuple[LabeledImage, ...] = getattr(dataset, split)
    if not pairs:
        raise ImsegError(
            f"{dataset.name} has no {split} images.",
            expected=f"{split}/images and {split}/masks.",
            hint="--split with one of: "
            + ", ".join(name for name in SPLITS if getattr(dataset, name)),
        )
    return pairs


def check_meaning(dataset: DataSet, spec: TargetSpec, *, trained_in: Path) -> None:
    """Check that masks mean what they meant when a run was trained.

    Args:
        dataset: What it is to be scored on.
        spec: What masks meant then.
        trained_in: The run.

    Raises:
        ImsegError: If they do not.
    """
    theirs = dataset.spec
    alike = spec.is_like(theirs) and spec.void == theirs.void
    if not alike or set(theirs.values) - set(spec.values):
        raise ImsegError(
            f"The masks of {dataset.name} do not mean what they meant in {trained_in}.",
            expected=f"{word_of(spec)}: {describe_values(spec)}",
            got=f"{word_of(theirs)}: {describe_values(theirs)}",
        )
