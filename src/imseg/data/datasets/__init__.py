"""Public data sets, read as they are downloaded and written in the layout that users bring.

Each file declares one data set as a ``PublicDataset``, and ``prepare_data_set`` prepares any of
them. To add one: a file like its neighbors, and its value in ``DATASETS``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imseg.data.datasets.camvid import CAMVID
from imseg.data.datasets.cityscapes import cityscapes
from imseg.data.datasets.data_folder import PreparedCounts, prepare
from imseg.data.datasets.hela import HELA
from imseg.data.datasets.isic2018 import ISIC2018
from imseg.data.datasets.nuclei import NUCLEI
from imseg.data.datasets.sources import PreparationProgress, PublicDataset
from imseg.data.datasets.suim import SUIM
from imseg.errors import ImsegError, look_up

DATASETS: dict[str, PublicDataset] = {
    dataset.name: dataset for dataset in (ISIC2018, HELA, SUIM, cityscapes(), CAMVID, NUCLEI)
}
"""Every data set that can be prepared, by the name used on the command line."""

__all__ = ["DATASETS", "PreparedCounts", "PublicDataset", "prepare_data_set"]


def prepare_data_set(
    name: str,
    raw: Path,
    out: Path,
    *,
    labeled: float = 0.1,
    seed: int = 0,
    progress: PreparationProgress | None = None,
    **options: Any,
) -> PreparedCounts:
    """Write a public data set as a data folder.

    A share of the training images is labeled, drawn by the seed; the masks of the others go to
    ``hidden/masks``. A larger share contains the images of a smaller one. The same seed chooses the
    same images on every machine.

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
    dataset = look_up(name, DATASETS, noun="data set", command="imseg prepare {} RAW --out DATA")
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        if option not in dataset.options:
            word = f"--{option.replace('_', '-')}"
            having = [other.name for other in DATASETS.values() if option in other.options]
            raise ImsegError(
                f"{name} has no use for {word}.",
                expected=f"{word} for {', '.join(having) or 'no data set'} only.",
                hint=f"leave {word} away.",
            )
    if given and dataset.with_options is not None:
        dataset = dataset.with_options(**given)
    return prepare(dataset, raw, out, labeled=labeled, seed=seed, progress=progress)
