"""Public data sets, read as they are downloaded and written in the layout that users bring.

One file a data set. A new one is a function with the signature of :class:`Prepare`, and a line in
``DATASETS``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from imseg.data.prepare.isic2018 import PreparedCounts, prepare_isic2018
from imseg.errors import look_up


class Prepare(Protocol):
    """What the preparation of every data set looks like."""

    def __call__(
        self,
        raw: Path,
        out: Path,
        *,
        labeled: float = ...,
        seed: int = ...,
        progress: Callable[[int, int], None] | None = ...,
    ) -> PreparedCounts:
        """Read the download ``raw``, write the data folder ``out``, return what is in it."""


DATASETS: dict[str, Prepare] = {"isic2018": prepare_isic2018}
"""Every data set that can be prepared, by the name used on the command line."""

__all__ = ["DATASETS", "Prepare", "PreparedCounts", "find_data_set", "prepare_isic2018"]


def find_data_set(name: str) -> Prepare:
    """Return the preparation of a data set by its name.

    Raises:
        ImsegError: If there is none; the nearest name is suggested.
    """
    return look_up(name, DATASETS, noun="data set", command="imseg prepare {} RAW --out DATA")
