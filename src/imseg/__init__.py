"""From a handful of labeled images and a pile of unlabeled ones to a segmentation model.

>>> import imseg
>>> run = imseg.fit("my-data", approach="im", out="runs/a")  # doctest: +SKIP
>>> masks = [prediction.mask for prediction in run.predict("new-images/")]  # doctest: +SKIP

Names are imported on first use, so that ``imseg --help`` does not wait for PyTorch.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from imseg.types import VERSION

if TYPE_CHECKING:
    from imseg.approaches.planning.estimate import estimate as estimate
    from imseg.approaches.planning.settings import Settings as Settings
    from imseg.approaches.running.experiment import fit as fit
    from imseg.approaches.runs.run import Prediction as Prediction
    from imseg.approaches.runs.run import Run as Run
    from imseg.approaches.runs.run import load_run as load_run
    from imseg.comparison.runner import compare as compare
    from imseg.data.arrays.dataset import dataset_from_arrays as dataset_from_arrays
    from imseg.data.arrays.dataset import dataset_from_torch as dataset_from_torch
    from imseg.data.folder.scan import read_folder as read_folder
    from imseg.errors import ImsegError as ImsegError

# Threads that wait for each other must sleep, not spin: on a machine that does other work as well,
# spinning made scoring five times slower. OpenMP reads this when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = VERSION

_HOMES = {
    "ImsegError": "imseg.errors",
    "Prediction": "imseg.approaches.runs.run",
    "Run": "imseg.approaches.runs.run",
    "Settings": "imseg.approaches.planning.settings",
    "compare": "imseg.comparison.runner",
    "dataset_from_arrays": "imseg.data.arrays.dataset",
    "dataset_from_torch": "imseg.data.arrays.dataset",
    "estimate": "imseg.approaches.planning.estimate",
    "fit": "imseg.approaches.running.experiment",
    "load_run": "imseg.approaches.runs.run",
    "read_folder": "imseg.data.folder.scan",
}

__all__ = [  # noqa: RUF022 - the order in which a reader needs them
    "fit",
    "estimate",
    "compare",
    "load_run",
    "Run",
    "Settings",
    "Prediction",
    "read_folder",
    "dataset_from_arrays",
    "dataset_from_torch",
    "ImsegError",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'imseg' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
