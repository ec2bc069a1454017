"""Windows of stored tiles: a part of each sample, anywhere in it, the same for all that belongs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.engine.loading.watch import Watch

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.loader import BatchLoader
from imseg.engine.loading.rows import Placement
from imseg.engine.loading.samples import Copies, SampleSet, UnlabeledViews
from imseg.engine.loading.views import ViewLoader
from imseg.ops import warp
from imseg.ops.limits import AugmentLimits, limits_for
from imseg.ops.photometric import Strength

NUMERICS = ComputeConfig(threads=1)
RESIDENT = Placement(on_device=True, budget=2**40)
STREAMED = Placement(on_device=True, budget=0)
STRONG = limits_for("strong", kind="binary", modality="photograph", rotate=True)
VALUES = replace(STRONG, mirror=False, upside_down=False, swap=False, share=0.0)
COPIES = Copies(count=2, strength=Strength(noise=9), rotate=True, seed=4)
HEIGHT, WIDTH = 20, 18
WINDOW = (8, 6)


@pytest.fixture
def tiles(tmp_path: Path) -> SampleSet:
    """Five tiles whose pixels and targets say where they are."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    numbers = np.arange(5)[:, None, None] * 40
    images = np.stack(np.broadcast_arrays(rows, columns, numbers), axis=-1).astype(np.uint8)
    random = np.random.Generator(np.random.PCG64(1))
    arrays = {
        "images": images,
        "targets": np.stack([images[..., 0], images[..., 1]], axis=1),
        "inconsistent": random.integers(0, 2, (5, 1, HEIGHT, WIDTH), np.uint8),
    }
    paths = {name: tmp_path / f"{name}.npy" for name in arrays}
    for name, path in paths.items():
        np.save(path, arrays[name])
    return SampleSet(**paths, digest="tiles", indices=(4, 0, 3, 1), window=WINDOW)


def test_a_window_is_a_part_of_its_tile_and_of_all_that_belongs_to_it(tiles: SampleSet) -> None:
    plain = replace(tiles, blocks_input=False, blocks_output=False, ignores=True)
    loader = BatchLoader((plain,), NUMERICS, seed=3)
    seen, masks = set(), np.load(tiles.inconsistent)
    for _ in range(60):
        batch = loader.take(torch.arange(4))
        assert batch.images.shape == (4, 3, *WINDOW) and batch.targets.shape == (4, 2, *WINDOW)
        pixels = (batch.images * 255).round().int()
        for number, (image, target, weight) in enumerate(
            zip(pixels, batch.targets, batch.weight, strict=True)
        ):
            row, column = int(image[0, 0, 0]), int(image[1, 0, 0])
            assert (image[0, :, 0] == row + torch.arange(WINDOW[0])).all()
            assert (image[1, 0] == column + torch.arange(WINDOW[1])).all()
            assert (image[2] == 40 * tiles.indices[number]).all()
            assert torch.equal(image[:2], target.int())
            place = (slice(row, row + WINDOW[0]), slice(column, column + WINDOW[1]))
            expected = masks[tiles.indices[number], 0][place] == 0
            assert np.array_equal(weight[0].numpy() > 0, expected)
            seen.add((row, column))
    rows, columns = ({place[axis] for place in seen} for axis in (0, 1))
    assert rows == set(range(HEIGHT - WINDOW[0] + 1)), "anywhere in the tile"
    assert columns == set(range(WIDTH - WINDOW[1] + 1))


@pytest.mark.parametrize("limits", [None, STRONG, VALUES, AugmentLimits()])
@pytest.mark.parametrize(
    "copies", [None, COPIES, replace(COPIES, count=0), replace(COPIES, fresh=True)]
)
@pytest.mark.parametrize("color", ["black", "noise"])
def test_host_and_device_make_the_same_windows(
    tiles: SampleSet, limits: AugmentLimits | None, copies: Copies | None, color: str
) -> None:
    part = replace(tiles, copies=copies, block_color=color, ignores=True)
    other = replace(tiles, inconsistent=None)
    how = {"seed": 7, "limits": limits}
    host = BatchLoader((part, other), NUMERICS, **how)
    for placement in (RESIDENT, STREAMED):
        device = BatchLoader((part, other), NUMERICS, placement=placement, **how)
        asked = [torch.tensor([0, 5, 2]), torch.tensor([1, 0])]
        host.forget_looks()
        for one, there in zip(host.feed(asked), device.feed(asked), strict=True):
            assert torch.equal(one.images, there.images)
            assert torch.equal(one.targets, there.targets) and torch.equal(one.weight, there.weight)
            assert one.images.shape[2:] == WINDOW


def test_a_window_of_a_moved_image_is_what_is_there_in_the_whole_of_it() -> None:
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(0, 256, (6, 3, 31, 23), dtype=torch.uint8, generator=generator)
    params = warp.draw(list(range(6)), STRONG, square=False)
    corners = warp.draw_window(list(range(6)), (31, 23), (9, 14))
    window = warp.Crops(corners, (9, 14))
    whole = warp.apply(images, params, planes=[images])
    found = warp.apply(images, params, planes=[images], window=window)
    assert torch.equal(found.planes[0], window.of(whole.planes[0]))
    assert torch.equal(found.inside, window.of(whole.inside))
    near = (found.images.int() - window.of(whole.images).int()).abs()
    assert near.max() <= 1, "sums may be made in another order"


def test_every_look_shows_another_window_and_depends_on_nothing_else(tiles: SampleSet) -> None:
    loader, twin = (BatchLoader((tiles,), NUMERICS, seed=1) for _ in range(2))
    first, second = loader.take(torch.arange(4)), loader.take(torch.arange(4))
    assert not torch.equal(first.images, second.images)
    twin.skip([torch.arange(4)])
    for number in (2, 0, 3, 1):
        assert torch.equal(twin.take(torch.tensor([number])).images[0], second.images[number])


@pytest.mark.parametrize("limits", [None, STRONG])
def test_both_views_show_one_window(tiles: SampleSet, limits: AugmentLimits | None) -> None:
    views = UnlabeledViews(
        images=tiles.images, digest="", indices=tiles.indices, strength=Strength(),
        moves=False, rotate=False, window=WINDOW,
    )  # fmt: skip
    asked = [torch.tensor([3, 0]), torch.tensor([1, 2])]
    geometry = None if limits is None else limits.geometry
    found = list(ViewLoader(views, NUMERICS, seed=3, limits=geometry).feed(asked))
    device = ViewLoader(views, NUMERICS, seed=3, limits=geometry, placement=RESIDENT)
    for here, there in zip(found, device.feed(asked), strict=True):
        assert torch.equal(here.each[0], there.each[0]) and torch.equal(here.each[1], there.each[1])
        assert here.each[0].shape[2:] == WINDOW
        assert torch.equal(here.each[0], here.each[1]), "without values of their own they are alike"


@pytest.mark.parametrize("limits", [None, STRONG])
def test_a_device_is_asked_nothing(tiles: SampleSet, limits: AugmentLimits | None) -> None:
    loader = BatchLoader((tiles,), ComputeConfig(device="meta"), placement=RESIDENT, limits=limits)
    with Watch("meta") as watch:
        assert len(list(loader.feed([torch.tensor([0, 1]), torch.tensor([2, 3])]))) == 2
    assert watch.crossings == {"_to_copy": 1}


def test_windows_of_two_sizes_are_refused(tiles: SampleSet) -> None:
    with pytest.raises(ValueError, match="windows of one size"):
        BatchLoader((tiles, replace(tiles, window=None)), NUMERICS)
