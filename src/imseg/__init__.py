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
    from imseg.approaches.runs.predictions import Prediction as Prediction
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
    "fit": "imseg.approaches.running.experiment",
    "estimate": "imseg.approaches.planning.estimate",
    "compare": "imseg.comparison.runner",
    "load_run": "imseg.approaches.runs.run",
    "Run": "imseg.approaches.runs.run",
    "Settings": "imseg.approaches.planning.settings",
    "Prediction": "imseg.approaches.runs.predictions",
    "read_folder": "imseg.data.folder.scan",
    "dataset_from_arrays": "imseg.data.arrays.dataset",
    "dataset_from_torch": "imseg.data.arrays.dataset",
    "ImsegError": "imseg.errors",
}

__all__ = list(_HOMES)  # in the order in which a reader needs them


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'imseg' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
