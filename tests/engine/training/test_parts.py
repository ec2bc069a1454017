"""Samples of a part: several targets of an image, a number of copies of its own for each."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imseg.data.cache.store import open_array
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.loader import BatchLoader, to_device
from imseg.engine.loading.samples import Copies, SampleIndex, SampleSet
from imseg.ops.photometric import STRENGTH_SCHEDULES

NUMERICS = ComputeConfig(threads=1)
STRONG = STRENGTH_SCHEDULES["default"][-1]
counted = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def copies(counts: tuple[int, ...] | None, *, count: int, plain: bool = True) -> Copies:
    return Copies(count=count, strength=STRONG, rotate=True, seed=5, plain=plain, counts=counts)


def everything(part: SampleSet) -> torch.Tensor:
    source = BatchLoader((part,), NUMERICS)
    assert len(source) == part.samples
    return source.take(torch.arange(len(source))).images if len(source) else torch.zeros(0)


@pytest.fixture
def disks(stored) -> SampleSet:
    return stored("labeled", 5)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_equal_counts_are_a_count(disks, count: int, plain: bool) -> None:
    indices = (4, 0, 2)
    one = replace(disks, indices=indices, copies=copies(None, count=count, plain=plain))
    each = replace(disks, indices=indices, copies=copies((count,) * 3, count=count, plain=plain))
    assert torch.equal(everything(one), everything(each))


@counted
@given(counts=st.lists(st.integers(0, 4), min_size=5, max_size=5).filter(any), plain=st.booleans())
def test_each_image_has_as_many_copies_as_it_is_given(disks, counts, plain: bool) -> None:
    full = replace(disks, copies=copies(None, count=max(counts), plain=plain))
    some = replace(disks, copies=copies(tuple(counts), count=max(counts), plain=plain))
    names = {picture.numpy().tobytes(): n for n, picture in enumerate(everything(full))}
    assert len(names) == full.samples, "no two samples look the same"
    found = [names[picture.numpy().tobytes()] for picture in everything(some)]
    assert found == sorted(found), "in the same order"
    by_image = Counter(number % 5 for number in found)
    assert [by_image[image] for image in range(5)] == [count + plain for count in counts]
    copy_numbers = [number // 5 - plain for number in found]
    assert all(copy < counts[number % 5] for number, copy in zip(found, copy_numbers, strict=True))


def test_an_epoch_weighs_images_by_their_copies(disks, make_job) -> None:
    part = replace(disks, copies=copies((5, 0, 1, 0, 2), count=5, plain=False))
    assert make_job(samples=(part,)).images == len(BatchLoader((part,), NUMERICS)) == 8


def test_counts_that_do_not_fit_the_images_are_refused(disks) -> None:
    with pytest.raises(ValueError, match="2 counts of copies for 5 images"):
        BatchLoader((replace(disks, copies=copies((1, 2), count=2)),), NUMERICS)


def test_numbering_many_copies_takes_little_more_memory_than_their_numbers(disks) -> None:
    part = replace(disks, indices=tuple(range(20_000)), copies=copies(None, count=9))
    tracemalloc.start()
    try:
        assert len(SampleIndex((part,), seed=0)) == 200_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000, "as tuples they take 40 MB on the way; tensors are not counted here"


@pytest.fixture
def several(disks, tmp_path) -> SampleSet:
    """Seven targets of five images: target n is n everywhere, qualities too."""
    size = (7, 1, 32, 32)
    targets = np.broadcast_to(np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1), size)
    masks = np.zeros(size, np.uint8)
    masks[np.arange(7), :, np.arange(7)] = 1
    np.save(tmp_path / "several.npy", targets)
    np.save(tmp_path / "several-masks.npy", masks)
    np.save(tmp_path / "qualities.npy", np.arange(14, dtype=np.float64).reshape(7, 1, 2) / 14)
    return replace(
        disks,
        targets=tmp_path / "several.npy",
        inconsistent=tmp_path / "several-masks.npy",
        qualities=tmp_path / "qualities.npy",
        shows=(0, 0, 4, 3, 3, 1, 2),
        indices=(6, 2, 1, 3, 0),
    )


def test_a_target_is_shown_with_its_image_and_keeps_its_own_mask_and_quality(several) -> None:
    part = replace(several, blocks_input=False, blocks_output=False, ignores=True)
    batch = BatchLoader((part,), NUMERICS).take(torch.tensor([3, 0, 4, 1, 2]))
    rows = [3, 6, 0, 2, 1]
    images = open_array(part.images)
    for place, row in enumerate(rows):
        shown = images[(0, 0, 4, 3, 3, 1, 2)[row], :, :, 0]
        np.testing.assert_allclose(batch.images[place, 0] * 255, shown, atol=1e-4)
        assert (batch.targets[place] == row).all()
        assert (batch.weight[place, 0] == 0).nonzero()[:, 0].unique().tolist() == [row]
        expected = torch.tensor([[2 * row, 2 * row + 1]]) / 14
        torch.testing.assert_close(batch.qualities[place], expected)
    assert batch.qualities.dtype == torch.float32


def test_blocking_uses_the_mask_of_the_target(several) -> None:
    batch = BatchLoader((several,), NUMERICS).take(torch.arange(5))
    for place, row in enumerate(several.indices):
        assert (batch.images[place, :, row] == 0).all()
        assert (batch.targets[place, :, row] == 0).all()


def test_two_targets_of_an_image_get_copies_of_their_own(several) -> None:
    part = replace(several, inconsistent=None, indices=(0, 1))
    part = replace(part, copies=copies(None, count=2, plain=False))
    batch = BatchLoader((part,), NUMERICS).take(torch.arange(4))
    assert [int(target.flatten()[0]) for target in batch.targets] == [0, 1, 0, 1]
    assert not torch.equal(batch.images[0], batch.images[1])
    doubled = replace(part, targets=several.targets, shows=None)
    alone = BatchLoader((replace(doubled, indices=(0,)),), NUMERICS).take(torch.arange(2))
    assert torch.equal(batch.images[::2], alone.images), "seeds go by target, pixels by image"


def test_validation_shows_targets_with_their_images_too(several, make_job) -> None:
    job = make_job(validation=several)
    (batch,) = job.objective.open(job).validation_batches()
    assert batch.targets[:, 0, 0, 0].tolist() == [6, 2, 1, 3, 0]
    stored = open_array(several.images)[[2, 4, 0, 3, 0]]
    assert torch.equal(batch.images, to_device(stored, job.compute))


def test_parts_without_qualities_have_none(disks) -> None:
    assert BatchLoader((disks, disks), NUMERICS).take(torch.tensor([1, 7])).qualities is None


def test_only_some_parts_with_qualities_are_refused(disks, several) -> None:
    with pytest.raises(ValueError, match="either all sample sets have qualities or none"):
        BatchLoader((disks, several), NUMERICS)
