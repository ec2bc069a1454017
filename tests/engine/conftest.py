"""Tiny jobs on stored arrays: gray disks to be found, 32 pixels a side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imseg.engine.device import Numerics
from imseg.engine.job import Job, NetworkSpec, Recipe
from imseg.engine.part import Part
from imseg.types import TargetSpec

SIDE = 32


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Part]:
    """A function that stores images with disks and their targets, and returns them as a part."""

    def store(name: str, count: int, *, digest: str = "") -> Part:
        generator = np.random.Generator(np.random.PCG64(len(name)))
        rows, columns = np.mgrid[:SIDE, :SIDE]
        centers = generator.integers(8, SIDE - 8, (count, 2, 1, 1))
        masks = (rows - centers[:, 0]) ** 2 + (columns - centers[:, 1]) ** 2 < 49
        noise = generator.integers(0, 60, (count, SIDE, SIDE))
        images = (noise + 150 * masks).astype(np.uint8)[..., None]
        np.save(tmp_path / f"{name}-images.npy", images)
        np.save(tmp_path / f"{name}-targets.npy", masks.astype(np.uint8)[:, None])
        return Part(
            images=tmp_path / f"{name}-images.npy",
            targets=tmp_path / f"{name}-targets.npy",
            digest=digest or name,
            indices=tuple(range(count)),
        )

    return store


@pytest.fixture
def make_job(stored: Callable[..., Part], tmp_path: Path) -> Callable[..., Job]:
    """A function that returns a job of a few steps; fields can be changed."""
    spec = TargetSpec(
        kind="binary",
        values=(0, 255),
        names=("background", "disk"),
        colors=((0, 0, 0), (255, 0, 0)),
    )
    labeled, validation = stored("labeled", 6), stored("validation", 3)

    def make(number: int = 0, **changes: object) -> Job:
        fields = {
            "name": f"start/network-{number}",
            "output": tmp_path / "run" / f"network-{number}.safetensors",
            "parts": (labeled,),
            "validation": validation,
            "target": spec.as_dict(),
            "network": NetworkSpec(channels=1, outputs=1, width=0.1875),
            "recipe": Recipe(epochs=2, batch_size=3),
            "numerics": Numerics(threads=1),
            "seed": 100 + number,
        }
        return Job(**{**fields, **changes})

    return make
