"""Pictures that are cut into tiles, each a row of the store."""

from __future__ import annotations

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
