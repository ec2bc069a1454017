"""Names of one picture that two systems write in two ways: composed or not, in other case."""

from __future__ import annotations

import time
import unicodedata
from pathlib import Path

import pytest

from imseg.data.checks.folder_check import check_folder
from imseg.data.checks.repair import repair_folder
from imseg.data.folder import folder_layout
from imseg.data.folder.scan import hidden_masks, read_folder
from imseg.types import POSITION

NAMES = ("Zellkörper_é", "뇌_01", "Ω\u212b")


def stems(number: int) -> tuple[str, str]:
    """Return a name as macOS writes it, and as others do."""
    name = f"{NAMES[number % 3]}_{number}"
    return unicodedata.normalize("NFD", name), unicodedata.normalize("NFC", name)


def paired(pairs) -> dict[str, str]:
    return {Path(p.image.pixels).name: Path(p.mask).name for p in pairs}


@pytest.mark.parametrize("turned", [False, True])
def test_composed_and_decomposed_names_pair_without_a_word(maker, turned: bool) -> None:
    for number in range(4):
        image, mask = stems(number)[:: -1 if turned else 1]
        maker.save(f"labeled/images/{image}.png", maker.picture())
        maker.save(f"labeled/masks/{mask}.png", maker.mask())
    maker.pictures()
    maker.pairs("val", 2)
    maker.pairs("test", 2)
    assert len(read_folder(maker.root).labeled) == 4
    assert not [each for each in check_folder(maker.root).findings if "mask" in each.what]
    fixed = repair_folder(maker.root, maker.root.parent / "fixed")
    assert fixed.repairs == () and fixed.report.counts["labeled"] == 4


def test_labels_and_hidden_masks_are_found_by_composed_names_too(maker, tmp_path) -> None:
    for number in range(3):
        image, mask = stems(number)
        maker.save(f"labeled/images/{image}.png", maker.picture())
        maker.save(f"unlabeled/{image}.png", maker.picture())
        for place, label in enumerate(("alive", POSITION)):
            plane = maker.mask((0, 255) if place else (255, 0))
            maker.save(f"labeled/masks/{label}/{mask}.png", plane)
            maker.save(f"hidden/{label}/{mask.upper()}.png", plane)
    dataset = read_folder(maker.root)
    assert len(dataset.labeled) == 3
    assert len(hidden_masks(dataset, maker.root / "hidden")) == 3


def test_names_in_other_case_pair_and_that_is_said(maker, tmp_path) -> None:
    maker.pairs(count=2)
    for number in (7, 8):
        maker.save(f"labeled/images/IMG_{number}.JPG", maker.picture())
        maker.save(f"labeled/masks/img_{number}.png", maker.mask())
    pairs = paired(read_folder(maker.root).labeled)
    assert pairs["IMG_7.JPG"] == "img_7.png" and len(pairs) == 4
    report = check_folder(maker.root)
    found = [each for each in report.warnings if "upper and lower case" in each.what]
    assert "2 masks differ from their images" in found[0].what
    assert found[0].files == ("labeled/masks/img_7.png", "labeled/masks/img_8.png")
    assert repair_folder(maker.root, tmp_path / "fixed").report.counts["labeled"] == 4


def test_equal_names_go_before_names_in_other_case(maker) -> None:
    for name in ("a", "A", "b"):
        maker.save(f"labeled/images/{name}.png", maker.picture())
        maker.save(f"labeled/masks/{name}.png", maker.mask())
    assert paired(read_folder(maker.root).labeled) == {f"{n}.png": f"{n}.png" for n in "abA"}


@pytest.mark.parametrize(
    ("images", "masks"), [(["Img"], ["IMG", "img"]), (["IMG", "img"], ["Img"])]
)
def test_names_that_could_pair_in_two_ways_are_refused_by_name(
    maker, complaint, images: list[str], masks: list[str]
) -> None:
    maker.pairs(count=2)
    for name in images:
        maker.save(f"labeled/images/{name}.png", maker.picture())
    for name in masks:
        maker.save(f"labeled/masks/{name}.png", maker.mask())
    text = complaint()
    assert all(f"{name}.png" in text for name in images + masks)


def test_files_of_one_stem_that_look_alike_are_told_apart(maker, complaint) -> None:
    maker.pairs(count=2)
    for name in stems(0):
        maker.save(f"labeled/images/{name}.png", maker.picture())
    maker.save(f"labeled/masks/{stems(0)[1]}.png", maker.mask())
    text = complaint()
    assert "1 stem in labeled/images stands for more than one file" in text
    assert r"e\u0301" in text and r"\xe9" in text


def test_label_folders_are_compared_composed(maker, tmp_path) -> None:
    one, other = (unicodedata.normalize(form, "Zélle") for form in ("NFC", "NFD"))
    for split, label in (("labeled", other), ("val", one), ("hidden", other)):
        for number in range(3):
            maker.save(f"{split}/images/{number}.png", maker.picture())
            for name in (label, "b"):
                maker.save(f"{split}/masks/{name}/{number}.png", maker.mask())
    for number in range(3):
        maker.save(f"unlabeled/{number}.png", maker.picture())
    maker.write("imseg.toml", f'[classes]\n"{other}" = {{ color = "#ff0000" }}\nb = "b"\n')
    dataset = read_folder(maker.root)
    assert set(dataset.spec.names) == {one, "b"} and len(dataset.val) == 3
    assert len(hidden_masks(dataset, maker.root / "hidden/masks")) == 3
    fixed = repair_folder(maker.root, tmp_path / "fixed")
    assert not fixed.report.errors and fixed.report.counts["val"] == 3


def test_two_folders_of_one_label_are_refused(maker, complaint) -> None:
    for form in ("NFC", "NFD"):
        maker.save("labeled/images/a.png", maker.picture())
        name = unicodedata.normalize(form, "Zélle")
        maker.save(f"labeled/masks/{name}/a.png", maker.mask())
    text = complaint()
    assert "Labels in labeled/masks differ in how accents are stored alone" in text
    assert r"e\u0301" in text


def test_a_label_in_other_case_is_to_be_renamed(maker, complaint) -> None:
    for split, label in (("labeled", "ER"), ("val", "er")):
        maker.save(f"{split}/images/a.png", maker.picture())
        maker.save(f"{split}/masks/{label}/a.png", maker.mask())
    assert "rename er/ to ER/." in complaint()


def test_ten_thousand_files_without_a_partner_take_no_time() -> None:
    images, masks = (
        folder_layout.Files({f"{letter}{number}": Path() for number in range(10_000)})
        for letter in "ab"
    )
    start = time.process_time()
    folder_layout._rule_for(images, masks)
    assert time.process_time() - start < 2  # a set for each stem would take 10 s
