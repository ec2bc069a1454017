"""Blocked pixels of samples: in the color that was asked for, in both ways of making batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from imseg.data.cache.store import open_array
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.loader import BatchLoader
from imseg.engine.loading.rows import Placement
from imseg.engine.loading.samples import Copies, Mosaic, SampleSet, content_of
from imseg.ops import photometric
from imseg.ops.inconsistency import COLORS, draw_color_keys, make_fill
from imseg.ops.photometric import STRENGTH_SCHEDULES

STRONG = STRENGTH_SCHEDULES["default"][-1]
WAYS = {"in groups": None, "on the device": Placement(on_device=True, budget=2**40)}


@pytest.fixture(params=WAYS)
def look(request) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """A function that returns all samples of a part, 0..255, and which pixels are blocked."""

    def take(part: SampleSet, *, paper: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        placement, compute = WAYS[request.param], ComputeConfig(threads=1)
        source = BatchLoader((part,), compute, paper=paper, placement=placement)
        batch = source.take(torch.arange(len(source)))
        assert batch.weight is not None
        return (batch.images * 255).round().to(torch.uint8), batch.weight == 0

    return take


@pytest.fixture
def blocked(stored, tmp_path) -> SampleSet:
    """Four images with a blocked corner; targets belong to images in another order."""
    masks = np.zeros((4, 1, 32, 32), np.uint8)
    masks[:, :, :5, :9] = 1
    np.save(tmp_path / "masks.npy", masks)
    return replace(
        stored("labeled", 4),
        inconsistent=tmp_path / "masks.npy",
        ignores=True,
        indices=(2, 0, 3),
        shows=(1, 3, 0, 2),
    )


SHOWN = [0, 1, 2]
"""The images that its targets belong to."""


def fills(part: SampleSet) -> torch.Tensor:
    """Return the color of each shown image at every place."""
    pixels = torch.from_numpy(np.array(open_array(part.images))[SHOWN]).permute(0, 3, 1, 2)
    numbers = torch.full((len(SHOWN),), COLORS.index(part.block_color))
    fill = make_fill(pixels, numbers, draw_color_keys(SHOWN), among=COLORS)
    return fill.expand(pixels.shape)


def with_copies(part: SampleSet, **changes: object) -> SampleSet:
    how = {"count": 2, "strength": STRONG, "rotate": True, "seed": 5, "plain": True, **changes}
    return replace(part, copies=Copies(**how))


@pytest.mark.parametrize("color", COLORS)
def test_blocked_pixels_have_the_color_that_was_asked_for_in_images_and_copies(
    look, blocked, color
) -> None:
    part = replace(blocked, block_color=color)
    images, hidden = look(part)
    assert hidden.sum() == 3 * 45
    assert torch.equal(images[hidden], fills(part)[hidden])
    stored = torch.from_numpy(np.array(open_array(part.images))[SHOWN]).permute(0, 3, 1, 2)
    assert torch.equal(images[~hidden], stored[~hidden]), "all others are left as they are"
    images, hidden = look(with_copies(part))
    assert hidden.sum() == 9 * 45
    assert torch.equal(images[hidden], fills(part).repeat(3, 1, 1, 1)[hidden])


@pytest.mark.parametrize("color", COLORS)
def test_where_the_image_is_not_blocked_its_color_means_nothing(look, blocked, color) -> None:
    plain = with_copies(replace(blocked, blocks_input=False))
    assert torch.equal(look(replace(plain, block_color=color))[0], look(plain)[0])


@pytest.mark.parametrize("color", COLORS)
def test_copies_that_are_not_reblocked_have_other_colors_there_and_only_there(
    look, blocked, color
) -> None:
    part = replace(blocked, block_color=color)
    images, hidden = look(with_copies(part, reblock=False))
    kept, _ = look(with_copies(part, reblock=True))
    fill = fills(part).repeat(3, 1, 1, 1)
    assert torch.equal(images[:3], kept[:3]), "plain images are not augmented"
    copied = hidden.clone()
    copied[:3] = False
    assert (images[copied] != fill[copied]).float().mean() > 0.3
    assert torch.equal(images[~hidden], kept[~hidden])
    assert torch.equal(kept[hidden], fill[hidden])


@pytest.mark.parametrize("paper", [False, True])
def test_blocked_pixels_get_their_color_again_except_in_the_reference(look, blocked, paper) -> None:
    by_itself, _ = look(with_copies(blocked), paper=paper)
    asked = {
        each: look(with_copies(blocked, reblock=each), paper=paper)[0] for each in (True, False)
    }
    assert torch.equal(by_itself, asked[not paper])
    assert not torch.equal(by_itself, asked[paper])


def test_all_that_decides_what_is_seen_is_told_and_no_place_is(blocked) -> None:
    plain = content_of(with_copies(blocked, fresh=True, reblock=True))
    places = {"images", "targets", "inconsistent", "qualities"}
    silent = {"window", "mosaic"}  # where they are None
    assert set(plain) == {field.name for field in fields(SampleSet)} - places - silent
    tiles = Mosaic(sizes=((9, 9),), tile=(6, 6), step=(4, 4))
    assert {"window", "mosaic"} <= set(content_of(replace(blocked, window=(4, 4), mosaic=tiles)))
    assert set(plain["copies"]) == {field.name for field in fields(Copies)}
    assert plain["copies"]["fresh"] is plain["copies"]["reblock"] is True
    assert content_of(replace(blocked, block_color="noise"))["block_color"] == "noise"


def test_parts_of_one_batch_are_reblocked_each_as_it_asks(blocked) -> None:
    parts = tuple(
        with_copies(replace(blocked, block_color=color), reblock=reblock, plain=False)
        for color, reblock in (("noise", False), ("mean", True), ("black", False))
    )
    compute, numbers = ComputeConfig(threads=1), torch.arange(18)
    one, other = (BatchLoader(parts, compute, placement=way).take(numbers) for way in WAYS.values())
    assert torch.equal(one.images, other.images)
    images, hidden = (other.images * 255).round().to(torch.uint8), other.weight == 0
    expected = torch.cat([fills(part).repeat(2, 1, 1, 1) for part in parts])
    again = [torch.equal(images[n][hidden[n]], expected[n][hidden[n]]) for n in range(18)]
    assert all(again[6:12]) and not all(again[:6]) and not all(again[12:])


def test_what_noise_is_made_from_is_on_the_device_before_the_first_batch(blocked) -> None:
    photometric._words.cache_clear()
    placement = WAYS["on the device"]
    source = BatchLoader(
        (replace(blocked, block_color="noise"),), ComputeConfig(), placement=placement
    )
    made = photometric._words.cache_info().misses
    source.take(torch.arange(3))
    assert photometric._words.cache_info().misses == made == 1
