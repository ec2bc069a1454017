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

if TYPE_CHECKING:
    from imseg.approaches.comparison.compare import compare as compare
    from imseg.approaches.estimate import estimate as estimate
    from imseg.approaches.experiment import fit as fit
    from imseg.approaches.prediction import Prediction as Prediction
    from imseg.approaches.run import Run as Run
    from imseg.approaches.run import load_run as load_run
    from imseg.approaches.settings import Settings as Settings
    from imseg.data.arrays import dataset_from_arrays as dataset_from_arrays
    from imseg.data.arrays import dataset_from_torch as dataset_from_torch
    from imseg.data.folder import read_folder as read_folder
    from imseg.errors import ImsegError as ImsegError

# Threads that wait for each other must sleep, not spin: on a machine that does other work as well,
# spinning made scoring five times slower. OpenMP reads this when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

_HOMES = {
    "ImsegError": "imseg.errors",
    "Prediction": "imseg.approaches.prediction",
    "Run": "imseg.approaches.run",
    "Settings": "imseg.approaches.settings",
    "compare": "imseg.approaches.comparison.compare",
    "dataset_from_arrays": "imseg.data.arrays",
    "dataset_from_torch": "imseg.data.arrays",
    "estimate": "imseg.approaches.estimate",
    "fit": "imseg.approaches.experiment",
    "load_run": "imseg.approaches.run",
    "read_folder": "imseg.data.folder",
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
