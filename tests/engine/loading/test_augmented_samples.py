"""Samples augmented anew at every look, whoever asks for them and on whatever device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engine.loading.watch import Watch

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.augmented_samples import SampleAugmenter, augment_samples
from imseg.engine.loading.loader import BatchLoader
from imseg.engine.loading.rows import Placement
from imseg.engine.loading.samples import Batch, Copies, SampleSet, UnlabeledViews
from imseg.engine.loading.views import ViewLoader
from imseg.ops.inconsistency import COLORS
from imseg.ops.limits import AugmentLimits, limits_for
from imseg.ops.photometric import Strength

NUMERICS = ComputeConfig(threads=1)
RESIDENT = Placement(on_device=True, budget=2**40)
STREAMED = Placement(on_device=True, budget=0)
STRONG = limits_for("strong", kind="binary", modality="photograph", rotate=True)
WEAK = limits_for("weak", kind="binary", modality="photograph", rotate=True)
VALUES = replace(STRONG, mirror=False, upside_down=False, swap=False, share=0.0)
MOVED = replace(STRONG, share=1.0).geometry
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., SampleSet]:
    """A function that stores random images and all that may belong to them."""

    def make(name: str, *, height: int = 12, width: int = 12, channels: int = 3,
             kind: str = "u1") -> SampleSet:  # fmt: skip
        random = np.random.Generator(np.random.PCG64(len(name)))
        arrays = {
            "images": random.integers(0, 256, (6, height, width, channels), np.uint8),
            "targets": random.integers(1, 9, (6, 2, height, width)).astype(kind),
            "inconsistent": random.integers(0, 2, (6, 1, height, width), np.uint8),
        }
        if kind == "f4":
            arrays["targets"][arrays["targets"] == 8] = np.nan
        paths = {key: tmp_path / f"{name}-{channels}-{kind}-{key}.npy" for key in arrays}
        for key, path in paths.items():
            np.save(path, arrays[key])
        return SampleSet(**paths, digest=name, indices=(5, 2, 0, 3))

    return make


def same(one: Batch, other: Batch) -> bool:
    for name in Batch.__dataclass_fields__:
        a, b = getattr(one, name), getattr(other, name)
        if (a is None) != (b is None):
            return False
        if a is not None and not torch.equal(a.nan_to_num(7e7), b.nan_to_num(7e7)):
            return False
    return one.images.stride() == other.images.stride()


def everything(loader: BatchLoader) -> Batch:
    return loader.take(torch.arange(len(loader)))


@shared
@given(
    limits=st.sampled_from([STRONG, WEAK, VALUES, MOVED]),
    blocks=st.tuples(*[st.booleans()] * 4),
    reblock=st.sampled_from([None, True, False]),
    color=st.sampled_from(COLORS),
    count=st.sampled_from([None, 0, 2]),
    channels=st.sampled_from([1, 3, 5]),
    flags=st.tuples(*[st.booleans()] * 4),
    seed=st.integers(0, 2**40),
)
def test_every_batch_of_a_device_is_the_one_of_the_host(
    store, limits, blocks, reblock, color, count, channels, flags, seed
) -> None:
    floats, streamed, last, paper = flags
    first = store("a", channels=channels, kind="f4" if floats else "u1")
    names = ("blocks_input", "blocks_output", "ignores")
    first = replace(first, block_color=color, **dict(zip(names, blocks[:3], strict=True)))
    if count is not None:
        copies = Copies(count=count, strength=Strength(noise=9), rotate=True, seed=4)
        first = replace(first, copies=replace(copies, reblock=reblock))
    second = store("bb", channels=channels, kind="f4" if floats else "u1")
    second = second if blocks[3] else replace(second, inconsistent=None)
    how = {"seed": seed, "limits": limits, "paper": paper}
    compute = ComputeConfig(threads=1, channels_last=last)
    host = BatchLoader((first, second), compute, **how)
    placement = STREAMED if streamed else RESIDENT
    device = BatchLoader((first, second), compute, placement=placement, **how)
    for _ in range(2):
        numbers = torch.randperm(len(host), generator=torch.Generator().manual_seed(seed))
        asked = [*numbers.split(3), numbers[:1].repeat(2)]
        for one, other in zip(device.feed(asked), [host.take(each) for each in asked], strict=True):
            assert same(one, other)


def test_every_look_is_new_and_depends_on_the_sample_the_look_and_the_seed_alone(store) -> None:
    part = store("labeled")
    loader, twin = (BatchLoader((part,), NUMERICS, seed=1, limits=STRONG) for _ in range(2))
    first, second = everything(loader), everything(loader)
    assert (first.images != second.images).flatten(1).any(dim=1).all()
    twin.skip([torch.arange(4)])
    for number in (2, 0, 3, 1):
        assert torch.equal(twin.take(torch.tensor([number])).images[0], second.images[number])
    other = everything(BatchLoader((part,), NUMERICS, seed=2, limits=STRONG))
    assert (first.images != other.images).flatten(1).any(dim=1).all()
    loader.forget_looks()
    assert same(everything(loader), first)


def test_images_of_two_sets_and_copies_are_each_augmented_in_their_own_way(store) -> None:
    part = store("labeled")
    copies = Copies(count=2, strength=Strength(), rotate=False, seed=1)
    part = replace(part, inconsistent=None)
    loader = BatchLoader((part, replace(part, copies=copies)), NUMERICS, limits=MOVED)
    batch = everything(loader)
    assert len({image.numpy().tobytes() for image in batch.images}) == len(batch) == 16


def test_outside_and_moved_inconsistent_pixels_have_no_weight(store, tmp_path) -> None:
    part = store("labeled")
    np.save(tmp_path / "ones.npy", np.ones((6, 2, 12, 12), np.uint8))
    mask = np.zeros((6, 1, 12, 12), np.uint8)
    mask[:, :, 4:7, 3:9] = 1
    np.save(tmp_path / "mask.npy", mask)
    part = replace(part, targets=tmp_path / "ones.npy", inconsistent=tmp_path / "mask.npy")
    far = AugmentLimits(share=1.0, shift=0.4)
    batch = everything(BatchLoader((replace(part, ignores=True),), NUMERICS, limits=far))
    ignored = everything(BatchLoader((replace(part, ignores=False),), NUMERICS, limits=far)).weight
    assert torch.equal(ignored, everything(
        BatchLoader((replace(part, inconsistent=None),), NUMERICS, limits=far)).weight)  # fmt: skip
    assert batch.weight is not None and 0.2 < float(ignored.mean()) < 0.9
    assert torch.equal(batch.weight, ignored * (batch.targets[:, :1] == 1))
    assert (batch.targets[(batch.weight == 0).expand_as(batch.targets)] == 0).any()


def test_values_alone_leave_no_weight_and_blocked_pixels_keep_their_color(store) -> None:
    part = store("labeled")
    batch = everything(BatchLoader((part,), NUMERICS, limits=VALUES))
    assert batch.weight is None
    hidden = torch.from_numpy(np.load(part.inconsistent)[list(part.indices)] > 0)
    assert (batch.images[hidden.expand_as(batch.images)] == 0).all()
    paper = everything(BatchLoader((part,), NUMERICS, limits=VALUES, paper=True))
    assert (paper.images[hidden.expand_as(batch.images)] > 0).any()


def test_limits_that_allow_nothing_leave_batches_as_they_are(store) -> None:
    part = replace(store("labeled"), copies=Copies(count=1, strength=Strength(noise=5),
                                                   rotate=True, seed=2))  # fmt: skip
    plain = everything(BatchLoader((part,), NUMERICS))
    for placement in (None, RESIDENT):
        how = {"placement": placement, "limits": AugmentLimits()}
        assert same(everything(BatchLoader((part,), NUMERICS, **how)), plain)


def test_samples_have_the_same_bits_with_any_number_of_threads_in_any_order() -> None:
    """Images so large that threads share them, and no side a multiple of anything."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (5, 97, 131, 3), dtype=torch.uint8, generator=generator)
    images, targets = images.permute(0, 3, 1, 2), images.permute(0, 3, 1, 2)[:, :2].contiguous()
    augmenter, before = SampleAugmenter(STRONG, (97, 131, 3)), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        found = augment_samples(images, targets, None, augmenter.columns([7, 8, 9, 10, 11]))
        for threads, rows in ((2, [4, 3, 2, 1, 0]), (3, [1, 4]), (1, [2])):
            torch.set_num_threads(threads)
            columns = augmenter.columns([7 + row for row in rows])
            again = augment_samples(images[rows], targets[rows], None, columns)
            assert torch.equal(again.images, found.images[rows])
            assert torch.equal(again.targets, found.targets[rows])
            assert torch.equal(again.inside, found.inside[rows])
    finally:
        torch.set_num_threads(before)


