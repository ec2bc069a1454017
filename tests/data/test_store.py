"""Decoded pictures on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imseg.data.folder import read_folder
from imseg.data.image_io import read_image, resize_image
from imseg.data.store import Stored, open_array, store_split
from imseg.errors import ImsegError
from imseg.types import DataSet, Image, LabeledImage


def stored(dataset: DataSet, entries: tuple, folder: Path, **changes: object) -> Stored:
    options = {"spec": dataset.spec, "channels": 1, "size": (16, 18), "workers": 2, **changes}
    return store_split(entries, folder, "part", **options)


def test_pictures_and_targets_are_stored_in_order(good, tmp_path) -> None:
    good.save("labeled/masks/cell_02.png", good.mask((255, 0)))
    dataset = read_folder(good.root)
    result = stored(dataset, dataset.labeled, tmp_path / "store")
    images, targets = open_array(result.images), open_array(result.targets)
    assert images.shape == (4, 16, 18, 1)
    assert targets.shape == (4, 1, 16, 18)
    assert set(np.unique(targets).tolist()) == {0, 1}
    assert targets[:, 0, 0, 0].tolist() == [0, 0, 1, 0]
    for image, pair in zip(images, dataset.labeled, strict=True):
        assert np.array_equal(image, resize_image(read_image(pair.image.pixels, 1), (16, 18)))
    assert result.names == tuple(pair.name for pair in dataset.labeled)
    names = sorted(path.name for path in (tmp_path / "store").iterdir())
    assert names == ["part-images.npy", "part-targets.npy"]


def test_stored_arrays_cannot_be_changed(good, tmp_path) -> None:
    dataset = read_folder(good.root)
    images = open_array(stored(dataset, dataset.labeled, tmp_path).images)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_pictures_alone_have_no_targets(good, tmp_path) -> None:
    dataset = read_folder(good.root)
    result = stored(dataset, dataset.unlabeled, tmp_path, channels=3)
    assert result.targets is None
    assert open_array(result.images).shape == (3, 16, 18, 3)


def test_an_empty_split_has_empty_arrays(good, tmp_path) -> None:
    result = stored(read_folder(good.root), (), tmp_path)
    assert open_array(result.images).shape == (0, 16, 18, 1)
    assert open_array(result.targets).shape == (0, 1, 16, 18)


def test_the_digest_depends_on_the_content_alone(good, tmp_path) -> None:
    dataset = read_folder(good.root)
    one = stored(dataset, dataset.labeled, tmp_path / "a", workers=1)
    other = stored(dataset, dataset.labeled, tmp_path / "b", workers=3)
    fewer = stored(dataset, dataset.labeled[1:], tmp_path / "c")
    assert one.digest == other.digest != fewer.digest


def test_arrays_in_memory_are_stored_too(good, tmp_path) -> None:
    dataset = read_folder(good.root)
    pixels = np.full((40, 30, 3), 9, np.uint8)
    entry = LabeledImage(Image("labeled[0]", pixels), np.full((40, 30), 255))
    result = stored(dataset, (entry,), tmp_path)
    assert (open_array(result.images) == 9).all()
    assert (open_array(result.targets) == 1).all()


def test_unknown_values_name_the_mask_and_leave_nothing_behind(good, tmp_path) -> None:
    dataset = read_folder(good.root)
    good.save("labeled/masks/cell_02.png", good.mask((0, 7)))
    with pytest.raises(ImsegError, match=r"masks/cell_02\.png holds unknown values(.*\n)*.*7"):
        stored(dataset, dataset.labeled, tmp_path / "store")
    assert not list((tmp_path / "store").iterdir())


def test_a_folder_that_cannot_be_made_is_named(good, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ImsegError, match="file/store cannot be written to"):
        stored(read_folder(good.root), (), tmp_path / "file" / "store")


def test_a_mixed_split_is_a_programming_error(good, tmp_path) -> None:
    dataset = read_folder(good.root)
    with pytest.raises(ValueError, match="all of its pictures or for none"):
        stored(dataset, (dataset.labeled[0], dataset.unlabeled[0]), tmp_path)


def test_progress_counts_to_the_end(good, tmp_path) -> None:
    dataset = read_folder(good.root)
    seen: list[tuple[int, int]] = []
    stored(dataset, dataset.labeled, tmp_path, progress=lambda *step: seen.append(step))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
