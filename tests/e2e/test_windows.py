"""Networks that learn from windows of images, and predict them tile by tile."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.e2e.small_sets import (
    KINDS,
    SETTINGS,
    SIDE,
    Killed,
    Mortal,
    Watched,
    mask_of,
    scenes,
    small_set,
    weights_of,
)
from tests.sets import rest_but
from torch import Tensor, nn

import imseg
from imseg.approaches.methods.catalog import APPROACHES
from imseg.approaches.planning import estimate as estimating
from imseg.approaches.runs.run import Run
from imseg.engine.training.job import TrainJob
from imseg.engine.workers.executors import Serial
from imseg.errors import ImsegError
from imseg.types import DataSet

ROWS, COLUMNS = 2, 3
"""Small scenes side by side in an image of 64 x 96 px."""
WINDOWS: dict[str, Any] = {
    **{name: value for name, value in SETTINGS.items() if name != "image_size"},
    "scale": 1.0,
    "patch": (32, 32),
}


def wide_pairs(kind: str, seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images of several scenes, and their masks."""
    images, labels = scenes(seed, count * ROWS * COLUMNS)
    apart = (np.arange(ROWS * COLUMNS, dtype=np.uint8) * 3).reshape(1, -1, 1, 1)
    labels = labels.reshape(count, -1, SIDE, SIDE)
    labels = np.where(labels > 0, labels + apart, 0).astype(np.uint8)

    def together(parts: np.ndarray) -> np.ndarray:
        grid = parts.reshape(count, ROWS, COLUMNS, SIDE, SIDE).transpose(0, 1, 3, 2, 4)
        return np.ascontiguousarray(grid.reshape(count, ROWS * SIDE, COLUMNS * SIDE))

    numbers = together(labels)
    if kind == "multiclass":
        numbers = np.where(numbers > 0, (numbers - 1) % 3 + 1, 0)
    whole = together(images.reshape(count, -1, SIDE, SIDE))
    return whole, [mask_of(each, kind) for each in numbers]


def wide_set(kind: str, *, labeled: int = 4, validation: int = 2) -> DataSet:
    return imseg.dataset_from_arrays(
        wide_pairs(kind, 0, labeled),
        unlabeled=wide_pairs(kind, 1, 3)[0],
        val=wide_pairs(kind, 2, validation) if validation else None,
        test=wide_pairs(kind, 3, 2),
        task=kind,
        class_names=("alive", "dead", "position") if kind == "multilabel" else None,
    )


