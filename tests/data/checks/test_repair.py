"""The repaired copy: which files go into it, and what is done to them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.checks.looking import blobs

from imseg.data.checks import repair
from imseg.data.checks.folder_check import check_folder
from imseg.data.checks.repair import repair_folder
from imseg.data.checks.repaired_files import Rewrite, copy_usable, merged, rewrite_mask, write_mask
from imseg.data.checks.selection import select_files
from imseg.data.doubts.turns import find_turn
from imseg.data.images.decoding import turned
from imseg.data.images.picture_file import read_image
from imseg.data.masks.io import MaskFile, read_mask
from imseg.data.masks.recoding import Exchange, Snap


def copied(maker, tmp_path: Path) -> tuple[set[str], dict[str, str]]:
    """Return the names in a copy, and for each file left out the reason."""
    target = tmp_path / "copy"
    target.mkdir()
    repairs, *_ = copy_usable(maker.root, target)
    names = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    return names, {each.file: each.why for each in repairs if each.change == "left out"}


def test_a_good_folder_is_copied_whole_with_what_lies_around_it(good, tmp_path) -> None:
    good.write("hidden/masks/a.png", "not looked at")
    good.write("notes/more/plan.txt", "label 7 again")
    good.write("labeled/readme.txt", "by Ada")
    good.write(".cache/x", "hidden")
    good.write("labeled/images/.DS_Store", "hidden")
    names, left_out = copied(good, tmp_path)
    original = {
        path.relative_to(good.root).as_posix() for path in good.root.rglob("*") if path.is_file()
    }
    assert names == original - {".cache/x", "labeled/images/.DS_Store"}
    assert left_out == {}
    for name in names:
        assert (tmp_path / "copy" / name).read_bytes() == (good.root / name).read_bytes()


def test_partnerless_files_and_files_that_are_no_pictures_stay_behind(good, tmp_path) -> None:
    good.save("labeled/images/alone.png", good.picture())
    good.save("val/masks/alone.png", good.mask())
    good.write("unlabeled/notes.txt", "no picture")
    _, left_out = copied(good, tmp_path)
    assert left_out == {
        "labeled/images/alone.png": "an image without a mask",
        "val/masks/alone.png": "a mask without an image",
        "unlabeled/notes.txt": "not a picture that can be read",
    }


@pytest.mark.parametrize(
    ("image", "mask"),
    [("{}", "{}_mask"), ("img_{}", "mask_{}"), ("{}_0000", "{}"), ("{}_leftImg8bit", "{}_gtFine")],
)
def test_masks_that_one_rule_joins_with_images_get_their_stems(image, mask, maker, tmp_path):
    for split, numbers in (("labeled", (1, 2, 3, 10)), ("val", (4, 5)), ("test", (6,))):
        for number in numbers:
            maker.save(f"{split}/images/{image.format(number)}.png", maker.picture())
            suffix = "tif" if number == 2 else "png"
            maker.save(f"{split}/masks/{mask.format(number)}.{suffix}", maker.mask())
    found = check_folder(maker.root).errors
    hints = [error.hint for error in found if "in test/" not in error.what]
    assert all("--fix DIR renames the masks" in hint for hint in hints) and len(found) == 6
    fixed = repair_folder(maker.root, tmp_path / "fixed")
    assert fixed.report.errors == () and fixed.report.counts["labeled"] == 4
    assert {each.change for each in fixed.repairs} == {"renamed"} and len(fixed.repairs) == 7
    for each in fixed.repairs:
        copy = tmp_path / "fixed" / each.became
        assert copy.read_bytes() == (maker.root / each.file).read_bytes()
        number = Path(each.file).stem.removeprefix(mask.partition("{")[0])
        assert copy.stem == image.format(number.removesuffix(mask.partition("}")[2]))


def test_what_no_rule_joins_stays_behind_and_is_named(maker, tmp_path) -> None:
    for stem in ("a1", "a2", "a3"):
        maker.save(f"labeled/images/{stem}.png", maker.picture())
    for stem in ("a10", "a2", "a30"):
        maker.save(f"labeled/masks/{stem}.png", maker.mask())
    names, left_out = copied(maker, tmp_path)
    assert names == {"labeled/images/a2.png", "labeled/masks/a2.png"}
    assert len(left_out) == 4


def test_masks_of_labels_may_each_have_a_word_of_their_own(maker, tmp_path) -> None:
    for number in range(4):
        maker.save(f"labeled/images/n{number}.png", maker.picture())
        maker.save(f"labeled/masks/alive/n{number}_alive.png", maker.mask())
        if number:
            maker.save(f"labeled/masks/dead/n{number}_dead.png", maker.mask())
    fixed = repair_folder(maker.root, tmp_path / "fixed")
    assert fixed.report.errors == () and fixed.report.counts["labeled"] == 4
    changes = [each.change for each in fixed.repairs]
    assert changes.count("renamed") == 7 and changes.count("made") == 1


def labeled_pairs(maker, *stems: str, labels: tuple[str, ...] = ("dead", "alive")) -> None:
    for stem in stems:
        maker.save(f"labeled/images/{stem}.png", maker.picture())
        for label in labels:
            maker.save(f"labeled/masks/{label}/{stem}.png", maker.mask())


def test_a_mask_that_one_label_lacks_is_made(maker, tmp_path) -> None:
    labeled_pairs(maker, "a", "b", "c")
    (maker.root / "labeled/masks/dead/b.png").unlink()
    fixed = repair_folder(maker.root, tmp_path / "fixed")
    assert [(each.file, each.change) for each in fixed.repairs] == [
        ("labeled/masks/dead/b.png", "made")
    ]
    made = read_mask(tmp_path / "fixed/labeled/masks/dead/b.png")
    assert made.values.shape == (24, 20) and made.values.dtype == np.uint8
    assert not made.values.any() and fixed.report.counts["labeled"] == 3
    assert fixed.report.errors == ()


def test_an_image_without_a_mask_of_any_label_stays_behind(maker, tmp_path) -> None:
    labeled_pairs(maker, "a", "b")
    maker.save("labeled/images/c.png", maker.picture())
    names, left_out = copied(maker, tmp_path)
    assert left_out == {"labeled/images/c.png": "an image without a mask"}
    assert not any("/c" in name for name in names)


@pytest.mark.parametrize("there", ["b.tga", "b2.png"])
def test_no_mask_is_made_where_a_file_may_be_it(there, maker, tmp_path) -> None:
    labeled_pairs(maker, "a", "b")
    (maker.root / "labeled/masks/dead/b.png").rename(maker.root / "labeled/masks/dead" / there)
    names, left_out = copied(maker, tmp_path)
    assert names == {f"labeled/{kind}/a.png" for kind in ("images", "masks/dead", "masks/alive")}
    assert left_out["labeled/images/b.png"] == "the mask of another label is missing"


def test_cell_centers_are_never_made_up(maker, tmp_path) -> None:
    labeled_pairs(maker, "a", "b", labels=("alive", "position"))
    (maker.root / "labeled/masks/position/b.png").unlink()
    _, left_out = copied(maker, tmp_path)
    assert "labeled/images/b.png" in left_out


def test_a_label_that_val_does_not_show_at_all_is_made_there(maker, tmp_path) -> None:
    labeled_pairs(maker, "a", "b", "c")
    for stem in "de":
        maker.save(f"val/images/{stem}.png", maker.picture())
        maker.save(f"val/masks/alive/{stem}.png", maker.mask())
    fixed = repair_folder(maker.root, tmp_path / "fixed")
    assert fixed.report.errors == () and fixed.report.counts["val"] == 2
    assert {each.file for each in fixed.repairs} == {f"val/masks/dead/{stem}.png" for stem in "de"}


def test_unlabeled_pictures_of_one_stem_get_stems_of_their_own(maker, tmp_path) -> None:
    maker.save("unlabeled/a.jpg", maker.picture())
    maker.save("unlabeled/a.png", maker.picture())
    maker.save("unlabeled/a.tif", maker.picture())
    maker.save("unlabeled/a-png.png", maker.picture())
    names, left_out = copied(maker, tmp_path)
    assert left_out == {}
    assert names == {
        "unlabeled/a.jpg", "unlabeled/a-png-2.png", "unlabeled/a-tif.tif", "unlabeled/a-png.png"
    }  # fmt: skip


def test_pairs_of_one_stem_stay_pairs_by_their_suffixes(maker, tmp_path) -> None:
    for suffix in ("png", "bmp"):
        maker.save(f"labeled/images/a.{suffix}", maker.picture())
        maker.save(f"labeled/masks/a.{suffix}", maker.mask())
    names, left_out = copied(maker, tmp_path)
    assert left_out == {}
    assert names == {
        "labeled/images/a.bmp", "labeled/masks/a.bmp",
        "labeled/images/a-png.png", "labeled/masks/a-png.png",
    }  # fmt: skip
    for kind in ("images", "masks"):
        copy = tmp_path / f"copy/labeled/{kind}/a-png.png"
        assert copy.read_bytes() == (maker.root / f"labeled/{kind}/a.png").read_bytes()


def test_of_two_images_the_one_that_fits_the_mask_is_kept(maker, tmp_path) -> None:
    maker.save("labeled/images/a.jpg", maker.picture((30, 30)))
    maker.save("labeled/images/a.png", maker.picture())
    maker.save("labeled/masks/a.png", maker.mask())
    names, left_out = copied(maker, tmp_path)
    assert names == {"labeled/images/a.png", "labeled/masks/a.png"}
    assert left_out == {"labeled/images/a.jpg": "another file has the same stem and fits better"}


def test_of_two_equal_images_one_is_kept(maker, tmp_path) -> None:
    pixels = maker.picture()
    maker.save("labeled/images/a.bmp", pixels)
    maker.save("labeled/images/a.png", pixels)
    maker.save("labeled/masks/a.png", maker.mask())
    names, left_out = copied(maker, tmp_path)
    assert names == {"labeled/images/a.bmp", "labeled/masks/a.png"}
    assert left_out == {"labeled/images/a.png": "an exact copy with the same stem"}


def test_of_two_masks_the_one_without_loss_is_kept(maker, tmp_path) -> None:
    maker.save("labeled/images/a.png", maker.picture())
    maker.save("labeled/masks/a.png", maker.mask())
    maker.save("labeled/masks/a.jpg", maker.mask(), quality=20)
    names, _ = copied(maker, tmp_path)
    assert names == {"labeled/images/a.png", "labeled/masks/a.png"}


def test_where_nothing_tells_which_is_meant_all_stay_behind(maker, tmp_path) -> None:
    maker.save("labeled/images/a.bmp", maker.picture())
    maker.save("labeled/images/a.png", maker.picture())
    maker.save("labeled/masks/a.png", maker.mask())
    names, left_out = copied(maker, tmp_path)
    assert names == set()
    assert left_out["labeled/images/a.bmp"].endswith("nothing tells which is meant")
    assert left_out["labeled/masks/a.png"] == "a mask without an image"


def test_a_broken_file_beside_a_good_one_of_its_stem_is_left_out(maker, tmp_path) -> None:
    maker.write("labeled/images/a.bmp", "broken")
    maker.save("labeled/images/a.png", maker.picture())
    maker.save("labeled/masks/a.png", maker.mask())
    names, left_out = copied(maker, tmp_path)
    assert names == {"labeled/images/a.png", "labeled/masks/a.png"}
    assert left_out == {"labeled/images/a.bmp": "cannot be read"}


def test_links_inside_become_files_and_links_out_stay_behind(good, tmp_path) -> None:
    (tmp_path / "secret.png").write_bytes(b"mine")
    (good.root / "unlabeled/out.png").symlink_to(tmp_path / "secret.png")
    (good.root / "elsewhere").symlink_to(tmp_path)
    (good.root / "val/images/cell_01.png").unlink()
    (good.root / "val/images/cell_01.png").symlink_to(tmp_path / "secret.png")
    (good.root / "unlabeled/in.png").symlink_to(good.root / "labeled/images/cell_00.png")
    (good.root / "more").symlink_to(good.root / "val")
    (good.root / "val/circle").symlink_to(good.root)
    (good.root / "unlabeled/lost.png").symlink_to(good.root / "nothing")
    names, left_out = copied(good, tmp_path)
    assert "unlabeled/in.png" in names and "more/images/cell_00.png" in names
    assert not (tmp_path / "copy/unlabeled/in.png").is_symlink()
    assert left_out["unlabeled/out.png"] == "a link that leads out of the data folder"
    assert left_out["elsewhere"] == "a link that leads out of the data folder"
    assert left_out["val/masks/cell_01.png"] == "a mask without an image"
    assert left_out["unlabeled/lost.png"] == "not a file, or a link that leads nowhere"
    assert not any("secret" in name or "circle/val/circle" in name for name in names)


def test_british_folders_are_mended_too(maker, tmp_path) -> None:
    maker.pairs("labelled", 3)
    maker.save("labelled/images/alone.png", maker.picture())
    selection = select_files(maker.root)
    assert [path.name for path in selection.left_out] == ["alone.png"]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_every_exif_turn_is_applied(orientation, maker, tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = blobs(1, (30, 40), 3)
    stored = Image.fromarray(seen).transpose(UNDO[orientation])
    for name, kind in (("a.png", {}), ("b.tif", {"compression": "tiff_deflate"})):
        maker.save(f"unlabeled/{name}", np.asarray(stored), exif=exif, **kind)
    names, _ = copied(maker, tmp_path)
    assert names == {"unlabeled/a.png", "unlabeled/b.png"}
    for name in names:
        with Image.open(tmp_path / "copy" / name) as copy:
            assert copy.getexif().get(0x0112, 1) == 1
            np.testing.assert_array_equal(np.asarray(copy), seen)


UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize(
    ("values", "form", "name"),
    [
        (np.array([[0, 255]], np.int64), "values", "m.png"),
        (np.array([[0, 40_000]], np.int64), "values", "m.png"),
        (np.array([[0, 70_000]], np.int32), "values", "m.tif"),
        (np.array([[7, 2**32 - 1]], np.uint32), "values", "m.tif"),
        (np.array([[7, 2**40]], np.int64), "values", "m.tif"),
        (np.array([[0x0000FF, 0xFF8000]], np.int32), "colors", "m.png"),
        (np.array([[0.5, 7.25]], np.float32), "numbers", "m.tif"),
    ],
)
def test_masks_are_written_without_loss(values, form, name, tmp_path) -> None:
    path = write_mask(tmp_path / "m.png", MaskFile(values, form))
    assert path.name == name
    back = read_mask(path)
    assert back.form == form
    np.testing.assert_array_equal(back.values, values)


def test_an_indexed_mask_keeps_its_palette_where_its_values_allow(maker) -> None:
    picture = Image.fromarray(np.array([[0, 1], [2, 2]], np.uint8), "P")
    picture.putpalette([0, 0, 0, 250, 0, 0, 0, 250, 0])
    path = maker.root / "labeled/masks/a.png"
    path.parent.mkdir(parents=True)
    picture.save(path)
    rewrite_mask(path, Rewrite(recodes=(Exchange({2: 1}),), reasons=("x",)), maker.root)
    mended = read_mask(path)
    assert mended.palette is not None and mended.palette[1] == (250, 0, 0)
    np.testing.assert_array_equal(mended.values, [[0, 1], [1, 1]])
    rewrite_mask(path, Rewrite(recodes=(Exchange({1: 200}),), reasons=("x",)), maker.root)
    assert read_mask(path).palette is None


def test_a_gray_mask_among_colored_ones_snaps_as_a_color(maker) -> None:
    path = maker.save("labeled/masks/a.png", np.array([[0, 250]], np.uint8))
    done = rewrite_mask(
        path, Rewrite(recodes=(Snap((0x000000, 0xFFFFFF)),), reasons=("a", "a")), maker.root
    )
    np.testing.assert_array_equal(np.asarray(Image.open(path)), [[[0] * 3, [255] * 3]])
    assert done.why == "a"


def test_steps_are_made_in_order_and_told_in_order(maker) -> None:
    path = maker.save("labeled/masks/a.jpg", np.array([[0, 0, 255], [255, 255, 255]], np.uint8))
    rewrite = merged(
        [
            Rewrite(recodes=(Exchange({255: 1}),), reasons=("second",)),
            Rewrite(turn=6, reasons=("first",)),
        ]
    )
    before = read_mask(path).values
    done = rewrite_mask(path, rewrite, maker.root)
    assert done.became == "labeled/masks/a.png" and not path.exists()
    assert done.did.startswith("turned by 90 degrees clockwise; 255 became 1")
    wanted = np.where(np.rot90(before, -1) == 255, 1, np.rot90(before, -1))
    np.testing.assert_array_equal(read_mask(path.with_suffix(".png")).values, wanted)


def cells(seed: int, size: tuple[int, int] = (60, 80)) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture and its mask."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    row, column = generator.uniform(0.2, 0.8, 2) * size
    mask = ((rows - row) ** 2 + 2 * (columns - column) ** 2 < 150).astype(np.uint8)
    pixels = 80 + 60 * mask + generator.normal(0, 10, size)
    return pixels.astype(np.uint8)[..., None], mask


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_the_right_turn_is_found(orientation) -> None:
    known = [cells(seed) for seed in range(6)]
    lying = []
    for seed in (20, 21):
        pixels, mask = cells(seed)
        # The turn that undoes 6 is 8, and the other way round; mirroring undoes itself.
        lying.append((pixels, turned(mask, {6: 8, 8: 6}.get(orientation, orientation))))
    turn = find_turn(lying, known)
    assert turn == orientation
    np.testing.assert_array_equal(turned(lying[0][1], turn), cells(20)[1])


def test_no_turn_is_guessed_where_images_do_not_show_what_masks_do() -> None:
    noise = np.random.default_rng(0)

    def blind(seed: int) -> tuple[np.ndarray, np.ndarray]:
        return noise.integers(0, 255, (60, 80, 1)).astype(np.uint8), cells(seed)[1]

    known = [blind(seed) for seed in range(6)]
    assert find_turn([(cells(9)[0], cells(9)[1].T)], known) is None
    assert find_turn([(cells(9)[0], cells(9)[1].T)], [cells(1)] * 4) is None, "too few to be sure"
    assert find_turn([], [cells(seed) for seed in range(9)]) is None


@pytest.mark.parametrize(
    ("mask", "kept"),
    [((12, 10), True), ((48, 40), True), ((24, 21), False), ((20, 10), False), ((13, 11), True)],
)
def test_only_masks_of_the_same_shape_are_resized(mask, kept, good, tmp_path) -> None:
    good.save("labeled/masks/cell_00.png", good.mask((0, 255), mask))
    fixed = repair_folder(good.root, tmp_path / "fixed")
    assert (tmp_path / "fixed/labeled/masks/cell_00.png").exists() == kept
    assert fixed.report.errors == ()
    if kept:
        values = read_mask(tmp_path / "fixed/labeled/masks/cell_00.png").values
        assert values.shape == (24, 20) and set(np.unique(values)) == {0, 255}


def test_masks_of_labels_are_resized_together(maker, tmp_path) -> None:
    for index in range(4):
        maker.save(f"labeled/images/{index}.png", maker.picture())
        maker.save(f"labeled/masks/dead/{index}.png", maker.mask())
        maker.save(f"labeled/masks/alive/{index}.png", maker.mask((0, 0, 255)))
    maker.save("labeled/masks/dead/0.png", maker.mask((0, 255), (12, 10)))
    fixed = repair_folder(maker.root, tmp_path / "fixed")
    assert [each.file for each in fixed.repairs] == ["labeled/masks/dead/0.png"]
    assert fixed.report.errors == () and fixed.report.counts["labeled"] == 4


def test_a_read_only_folder_can_be_mended(good, tmp_path) -> None:
    good.save("labeled/masks/cell_00.png", good.mask((0, 255), (12, 10)))
    for path in sorted(good.root.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    good.root.chmod(0o555)
    try:
        fixed = repair_folder(good.root, tmp_path / "fixed")
    finally:
        for path in [good.root, *good.root.rglob("*")]:
            path.chmod(0o755)
    assert fixed.report.errors == ()


def test_nothing_is_left_of_a_repair_that_fails(good, tmp_path, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(repair, "write_record", fail)
    with pytest.raises(KeyboardInterrupt):
        repair_folder(good.root, tmp_path / "fixed")
    assert sorted(os.listdir(tmp_path)) == ["my-data"]  # noqa: PTH208


def test_a_turned_16_bit_picture_is_copied_in_its_own_depth(maker, tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    pixels = maker.generator.integers(0, 60_000, (20, 30), np.uint16)
    maker.save("unlabeled/a.png", pixels, exif=exif)
    copied(maker, tmp_path)
    back = read_image(tmp_path / "copy/unlabeled/a.png")
    assert back.dtype == np.uint16
    np.testing.assert_array_equal(back[..., 0], pixels[::-1, ::-1])


def test_what_a_folder_further_up_is_called_does_not_make_a_mask_of_a_picture(
    maker, tmp_path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    pixels = maker.generator.integers(0, 255, (20, 30, 4), np.uint8)
    pixels[:5, :, 3] = 0
    root = tmp_path / "masks/data"
    (root / "unlabeled").mkdir(parents=True)
    Image.fromarray(pixels).save(root / "unlabeled/a.png", exif=exif)
    (tmp_path / "copy").mkdir()
    copy_usable(root, tmp_path / "copy")
    seen = read_image(tmp_path / "copy/unlabeled/a.png")
    np.testing.assert_array_equal(seen, pixels[::-1, ::-1, :3])
