"""Every fault that is planted is found by the doctor, and mended by ``--fix`` where we say so."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imseg.cli.commands.data_folders import as_text
from imseg.cli.main import run
from imseg.data.checks.folder_check import check_folder
from imseg.data.checks.repair import repair_folder
from imseg.data.synthetic import CellScene, write_demo
from imseg.errors import ImsegError

SIZE = (48, 64)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "cells"
    scene = CellScene(difficulty=0.2, size=SIZE)
    return write_demo(folder, seed=3, labeled=10, unlabeled=12, val=3, test=4, scene=scene)


@pytest.fixture
def data(cells: Path, tmp_path: Path) -> Path:
    return shutil.copytree(cells, tmp_path / "data")


def names(folder: Path, kind: str = "*") -> list[Path]:
    return sorted(folder.glob(kind))


def read(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def change(path: Path, how: Callable[[np.ndarray], np.ndarray]) -> None:
    Image.fromarray(how(read(path))).save(path)


def change_masks(split: Path, how: Callable[[np.ndarray], np.ndarray]) -> None:
    for path in names(split / "masks"):
        change(path, how)


def to_jpeg(path: Path, quality: int = 40) -> None:
    Image.open(path).save(path.with_suffix(".jpg"), quality=quality)
    path.unlink()


def smooth(mask: np.ndarray) -> np.ndarray:
    """Shrink and enlarge a mask as editors do when nobody stops them."""
    small = Image.fromarray(mask).resize((24, 20), Image.Resampling.BILINEAR)
    return np.asarray(small.resize(mask.shape[::-1], Image.Resampling.BILINEAR))


def as_ids(data: Path) -> None:
    """Write all masks as 0 and 1, named in imseg.toml."""
    for split in ("labeled", "val", "test"):
        change_masks(data / split, lambda mask: mask // 255)
    (data / "imseg.toml").write_text('[classes]\n0 = "dish"\n1 = "cell"\n')


def three_classes(mask: np.ndarray) -> np.ndarray:
    """Cells are 2 above and 1 below the middle."""
    ids = mask // 255
    ids[: len(ids) // 2] *= 2
    return ids


def painted(mask: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None] > 0, [250, 30, 20], [10, 20, 200]).astype(np.uint8)


def plant_mixed_splits(data: Path) -> None:
    (data / "imseg.toml").unlink()
    change_masks(data / "val", lambda mask: mask // 255)


def plant_mixed_within(data: Path) -> None:
    (data / "imseg.toml").unlink()
    for path in names(data / "labeled/masks")[:4]:
        change(path, lambda mask: mask // 255)


def plant_jpeg_masks(data: Path) -> None:
    for split in ("labeled", "val", "test"):
        for path in names(data / split / "masks"):
            to_jpeg(path)


def plant_smooth_masks(data: Path) -> None:
    for path in names(data / "labeled/masks")[:3]:
        change(path, smooth)


def plant_smooth_planes(data: Path) -> None:
    (data / "imseg.toml").unlink()
    for split in ("labeled", "val", "test"):
        for path in names(data / split / "masks"):
            for label in ("cell", "debris"):
                (path.parent / label).mkdir(exist_ok=True)
                shutil.copy(path, path.parent / label)
            path.unlink()
    change(names(data / "labeled/masks/cell")[0], smooth)


def plant_shift_from_names(data: Path) -> None:
    as_ids(data)
    for split in ("labeled", "val", "test"):
        change_masks(data / split, lambda mask: mask + 1)


def plant_shift_of_a_split(data: Path) -> None:
    (data / "imseg.toml").unlink()
    for split in ("labeled", "val", "test"):
        change_masks(data / split, three_classes)
    change_masks(data / "test", lambda mask: mask + 1)


def plant_shift_within(data: Path) -> None:
    as_ids(data)
    (data / "imseg.toml").unlink()
    for path in names(data / "labeled/masks")[:4]:
        change(path, lambda mask: mask + 1)


def plant_impure_colors(data: Path) -> None:
    (data / "imseg.toml").unlink()
    for split in ("labeled", "val", "test"):
        change_masks(data / split, painted)
    for path in names(data / "labeled/masks")[:5]:
        small = Image.open(path).resize((32, 24), Image.Resampling.BILINEAR)
        small.resize(SIZE[::-1], Image.Resampling.BILINEAR).save(path)


def plant_half_size(data: Path) -> None:
    change(names(data / "labeled/masks")[0], lambda mask: mask[::2, ::2])


def plant_other_shape(data: Path) -> None:
    change(names(data / "labeled/masks")[0], lambda mask: mask[:20])


def plant_turned(data: Path) -> None:
    for path in names(data / "labeled/masks")[:5]:
        change(path, np.rot90)


def plant_test_in_labeled(data: Path) -> None:
    for kind in ("images", "masks"):
        shutil.copy(names(data / "test" / kind)[0], data / "labeled" / kind / "copy.png")


def plant_val_in_labeled(data: Path) -> None:
    for kind in ("images", "masks"):
        shutil.copy(names(data / "val" / kind)[0], data / "labeled" / kind / "copy.png")


def plant_test_in_unlabeled(data: Path) -> None:
    shutil.copy(names(data / "test/images")[0], data / "unlabeled/copy.png")


def plant_labeled_in_unlabeled(data: Path) -> None:
    shutil.copy(names(data / "labeled/images")[0], data / "unlabeled/copy.png")


def plant_twice_in_labeled(data: Path) -> None:
    for kind in ("images", "masks"):
        shutil.copy(names(data / "labeled" / kind)[0], data / "labeled" / kind / "twice.png")


def plant_twice_with_other_mask(data: Path) -> None:
    plant_twice_in_labeled(data)
    change(data / "labeled/masks/twice.png", lambda mask: np.roll(mask, 5, axis=0))


def plant_crossing_copies(data: Path) -> None:
    plant_twice_in_labeled(data)
    shutil.rmtree(data / "val")


def retouched(path: Path, to: Path) -> None:
    """Save a picture smaller, brighter and as JPEG."""
    picture = Image.open(path)
    small = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4))
    small.point(lambda level: min(255, level * 1.08)).save(to, quality=60)


def plant_near_test(data: Path) -> None:
    retouched(names(data / "test/images")[0], data / "unlabeled/near.jpg")


def plant_near_val(data: Path) -> None:
    retouched(names(data / "val/images")[0], data / "labeled/images/near.jpg")
    mask = Image.open(names(data / "val/masks")[0])
    small = mask.resize((SIZE[1] * 3 // 4, SIZE[0] * 3 // 4), Image.Resampling.NEAREST)
    small.save(data / "labeled/masks/near.png")


def plant_near_within(data: Path) -> None:
    retouched(names(data / "unlabeled")[0], data / "unlabeled/near.jpg")


def plant_truncated_image(data: Path) -> None:
    path = names(data / "labeled/images")[0]
    path.write_bytes(path.read_bytes()[:90])


def plant_truncated_mask(data: Path) -> None:
    path = names(data / "val/masks")[0]
    path.write_bytes(path.read_bytes()[:60])


def plant_truncated_unlabeled(data: Path) -> None:
    names(data / "unlabeled")[0].write_bytes(b"")


def plant_partnerless_image(data: Path) -> None:
    names(data / "labeled/masks")[0].unlink()


def plant_partnerless_mask(data: Path) -> None:
    names(data / "labeled/images")[0].unlink()


def plant_two_stems(data: Path) -> None:
    picture = Image.open(names(data / "test/images")[0]).transpose(Image.Transpose.ROTATE_180)
    picture.save(data / "unlabeled/unlabeled_000.jpg")


def plant_two_masks(data: Path) -> None:
    mask = names(data / "labeled/masks")[0]
    Image.open(mask).save(mask.with_suffix(".jpg"), quality=30)


def plant_text_file(data: Path) -> None:
    (data / "labeled/images/notes.txt").write_text("look again at 7")


def plant_odd_name(data: Path) -> None:
    shutil.copy(names(data / "unlabeled")[0], data / "unlabeled/odd\x07name.png")
    change(data / "unlabeled/odd\x07name.png", lambda pixels: pixels[::-1])


@dataclass(frozen=True)
class Fault:
    """What is planted, what the doctor must say, and what the copy still says."""

    plant: Callable[[Path], None]
    severity: str
    says: tuple[str, ...]
    mended: bool = True
    left: str = ""
    """What the copy lost."""


FAULTS = {
    "0/1 in one split, 0/255 in the others": Fault(
        plant_mixed_splits, "error", ("3 masks write the foreground as 1", "3 of val")
    ),
    "0/1 and 0/255 within a split": Fault(
        plant_mixed_within, "error", ("4 masks write the foreground as 1", "write 255")
    ),
    "JPEG masks": Fault(
        plant_jpeg_masks, "error", ("17 masks are smeared", "0 and 255 only", "JPEG")
    ),
    "masks resized smoothly": Fault(plant_smooth_masks, "error", ("3 masks are smeared",)),
    "a smeared mask of a label": Fault(
        plant_smooth_planes, "error", ("1 mask is smeared", "masks/cell")
    ),
    "class numbers off by one from imseg.toml": Fault(
        plant_shift_from_names, "error", ("off by one from those in imseg.toml", "1, 2 in")
    ),
    "class numbers off by one in test": Fault(
        plant_shift_of_a_split, "error", ("in test are off by one", "1 to 3", "0 to 2")
    ),
    "class numbers off by one in some masks": Fault(
        plant_shift_within, "warning", ("may count classes from 1", "4 masks with 2"), mended=False
    ),
    "impure colors": Fault(
        plant_impure_colors, "error", ("5 masks hold", "impure colors", "#0a14c8, #fa1e14")
    ),
    "a mask of half the size": Fault(plant_half_size, "error", ("1 mask does not fit", "24x32")),
    "a mask of another shape": Fault(
        plant_other_shape, "error", ("1 mask does not fit", "20x64"), left="labeled"
    ),
    "turned masks": Fault(plant_turned, "error", ("5 masks do not fit", "turn the masks")),
    "a test picture in labeled": Fault(
        plant_test_in_labeled, "error", ("1 image is in labeled and in test",)
    ),
    "a val picture in labeled": Fault(
        plant_val_in_labeled, "error", ("1 image is in labeled and in val",)
    ),
    "a test picture in unlabeled": Fault(
        plant_test_in_unlabeled, "error", ("1 image is in unlabeled and in test",)
    ),
    "a labeled picture in unlabeled": Fault(
        plant_labeled_in_unlabeled, "warning", ("1 unlabeled image is in labeled or val too",)
    ),
    "a picture twice in labeled": Fault(
        plant_twice_in_labeled, "warning", ("1 image in labeled is there more than once",)
    ),
    "a picture twice with different masks": Fault(
        plant_twice_with_other_mask, "warning", ("1 pair with masks that differ",), mended=False
    ),
    "copies that would cross into validation": Fault(
        plant_crossing_copies, "warning", ("form 1 group", "a group may lie on both sides")
    ),
    "a retouched test picture in unlabeled": Fault(
        plant_near_test, "warning", ("1 image in test is nearly the same", "near.jpg"), mended=False
    ),
    "a retouched val picture in labeled": Fault(
        plant_near_val, "warning", ("1 image in val is nearly the same", "near.jpg"), mended=False
    ),
    "a retouched picture in unlabeled": Fault(
        plant_near_within, "note", ("2 images in unlabeled form 1 group", "near.jpg"), mended=False
    ),
    "a truncated labeled image": Fault(
        plant_truncated_image, "error", ("images/labeled_000.png",), left="labeled"
    ),
    "a truncated mask": Fault(
        plant_truncated_mask, "error", ("val/masks/val_000.png",), left="val"
    ),
    "an empty file in unlabeled": Fault(
        plant_truncated_unlabeled, "error", ("unlabeled_000.png is empty",), left="unlabeled"
    ),
    "an image without a mask": Fault(
        plant_partnerless_image, "error", ("1 image in labeled/images has no mask",)
    ),
    "a mask without an image": Fault(
        plant_partnerless_mask, "error", ("1 mask in labeled/masks has no image",)
    ),
    "two pictures of one stem": Fault(
        plant_two_stems, "error", ("1 stem in unlabeled stands for more than one file",)
    ),
    "two masks of one stem": Fault(
        plant_two_masks, "error", ("1 stem in labeled/masks stands for more than one file",)
    ),
    "a text file among images": Fault(
        plant_text_file, "error", ("1 file in labeled/images is not a picture",)
    ),
    "a name with control characters": Fault(
        plant_odd_name, "error", ("1 name has control characters",)
    ),
}


def found_by_doctor(report, fault: Fault) -> bool:
    return any(
        finding.severity == fault.severity
        and all(
            words in f"{finding.what} | {finding.why} | {finding.got} | {finding.expected} | "
            f"{finding.hint} | {finding.files}"
            for words in fault.says
        )
        for finding in report.findings
    )


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_and_mended_where_we_say_so(name, cells, data, tmp_path):
    fault = FAULTS[name]
    assert not found_by_doctor(check_folder(cells), fault)
    fault.plant(data)
    report = check_folder(data)
    assert found_by_doctor(report, fault), "\n".join(str(each) for each in report.findings)
    before = fingerprint(data)
    fixed = repair_folder(data, tmp_path / "fixed")
    assert fingerprint(data) == before, "nothing is ever repaired in place"
    assert found_by_doctor(fixed.report, fault) != fault.mended
    if fault.mended:
        assert fixed.repairs
        assert fixed.report.errors == ()
    else:
        assert fixed.repairs == ()
    if fault.left:
        assert fixed.report.counts[fault.left] == report.counts[fault.left] - 1


def fingerprint(folder: Path) -> dict[str, str]:
    """Return a hash of every file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_clean_demo_data_gives_no_finding(cells, tmp_path, capsys):
    assert run(["check", str(cells), "--sheet", str(tmp_path / "sheet.png")]) == 0
    out = capsys.readouterr().out
    assert f"Nothing to complain about: ready for imseg train {cells}" in out
    assert check_folder(cells).findings == ()