def trained(data: DataSet, out: Path, **options: Any) -> Run:
    return imseg.fit(
        data, out=out, executor=Serial(), progress=lambda _: None, **{**WINDOWS, **options}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_every_kind_come_back_at_their_own_size(kind: str, tmp_path: Path) -> None:
    data = wide_set(kind)
    run = trained(data, tmp_path / "run", approach="ldt")
    assert run.plan.tiles is not None and run.plan.image_size == (32, 32)
    (found,) = run.predict([wide_pairs(kind, 5, 1)[0][0]], disagreement=True)
    assert found.target.shape[1:] == found.inconsistent.shape == (64, 96)
    said = run.trained(run.summary["network"]).scores[run.metric.key]
    # Scores of validation in the training are those of whole images, joined from tiles.
    again = run.evaluate(data, "val", tta=False).per_image
    if kind != "instances":
        assert said == pytest.approx(again[run.metric.key], abs=1e-6)


BY_MEANS = (
    *(
        "im",
        "online-im",
        "mean-teacher",
        "ldt-online",
        "consistency",
        "input-ensemble",
        "noisy-student",
    ),
    *("evalnet", "aim++"),
)
"""Approaches that make what they learn from in ways of their own."""


@pytest.mark.parametrize("approach", rest_but(BY_MEANS, lambda each: each in BY_MEANS[:2]))
def test_every_approach_learns_from_windows(approach: str, tmp_path: Path) -> None:
    executor, options = Watched(), dict(WINDOWS)
    if "generations" in APPROACHES[approach].options:
        options["generations"] = 1
    data = wide_set("multiclass", labeled=8, validation=4)
    run = imseg.fit(data, out=tmp_path / "run", executor=executor, approach=approach, **options)
    assert run.evaluate(data).names == ("test[0]", "test[1]")
    for job in itertools.chain.from_iterable(executor.jobs.values()):
        scored = job.samples[0].qualities is not None
        assert scored or {each.window for each in job.samples} == {(32, 32)}
        assert scored or job.validation.mosaic.sizes == ((64, 96),) * 4


@pytest.mark.parametrize("whole", [False, True])
def test_large_images_are_predicted_as_their_parts_are(tmp_path: Path, whole: bool) -> None:
    """Also by networks that learned from whole images of the size of the parts."""
    longer: dict[str, Any] = {"approach": "ldt", "max_steps": 40, "epochs": 40}
    if whole:
        longer |= {"scale": None, "patch": None, "image_size": (SIDE, SIDE)}
    data = small_set("binary") if whole else wide_set("binary")
    run = trained(data, tmp_path / "run", **longer)
    parts, _ = scenes(9, 36)
    mosaic = parts.reshape(6, 6, SIDE, SIDE).transpose(0, 2, 1, 3).reshape(6 * SIDE, 6 * SIDE)
    (found,) = run.predict([mosaic])
    assert found.mask.shape == mosaic.shape
    alone = [found.mask for found in run.predict(list(parts))]
    together = np.stack(alone).reshape(6, 6, SIDE, SIDE).transpose(0, 2, 1, 3).reshape(mosaic.shape)
    inner = (np.arange(6 * SIDE) % SIDE >= 8) & (np.arange(6 * SIDE) % SIDE < SIDE - 8)
    one, other = (each[np.ix_(inner, inner)] > 0 for each in (found.mask, together))
    assert (one & other).sum() / (one | other).sum() > 0.8
    if whole:
        (squeezed,) = run.predict([mosaic], scale=0)
        assert (squeezed.mask != found.mask).mean() > 0.02


def test_without_validation_images_whole_images_are_set_aside(tmp_path: Path) -> None:
    executor = Watched()
    data = wide_set("multiclass", labeled=6, validation=0)
    imseg.fit(data, out=tmp_path / "run", executor=executor, approach="ldt", **WINDOWS)
    (job, *_) = executor.jobs["start"]
    assert job.validation.mosaic is not None and job.samples[0].mosaic is None
    images = len(job.validation.mosaic.sizes)
    tiles = job.validation.mosaic.tiling.count((64, 96))
    assert len(job.validation.indices) == images * tiles
    assert len(job.samples[0].indices) == (6 - images) * tiles
    used = set(job.samples[0].indices) | set(job.validation.indices)
    assert used == set(range(6 * tiles)), "no tile is in both, none is lost"
    assert job.samples[0].window == (32, 32) and job.validation.window is None


def test_a_run_that_is_killed_ends_with_the_same_bits(tmp_path: Path) -> None:
    data = wide_set("binary")
    options = {"approach": "mean-teacher"}
    whole = trained(data, tmp_path / "whole", **options)
    with pytest.raises(Killed):
        imseg.fit(data, out=tmp_path / "part", executor=Mortal(1), **WINDOWS, **options)
    again = trained(data, tmp_path / "part", **options)
    assert weights_of(again.path) == weights_of(whole.path)


def save_mosaic(place: Path) -> Path:
    parts, _ = scenes(9, 9)
    mosaic = parts.reshape(3, 3, SIDE, SIDE).transpose(0, 2, 1, 3).reshape(3 * SIDE, 3 * SIDE)
    place.mkdir()
    Image.fromarray(mosaic).save(place / "mosaic.png")
    Image.fromarray(parts[0]).save(place / "usual.png")
    return place


def test_pictures_much_larger_than_those_learned_from_are_spoken_of(
    tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    options = {**SETTINGS, "approach": "ldt", "out": tmp_path / "run"}
    imseg.fit(small_set("binary"), executor=Serial(), progress=lambda _: None, **options)
    images = save_mosaic(tmp_path / "images")
    status, _, told = cli("predict", tmp_path / "run", images, "--out", tmp_path / "masks")
    assert status == 0
    assert "1 picture is much larger than those learned from (up to 32x32 px): mosaic.png" in told
    assert "tile by tile; --scale 0 shows each of them whole" in told
    for scale, words in (("9", "--scale is out of range"), ("nan", "--scale is out of range")):
        status, _, told = cli(
            "predict", tmp_path / "run", images, "--out", tmp_path / "more", "--scale", scale
        )
        assert status != 0 and words in told
    status, _, told = cli(
        "predict", tmp_path / "run", images, "--out", tmp_path / "half", "--scale", 0.5
    )
    assert status == 0 and "much larger" not in told


def test_photographs_with_more_pixels_are_seen_whole_and_it_is_said(
    tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    options = {**SETTINGS, "approach": "ldt", "out": tmp_path / "run"}
    data = replace(small_set("binary"), modality="photograph")
    run = imseg.fit(data, executor=Serial(), progress=lambda _: None, **options)
    assert not run.plan.same_scale and run.plan.predicted_size((500, 500)) == (SIDE, SIDE)
    images = save_mosaic(tmp_path / "images")
    status, _, told = cli("predict", tmp_path / "run", images, "--out", tmp_path / "masks")
    assert status == 0
    assert "warning: 1 picture is much larger" in told
    assert "Each is seen whole, at 32x32 px" in told and "--scale 1 looks at them" in told


def test_what_networks_cannot_do_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(wide_set("binary"), tmp_path / "run", approach="ldt")
    image = wide_pairs("binary", 5, 1)[0][0]
    with pytest.raises(ImsegError, match="never saw a picture whole"):
        next(run.predict([image], scale=0))
    with pytest.raises(ImsegError, match="out of range"):
        next(run.predict([image], scale=-1))
    earlier = replace(run, plan=replace(run.plan, tiles=None, typical_size=None))
    with pytest.raises(ImsegError, match="does not know at which scale"):
        next(earlier.predict([image], scale=0.5))
    monkeypatch.setattr(estimating, "free_disk", lambda path: 1000)
    with pytest.raises(ImsegError, match="not enough room") as caught:
        trained(wide_set("binary"), tmp_path / "more", approach="ldt")
    assert "--whole-image" in caught.value.hint and not (tmp_path / "more").exists()


def test_images_as_large_as_some_that_were_seen_whole_stay_whole(tmp_path: Path) -> None:
    def mixed(seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        pixels = [*scenes(seed, 6)[0], *scenes(seed + 1, 2)[0].repeat(3, 1).repeat(3, 2)]
        return pixels, [(each > 90).astype(np.uint8) for each in pixels]

    data = imseg.dataset_from_arrays(mixed(0), val=mixed(2), task="binary")
    options = {**SETTINGS, "approach": "ldt", "out": tmp_path / "run"}
    run = imseg.fit(data, executor=Serial(), progress=lambda _: None, **options)
    assert run.plan.typical_size == (SIDE, SIDE) and run.plan.largest_size == (96, 96)
    assert run.plan.predicted_size((96, 96)) == (SIDE, SIDE), "as in training and validation"
    assert run.plan.predicted_size((192, 192)) != (SIDE, SIDE)


def test_a_network_is_tried_on_tiles_before_anything_is_trained(tmp_path: Path) -> None:
    """One that only takes images of the size of a window fails at once, not at validation."""
    with pytest.raises(ImsegError, match="network"):
        trained(wide_set("binary"), tmp_path / "run", approach="ldt", network=OnlyWindows)
    assert not (tmp_path / "run" / "start").exists()


class OnlyWindows(nn.Module):
    def __init__(self, channels: int, outputs: int, width: float) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels, outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[2:] != (32, 32):
            raise RuntimeError("images of 32x32 px alone")
        return self.layer(images)


class Looking(Watched):
    """Trains, and keeps at which samples the first job looks in an epoch, and what they show."""

    looks: list[int]
    shown: list[int]
    rare: list[int] | None

    def remember(self, jobs: Sequence[TrainJob]) -> None:
        """Keep jobs of one stage."""
        super().remember(jobs)
        job, samples = jobs[0], jobs[0].samples[0]
        at_work, targets = job.objective.open(job), np.load(samples.targets)
        self.shown = [n for n, i in enumerate(samples.indices) if (targets[i] == 1).any()]
        rare, order = at_work.rare(), torch.Generator().manual_seed(0)
        self.rare = None if rare is None else rare.tolist()
        self.looks = torch.cat(next(iter(at_work.labeled_epochs(job.recipe, order)))).tolist()


@pytest.mark.parametrize("approach", ["ldt", "mean-teacher"])
def test_tiles_that_show_what_is_rare_are_looked_at_more_often(
    approach: str, tmp_path: Path
) -> None:
    images, labels = wide_pairs("binary", 0, 4)
    for number, mask in enumerate(labels):
        mask[:, 32 * (number == 0) :] = 0  # what is left lies at the edge of one image
    data = imseg.dataset_from_arrays(
        (images, labels), unlabeled=wide_pairs("binary", 1, 3)[0], val=wide_pairs("binary", 2, 2)
    )
    shares = {}
    for share in (0.0, 0.4):
        executor = Looking()
        options = {**WINDOWS, "rare_share": share, "batch_size": 4, "max_steps": 6}
        imseg.fit(
            data, out=tmp_path / f"{share}", executor=executor, progress=lambda _: None,
            approach=approach, **options,
        )  # fmt: skip
        assert 0 < len(executor.shown) < len(executor.looks) / 3
        assert executor.rare == (executor.shown if share else None)
        looks = executor.looks
        shares[share] = sum(each in executor.shown for each in looks) / len(looks)
    assert shares[0.4] >= 0.35 > shares[0.0]
