"""Reading the masks of a download, whatever they are stored as."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.image_io import read_mask
from imseg.errors import ImsegError, and_more


def class_numbers(path: Path) -> npt.NDArray[Any]:
    """Return the whole numbers in a mask file, ``h w``.

    Raises:
        ImsegError: If the file cannot be read or holds colors or fractions.
    """
    mask = read_mask(path)
    if mask.form != "values":
        raise ImsegError(
            f"{path} is not the kind of mask that this data set has.",
            expected="whole numbers, one a class or an object.",
            got=f"{mask.form}.",
            hint="docs/datasets.md says which download is read.",
        )
    return mask.values


def refuse_other_values(path: Path, values: npt.NDArray[Any], known: Collection[int]) -> None:
    """Refuse a mask with values that the data set does not have.

    Raises:
        ImsegError: If ``values`` holds one that is not in ``known``.
    """
    strange = sorted({int(value) for value in values} - set(known))
    if strange:
        raise ImsegError(
            f"{path} holds values that are no class of this data set.",
            expected=f"{min(known)} to {max(known)}.",
            got=and_more([str(value) for value in strange]) + ".",
            hint="docs/datasets.md says which download is read.",
        )


def table_of(numbers: dict[int, int], *, other: int) -> npt.NDArray[np.uint8]:
    """Return a table of 256 bytes that turns old class numbers into new ones.

    Args:
        numbers: The new number of each old one.
        other: The new number of all others.
    """
    table = np.full(256, other, np.uint8)
    table[list(numbers)] = list(numbers.values())
    return table