def test_a_copy_of_clean_data_is_equal_byte_for_byte(cells, data, tmp_path):
    (data / "README").write_text("by hand")
    (data / ".hidden").write_text("left behind without a word")
    fixed = repair_folder(data, tmp_path / "fixed")
    assert fixed.repairs == ()
    copy = fingerprint(tmp_path / "fixed")
    record = {copy.pop("repairs.csv"), copy.pop("repairs.json")}
    assert len(record) == 2
    original = fingerprint(data)
    del original[".hidden"]
    assert copy == original


@pytest.mark.parametrize(
    "plant",
    [
        plant_mixed_splits,
        plant_mixed_within,
        plant_shift_from_names,
        plant_shift_of_a_split,
        plant_turned,
    ],
)
def test_what_is_mended_is_as_it_was_before_it_was_spoiled(plant, data, tmp_path):
    plant(data)
    repair_folder(data, tmp_path / "fixed")
    clean = write_demo(
        tmp_path / "clean", seed=3, labeled=10, unlabeled=12, val=3, test=4,
        scene=CellScene(difficulty=0.2, size=SIZE),
    )  # fmt: skip
    if plant is plant_shift_from_names:
        as_ids(clean)
    if plant is plant_shift_of_a_split:
        for split in ("labeled", "val", "test"):
            change_masks(clean / split, three_classes)
    for split in ("labeled", "val", "test"):
        for path in names(clean / split / "masks"):
            mended = tmp_path / "fixed" / path.relative_to(clean)
            np.testing.assert_array_equal(read(mended), read(path))


