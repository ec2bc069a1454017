"""What users hold in memory, one item at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from imseg.data.arrays.items import (
    image_from_array,
    image_from_item,
    mask_from_array,
    mask_from_item,
)
from imseg.errors import ImsegError

GRAY = np.arange(20 * 24, dtype=np.uint8).reshape(20, 24)
COLOR = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=2)
DEEP = GRAY.astype(np.uint16) * 200


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 64])
def test_pixels_of_three_types_and_up_to_64_channels_are_taken_as_they_are(
    kind: type, channels: int
) -> None:
    array = np.repeat(GRAY[..., None], channels, axis=2).astype(kind)
    found = image_from_array(array, "image")
    assert found.dtype == kind
    assert np.shares_memory(found, array)
    assert found.shape == (20, 24, channels)


def test_gray_arrays_get_their_channel_axis() -> None:
    assert image_from_array(DEEP, "image").shape == (20, 24, 1)


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_floats_become_32_bit_ones(kind: type) -> None:
    found = image_from_array(GRAY.astype(kind), "image")
    assert found.dtype == np.float32
    assert np.array_equal(found[..., 0], GRAY)


def test_booleans_become_black_and_white() -> None:
    assert np.array_equal(image_from_array(GRAY > 9, "image")[..., 0], (GRAY > 9) * 255)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([[1, 2]], "list."),
        (np.zeros((2, 20, 24, 3), np.uint8), "one picture at a time"),
        (np.zeros((0, 24), np.uint8), "shape (0, 24)"),
        (np.zeros((3, 20, 24), np.uint8), "channels last"),
        (np.zeros((2, 20, 24), np.float32), "channels last"),
        (np.zeros((20, 24, 65), np.uint8), "at most 64 channels"),
        (np.dstack([COLOR, np.full_like(GRAY, 255)]), "drop the alpha channel"),
        (GRAY.astype(np.int64), "int64, 0 to 255."),
        (GRAY.astype(np.complex64), "complex64."),
    ],
)
def test_other_arrays_are_no_pictures(given: Any, words: str) -> None:
    with pytest.raises(ImsegError) as caught:
        image_from_array(given, "labeled[3]")
    assert str(caught.value).startswith("labeled[3] cannot be used.")
    assert words in str(caught.value)


def test_pillow_pictures_give_their_pixels_in_full_depth() -> None:
    for array in (GRAY, COLOR, DEEP, DEEP.astype(np.float32)):
        found = image_from_item(Pillow.fromarray(array), "image")
        assert found.dtype == array.dtype
        assert np.array_equal(found.squeeze(), array)


def test_tensors_put_the_channels_first() -> None:
    five = np.repeat(GRAY[..., None], 5, axis=2)
    for array in (COLOR, five, five.astype(np.uint16) * 99):
        tensor = torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, 2, 0)))
        assert np.array_equal(image_from_item(tensor, "image"), array)


def test_float_tensors_from_0_to_1_are_bytes() -> None:
    tensor = torch.from_numpy(COLOR).permute(2, 0, 1) / 255
    assert np.array_equal(image_from_item(tensor, "image"), COLOR)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (torch.zeros(20, 24, 3), "permute(2, 0, 1)"),
        (torch.zeros(65, 20, 24), "permute(2, 0, 1)"),
        (torch.full((3, 20, 24), 7.0), "Normalize"),
        (torch.full((3, 20, 24), -0.5), "image.permute(1, 2, 0).numpy()"),
    ],
)
def test_other_tensors_are_no_pictures(given: Any, words: str) -> None:
    with pytest.raises(ImsegError) as caught:
        image_from_item(given, "labeled[3]")
    assert words in str(caught.value)


def test_class_masks_are_whole_numbers_or_booleans() -> None:
    for given in (GRAY, GRAY[..., None], GRAY.astype(np.int64), DEEP):
        assert np.array_equal(mask_from_array(given, "mask"), given.reshape(20, 24))
    assert mask_from_array(GRAY > 9, "mask").dtype == np.uint8
    assert np.array_equal(mask_from_item(torch.from_numpy(GRAY)[None], "mask"), GRAY)


def test_measurements_may_be_floats_if_said_so() -> None:
    numbers = GRAY.astype(np.float64) / 7
    found = mask_from_array(numbers, "mask", kind="regression")
    assert found.dtype == np.float32
    assert np.array_equal(found, numbers.astype(np.float32))
    assert mask_from_array(DEEP, "mask", kind="regression").dtype == np.uint16
    tensor = torch.from_numpy(numbers)[None]
    assert np.array_equal(mask_from_item(tensor, "mask", kind="regression"), found)
    picture = Pillow.fromarray(found)
    assert np.array_equal(mask_from_item(picture, "mask", kind="regression"), found)
    for kind in (None, "binary", "multiclass", "multilabel"):
        with pytest.raises(ImsegError, match="do not scale masks"):
            mask_from_array(numbers, "mask", kind=kind)
    with pytest.raises(ImsegError, match='task="regression"'):
        mask_from_array(numbers, "mask")


def test_several_labels_are_planes_or_object_numbers_if_said_so() -> None:
    planes = np.stack([GRAY > 9, GRAY > 99])
    found = mask_from_array(planes, "mask", kind="multilabel")
    assert found.dtype == np.uint8
    assert np.array_equal(found, planes)
    assert np.array_equal(mask_from_array(DEEP, "mask", kind="multilabel"), DEEP)
    tensor = torch.from_numpy(planes)
    assert np.array_equal(mask_from_item(tensor, "mask", kind="multilabel"), planes)
    one = mask_from_array(planes[:1], "mask", kind="multilabel")
    assert one.shape == (1, 20, 24)
    with pytest.raises(ImsegError, match=r'one-hot(.*\n)*.*task="multilabel"'):
        mask_from_array(planes, "mask")


def test_colored_pillow_pictures_are_no_masks() -> None:
    with pytest.raises(ImsegError, match="a color mask"):
        mask_from_item(Pillow.fromarray(COLOR), "mask")
    gray = Pillow.fromarray(GRAY).convert("RGB")
    assert np.array_equal(mask_from_item(gray, "mask"), GRAY)
