"""Golden arrays: what the authors' code gave for the same input.

They lie in the folder that ``IMSEG_GOLDEN`` names. A variable that is unset skips these tests, a
folder that is named but missing fails them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from imseg.networks.unet import UNet

Arrays = Mapping[str, npt.NDArray[np.generic]]
STEM = 16
"""Filters of the stem at width 1."""
OUT = {"out": "out"}
"""Layers of the U-Net that Keras knows by a name instead of a number."""


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    """The folder of the golden arrays."""
    named = os.environ.get("IMSEG_GOLDEN")
    if not named:
        pytest.skip("IMSEG_GOLDEN is unset: the folder of golden arrays is missing")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"IMSEG_GOLDEN names {named}, which is not a folder")
    return folder


@pytest.fixture(scope="session")
def golden(golden_folder: Path) -> Callable[[str], Arrays]:
    """A function from the name of a golden file to its arrays."""

    @functools.cache
    def load(name: str) -> Arrays:
        with np.load(golden_folder / f"{name}.npz", allow_pickle=False) as file:
            return {key: file[key] for key in file.files}

    return load


@pytest.fixture(scope="session")
def keras_state() -> Callable[..., dict[str, Tensor]]:
    """A function from Keras weights by layer name to a ``state_dict`` of the same network.

    Convolutions and normalizations come in the same order in both, so the n-th belongs to the n-th;
    ``named`` says what layers with a name of their own are called there.
    """

    def convert(
        arrays: Arrays, network: nn.Module, *, prefix: str = "w", named: Mapping[str, str] = OUT
    ) -> dict[str, Tensor]:
        modules = {
            nn.Conv2d: ("conv2d", ("kernel", "bias")),
            nn.BatchNorm2d: (
                "batch_normalization",
                ("gamma", "beta", "moving_mean", "moving_variance"),
            ),
            nn.Linear: ("dense", ("kernel", "bias")),
        }
        here = {
            nn.Conv2d: ("weight", "bias"),
            nn.BatchNorm2d: ("weight", "bias", "running_mean", "running_var"),
            nn.Linear: ("weight", "bias"),
        }
        state: dict[str, Tensor] = {}
        for kind, (layer, theirs) in modules.items():
            ours = [name for name, module in network.named_modules() if isinstance(module, kind)]
            for index, name in enumerate(ours):
                known_as = named.get(name, f"{layer}_{index}" if index else layer)
                for mine, its in zip(here[kind], theirs, strict=True):
                    array = torch.from_numpy(arrays[f"{prefix}.{known_as}.{its}"].copy())
                    # Keras: height, width, inputs, outputs; dense: inputs, outputs.
                    order = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[array.ndim]
                    state[f"{name}.{mine}"] = array.permute(order)
        expected = {name for name in arrays if name.startswith(f"{prefix}.")}
        assert len(state) == len(expected), "every golden weight must have found its place"
        return state

    return convert


@pytest.fixture(scope="session")
def keras_unet(keras_state: Callable[..., dict[str, Tensor]]) -> Callable[..., UNet]:
    """A function that returns our U-Net with golden weights, of the width they have."""

    def load(arrays: Arrays, *, prefix: str = "w") -> UNet:
        _, _, channels, filters = arrays[f"{prefix}.conv2d.kernel"].shape
        outputs = arrays[f"{prefix}.out.bias"].shape[0]
        network = UNet(channels=channels, outputs=outputs, width=filters / STEM)
        missing, unexpected = network.load_state_dict(
            keras_state(arrays, network, prefix=prefix), strict=False
        )
        assert not unexpected
        assert all(name.endswith("num_batches_tracked") for name in missing)
        return network

    return load