def test_smeared_masks_are_cut_at_half_and_become_png(data, cells, tmp_path):
    plant_jpeg_masks(data)
    repair_folder(data, tmp_path / "fixed")
    for path in names(cells / "labeled/masks"):
        mended = read(tmp_path / "fixed" / path.relative_to(cells))
        assert set(np.unique(mended)) <= {0, 255}
        assert (mended != read(path)).mean() < 0.02
    assert names(tmp_path / "fixed/labeled/masks", "*.jpg") == []


def test_impure_colors_snap_to_the_nearest(data, cells, tmp_path):
    plant_impure_colors(data)
    repair_folder(data, tmp_path / "fixed")
    for path in names(cells / "labeled/masks"):
        mended = read(tmp_path / "fixed" / path.relative_to(cells))
        assert (mended != painted(read(path))).any(axis=2).mean() < 0.12
        found = {tuple(color) for color in mended.reshape(-1, 3).tolist()}
        assert found <= {(250, 30, 20), (10, 20, 200)}


def test_a_small_mask_is_enlarged_by_nearest_neighbor(data, cells, tmp_path):
    plant_half_size(data)
    repair_folder(data, tmp_path / "fixed")
    name = "labeled/masks/labeled_000.png"
    small = read(cells / name)[::2, ::2]
    np.testing.assert_array_equal(
        read(tmp_path / "fixed" / name), small.repeat(2, axis=0).repeat(2, axis=1)
    )


