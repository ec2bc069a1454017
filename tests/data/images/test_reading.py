"""How pictures become bytes: 8 bits as they are, all else by ranges of what may be seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from imseg.data.checks.fitness import errors_of
from imseg.data.checks.folder_check import check_folder
from imseg.data.folder.facts import Survey
from imseg.data.folder.scan import read_folder, scan
from imseg.data.images.image_files import find_reading
from imseg.types import Reading

Complaint = Callable[[], str]


def deep(maker: Any, low: int, high: int) -> npt.NDArray[np.uint16]:
    return maker.generator.integers(low, high + 1, (24, 20)).astype(np.uint16)


def write_deep(maker: Any, split: str, count: int, low: int, high: int) -> None:
    for index in range(count):
        maker.save(f"{split}/images/{index}.png", deep(maker, low, high))
        maker.save(f"{split}/masks/{index}.png", maker.mask())


def test_8_bit_gray_and_color_stay_as_they_are(good) -> None:
    assert read_folder(good.root).reading == Reading(channels=1)
    good.save("unlabeled/color.png", good.picture(channels=3))
    found = scan(good.root)
    assert found.reading == Reading(channels=3)
    assert all(facts.sample is None for facts in found.survey.every())


def test_ranges_come_from_labeled_and_unlabeled_pictures_alone(maker) -> None:
    write_deep(maker, "labeled", 3, 1000, 2000)
    maker.save("unlabeled/a.png", deep(maker, 900, 3000))
    write_deep(maker, "val", 2, 0, 50_000)
    write_deep(maker, "test", 2, 0, 60_000)
    reading = read_folder(maker.root).reading
    assert (reading.channels, reading.depth) == (1, "uint16")
    assert reading.low is not None and reading.high is not None
    assert 900 <= reading.low[0] < 1000
    assert 2900 < reading.high[0] <= 3000
    report = check_folder(maker.root)
    assert report.depths == {"uint16": 8}
    assert report.reading == reading


def test_pages_may_be_channels(maker) -> None:
    from PIL import Image as Pillow

    for index in range(2):
        first, second = (
            Pillow.fromarray(maker.generator.integers(0, 9 + 90 * page, (24, 20)).astype(np.uint8))
            for page in range(2)
        )
        (maker.root / "labeled/images").mkdir(parents=True, exist_ok=True)
        first.save(
            maker.root / f"labeled/images/{index}.tif", save_all=True, append_images=[second]
        )
        maker.save(f"labeled/masks/{index}.png", maker.mask())
    assert "pages" in str(errors_of(scan(maker.root))[0].as_error())
    maker.write("imseg.toml", 'pages = "channels"')
    reading = read_folder(maker.root).reading
    assert (reading.channels, reading.depth, reading.pages) == (2, "uint8", "channels")
    assert reading.high is not None
    assert reading.high[0] <= 9 < reading.high[1]
    assert check_folder(maker.root).channels == {"gray": 0, "color": 0, "2 channels": 2}


@pytest.mark.parametrize("split", ["labeled", "unlabeled", "val", "test"])
def test_pictures_of_another_depth_are_named(maker, complaint: Complaint, split: str) -> None:
    write_deep(maker, "labeled", 4, 0, 999)
    write_deep(maker, "val", 2, 0, 999)
    write_deep(maker, "test", 2, 0, 999)
    folder = split if split == "unlabeled" else f"{split}/images"
    maker.save(f"{folder}/1.png", maker.picture())
    text = complaint()
    assert "1 image is not of the kind that the other" in text
    assert "16-bit gray, as labeled/images/" in text
    assert f"{folder}/1.png is 8-bit gray" in text


def test_gray_and_color_are_both_right_among_8_bits(good, complaint: Complaint) -> None:
    good.save("unlabeled/color.png", good.picture(channels=3))
    good.save("unlabeled/deep.png", deep(good, 0, 999))
    text = complaint()
    assert "1 image is not of the kind that the other 12 are" in text
    assert "unlabeled/deep.png is 16-bit gray" in text


def test_nothing_has_no_reading() -> None:
    assert find_reading(Survey(), pages="refuse") == (None, [])


def test_samples_of_many_pictures_stay_small(maker) -> None:
    from imseg.data.folder.config import FolderConfig
    from imseg.data.folder.inspection import Scope, image_facts

    pixels = np.zeros((90, 90, 4), np.float32)
    few = image_facts("a", pixels, scope=Scope(config=FolderConfig()))
    many = image_facts("a", pixels, scope=Scope(config=FolderConfig(), pictures=50_000))
    assert few.sample is not None and many.sample is not None
    assert few.sample.shape == (1000, 4)
    assert many.sample.nbytes * 50_000 < 2**28
    assert many.sample.base is None
