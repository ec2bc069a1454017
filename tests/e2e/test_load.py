"""Memory and open files do not grow with the number of images, but for what is known about each."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.e2e.small_sets import small_set, train

from imseg.approaches.runs.predictions import Prediction
from imseg.approaches.runs.run import Run
from imseg.data.cache.store import store_split
from imseg.data.folder.scan import scan
from imseg.engine.inference.pictures import Segmented
from imseg.report.predictions.writing import write_predictions
from imseg.types import Image as Entry

FIRST, FEW, MANY = 20, 300, 1200
SIDE = 64
"""Pixels of a side: an image is 4 KiB, its mask as much, so that a kept one shows."""
PREDICTING = 2048
"""Bytes that may stay of each predicted image: names, and a share of pixels. Measured: 1,070."""
CHECKING = 3072
"""Bytes that may stay of each checked image: a thumbnail and some numbers. Measured: 1,520."""
STORING = 2048
"""Bytes that may stay of each stored image, its lines in the index among them. Measured: 1,050."""


@dataclass(frozen=True)
class Held:
    """What a piece of work held while it went on, and left behind."""

    peak: int
    """Most bytes allocated by Python and NumPy."""
    objects: int
    """Predictions and tensors alive when the last image was done."""
    handles: int
    """Files opened and not closed."""


def held_by(work: Callable[[Callable[[int, int], None]], object]) -> Held:
    """Run a piece of work, which is handed a progress callback."""
    alive = peak = 0

    def progress(done: int, total: int) -> None:
        nonlocal alive, peak
        if done == total:
            peak = tracemalloc.get_traced_memory()[1]
            kinds = (Prediction, Segmented, torch.Tensor)
            # Not isinstance: some objects of torch compute their class, and warn of it.
            alive = sum(issubclass(type(each), kinds) for each in gc.get_objects())
            tracemalloc.reset_peak()  # that list was large

    gc.collect()
    before = open_handles()
    tracemalloc.start()
    try:
        work(progress)
        peak = max(peak, tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    return Held(peak, alive, open_handles() - before)


def open_handles() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def bytes_per_image(few: Held, many: Held, more: int = MANY - FEW) -> float:
    return (many.peak - few.peak) / more


def pictures(count: int) -> Iterator[np.ndarray]:
    """Yield pictures without any two alike: noise over noise of large grain."""
    generator = np.random.default_rng(0)
    for _ in range(count):
        grain = generator.integers(0, 200, (SIDE // 8, SIDE // 8), dtype=np.uint8)
        fine = generator.integers(0, 56, (SIDE, SIDE), dtype=np.uint8)
        yield grain.repeat(8, 0).repeat(8, 1) + fine


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[int, Path]:
    """Folders of so many pictures, the smaller ones with the first of them."""
    root = tmp_path_factory.mktemp("pictures")
    found = {count: root / str(count) for count in (FIRST, FEW, MANY)}
    for folder in found.values():
        folder.mkdir()
    for number, pixels in enumerate(pictures(MANY)):
        name = f"{number:04d}.png"
        Image.fromarray(pixels).save(found[MANY] / name, compress_level=0)
        for count in (FIRST, FEW):
            if number < count:
                (found[count] / name).hardlink_to(found[MANY] / name)
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return train(small_set("binary"), "ldt", tmp_path_factory.mktemp("load") / "run")


@pytest.mark.slow
def test_predicting_keeps_names_only_and_closes_every_file(run, folders, tmp_path):
    def predict(count: int, *, drawn: bool = False) -> Held:
        return held_by(
            lambda progress: write_predictions(
                run,
                folders[count],
                tmp_path / f"{count} {drawn}",
                overlay=drawn,
                inconsistency=drawn,
                progress=progress,
            )
        )

    predict(FIRST)  # libraries load, caches fill
    assert predict(FIRST, drawn=True).handles == 0
    few, many = predict(FEW), predict(MANY)
    assert len(list((tmp_path / f"{MANY} False").glob("*.png"))) == MANY
    assert few.handles == many.handles == 0
    assert many.objects <= few.objects + 32
    assert bytes_per_image(few, many) < PREDICTING


@pytest.mark.slow
def test_checking_keeps_a_look_at_each_image_only_and_closes_every_file(folders, tmp_path):
    def check(count: int) -> Held:
        root = tmp_path / str(count)
        root.mkdir()
        (root / "unlabeled").mkdir()
        for path in folders[count].iterdir():
            (root / "unlabeled" / path.name).hardlink_to(path)
        return held_by(lambda progress: scan(root, progress=progress))

    check(FIRST)
    few, many = check(FEW), check(MANY)
    assert few.handles == many.handles == 0
    assert bytes_per_image(few, many) < CHECKING


@pytest.mark.slow
def test_storing_keeps_what_the_index_says_only_and_closes_every_file(tmp_path):
    data = small_set("binary")
    few_images, many_images = 600, 3000
    arrays = [Entry(f"image[{i}]", pixels) for i, pixels in enumerate(pictures(many_images))]

    def store(count: int) -> Held:
        return held_by(
            lambda progress: store_split(
                arrays[:count],
                tmp_path / str(count),
                "unlabeled",
                spec=data.spec,
                reading=data.reading,
                size=(SIDE - 8, SIDE - 8),
                workers=2,
                progress=progress,
            )
        )

    # Once more each: then all is there already, and only compared.
    few, many = store(few_images), store(many_images)
    few_again, many_again = store(few_images), store(many_images)
    for one, other in ((few, many), (few_again, many_again)):
        assert one.handles == other.handles == 0
        assert bytes_per_image(one, other, many_images - few_images) < STORING