@pytest.mark.parametrize("orientation", [Image.Transpose.ROTATE_90, Image.Transpose.TRANSPOSE])
def test_a_turned_mask_is_turned_the_right_way(orientation, data, cells, tmp_path):
    name = "labeled/masks/labeled_000.png"
    Image.open(data / name).transpose(orientation).save(data / name)
    assert repair_folder(data, tmp_path / "fixed").report.findings == ()
    np.testing.assert_array_equal(read(tmp_path / "fixed" / name), read(cells / name))


def test_a_turned_mask_is_left_out_where_images_do_not_show_which_way(data, tmp_path):
    noise = np.random.default_rng(0)
    for path in names(data, "*/images/*") + names(data / "unlabeled"):
        change(path, lambda pixels: noise.integers(0, 256, pixels.shape, np.uint8))
    change(names(data / "labeled/masks")[0], np.rot90)
    fixed = repair_folder(data, tmp_path / "fixed")
    assert fixed.report.errors == ()
    assert fixed.report.counts["labeled"] == 9
    assert "not clear which way" in fixed.repairs[0].why


def test_exif_turns_are_applied_to_images_and_masks_drawn_without_them(data, cells, tmp_path):
    image, mask = (data / f"labeled/{kind}/labeled_000.png" for kind in ("images", "masks"))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.open(image).rotate(90, expand=True)
    image.unlink()
    stored.save(image.with_suffix(".jpg"), exif=exif, quality=95)
    Image.open(mask).rotate(90, expand=True).save(mask)
    assert "turn the masks" in check_folder(data).errors[0].hint
    fixed = repair_folder(data, tmp_path / "fixed")
    assert fixed.report.findings == ()
    mended = tmp_path / "fixed/labeled/images/labeled_000.png"
    assert (
        np.abs(read(mended).astype(int) - read(cells / "labeled/images/labeled_000.png")).max() < 40
    )
    np.testing.assert_array_equal(
        read(tmp_path / "fixed/labeled/masks/labeled_000.png"),
        read(cells / "labeled/masks/labeled_000.png"),
    )


