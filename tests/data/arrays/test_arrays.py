"""Data sets from arrays and torch Datasets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch.utils.data import Dataset, IterableDataset

from imseg.data.arrays.dataset import dataset_from_arrays, dataset_from_torch
from imseg.errors import ImsegError
from imseg.types import DataSet, Reading


def pictures(count: int = 4, *shape: int, seed: int = 0) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator.integers(0, 256, (count, *(shape or (20, 24))), np.uint8)


def masks(count: int = 4, values: tuple[int, ...] = (0, 255)) -> np.ndarray:
    stripes = np.asarray(values)[np.arange(20) * len(values) // 20]
    return np.broadcast_to(stripes[None, :, None], (count, 20, 24)).copy()


def complaint(make: Callable[..., DataSet], *args: Any, **options: Any) -> str:
    with pytest.raises(ImsegError) as caught:
        make(*args, **options)
    return str(caught.value)


class Items(Dataset):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def test_arrays_become_a_data_set() -> None:
    dataset = dataset_from_arrays(
        (pictures(), masks()),
        pictures(3, seed=1),
        val=(pictures(2, seed=2), masks(2)),
        test=(pictures(2, seed=3), masks(2)),
    )
    assert (dataset.name, dataset.spec.values) == ("arrays", (0, 255))
    assert dataset.reading == Reading(channels=1)
    sizes = [len(s) for s in (dataset.labeled, dataset.unlabeled, dataset.val, dataset.test)]
    assert sizes == [4, 3, 2, 2]
    assert dataset.labeled[3].name == "labeled[3]"
    assert dataset.labeled[3].image.pixels.shape == (20, 24, 1)


def test_lists_of_different_sizes_colors_and_boolean_masks_are_taken() -> None:
    images = [pictures(1, 20, 24, 3)[0], pictures(1, 30, 17)[0]]
    halves = [np.indices(image.shape[:2])[0] > 9 for image in images]
    dataset = dataset_from_arrays((images, halves))
    assert dataset.reading.channels == 3
    assert dataset.spec.values == (0, 1)


def test_booleans_from_pillow_are_0_and_1() -> None:
    half = masks(1)[0].astype(np.uint8)
    one_bit = np.asarray(Pillow.fromarray(half).convert("1"))
    assert dataset_from_arrays((pictures(), [one_bit] * 4)).spec.values == (0, 1)


def test_arrays_are_not_copied() -> None:
    images = pictures()
    assert np.shares_memory(dataset_from_arrays((images, masks())).labeled[0].image.pixels, images)


def test_names_and_void_are_taken() -> None:
    labeled = (pictures(), masks(values=(0, 1, 2, 255)))
    dataset = dataset_from_arrays(labeled, class_names=["sky", "sea", "sand"], void=255)
    assert dataset.spec.names == ("sky", "sea", "sand")
    by_value = dataset_from_arrays(labeled, class_names={1: "sea"}, void=255)
    assert by_value.spec.names == ("class 0", "sea", "class 2")
    in_order = dataset_from_arrays((pictures(), masks()), class_names=["glass", "cell"])
    assert in_order.spec.names == ("glass", "cell")
    longer = dataset_from_arrays((pictures(), masks(values=(0, 2))), class_names=list("abcd"))
    assert longer.spec.names == ("a", "b", "c", "d")


def test_names_that_fit_no_values_are_refused() -> None:
    text = complaint(
        dataset_from_arrays, (pictures(), masks(values=(0, 128, 255))), class_names=["a", "b"]
    )
    assert "class names do not fit" in text
    assert "0, 128, 255" in text


def test_unlabeled_copies_of_labeled_images_are_left_out() -> None:
    assert dataset_from_arrays((pictures(), masks()), pictures()).unlabeled == ()


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (pictures().astype(np.int32), "int32, 0 to 255."),
        (pictures(4, 3, 20, 24), "channels last"),
        (pictures(4, 20, 24, 1, 1), "shape (20, 24, 1, 1)"),
        ([[1, 2]] * 4, "list"),
        (pictures(4, 12, 24), "too small"),
        (pictures(4, 20, 26), "4 masks do not fit their images"),
        (pictures(3), "3 images and 4 masks"),
    ],
)
def test_bad_images_are_refused(images: Any, words: str) -> None:
    text = complaint(dataset_from_arrays, (images, masks()))
    assert words in text
    assert "labeled" in text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (masks() / 255.0, "float64"),
        (np.eye(4)[masks(values=(0, 1, 2, 3))].astype(int), "one-hot"),
        (masks(values=(7,)), "one class only"),
        (np.arange(4 * 480).reshape(4, 20, 24), "different values"),
        (["a"] * 4, "str."),
    ],
)
def test_bad_masks_are_refused(given: Any, words: str) -> None:
    assert words in complaint(dataset_from_arrays, (pictures(), given))


def test_one_or_no_labeled_image_is_too_few() -> None:
    assert "one labeled image" in complaint(dataset_from_arrays, (pictures(1), masks(1)))
    assert "no labeled images" in complaint(dataset_from_arrays, ([], []))
    assert "a pair (images, masks)" in complaint(dataset_from_arrays, pictures())


def test_leaks_and_unknown_values_are_refused() -> None:
    labeled = (pictures(), masks())
    text = complaint(dataset_from_arrays, labeled, test=(pictures(1), masks(1)))
    assert "labeled[0] = test[0]" in text
    text = complaint(dataset_from_arrays, labeled, val=(pictures(1, seed=5), masks(1, (0, 3))))
    assert "mask of val[0] has 3" in text


def test_the_same_mistake_in_all_arrays_is_not_told_a_thousand_times() -> None:
    text = complaint(dataset_from_arrays, ([np.zeros((20, 24), int)] * 1000, masks(1000)))
    assert "labeled[4]" in text
    assert "labeled[5]" not in text
    assert "995 more" in text


def test_torch_items_of_every_kind_become_the_same_data_set() -> None:
    images, targets = pictures(4, 20, 24, 3), masks(values=(0, 1)).astype(np.uint8)
    expected = dataset_from_arrays((images, targets))
    kinds: list[Callable[[np.ndarray, np.ndarray], Any]] = [
        lambda i, m: (torch.from_numpy(i).permute(2, 0, 1), torch.from_numpy(m)),
        lambda i, m: (torch.from_numpy(i).permute(2, 0, 1) / 255, torch.from_numpy(m)[None].long()),
        lambda i, m: (i, m),
        lambda i, m: (Pillow.fromarray(i), Pillow.fromarray(m)),
        lambda i, m: [i, torch.from_numpy(m).bool()],
    ]
    for kind in kinds:
        given = Items([kind(i, m) for i, m in zip(images, targets, strict=True)])
        dataset = dataset_from_torch(given)
        assert dataset.spec == expected.spec
        for one, other in zip(dataset.labeled, expected.labeled, strict=True):
            assert np.array_equal(one.image.pixels, other.image.pixels)
            assert np.array_equal(one.mask, other.mask)


def test_unlabeled_torch_items_may_be_images_or_tuples() -> None:
    labeled = Items(list(zip(pictures(), masks(), strict=True)))
    more = [torch.from_numpy(image) for image in pictures(3, seed=1)]
    for items in (more, [(image, "never looked at") for image in more]):
        assert len(dataset_from_torch(labeled, Items(items)).unlabeled) == 3


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (torch.zeros(3, 20, 24), "labeled[0] is no pair"),
        ((torch.zeros(3, 20, 24) - 1, torch.zeros(20, 24).long()), "Normalize"),
        ((torch.full((3, 20, 24), torch.nan), torch.zeros(20, 24).long()), "Normalize"),
        ((torch.zeros(20, 24, 3), torch.zeros(20, 24).long()), "permute"),
        ((torch.zeros(3, 20, 24), torch.zeros(1, 20, 24)), "PILToTensor"),
        ((torch.zeros(3, 20, 24), torch.zeros(3, 20, 24).long()), "one-hot"),
        ((Pillow.new("RGB", (24, 20)), Pillow.new("RGB", (24, 20), "red")), "a color mask"),
        (("a.png", "b.png"), "str."),
    ],
)
def test_bad_torch_items_are_refused(item: Any, words: str) -> None:
    assert words in complaint(dataset_from_torch, Items([item]))


def test_a_dataset_without_length_is_refused() -> None:
    class Stream(IterableDataset):
        def __iter__(self) -> Any:
            yield from ()

    assert "has no length" in complaint(dataset_from_torch, Stream())
