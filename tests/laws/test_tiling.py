"""Tiles cover an image, and what is said about them is joined without a seam."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from imseg.ops.tiling import Stitcher, TileScheme, Tiling, reflected, tile_weights

SIZES = st.tuples(st.integers(1, 90), st.integers(1, 90))


@st.composite
def tilings(draw: st.DrawFn) -> Tiling:
    tile = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    step = draw(st.tuples(*(st.integers(1, side) for side in tile)))
    return Tiling(tile, step)


@given(tilings(), SIZES)
def test_every_pixel_lies_in_a_tile_and_every_tile_in_the_image(
    tiling: Tiling, size: tuple[int, int]
) -> None:
    seen = np.zeros(tuple(max(pair) for pair in zip(size, tiling.tile, strict=True)), int)
    corners = tiling.corners(size)
    for row, column in corners:
        assert row == 0 or row + tiling.tile[0] <= size[0]
        assert column == 0 or column + tiling.tile[1] <= size[1]
        seen[row : row + tiling.tile[0], column : column + tiling.tile[1]] += 1
    assert seen.min() >= 1
    assert len(set(corners)) == len(corners) == tiling.count(size)
    for axis in (0, 1):
        places = sorted({corner[axis] for corner in corners})
        assert all(b - a <= tiling.step[axis] for a, b in itertools.pairwise(places))


@given(tilings(), SIZES)
def test_tiles_of_an_image_joined_are_the_image(tiling: Tiling, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).normal(size=(*size, 2)).astype(np.float32)
    tiles = np.stack(list(tiling.tiles(image)))
    assert tiles.shape[1:3] == tiling.tile
    stitcher = Stitcher(tiling, size)
    for some in torch.from_numpy(tiles).permute(0, 3, 1, 2).split(3):
        stitcher.add(some)
    joined = stitcher.result().permute(1, 2, 0).numpy()
    np.testing.assert_allclose(joined, image, atol=1e-5)


@given(*[st.floats(0.01, 100)] * 4)
def test_a_pixel_that_is_seen_is_as_large_in_all_images(
    scale: float, reference: float, one: float, other: float
) -> None:
    scheme = TileScheme(scale, Tiling((4, 4), (4, 4)), reference)
    seen = [size / scheme.at(size).scale for size in (one, other, reference)]
    assert seen == pytest.approx([reference / scale] * 3)
    assert scheme.at(reference).scale == scheme.at(None).scale == scale, "to the last bit"
    assert TileScheme(scale, scheme.tiling).at(one) == TileScheme(scale, scheme.tiling)


def test_the_mean_is_that_of_a_naive_formula() -> None:
    tiling, size = Tiling((8, 6), (3, 4)), (17, 11)
    corners = tiling.corners(size)
    said = torch.randn(len(corners), 3, 8, 6, generator=torch.Generator().manual_seed(1))
    stitcher = Stitcher(tiling, size)
    stitcher.add(said)
    weights, joined = tile_weights(tiling.tile), stitcher.result()
    for y, x in np.ndindex(size):
        total, mass = torch.zeros(3), torch.zeros(())
        for tile, (row, column) in zip(said, corners, strict=True):
            if 0 <= y - row < 8 and 0 <= x - column < 6:
                weight = weights[y - row, x - column]
                total, mass = total + tile[:, y - row, x - column] * weight, mass + weight
        torch.testing.assert_close(joined[:, y, x], total / mass)


def test_tiles_give_what_one_pass_gives_away_from_the_borders() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))
    image = np.random.default_rng(0).random((70, 50), np.float32)
    with torch.no_grad():
        whole = network(torch.from_numpy(image)[None, None])[0]
        for tile, step in (((32, 32), (12, 12)), ((24, 40), (16, 30))):
            tiling = Tiling(tile, step)
            stitcher = Stitcher(tiling, (70, 50))
            for each in tiling.tiles(image):
                # Its outer 2 px are other than in one pass: there this network sees its border.
                stitcher.add(network(torch.from_numpy(each.copy())[None, None]))
            far = (stitcher.result() - whole).abs()
            assert far.median() < 1e-5 and far.mean() < 0.02 * whole.std()


def test_an_image_smaller_than_a_tile_is_continued_by_its_reflection() -> None:
    image = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(
        reflected(image, (4, 5)),
        [[0, 1, 2, 2, 1], [3, 4, 5, 5, 4], [3, 4, 5, 5, 4], [0, 1, 2, 2, 1]],
    )
    assert reflected(image, (2, 3)) is image


def test_weights_fall_towards_the_edges_and_are_never_zero() -> None:
    weights = tile_weights((9, 7))
    assert weights.min() > 0 and weights.argmax() == 4 * 7 + 3
    torch.testing.assert_close(weights, weights.flip(0))
    assert (weights[4, :4].diff() > 0).all()


def test_tiles_that_are_missing_or_too_many_are_refused() -> None:
    stitcher = Stitcher(Tiling((4, 4), (4, 4)), (8, 8))
    with pytest.raises(ValueError, match="0 of 4 tiles"):
        stitcher.result()
    with pytest.raises(ValueError, match="more than 4"):
        stitcher.add(torch.zeros(5, 1, 4, 4))
    with pytest.raises(ValueError, match="gaps"):
        Tiling((4, 4), (5, 4))
