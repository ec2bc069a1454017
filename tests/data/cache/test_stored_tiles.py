"""Pictures that are cut into tiles, each a row of the store."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from tests.data.cache.test_store import pairs, stored

from imseg.data.cache import store
from imseg.data.cache.store import changed_sources, open_array
from imseg.data.images.decoding import resize_image
from imseg.data.masks.io import resize_mask
from imseg.ops.tiling import TileScheme, Tiling, join
from imseg.types import LabeledImage

SCHEME = TileScheme(scale=0.5, tiling=Tiling(tile=(16, 24), step=(10, 16)))


def large_pairs(maker: Any) -> list[LabeledImage]:
    """Return pictures of several sizes, one of them smaller than a tile."""
    entries, random = pairs(maker, 3), np.random.default_rng(0)
    for entry, size in zip(entries, ((90, 70), (64, 130), (20, 30)), strict=True):
        Pillow.fromarray(random.integers(0, 256, size, np.uint8)).save(entry.image.pixels)
        Pillow.fromarray((random.random(size) < 0.5).astype(np.uint8) * 255).save(entry.mask)
    return entries


def test_tiles_lie_in_the_store_picture_after_picture(maker: Any, tmp_path: Path) -> None:
    entries = large_pairs(maker)
    result = stored(entries, tmp_path / "store", size=SCHEME)
    assert result.sizes == ((45, 35), (32, 65), (10, 15))
    images, targets = open_array(result.images), open_array(result.targets)
    row = 0
    for entry, size in zip(entries, result.sizes, strict=True):
        pixels = np.array(Pillow.open(entry.image.pixels))[..., None]
        mask = np.array(Pillow.open(entry.mask))
        count = SCHEME.tiling.count(size)
        assert set(result.names[row : row + count]) == {entry.name}
        small = resize_image(pixels, size)
        for stored_tile, tile in zip(images[row:], SCHEME.tiling.tiles(small), strict=False):
            assert np.array_equal(stored_tile, tile)
        whole = join(torch.from_numpy(targets[row : row + count].copy()), SCHEME.tiling, size)
        assert np.array_equal(whole[0].numpy() * 255, resize_mask(mask, size))
        row += count
    assert row == len(images) == len(targets) == len(result.names)


def test_a_picture_is_decoded_once_for_all_its_tiles(
    maker: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    entries, seen = large_pairs(maker), []
    load = store.load_pixels

    def counted(image: Any, reading: Any) -> Any:
        seen.append(image.name)
        return load(image, reading)

    monkeypatch.setattr(store, "load_pixels", counted)
    stored(entries, tmp_path / "store", size=SCHEME)
    assert sorted(seen) == sorted(entry.name for entry in entries)


def test_what_was_stored_is_kept_tile_by_tile(maker: Any, tmp_path: Path) -> None:
    entries = large_pairs(maker)
    first = stored(entries, tmp_path / "store", size=SCHEME)
    again = stored(entries, tmp_path / "store", size=SCHEME)
    assert (again.decoded, again.reused, again.digest) == (0, len(first.names), first.digest)
    assert again.sizes == first.sizes
    taken = stored(entries[::-1], tmp_path / "other", size=SCHEME, reuse=tmp_path / "store")
    assert taken.decoded == 0
    fresh = stored(entries[::-1], tmp_path / "fresh", size=SCHEME)
    assert taken.digest == fresh.digest, "each tile is taken over as itself"
    Pillow.fromarray(np.zeros((64, 130), np.uint8)).save(entries[1].image.pixels)
    assert changed_sources(first) == (entries[1].name,)
    after = stored(entries, tmp_path / "store", size=SCHEME)
    assert after.decoded == SCHEME.count((64, 130)) and after.digest != first.digest


def test_another_cut_is_another_store(maker: Any, tmp_path: Path) -> None:
    entries = large_pairs(maker)
    stored(entries, tmp_path / "store", size=SCHEME)
    for other in (
        TileScheme(scale=0.5, tiling=Tiling(tile=(16, 24), step=(8, 16))),
        TileScheme(scale=0.51, tiling=SCHEME.tiling),
    ):
        assert stored(entries, tmp_path / "store", size=other).reused == 0


def with_pixels(entries: list[LabeledImage], *sizes: float | None) -> list[LabeledImage]:
    pairs = zip(entries, sizes, strict=True)
    return [replace(each, image=replace(each.image, pixel_size=size)) for each, size in pairs]


MEANT = replace(SCHEME, pixel_size=0.8)


def test_images_are_stored_at_scales_by_the_size_of_their_pixels(
    maker: Any, tmp_path: Path
) -> None:
    entries = with_pixels(large_pairs(maker), 0.8, 0.4, None)
    result = stored(entries, tmp_path / "store", size=MEANT)
    # Of 64 x 130 px of 0.4 um, half as large as the reference: a fourth.
    assert result.sizes == ((45, 35), (16, 32), (10, 15))
    rows = [row for row, name in enumerate(result.names) if name == entries[1].name]
    pixels = np.array(Pillow.open(entries[1].image.pixels))[..., None]
    mask = np.array(Pillow.open(entries[1].mask))
    tiles = list(SCHEME.tiling.tiles(resize_image(pixels, (16, 32))))
    assert np.array_equal(open_array(result.images)[rows], np.stack(tiles))
    tiles = list(SCHEME.tiling.tiles(resize_mask(mask, (16, 32))))
    assert np.array_equal(open_array(result.targets)[rows, 0] * 255, np.stack(tiles))


def test_another_size_of_pixels_makes_the_tiles_of_that_image_anew(
    maker: Any, tmp_path: Path
) -> None:
    entries = with_pixels(large_pairs(maker), 0.8, 0.4, None)
    first = stored(entries, tmp_path / "store", size=MEANT)
    assert stored(entries, tmp_path / "store", size=MEANT).decoded == 0
    other = with_pixels(entries, 0.8, 0.6, None)
    after = stored(other, tmp_path / "store", size=MEANT)
    assert after.decoded == after.names.count(entries[1].name) < len(after.names)
    assert after.digest == stored(other, tmp_path / "fresh", size=MEANT).digest != first.digest
    assert stored(other, tmp_path / "taken", size=MEANT, reuse=tmp_path / "store").decoded == 0


def test_equal_sizes_of_pixels_change_nothing(maker: Any, tmp_path: Path) -> None:
    entries = large_pairs(maker)
    before = stored(entries, tmp_path / "store", size=SCHEME)
    # As versions wrote it that did not know of scales by the size of pixels.
    index = json.loads(before.index.read_bytes())
    for array in index["arrays"].values():
        assert all(row.pop() is None for row in array["rows"])
    before.index.write_text(json.dumps(index))
    after = stored(with_pixels(entries, 0.8, 0.8, None), tmp_path / "store", size=MEANT)
    assert (after.decoded, after.digest, after.sizes) == (0, before.digest, before.sizes)
