"""Gray, photograph, dark or several channels: from pixels of made-up and of real images."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from imseg.data.images.modality import MOST_IMAGES, recognize_modality

RANDOM = np.random.Generator(np.random.PCG64(4))


def gray(count: int, channels: int = 1) -> np.ndarray:
    plane = RANDOM.normal(120, 30, (count, 40, 50, 1)).clip(0, 255).astype(np.uint8)
    return plane.repeat(channels, axis=3)


def photographs(count: int) -> np.ndarray:
    tint = np.array([30, 0, -25])
    return (gray(count, 3).astype(int) + tint).clip(0, 255).astype(np.uint8)


def fluorescence(count: int, channels: int = 1) -> np.ndarray:
    ground = RANDOM.integers(0, 20, (count, 40, 50, 1), np.uint8)
    ground[:, 5:15, 8:20] = 140
    return ground.repeat(channels, axis=3)


@pytest.mark.parametrize(
    ("images", "modality"),
    [
        (gray(5), "gray"),
        (gray(5, 3), "gray"),
        (photographs(5), "photograph"),
        (fluorescence(5), "dark"),
        (fluorescence(5, 3), "dark"),
        (gray(5, 2), "channels"),
        (fluorescence(5, 4), "channels"),
        (gray(1, 64), "channels"),
        (np.concatenate([gray(6, 3), photographs(3)]), "gray"),
        (np.concatenate([gray(3, 3), photographs(6)]), "photograph"),
        (np.concatenate([gray(3), fluorescence(6)]), "dark"),
        (np.concatenate([gray(6), fluorescence(3)]), "gray"),
        (np.zeros((3, 9, 9, 1), np.uint8), "gray"),
        (np.zeros((0, 9, 9, 1), np.uint8), "gray"),
        (255 - fluorescence(5), "gray"),
    ],
)
def test_made_up_images_are_recognized(images, modality) -> None:
    assert recognize_modality(images) == modality


def test_a_few_rows_of_a_large_data_set_are_read() -> None:
    read = []

    class Rows:
        shape = (100_000, 600, 700, 3)

        def __getitem__(self, place):
            read.append(place[0])
            return np.zeros(self.shape[1:], np.uint8)[place[1:]]

    assert recognize_modality(Rows()) == "gray"
    assert len(read) == MOST_IMAGES and {0, 99_999} <= set(read)


@pytest.mark.parametrize(
    ("files", "among"),
    [
        ("isic2017/ISIC-2017_Training_Data/*.jpg", {"photograph"}),
        ("camvid/train/*", {"photograph"}),
        ("nuclei/images/*.png", {"dark", "gray"}),
    ],
)
def test_real_images_are_recognized(files, among) -> None:
    if "IMSEG_DATA" not in os.environ:
        pytest.skip("IMSEG_DATA does not name a folder of real images")
    found = sorted(Path(os.environ["IMSEG_DATA"]).glob(files))
    assert found
    images = [
        Pillow.open(path).convert("RGB").resize((64, 64)) for path in found[:: len(found) // 20]
    ]
    assert recognize_modality(np.stack([np.asarray(each) for each in images])) in among
