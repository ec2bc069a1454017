"""What kind of pictures these are: gray, dark, photographs, or channels."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imseg.data.checks.appearance import Look, look_at
from imseg.data.images.modality import recognize_modality


def scene(ground: tuple[int, ...], thing: tuple[int, ...], seed: int = 0) -> Look:
    """Return the look of some discs on a noisy ground."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:96, :96]
    pixels = np.full((96, 96, len(ground)), ground, float)
    for row, column in random.integers(10, 86, (8, 2)):
        pixels[(rows - row) ** 2 + (columns - column) ** 2 < 60] = thing
    pixels += random.normal(0, 4, (96, 96, 1))
    return look_at(pixels.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("ground", "thing", "wanted"),
    [
        ((8,), (200,), "dark"),
        ((8, 8, 8), (180, 180, 180), "dark"),
        ((2, 2, 12), (20, 40, 220), "dark"),
        ((200,), (90,), "gray"),
        ((150, 150, 150), (60, 60, 60), "gray"),
        ((220, 170, 150), (120, 70, 60), "photograph"),
        ((240, 210, 235), (120, 60, 150), "photograph"),
    ],
)
def test_pictures_are_told_apart(ground, thing, wanted: str) -> None:
    assert recognize_modality([scene(ground, thing)], channels=len(ground)) == wanted


def test_most_pictures_decide_and_other_numbers_of_channels_are_no_colors() -> None:
    dark, color = scene((5, 5, 5), (200, 200, 200)), scene((220, 170, 150), (120, 70, 60))
    assert recognize_modality([dark, dark, color], channels=3) == "dark"
    assert recognize_modality([dark, color, color], channels=3) == "photograph"
    assert (
        recognize_modality([dark], channels=4) == recognize_modality([], channels=2) == "channels"
    )
    assert recognize_modality([], channels=3) == "photograph"
    assert recognize_modality([], channels=1) == "gray"


REAL = {
    "isic2017/ISIC-2017_Training_Data": "photograph",
    "camvid/train": "photograph",
    "nuclei/images": "dark",
}


@pytest.mark.parametrize("place", REAL)
def test_real_pictures_are_what_they_are(place: str) -> None:
    root = os.environ.get("IMSEG_DATA")
    if not root:
        pytest.skip("IMSEG_DATA is not set: it names the folder that holds isic2017/")
    paths = sorted(Path(root, place).iterdir())[::40]
    looks = [look_at(np.array(Image.open(path).convert("RGB"))) for path in paths]
    assert recognize_modality(looks, channels=3) == REAL[place]