def unlabeled(part: SampleSet) -> UnlabeledViews:
    return UnlabeledViews(
        images=part.images, digest="", indices=part.indices, strength=Strength(), moves=True,
        rotate=True,
    )  # fmt: skip


@pytest.mark.parametrize("plain_first", [False, True])
@pytest.mark.parametrize("limits", [STRONG, VALUES, MOVED])
def test_views_share_a_geometry_and_have_values_of_their_own(store, limits, plain_first) -> None:
    views = unlabeled(store("views"))
    asked = [torch.tensor([3, 0]), torch.tensor([1, 2, 3])]
    how = {"seed": 3, "limits": limits, "plain_first": plain_first, "count": 3}
    found = list(ViewLoader(views, NUMERICS, **how).feed(asked))
    device = ViewLoader(views, NUMERICS, placement=RESIDENT, **how)
    for here, there in zip(found, device.feed(asked), strict=True):
        assert all(torch.equal(*pair) for pair in zip(here, there, strict=True))
        assert (here.inside is None) == (there.inside is None) == (not limits.moves)
        assert here.inside is None or torch.equal(here.inside, there.inside)
    moved = list(ViewLoader(views, NUMERICS, seed=3, limits=limits.geometry, count=3).feed(asked))
    for both, only in zip(found, moved, strict=True):
        (one, other, third), (plain, *rest) = both, only
        assert all(torch.equal(plain, each) for each in rest)
        assert torch.equal(one, plain) == (plain_first or limits is MOVED)
        for first, second in ((other, plain), (one, other), (other, third), (one, third)):
            assert torch.equal(first, second) == (limits is MOVED)
    again = ViewLoader(views, NUMERICS, **how)
    again.skip(asked[:1])
    assert torch.equal(again.take(asked[1]).each[2], found[1].each[2])
    if limits is STRONG:
        pieces = found[1].split([1, 2])
        assert [len(each) for each in pieces] == [1, 2]
        assert torch.equal(torch.cat([each.inside for each in pieces]), found[1].inside)


@pytest.mark.parametrize("limits", [STRONG, VALUES])
def test_a_device_is_asked_nothing_and_sent_one_block(store, limits) -> None:
    part = replace(store("labeled"), ignores=True, block_color="noise")
    compute = ComputeConfig(device="meta")
    numbers = [torch.tensor([0, 1]), torch.tensor([2, 3])]
    loader = BatchLoader((part,), compute, placement=RESIDENT, limits=limits)
    with Watch("meta") as watch:
        assert len(list(loader.feed(numbers))) == 2
    assert watch.crossings == {"_to_copy": 1} and watch.seen > 50
    views = ViewLoader(unlabeled(part), compute, seed=1, placement=RESIDENT, limits=limits)
    with Watch("meta") as watch:
        assert len(list(views.feed(numbers))) == 2
    assert watch.crossings == {"_to_copy": 1} and watch.seen > 50
