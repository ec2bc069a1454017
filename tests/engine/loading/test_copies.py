"""Augmented copies: drawn once or at every look, whoever asks for them and in whatever order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.loader import BatchLoader
from imseg.engine.loading.samples import Copies
from imseg.ops.photometric import STRENGTH_SCHEDULES, Strength

NUMERICS = ComputeConfig(threads=1)
STRONG = STRENGTH_SCHEDULES["default"][-1]


def copies(**changes: object) -> Copies:
    return Copies(**{"count": 3, "strength": STRONG, "rotate": True, "seed": 5, **changes})


def everything(source: BatchLoader) -> tuple[torch.Tensor, torch.Tensor]:
    batch = source.take(torch.arange(len(source)))
    return batch.images, batch.targets


def test_an_epoch_holds_every_image_and_its_copies(stored) -> None:
    part = replace(stored("labeled", 4), copies=copies())
    source = BatchLoader((part,), NUMERICS)
    assert len(source) == part.samples == 16
    images, _ = everything(source)
    plain, _ = everything(BatchLoader((replace(part, copies=None),), NUMERICS))
    assert torch.equal(images[:4], plain)
    assert all((images[4:] != picture).flatten(1).any(dim=1).all() for picture in plain)


def test_images_lie_in_memory_alike_whether_some_or_none_are_copies(stored) -> None:
    """The last bits of a step depend on it, even where the strides of one channel mean nothing."""
    part = replace(stored("labeled", 4), copies=copies())
    source = BatchLoader((part,), NUMERICS)
    plain, mixed = (source.take(torch.tensor(numbers)) for numbers in ([0, 1, 2], [0, 5, 6]))
    assert mixed.images.stride() == plain.images.stride()
    assert mixed.targets.stride() == plain.targets.stride()


def test_copies_are_the_same_for_every_network_and_look(stored) -> None:
    part = replace(stored("labeled", 4), copies=copies())
    first, second = BatchLoader((part,), NUMERICS, seed=1), BatchLoader((part,), NUMERICS, seed=2)
    again = everything(first)[0]
    assert torch.equal(again, everything(second)[0])
    assert torch.equal(again, everything(first)[0])


def test_a_copy_does_not_depend_on_the_batch_it_is_in(stored) -> None:
    part = replace(stored("labeled", 4), copies=copies())
    source = BatchLoader((part,), NUMERICS)
    together, _ = everything(source)
    for number in (3, 7, 15):
        alone = source.take(torch.tensor([number]))
        assert torch.equal(alone.images[0], together[number])


def test_another_seed_draws_other_copies(stored) -> None:
    part = stored("labeled", 4)
    one, _ = everything(BatchLoader((replace(part, copies=copies()),), NUMERICS))
    other, _ = everything(BatchLoader((replace(part, copies=copies(seed=6)),), NUMERICS))
    assert torch.equal(one[:4], other[:4])
    assert (one[4:] != other[4:]).flatten(1).any(dim=1).all()


def test_without_plain_images_only_copies_are_left(stored) -> None:
    part = replace(stored("labeled", 4), copies=copies(plain=False))
    source = BatchLoader((part,), NUMERICS)
    assert len(source) == 12
    with_plain, _ = everything(BatchLoader((replace(part, copies=copies()),), NUMERICS))
    assert torch.equal(everything(source)[0], with_plain[4:])


def test_online_every_look_is_new_and_every_network_sees_its_own(stored) -> None:
    part = replace(stored("labeled", 4), copies=copies(count=0))
    source, twin = BatchLoader((part,), NUMERICS, seed=1), BatchLoader((part,), NUMERICS, seed=1)
    assert len(source) == 4
    first, second = everything(source)[0], everything(source)[0]
    assert (first != second).flatten(1).any(dim=1).all()
    assert torch.equal(everything(twin)[0], first)
    other, _ = everything(BatchLoader((part,), NUMERICS, seed=2))
    assert (first != other).flatten(1).any(dim=1).all()


def test_online_a_look_depends_on_how_often_it_was_looked_at_alone(stored) -> None:
    part = replace(stored("labeled", 4), copies=copies(count=0))
    source, twin = BatchLoader((part,), NUMERICS, seed=1), BatchLoader((part,), NUMERICS, seed=1)
    source.take(torch.tensor([0]))
    later = source.take(torch.tensor([0, 1]))
    twin.take(torch.tensor([3, 0, 2]))
    alone = twin.take(torch.tensor([0]))
    assert torch.equal(alone.images[0], later.images[0])


def test_targets_move_with_their_images(stored) -> None:
    """Disks are the bright pixels, wherever they are moved to."""
    part = replace(stored("labeled", 6), copies=copies(strength=Strength(), count=9))
    batch = BatchLoader((part,), NUMERICS).take(torch.arange(60))
    assert torch.equal(batch.images > 0.5, batch.targets == 1)
    moved = [not torch.equal(batch.targets[i], batch.targets[i % 6]) for i in range(6, 60)]
    assert sum(moved) > 30


def test_blocked_pixels_stay_black_and_without_weight_in_copies(stored, tmp_path) -> None:
    part = stored("labeled", 4)
    masks = np.zeros((4, 1, 32, 32), np.uint8)
    masks[:, :, :5, :9] = 1
    np.save(tmp_path / "masks.npy", masks)
    blocked = replace(
        part, inconsistent=tmp_path / "masks.npy", ignores=True, copies=copies(count=5)
    )
    batch = BatchLoader((blocked,), NUMERICS).take(torch.arange(24))
    assert batch.weight is not None
    hidden = batch.weight == 0
    assert (hidden.sum(dim=(1, 2, 3)) == 45).all(), "the mask is moved, never lost"
    assert (batch.images[hidden] == 0).all()
    assert (batch.targets[hidden] == 0).all()


def test_fresh_copies_are_new_at_every_look_and_equal_seeds_repeat_them(stored) -> None:
    part = replace(stored("labeled", 4), copies=copies(fresh=True))
    source, twin = BatchLoader((part,), NUMERICS, seed=1), BatchLoader((part,), NUMERICS, seed=1)
    assert len(source) == part.samples == 16
    first, second = everything(source)[0], everything(source)[0]
    assert torch.equal(first[:4], second[:4]), "plain images stay as they are"
    assert (first[4:] != second[4:]).flatten(1).any(dim=1).all()
    assert torch.equal(everything(twin)[0], first)
    assert torch.equal(everything(twin)[0], second)
    other = everything(BatchLoader((part,), NUMERICS, seed=2))[0]
    assert (first[4:] != other[4:]).flatten(1).any(dim=1).all(), "another network sees its own"
    again = replace(part, copies=copies(fresh=True, seed=6))
    assert (everything(BatchLoader((again,), NUMERICS, seed=1))[0][4:] != first[4:]).any()
    source.forget_looks()
    assert torch.equal(everything(source)[0], first)


def test_a_fresh_copy_depends_on_how_often_it_was_looked_at_alone(stored) -> None:
    part = replace(stored("labeled", 4), copies=copies(fresh=True))
    source, twin = BatchLoader((part,), NUMERICS, seed=1), BatchLoader((part,), NUMERICS, seed=1)
    source.take(torch.tensor([9]))
    later = source.take(torch.tensor([9, 5]))
    twin.take(torch.tensor([15, 9, 4]))
    assert torch.equal(twin.take(torch.tensor([9])).images[0], later.images[0])


def test_images_with_counts_of_their_own_have_as_many_fresh_copies(stored) -> None:
    part = replace(stored("labeled", 4), copies=copies(counts=(3, 0, 1, 2), fresh=True))
    source = BatchLoader((part,), NUMERICS)
    assert len(source) == part.samples == 10
    looks = torch.cat([everything(source)[0][4:] for _ in range(3)])
    assert len({look.numpy().tobytes() for look in looks}) == 18


@pytest.mark.parametrize(
    "change",
    [
        {"count": 2},
        {"seed": 6},
        {"rotate": False},
        {"plain": False},
        {"fresh": True},
        {"reblock": False},
        {"strength": Strength(noise=3)},
    ],
)
def test_copies_decide_what_a_job_is(make_job, stored, change) -> None:
    part = replace(stored("labeled", 6), copies=copies())
    digest = make_job(samples=(part,)).digest()
    assert digest != make_job().digest()
    other = replace(part, copies=copies(**change))
    assert make_job(samples=(other,)).digest() != digest
    assert make_job(samples=(part,)).images == 24


def test_an_odd_number_of_sides_is_never_turned_by_a_quarter(stored, tmp_path) -> None:
    part = stored("labeled", 4)
    wide = np.load(part.images)[:, :20]
    np.save(tmp_path / "wide.npy", wide)
    np.save(tmp_path / "targets.npy", np.load(part.targets)[:, :, :20])
    part = replace(
        part, images=tmp_path / "wide.npy", targets=tmp_path / "targets.npy", copies=copies()
    )
    images, targets = everything(BatchLoader((part,), NUMERICS))
    assert images.shape[2:] == targets.shape[2:] == (20, 32)