def test_masks_drawn_without_an_exif_turn_are_turned_even_where_images_show_nothing(
    data, cells, tmp_path
):
    noise = np.random.default_rng(0)
    for path in names(data, "*/images/*") + names(data / "unlabeled"):
        change(path, lambda pixels: noise.integers(0, 256, pixels.shape, np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 8
    image, mask = (data / f"labeled/{kind}/labeled_000.png" for kind in ("images", "masks"))
    Image.open(image).rotate(-90, expand=True).save(image, exif=exif)
    Image.open(mask).rotate(-90, expand=True).save(mask)
    assert repair_folder(data, tmp_path / "fixed").report.findings == ()
    mended = read(tmp_path / "fixed/labeled/masks/labeled_000.png")
    np.testing.assert_array_equal(mended, read(cells / "labeled/masks/labeled_000.png"))


@pytest.mark.parametrize(
    ("plant", "gone", "kept"),
    [
        (plant_test_in_labeled, "labeled/images/copy.png", "test/images/test_000.png"),
        (plant_val_in_labeled, "labeled/masks/copy.png", "val/images/val_000.png"),
        (plant_test_in_unlabeled, "unlabeled/copy.png", "test/images/test_000.png"),
        (plant_labeled_in_unlabeled, "unlabeled/copy.png", "labeled/images/labeled_000.png"),
        (plant_twice_in_labeled, "labeled/images/twice.png", "labeled/images/labeled_000.png"),
    ],
)
def test_the_split_that_is_measured_on_keeps_a_picture(plant, gone, kept, data, tmp_path):
    plant(data)
    repair_folder(data, tmp_path / "fixed")
    assert not (tmp_path / "fixed" / gone).exists()
    assert (tmp_path / "fixed" / kept).exists()


def test_pictures_of_one_stem_are_renamed(data, tmp_path):
    plant_two_stems(data)
    fixed = repair_folder(data, tmp_path / "fixed")
    assert (tmp_path / "fixed/unlabeled/unlabeled_000.jpg").exists()
    assert (tmp_path / "fixed/unlabeled/unlabeled_000-png.png").exists()
    assert [repair.change for repair in fixed.repairs] == ["renamed"]


def test_the_record_lists_every_change_with_its_reason(data, tmp_path):
    plant_test_in_unlabeled(data)
    plant_text_file(data)
    plant_half_size(data)
    fixed = repair_folder(data, tmp_path / "fixed")
    with (tmp_path / "fixed/repairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    record = json.loads((tmp_path / "fixed/repairs.json").read_text())
    assert record["repairs"] == rows
    assert record["source"] == str(data)
    assert len(rows) == len(fixed.repairs) == 3
    by_file = {row["file"]: row for row in rows}
    assert by_file["labeled/images/notes.txt"]["change"] == "left out"
    assert by_file["unlabeled/copy.png"]["about"] == "the same picture as test/images/test_000.png"
    resized = by_file["labeled/masks/labeled_000.png"]
    assert resized["did"] == "resized to 48x64 by nearest neighbor"
    assert resized["became"] == "labeled/masks/labeled_000.png"


def test_several_faults_of_one_mask_are_all_mended(data, tmp_path):
    (data / "imseg.toml").unlink()
    for path in names(data / "labeled/masks")[:5]:
        change(path, lambda mask: np.rot90(smooth(mask)))
    change_masks(data / "test", lambda mask: mask // 255)
    fixed = repair_folder(data, tmp_path / "fixed")
    assert fixed.report.errors == ()
    assert fixed.report.counts == {"labeled": 10, "unlabeled": 12, "val": 3, "test": 4}
    assert "turned" in fixed.repairs[0].did and "0 or 255" in fixed.repairs[0].did


def test_what_shows_only_after_a_first_repair_is_mended_too(data, tmp_path):
    (data / "imseg.toml").unlink()
    change_masks(data / "labeled", smooth)
    change_masks(data / "val", lambda mask: mask // 255)
    change_masks(data / "test", lambda mask: mask // 255)
    fixed = repair_folder(data, tmp_path / "fixed")
    assert fixed.report.findings == ()
    assert len(fixed.repairs) == 17
    assert "1 became 255" in fixed.repairs[-1].did


def test_the_text_shows_why_and_what_was_repaired_and_what_is_left(data, tmp_path, capsys):
    plant_near_test(data)
    plant_mixed_splits(data)
    sheet = ["--sheet", str(tmp_path / "sheet.png")]
    assert run(["check", str(data), *sheet]) == 2
    out = capsys.readouterr().out
    assert "error: 3 masks write the foreground as 1, where the others write 255." in out
    assert "  Why:      1 and 255 are taken for two classes" in out
    assert "warning: 1 image in test is nearly the same as an image in unlabeled." in out
    fixed = tmp_path / "fixed"
    assert run(["check", str(data), "--fix", str(fixed), *sheet]) == 0
    out, err = capsys.readouterr()
    assert f"The repaired copy goes to {fixed}" in err
    assert f"Repaired copy: {fixed}, 3 change(s) in repairs.csv" in out
    assert "3 x rewritten: 1 became 255 (1 and 255 meant the same), such as val/masks/" in out
    again = out.partition("Checked again:")[2]
    assert "nearly the same" in again and "write the foreground" not in again
    assert f"ready for imseg train {fixed}" in again


def as_objects(data: Path) -> None:
    (data / "imseg.toml").write_text('task = "instances"\npixel_size = 0.5\n')
    for split in ("labeled", "val", "test"):
        for path in names(data / split / "masks"):
            ids = np.zeros(SIZE, np.uint16)
            ids[4:12, 4:12], ids[20:30, 8:18], ids[5:15, 40:50] = 1, 2, 300
            Image.fromarray(ids).save(path)


def as_numbers(data: Path) -> None:
    (data / "imseg.toml").write_text('task = "regression"\nunit = "m"\n')
    for split in ("labeled", "val", "test"):
        for path in names(data / split / "masks"):
            depth = np.linspace(0.5, 80, SIZE[0] * SIZE[1]).astype(np.float32).reshape(SIZE)
            Image.fromarray(depth).save(path.with_suffix(".tif"))
            path.unlink()


def as_colors_with_void(data: Path) -> None:
    text = 'void = "#ffffff"\n[classes]\n"#fa1e14" = "cell"\n"#0a14c8" = "dish"\n'
    (data / "imseg.toml").write_text(text)
    for split in ("labeled", "val", "test"):
        change_masks(data / split, painted)
    white = names(data / "labeled/masks")[0]
    left = np.arange(SIZE[1])[None, :, None] < 9
    change(white, lambda mask: np.where(left, 255, mask).astype(np.uint8))


def as_deep(data: Path) -> None:
    for path in names(data, "*/images/*") + names(data / "unlabeled"):
        change(path, lambda pixels: pixels.astype(np.uint16) * 200)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda data: None, ["Task: binary\n", "| cell", "255"]),
        (as_objects, ["Task: instances\nObjects: 30 in all, 3 to 3 per image", "(25.0 square"]),
        (as_numbers, ["Task: regression\nNumbers: 0.5 to 80 m, mean 40.25; 0.00% of"]),
        (as_colors_with_void, ["color #ffffff is void", "mask color", "#fa1e14"]),
        (plant_smooth_planes, ["| class  |  label |", "debris"]),
        (as_deep, ["29 gray (29 uint16)"]),
    ],
)
def test_the_text_says_what_masks_and_images_are(make, words, data):
    make(data)
    text = as_text(check_folder(data), None)
    for each in words:
        assert each in text, text


def test_json_holds_everything(data, tmp_path, capsys):
    plant_mixed_splits(data)
    words = ["check", str(data), "--fix", str(tmp_path / "fixed"), "--json"]
    assert run([*words, "--sheet", str(tmp_path / "sheet.png")]) == 0
    found = json.loads(capsys.readouterr().out)
    first = found["findings"][0]
    assert first["severity"] == "error" and first["why"] and len(first["files"]) == 3
    assert found["fixed"]["report"]["findings"] == []
    assert len(found["fixed"]["repairs"]) == 3


@pytest.mark.parametrize(
    ("place", "words"), [("data/fixed", "inside of"), ("taken", "not empty"), ("data", "inside of")]
)
def test_a_copy_goes_to_a_new_folder_elsewhere(place, words, data, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").write_text("mine")
    before = fingerprint(tmp_path)
    with pytest.raises(ImsegError, match=words):
        repair_folder(data, tmp_path / place)
    assert fingerprint(tmp_path) == before


def test_what_is_not_there_cannot_be_mended(tmp_path):
    with pytest.raises(ImsegError, match="There is no folder"):
        repair_folder(tmp_path / "nothing", tmp_path / "fixed")
    assert not (tmp_path / "fixed").exists()


def test_planes_of_different_sizes_are_named_and_left_out_of_the_sheet(data, tmp_path, capsys):
    plant_smooth_planes(data)
    change(names(data / "labeled/masks/debris")[0], lambda mask: mask[:20])
    sheet = tmp_path / "sheet.png"
    assert run(["check", str(data), "--sheet", str(sheet)]) == 2
    assert "1 mask does not fit its image." in capsys.readouterr().out
    assert sheet.exists()
