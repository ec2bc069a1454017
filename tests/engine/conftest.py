"""Tiny jobs on stored arrays: gray disks to be found, 32 pixels a side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.samples import InitialWeights, SampleSet, UnlabeledViews
from imseg.engine.training.job import TrainJob
from imseg.engine.training.monitor import Listener
from imseg.engine.training.objectives.mask_quality import MaskQuality
from imseg.engine.training.objectives.two_views import TwoViews
from imseg.engine.training.recipe import Recipe
from imseg.engine.training.trainer import train_and_save
from imseg.networks.registry import EvalNetConfig, UNetConfig
from imseg.ops.photometric import STRENGTH_SCHEDULES
from imseg.types import TargetSpec

SIDE = 32


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., SampleSet]:
    """A function that stores images with disks and their targets, and returns them as a part."""

    def store(name: str, count: int, *, digest: str = "") -> SampleSet:
        generator = np.random.Generator(np.random.PCG64(len(name)))
        rows, columns = np.mgrid[:SIDE, :SIDE]
        centers = generator.integers(8, SIDE - 8, (count, 2, 1, 1))
        masks = (rows - centers[:, 0]) ** 2 + (columns - centers[:, 1]) ** 2 < 49
        noise = generator.integers(0, 60, (count, SIDE, SIDE))
        images = (noise + 150 * masks).astype(np.uint8)[..., None]
        np.save(tmp_path / f"{name}-images.npy", images)
        np.save(tmp_path / f"{name}-targets.npy", masks.astype(np.uint8)[:, None])
        return SampleSet(
            images=tmp_path / f"{name}-images.npy",
            targets=tmp_path / f"{name}-targets.npy",
            digest=digest or name,
            indices=tuple(range(count)),
        )

    return store


@pytest.fixture
def make_job(stored: Callable[..., SampleSet], tmp_path: Path) -> Callable[..., TrainJob]:
    """A function that returns a job of a few steps; fields can be changed."""
    spec = TargetSpec(
        kind="binary",
        values=(0, 255),
        names=("background", "disk"),
        colors=((0, 0, 0), (255, 0, 0)),
    )
    labeled, validation = stored("labeled", 6), stored("validation", 3)

    def make(number: int = 0, **changes: object) -> TrainJob:
        fields = {
            "name": f"start/network-{number}",
            "output": tmp_path / "run" / f"network-{number}.safetensors",
            "samples": (labeled,),
            "validation": validation,
            "target": spec.as_dict(),
            "network": UNetConfig(width=0.1875),
            "channels": 1,
            "outputs": 1,
            "recipe": Recipe(epochs=2, batch_size=3),
            "compute": ComputeConfig(threads=1),
            "seed": 100 + number,
        }
        return TrainJob(**{**fields, **changes})

    return make


@pytest.fixture
def masks(stored, tmp_path) -> Callable[..., SampleSet]:
    """A function that stores disks with two masks each: the perfect one and an empty one."""

    def make(name: str, count: int) -> SampleSet:
        part = stored(name, count)
        truth = np.load(part.targets)
        targets = np.concatenate([truth, np.zeros_like(truth)])
        qualities = np.repeat([1.0, 0.0], count).astype(np.float32).reshape(-1, 1, 1)
        np.save(tmp_path / f"{name}-masks.npy", targets)
        np.save(tmp_path / f"{name}-qualities.npy", qualities)
        return replace(
            part,
            targets=tmp_path / f"{name}-masks.npy",
            qualities=tmp_path / f"{name}-qualities.npy",
            shows=tuple(range(count)) * 2,
            indices=tuple(range(2 * count)),
        )

    return make


@pytest.fixture
def make_scorer(make_job, masks) -> Callable[..., TrainJob]:
    """A function that returns the job of a small mask scorer."""
    samples, validation = (masks("to learn", 8),), masks("to validate", 3)

    def make(number: int = 0, **changes: object) -> TrainJob:
        fields = {
            "samples": samples,
            "validation": validation,
            "network": EvalNetConfig(width=0.25),
            "objective": MaskQuality(),
            "recipe": Recipe(epochs=2, batch_size=5),
        }
        return make_job(number, **{**fields, **changes})

    return make


@pytest.fixture
def unlabeled(stored) -> UnlabeledViews:
    """Four of seven unlabeled images, strongly augmented."""
    part = stored("unlabeled", 7)
    return UnlabeledViews(
        images=part.images,
        digest="u",
        indices=(6, 0, 3, 5),
        strength=STRENGTH_SCHEDULES["default"][-1],
        moves=True,
        rotate=True,
    )


@pytest.fixture
def make_two(make_job, unlabeled) -> Callable[..., TrainJob]:
    """A function that returns a job with two views that goes on from a trained network."""
    wide = UNetConfig(width=0.25)
    first = make_job(network=wide)
    train_and_save(first, Listener())
    initial = InitialWeights(weights=first.output, digest=first.digest())

    def make(**changes: object) -> TrainJob:
        fields = {
            "objective": TwoViews(),
            "unlabeled": unlabeled,
            "initial": initial,
            "network": wide,
        }
        return make_job(1, **{**fields, **changes})

    return make
