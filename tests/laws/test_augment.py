"""What must hold for noisy copies: image, target and mask stay together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from imseg.ops import augment, photometric
from imseg.ops.augment import MOVES, Move, move, move_back_each, move_each
from imseg.ops.photometric import STRENGTH_SCHEDULES, Strength

seeds = st.integers(0, 2**62)
image_seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 9)
STRONG = STRENGTH_SCHEDULES["default"][-1]


def draw_bytes(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def channels_last(planes: Tensor) -> Tensor:
    return planes.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def names_from(seed: int, count: int) -> list[int]:
    return list(range(seed, seed + count))


@given(seed=seeds, height=sides, width=sides, rotate=st.booleans(), floats=st.booleans())
def test_image_target_and_mask_move_together(seed, height, width, rotate, floats) -> None:
    """All three show the place of each pixel before and must agree on it after."""
    place = torch.arange(height * width).reshape(1, 1, height, width).expand(6, -1, -1, -1)
    images = place.to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
    targets = torch.cat([place, place + 100], dim=1).to(torch.float32 if floats else torch.uint8)
    mask = place % 3 == 1
    draws = augment.draw(names_from(seed, 6), Strength(), rotate=rotate, square=height == width)
    found = augment.apply(images, draws, targets=targets, mask=mask)
    assert found.targets.dtype == targets.dtype and found.mask.dtype == torch.bool
    for channel in range(3):
        assert torch.equal(found.images[:, channel], found.targets[:, 0].to(torch.uint8))
    assert torch.equal(found.targets[:, 1], found.targets[:, 0] + 100)
    assert torch.equal(found.mask[:, 0], found.targets[:, 0] % 3 == 1)
    for row, by in enumerate(draws.moves):
        assert torch.equal(found.images[row], move(images[row], by))


@given(image_seed=image_seeds, seed=seeds, level=st.integers(0, 4), rotate=st.booleans())
def test_values_of_targets_and_masks_are_only_moved(image_seed, seed, level, rotate) -> None:
    images, targets = draw_bytes(image_seed, 4, 3, 8, 8), draw_bytes(image_seed, 4, 2, 8, 8)
    mask = targets[:, :1] > 200
    copies, moved, moved_mask = augment.augment(
        images, targets, mask,
        seeds=names_from(seed, 4), strength=STRENGTH_SCHEDULES["default"][level], rotate=rotate,
    )  # fmt: skip
    for row in range(4):
        for plane in range(2):
            before, after = targets[row, plane].flatten(), moved[row, plane].flatten()
            assert torch.equal(before.sort().values, after.sort().values)
        assert mask[row].sum() == moved_mask[row].sum()
    assert copies.dtype == torch.uint8


@given(image_seed=image_seeds, seed=seeds, rotate=st.booleans(), black=st.booleans())
def test_a_seed_gives_the_same_copy_in_any_batch(image_seed, seed, rotate, black) -> None:
    images, targets = draw_bytes(image_seed, 5, 3, 8, 8), draw_bytes(image_seed, 5, 1, 8, 8)
    mask, names = targets > 128, names_from(seed, 5)
    how = {"strength": STRONG, "rotate": rotate, "black": black}
    together = augment.augment(images, targets, mask, seeds=names, **how)
    for row in range(5):
        one = slice(row, row + 1)
        alone = augment.augment(images[one], targets[one], mask[one], seeds=names[one], **how)
        for part, whole in zip(alone, together, strict=True):
            assert torch.equal(part[0], whole[row])
    last = augment.augment(channels_last(images), targets, mask, seeds=names, **how)
    assert all(torch.equal(one, other) for one, other in zip(last, together, strict=True))
    assert last[0].is_contiguous(memory_format=torch.channels_last)


def test_different_seeds_give_different_copies() -> None:
    image, target = draw_bytes(0, 1, 3, 16, 16), draw_bytes(1, 1, 1, 16, 16)
    copies = [
        augment.augment(image, target, None, seeds=[seed], strength=STRONG, rotate=True)[0]
        for seed in range(40)
    ]
    assert len({copy.numpy().tobytes() for copy in copies}) == 40


@given(image_seed=image_seeds, seed=seeds, order=st.sampled_from(["copy", "view"]))
def test_geometry_comes_before_the_values_in_either_order(image_seed, seed, order) -> None:
    images = draw_bytes(image_seed, 4, 2, 8, 8)
    draws = augment.draw(names_from(seed, 4), STRONG, rotate=True, square=True)
    moved = torch.stack([move(image, by) for image, by in zip(images, draws.moves, strict=True)])
    found = augment.apply(images, draws, order=order)
    assert torch.equal(found.images, photometric.apply(moved, draws.values, order=order))
    assert found.targets is None and found.mask is None


@pytest.mark.parametrize("paper", [False, True])
def test_blocked_pixels_stay_black_when_asked_and_turn_gray_in_the_reference(paper) -> None:
    images, mask = draw_bytes(0, 30, 3, 16, 16), draw_bytes(1, 30, 1, 16, 16) < 60
    blocked = images.masked_fill(mask, 0)
    draws = augment.draw(range(30), STRONG, rotate=True, square=True)
    kept = augment.apply(blocked, draws, mask=mask, black=True, paper=paper)
    over = kept.mask.expand_as(kept.images)
    assert kept.images[over].max() == 0
    left = augment.apply(blocked, draws, mask=mask, paper=paper)
    assert left.images[over].float().mean() > 10
    assert torch.equal(left.images[~over], kept.images[~over])


def test_black_without_a_mask_is_refused_where_it_is_named_and_no_matter_otherwise() -> None:
    images, targets = draw_bytes(0, 2, 3, 8, 8), draw_bytes(0, 2, 1, 8, 8)
    how = {"strength": STRONG, "rotate": False}
    with pytest.raises(ValueError, match="there is no mask"):
        augment.apply(images, augment.draw([1, 2], square=True, **how), black=True)
    one = augment.augment(images, targets, None, seeds=[1, 2], black=True, **how)
    other = augment.augment(images, targets, None, seeds=[1, 2], **how)
    assert torch.equal(one[0], other[0]) and one[2] is None


@pytest.mark.parametrize(
    ("rotate", "square", "allowed"),
    [
        (True, True, set(MOVES)),
        (True, False, {by for by in MOVES if not by.swaps_sides}),
        (False, True, {Move(), Move(flip=True)}),
        (False, False, {Move(), Move(flip=True)}),
    ],
)
def test_every_allowed_move_is_equally_likely(rotate, square, allowed) -> None:
    images = 4000
    moves = augment.draw(range(images), STRONG, rotate=rotate, square=square).moves
    counts = {by: moves.count(by) for by in set(moves)}
    assert set(counts) == allowed
    share = 1 / len(allowed)
    spread = np.sqrt(images * share * (1 - share))
    assert list(counts.values()) == pytest.approx([images * share] * len(allowed), abs=5 * spread)


def test_the_geometry_does_not_depend_on_the_strength_nor_tell_the_values() -> None:
    how = {"rotate": True, "square": True}
    weak, strong = (augment.draw(range(4000), s, **how) for s in (Strength(), STRONG))
    assert weak.moves == strong.moves
    told = torch.stack([
        strong.flip.float(), strong.turns.float(), strong.values.scaled.float(),
        strong.values.gain, strong.values.offset, strong.values.radius.float(),
    ])  # fmt: skip
    others = torch.corrcoef(told).fill_diagonal_(0)
    assert others.abs().max() < 5 / np.sqrt(4000)


def test_some_draws_are_those_of_some_images() -> None:
    how = {"rotate": True, "square": True}
    draws = augment.draw(range(10), STRONG, **how)
    images = draw_bytes(0, 10, 3, 8, 8)
    rows = [7, 2, 2]
    found = augment.apply(images[rows], draws.take(rows))
    assert len(draws.take(rows)) == 3
    assert torch.equal(found.images, augment.apply(images, draws).images[rows])


@given(image_seed=image_seeds, which=st.lists(st.sampled_from(MOVES), max_size=9))
def test_moves_of_a_batch_are_those_of_its_rows_and_can_be_taken_back(image_seed, which) -> None:
    plain = draw_bytes(image_seed, len(which), 3, 5, 5)
    for planes in (plain, channels_last(plain), plain.float(), plain > 9):
        moved = move_each(planes, which)
        assert moved.stride() == planes.stride()
        for row, by in enumerate(which):
            assert torch.equal(moved[row], move(planes[row], by))
        assert torch.equal(move_back_each(moved, which), planes)


def test_moves_that_do_not_fit_are_refused() -> None:
    images = draw_bytes(0, 2, 3, 4, 6)
    with pytest.raises(ValueError, match="1 moves do not fit 2 images"):
        move_each(images, [Move()])
    with pytest.raises(ValueError, match="would change the shape of 4x6 images"):
        move_each(images, [Move(), Move(turns=1)])


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (1, 1, 1, 1), (2, 7, 3, 2), (3, 3, 8, 6)])
def test_batches_of_any_shape_are_augmented_and_what_came_in_is_left_alone(shape) -> None:
    images, targets = draw_bytes(0, *shape), draw_bytes(1, *shape)[:, :1]
    before = images.clone(), targets.clone()
    found = augment.augment(
        images, targets, targets > 99,
        seeds=range(shape[0]), strength=STRONG, rotate=True, black=True,
    )  # fmt: skip
    assert found[0].shape == images.shape and found[1].shape == targets.shape
    for part in found:
        part.fill_(1)
    assert torch.equal(images, before[0]) and torch.equal(targets, before[1])


@given(st.integers(0, 2**31), st.sampled_from([0.3, 1.0]), st.integers(2, 5))
def test_boxes_bring_their_labels_and_weights_along(seed: int, share: float, count: int) -> None:
    number = torch.arange(count, dtype=torch.float32).reshape(-1, 1, 1, 1)
    images = number.expand(-1, 3, 12, 20).clone()
    labels = number.to(torch.uint8)[:, None].expand(-1, 2, 1, 12, 20).clone()
    pasted, taught, weight = augment.cut_and_paste(
        images, labels, labels.float(), share=share, seed=seed
    )
    own, next_one = number.expand_as(images), number.roll(1, 0).expand_as(images)
    assert ((pasted == own) | (pasted == next_one)).all()
    assert torch.equal(pasted[:, :1], taught[:, 0].float())
    assert torch.equal(taught[:, 0], taught[:, 1]) and torch.equal(taught.float(), weight)
    for image, mine in zip(pasted[:, 0], number.flatten(), strict=True):
        box = (image != mine).nonzero()
        if len(box):  # one box without holes, of the sizes of the paper but for rounding
            high, wide = (box.amax(0) - box.amin(0) + 1).tolist()
            assert len(box) == high * wide
            assert len(box) <= 0.4 * 12 * 20 + high + wide + 1
    again = augment.cut_and_paste(images, labels, labels.float(), share=share, seed=seed)
    assert all(torch.equal(a, b) for a, b in zip((pasted, taught, weight), again, strict=True))


def test_without_boxes_nothing_is_changed() -> None:
    images = torch.rand(3, 1, 8, 8)
    labels = torch.zeros(3, 1, 1, 8, 8, dtype=torch.uint8)
    assert augment.cut_and_paste(images, labels, labels.float(), share=0.0, seed=0)[0] is images
