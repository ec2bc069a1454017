"""Arrays of every kind of target."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from imseg.data.arrays.dataset import dataset_from_arrays, dataset_from_torch
from imseg.errors import ImsegError
from imseg.types import OBJECT_PLANES


def pictures(count: int = 3, *, seed: int = 0, dtype: Any = np.uint8) -> np.ndarray:
    top = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    noise = np.random.Generator(np.random.PCG64(seed)).random((count, 44, 44))
    return (noise * top).astype(dtype)


def planes(count: int = 3, labels: int = 2, *, seed: int = 0) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).random((count, labels, 44, 44)) > 0.5


def label_images(count: int = 3) -> np.ndarray:
    blocks = np.zeros((44, 44), np.int64)
    for index in range(30):
        row, column = divmod(index, 10)
        blocks[4 * row : 4 * row + 3, 4 * column : 4 * column + 3] = index + 1
    return np.stack([np.where(blocks <= 30 - 4 * index, blocks, 0) for index in range(count)])


def complaint(*args: Any, **options: Any) -> str:
    with pytest.raises(ImsegError) as caught:
        dataset_from_arrays(*args, **options)
    return str(caught.value)


def test_planes_become_labels_in_their_order() -> None:
    dataset = dataset_from_arrays(
        (pictures(), planes()),
        val=(pictures(2, seed=1), planes(2)),
        task="multilabel",
        class_names=["position", "alive"],
        pixel_size=0.5,
    )
    spec = dataset.spec
    assert (spec.kind, spec.coding, spec.names) == ("multilabel", "planes", ("position", "alive"))
    assert (spec.position, spec.areas, spec.pixel_size) == (0, (1,), 0.5)
    assert np.asarray(dataset.labeled[0].mask).shape == (2, 44, 44)
    assert set(dataset.digests) == {pair.name for pair in (*dataset.labeled, *dataset.val)}


def test_planes_need_no_names() -> None:
    spec = dataset_from_arrays((pictures(), planes()), task="multilabel").spec
    assert spec.names == ("label 0", "label 1")
    named = dataset_from_arrays((pictures(), planes()), task="multilabel", class_names={1: "dead"})
    assert named.spec.names == ("label 0", "dead")


def test_label_images_are_recognized_or_said() -> None:
    assert dataset_from_arrays((pictures(), label_images())).spec.coding == "objects"
    spec = dataset_from_arrays((pictures(), label_images()), task="instances").spec
    assert (spec.coding, spec.names) == ("objects", OBJECT_PLANES)
    spec = dataset_from_arrays((pictures(), label_images()), task="multiclass").spec
    assert (spec.kind, len(spec.values)) == ("multiclass", 31)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16])
def test_measurements_are_learned(dtype: Any) -> None:
    maps = (pictures(seed=3, dtype=np.uint16) // 9).astype(dtype)
    if maps.dtype.kind == "f":
        maps[0, 0, 0] = np.nan
    dataset = dataset_from_arrays((pictures(), maps), task="regression", unit="m", void=7)
    spec = dataset.spec
    assert (spec.kind, spec.unit, spec.void) == ("regression", "m", 7)
    known = maps[np.isfinite(maps) & (maps != 7)]
    assert (spec.low, spec.high) == (known.min(), known.max())
    assert spec.stored == ("uint16" if dtype is np.uint16 else "float32")


def test_deep_pictures_get_ranges() -> None:
    masks = np.repeat([[[0], [1]]], 22, axis=1).repeat(44, axis=2).repeat(3, axis=0)
    reading = dataset_from_arrays((pictures(dtype=np.uint16), masks)).reading
    assert (reading.depth, reading.channels) == ("uint16", 1)
    assert reading.low is not None
    text = complaint((pictures(dtype=np.uint16), masks), pictures(1, seed=4))
    assert "1 image is not of the kind that the other 3 are" in text
    assert "unlabeled[0] is 8-bit gray" in text


def test_torch_items_may_be_planes_and_measurements() -> None:
    items = [
        (torch.from_numpy(picture), torch.from_numpy(mask))
        for picture, mask in zip(pictures(), planes(), strict=True)
    ]
    assert dataset_from_torch(items, task="multilabel").spec.coding == "planes"
    maps = [(picture, torch.rand(44, 44)) for picture, _ in items]
    assert dataset_from_torch(maps, task="regression").spec.coding == "numbers"


@pytest.mark.parametrize(
    ("masks", "options", "words"),
    [
        (planes(), {"class_names": ["a"]}, "expected: 2 different names"),
        (planes(), {"class_names": ["a", "a"]}, "do not fit the planes"),
        ([planes(1)[0], planes(1, 3)[0], planes(1)[0]], {}, "different numbers of planes"),
        (label_images(), {}, "no axis of labels"),
        (planes().astype(int) * np.arange(44), {}, "more than two values"),
        (np.zeros((3, 2, 44, 44), int), {}, "masks are empty"),
        (planes(), {"void": 0}, "0 is background"),
    ],
)
def test_bad_planes_are_refused(masks: Any, options: Any, words: str) -> None:
    text = complaint((pictures(), masks), task="multilabel", **options)
    assert words in " ".join(text.replace("Expected:", "expected:").split())


def test_words_that_do_not_fit_are_refused() -> None:
    labeled = (pictures(), label_images())
    assert 'did you mean "instances"' in complaint(labeled, task="instance")
    assert "pixel_size is wrong" in complaint(labeled, pixel_size=-1)
    assert "class_names has no use" in complaint(labeled, task="instances", class_names=["a"])
    text = complaint((pictures(), label_images() > 0), task="instances")
    assert "no mask tells one object from another" in text
    assert "task is binary" in complaint(labeled, task="binary")
