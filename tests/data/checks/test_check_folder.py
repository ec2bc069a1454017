"""The report about a folder."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from imseg.data.checks.folder_check import check_folder


def warnings_of(maker) -> str:
    report = check_folder(maker.root)
    assert report.errors == (), report.errors
    return "\n".join(f"{each.what} | {each.got} | {each.hint}" for each in report.warnings)


def test_the_report_says_what_is_there(good) -> None:
    good.save("unlabeled/wide.png", good.picture((24, 60)))
    report = check_folder(good.root)
    assert report.errors == ()
    assert report.counts == {"labeled": 4, "unlabeled": 4, "val": 2, "test": 2}
    assert report.channels == {"gray": 12, "color": 0}
    assert report.sizes.smallest == report.sizes.median == (24, 20)
    assert report.sizes.largest == (24, 60)
    assert not report.sizes.all_equal
    assert len(report.labeled) == 4


def test_classes_come_with_shares_and_images(maker) -> None:
    maker.pairs(count=3, values=(0, 1, 1, 1))
    maker.pairs("val", 2)
    maker.save("labeled/images/void.png", maker.picture())
    maker.save("labeled/masks/void.png", maker.mask((0, 9)))
    maker.write("imseg.toml", 'void = 9\n[classes]\n0 = "glass"\n1 = "cell"')
    report = check_folder(maker.root)
    glass, cell = report.classes
    assert (glass.name, glass.images, cell.name, cell.images) == ("glass", 4, "cell", 3)
    assert cell.share == pytest.approx(3 * 3 / (3 * 4 + 2))
    assert glass.share + cell.share == pytest.approx(1)


def test_the_report_can_be_written_as_json(good) -> None:
    good.write("unlabeled/bad.png", "")
    plain = json.loads(json.dumps(check_folder(good.root).as_dict()))
    assert plain["ok"] is False
    assert plain["findings"][0]["files"] == ["unlabeled/bad.png"]
    assert plain["target"]["kind"] == "binary"


@pytest.mark.parametrize("name", ["", "nothing-here"])
def test_bad_folders_are_reported_not_raised(maker, name: str) -> None:
    report = check_folder(maker.root / name)
    assert len(report.errors) == 1
    assert report.spec is None
    assert report.sizes is None
    json.dumps(report.as_dict())


def test_broken_files_are_reported_and_the_rest_is_counted(good) -> None:
    good.write("labeled/images/cell_00.png", "")
    good.write("labeled/masks/cell_01.png", "")
    report = check_folder(good.root)
    assert [error.what for error in report.errors] == ["2 files cannot be read."]
    assert report.errors[0].files == ("labeled/images/cell_00.png", "labeled/masks/cell_01.png")
    assert report.counts["labeled"] == 4
    assert len(report.labeled) == 2


def test_a_good_folder_is_only_small(good) -> None:
    good.pairs(count=12)
    assert warnings_of(good) == ""


def test_missing_parts_and_few_labels_are_mentioned(maker) -> None:
    maker.pairs(count=3)
    text = warnings_of(maker)
    assert "no unlabeled images" in text
    assert "no val; a fifth" in text
    assert "There is no test" in text
    assert "only 3 labeled images" in text


def test_empty_masks_are_mentioned(good) -> None:
    good.save("labeled/masks/cell_01.png", good.mask((0,)))
    assert "1 mask in labeled shows only background. | labeled/images/cell_01.png" in warnings_of(
        good
    )


def test_masks_that_are_all_void_are_mentioned(good) -> None:
    good.write("imseg.toml", "void = 9")
    good.save("labeled/masks/cell_01.png", good.mask((9,)))
    assert "1 mask in labeled shows only void" in warnings_of(good)


@pytest.mark.parametrize("rare", [0, 255])
def test_heavy_imbalance_is_mentioned(maker, rare: int) -> None:
    for index in range(3):
        mask = np.full((40, 40), 255 - rare, np.uint8)
        mask[0, :5] = rare
        maker.save(f"labeled/images/{index}.png", maker.picture((40, 40)))
        maker.save(f"labeled/masks/{index}.png", mask)
    text = warnings_of(maker)
    assert "far from balanced" in text
    assert f"{rare} (" in text
    assert "0.31 % of the pixels" in text


def test_doubled_images_are_mentioned_with_masks_that_differ(good) -> None:
    for kind in ("images", "masks"):
        source = good.root / f"labeled/{kind}/cell_00.png"
        shutil.copy(source, source.with_name("copy.png"))
    assert "1 image in labeled is there more than once" in warnings_of(good)
    good.save("labeled/masks/copy.png", good.mask((0, 255, 255)))
    assert "1 pair with masks that differ" in warnings_of(good)


def test_unlabeled_images_that_are_left_out_are_mentioned(good) -> None:
    shutil.copy(good.root / "labeled/images/cell_00.png", good.root / "unlabeled/copy.png")
    assert "1 unlabeled image is in labeled or val too, and left out. | unlabeled/copy.png" in (
        warnings_of(good)
    )


def test_a_mix_of_gray_and_color_is_mentioned(good) -> None:
    good.save("unlabeled/color.png", good.picture(channels=3))
    text = warnings_of(good)
    assert "11 images are gray and 1 are color" in text
    assert "color: unlabeled/color.png" in text


def test_classes_that_val_or_test_lack_are_mentioned(good) -> None:
    good.pairs("labeled", values=(0, 1, 2))
    good.pairs("val", 2, values=(0, 1))
    good.pairs("test", 2, values=(0,))
    text = warnings_of(good)
    assert "1 class does not occur in val. | 2 (class 2)" in text
    assert "2 classes do not occur in test. | 1 (class 1), 2 (class 2)" in text


def test_classes_that_are_listed_but_not_shown_are_mentioned(good) -> None:
    good.write("imseg.toml", '[classes]\n0 = "glass"\n7 = "ghost"')
    text = warnings_of(good)
    assert "No labeled mask shows some of the listed classes" in text
    assert "7 (ghost)" in text
    assert "does not list became classes. | 255" in text


def test_255_beside_small_numbers_is_mentioned(maker) -> None:
    maker.pairs(values=(0, 1, 255))
    assert "set void = 255" in warnings_of(maker)


def test_jpeg_masks_with_extra_values_are_mentioned(maker) -> None:
    for index in range(3):
        maker.save(f"labeled/images/{index}.png", maker.picture((32, 32)))
        maker.save(f"labeled/masks/{index}.jpg", maker.mask((10, 20, 30, 40), (32, 32)), quality=95)
    assert "Masks are JPEG files, which invent values" in warnings_of(maker)


def test_many_values_are_mentioned(maker) -> None:
    maker.pairs(values=tuple(range(24)))
    assert "The masks hold 24 values" in warnings_of(maker)


def test_folders_that_are_not_read_are_mentioned(good) -> None:
    good.save("validation/images/a.png", good.picture())
    good.save("unlabeled/more/a.png", good.picture())
    text = warnings_of(good)
    assert "The folder validation/ is not read" in text
    assert "rename it to val/" in text
    assert "1 folder inside unlabeled will not be read. | unlabeled/more/" in text
