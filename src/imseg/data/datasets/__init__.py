"""Public data sets, read as they are downloaded and written in the layout that users bring.

One file a data set. A new one is a function like its neighbors, and a line in ``DATASETS``; options
of its own are parameters that only take keywords.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imseg.data.datasets.camvid import prepare_camvid
from imseg.data.datasets.cityscapes import prepare_cityscapes
from imseg.data.datasets.hela import prepare_hela
from imseg.data.datasets.isic2018 import prepare_isic2018
from imseg.data.datasets.nuclei import prepare_nuclei
from imseg.data.datasets.splitting import PreparedCounts, Progress
from imseg.data.datasets.suim import prepare_suim
from imseg.errors import ImsegError, look_up

DATASETS: dict[str, Callable[..., PreparedCounts]] = {
    "isic2018": prepare_isic2018,
    "hela": prepare_hela,
    "suim": prepare_suim,
    "cityscapes": prepare_cityscapes,
    "camvid": prepare_camvid,
    "nuclei": prepare_nuclei,
}
"""Every data set that can be prepared, by the name used on the command line."""

__all__ = ["DATASETS", "PreparedCounts", "Progress", "prepare_data_set"]


def prepare_data_set(
    name: str,
    raw: Path,
    out: Path,
    *,
    labeled: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> PreparedCounts:
    """Write a public data set as a data folder.

    Args:
        name: Which; see ``DATASETS``.
        raw: The download as its source gives it: unpacked, an archive, or a folder of archives.
        out: Must not exist yet, or be empty. It appears when everything is in it.
        labeled: Share of the training images that keep their masks, between 0 and 1.
        seed: Chooses among the images.
        progress: Called with what is being done, how much of it is done, and how much there is.
        options: What only some data sets have; None: not given.

    Raises:
        ImsegError: If there is no such data set (the nearest name is suggested), it has no such
            option, ``raw`` is no such download, or ``out`` cannot be written.
    """
    chosen = look_up(name, DATASETS, noun="data set", command="imseg prepare {} RAW --out DATA")
    given = {option: value for option, value in options.items() if value is not None}
    own = inspect.signature(chosen).parameters
    for option in given:
        if option not in own:
            word = f"--{option.replace('_', '-')}"
            having = [
                other
                for other, function in DATASETS.items()
                if option in inspect.signature(function).parameters
            ]
            raise ImsegError(
                f"{name} has no use for {word}.",
                expected=f"{word} for {', '.join(having) or 'no data set'} only.",
                hint=f"leave {word} away.",
            )
    return chosen(raw, out, labeled=labeled, seed=seed, progress=progress, **given)
