"""YOLO for segmentation: every layout of its folders, its names, and every line that is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.data.polygons.polygon_files import Coco, bits, read, save_picture, square

from imseg.data.polygons import convert_polygons
from imseg.data.polygons.drawings import AnnotationFile
from imseg.data.polygons.formats import yolo
from imseg.errors import ImsegError

SIZE = (24, 20)


def line(kind: int, corners: list[tuple[float, float]], size: tuple[int, int] = SIZE) -> str:
    """Return a line of YOLO; numbers have six digits, as Ultralytics writes them."""
    shares = [f"{x / size[1]:.6f} {y / size[0]:.6f}" for x, y in corners]
    return f"{kind} {' '.join(shares)}"


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{each}\n" for each in lines))
    return path


def settings(path: Path, names: str = "names: [cell, dish]", start: str = "train: x\n") -> Path:
    return write(path, f"{start}val: valid/images\n\nnc: 2\n{names}")


def look(folder: Path) -> list[AnnotationFile]:
    """Return what is recognized in a folder, as a look at each file gives it."""
    files = [
        AnnotationFile(path=path, start=path.read_bytes()[:512].lstrip())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in (".txt", ".yaml")
    ]
    return [file for file in files if yolo.is_yolo(file)]


def masks(out: Path) -> dict[str, np.ndarray]:
    return {path.stem: read(path) for path in sorted((out / "labeled/masks").glob("*.png"))}


LAYOUTS = {
    "ultralytics": ("images/train/a", "labels/train/a"),
    "flat": ("images/a", "labels/a"),
    "roboflow": ("train/images/a", "train/labels/a"),
    "beside": ("a", "a"),
    "cvat": ("obj_train_data/a", "obj_train_data/a"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_the_folders_gives_the_pixels_that_were_drawn(tmp_path, layout):
    picture, label = LAYOUTS[layout]
    root = tmp_path / "data"
    save_picture(root / f"{picture}.jpg")
    write(root / f"{label}.txt", line(1, square(2, 3, 6)), line(0, square(10, 12, 5)))
    settings(root / "data.yaml")
    made = convert_polygons(root, tmp_path / "out")
    assert made.format == "YOLO" and made.labeled == 1 and not made.noted
    wanted = 2 * bits(SIZE, 2, 3, 6, 6) + bits(SIZE, 10, 12, 5, 5)
    assert np.array_equal(masks(tmp_path / "out")["a"], wanted)
    assert made.objects == {"cell": 1, "dish": 1}


@pytest.mark.parametrize("named", ["data.yaml", "labels", "labels/train"])
def test_the_settings_or_the_labels_may_be_named_in_place_of_the_data_set(tmp_path, named):
    root = tmp_path / "data"
    save_picture(root / "images/train/a.png")
    write(root / "labels/train/a.txt", line(0, square(2, 3, 6)))
    settings(root / "data.yaml")
    made = convert_polygons(root / named, tmp_path / "out")
    assert made.objects == {"cell": 1} and made.unused == ("dish",)


@pytest.mark.parametrize(
    ("picture", "images", "told"),
    [
        ("data/images/train/a.jpg", "data/images/train", False),
        ("data/images/train/a.jpg", "data/images", False),
        ("data/images/train/a.jpg", "data", False),
        ("photos/a.jpg", "photos", False),
        ("photos/images/train/a.jpg", "photos", False),
        ("photos/train/a.jpg", "photos", True),
        ("photos/day1/a.jpg", "photos", True),
        ("photos/A.jpg", "photos", True),
    ],
)
def test_pictures_in_the_folder_that_is_named_need_no_warning(tmp_path, picture, images, told):
    save_picture(tmp_path / picture)
    write(tmp_path / "data/labels/train/a.txt", line(0, square(2, 3, 6)))
    settings(tmp_path / "data/data.yaml")
    source = tmp_path / "data/labels/train"
    made = convert_polygons(source, tmp_path / "out", images=tmp_path / images)
    assert made.labeled == 1 and bool(made.findings) == told


def test_pictures_of_one_name_in_two_splits_keep_their_own_outlines(tmp_path):
    for index, split in enumerate(("train", "valid")):
        save_picture(tmp_path / f"data/{split}/images/1.png", seed=index)
        write(tmp_path / f"data/{split}/labels/1.txt", line(0, square(2 + 8 * index, 3, 6)))
    settings(tmp_path / "data/data.yaml")
    found = yolo.read_yolo(look(tmp_path / "data"), tmp_path / "data")
    assert [each.name for each in found.pictures] == ["train/images/1", "valid/images/1"]
    assert found.labels == ("cell", "dish")


def test_a_part_of_a_data_set_has_the_names_that_lie_beside_it(tmp_path):
    save_picture(tmp_path / "data/train/images/a.png")
    write(tmp_path / "data/train/labels/a.txt", line(1, square(2, 3, 6)))
    settings(tmp_path / "data/data.yaml")
    assert convert_polygons(tmp_path / "data/train", tmp_path / "out").objects == {"dish": 1}


NAMES = {
    "list": "names: [cell, dish]",
    "list in lines": "names:\n- cell\n- dish",
    "quoted": "names: ['cell', \"dish\"]",
    "by number": "names:\n  0: cell\n  1: dish  # a comment",
    "in braces": "names: {1: dish, 0: cell}",
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_names_are_read_from_a_list_or_by_number(tmp_path, names):
    write(tmp_path / "labels/a.txt", line(0, square(2, 3, 6)), line(1, square(2, 3, 6)))
    settings(tmp_path / "data.yaml", names)
    found = yolo.read_yolo(look(tmp_path), tmp_path)
    assert [region.label for region in found.pictures[0].regions] == ["cell", "dish"]
    assert found.labels == ("cell", "dish")


def test_names_stay_as_they_are_written(tmp_path):
    write(tmp_path / "labels/a.txt", *(line(kind, square(2, 3, 6)) for kind in range(4)))
    settings(tmp_path / "data.yaml", "names: [no, 012, 1.10, ~]")
    assert yolo.read_yolo(look(tmp_path), tmp_path).labels == ("no", "012", "1.10", "~")


@pytest.mark.parametrize("name", ["classes.txt", "obj.names", "labels/classes.txt"])
def test_names_are_read_from_a_list_in_lines(tmp_path, name):
    write(tmp_path / "labels/a.txt", line(1, square(2, 3, 6)))
    write(tmp_path / name, "cell", "petri  dish")
    found = yolo.read_yolo(look(tmp_path), tmp_path)
    assert found.labels == ("cell", "petri dish") and len(found.pictures) == 1


def test_without_names_classes_have_numbers_and_that_is_said(tmp_path):
    write(tmp_path / "labels/a.txt", line(2, square(2, 3, 6)))
    found = yolo.read_yolo(look(tmp_path), tmp_path)
    assert found.labels == ("0", "1", "2") and found.used == ("2",)
    assert yolo.NO_NAMES in found.tally


def test_lists_of_classes_that_differ_are_refused(tmp_path):
    write(tmp_path / "labels/a.txt", line(0, square(2, 3, 6)))
    settings(tmp_path / "data.yaml")
    write(tmp_path / "classes.txt", "dish", "cell")
    with pytest.raises(ImsegError, match=r"differ[\s\S]*classes\.txt, data\.yaml"):
        yolo.read_yolo(look(tmp_path), tmp_path)
    write(tmp_path / "classes.txt", "cell", "dish")
    assert yolo.read_yolo(look(tmp_path), tmp_path).labels == ("cell", "dish")


def test_a_class_without_a_name_is_refused_with_file_and_line(tmp_path):
    write(tmp_path / "labels/a.txt", line(0, square(2, 3, 6)), "", line(2, square(2, 3, 6)))
    settings(tmp_path / "data.yaml")
    with pytest.raises(ImsegError, match=r"a\.txt, line 3 has a class without a name[\s\S]*dish"):
        yolo.read_yolo(look(tmp_path), tmp_path)


def test_an_empty_file_is_a_picture_with_nothing_on_it_and_no_file_is_an_unlabeled_one(tmp_path):
    root = tmp_path / "data"
    for name in "abc":
        save_picture(root / f"images/{name}.png")
    write(root / "labels/a.txt", line(0, square(2, 3, 6)))
    write(root / "labels/b.txt")
    settings(root / "data.yaml")
    made = convert_polygons(root / "data.yaml", tmp_path / "out")
    assert (made.labeled, made.unlabeled, made.unlisted) == (2, 1, 1)
    assert not masks(tmp_path / "out")["b"].any()
    assert made.noted == {yolo.EMPTY: ["labels/b.txt"]}


def test_boxes_are_noted_and_a_data_set_of_boxes_is_refused(tmp_path):
    root = tmp_path / "data"
    save_picture(root / "images/a.png")
    label = write(root / "labels/a.txt", "0 0.5 0.5 0.2 0.2", line(0, square(2, 3, 6)))
    settings(root / "data.yaml")
    made = convert_polygons(root / "data.yaml", tmp_path / "out")
    assert list(made.noted) == [yolo.BOXES] and made.objects == {"cell": 1}
    write(label, "0 0.5 0.5 0.2 0.2")
    with pytest.raises(ImsegError, match=r"no region that gives a mask[\s\S]*boxes"):
        convert_polygons(root / "data.yaml", tmp_path / "other")


WRONG = {
    "0 0.1 0.1 0.5 0.1 240 0.5": "no share of the picture[\\s\\S]*240",
    "0 0.1 0.1 0.5 0.1 -0.2 0.5": "no share of the picture",
    "0 0.1 0.1 0.5 0.1 nan 0.5": "no share of the picture",
    "0 0.1 0.1 0.5 0.1 x 0.5": "no line of numbers",
    "0 0.1 0.1 0.5": "3 numbers after the class",
    "0 0.1 0.1 0.5 0.1 0.5 0.5 0.9": "7 numbers after the class",
    "-1 0.1 0.1 0.5 0.1 0.5 0.5": "has no class",
    "cell 0.1 0.1 0.5 0.1 0.5 0.5": "no line of numbers",
    "0.5 0.1 0.1 0.5 0.1 0.5 0.5": "has no class",
    "900000000 0.1 0.1 0.5 0.1 0.5 0.5": "has no class",
}


@pytest.mark.parametrize(("wrong", "reason"), WRONG.items(), ids=range(len(WRONG)))
def test_a_wrong_line_is_refused_with_file_and_line(tmp_path, wrong, reason):
    write(tmp_path / "labels/a.txt", wrong)
    write(tmp_path / "labels/b.txt", line(0, square(2, 3, 6)))
    with pytest.raises(ImsegError, match=f"a\\.txt, line 1 .*{reason}"):
        yolo.read_yolo(look(tmp_path), tmp_path)


def test_corners_just_outside_of_the_picture_are_clipped(tmp_path):
    root = tmp_path / "data"
    save_picture(root / "images/a.png")
    write(root / "labels/a.txt", "0 -0.004 0 1.0000001 0 1.0000001 1.003 -0.004 1")
    settings(root / "data.yaml")
    convert_polygons(root / "data.yaml", tmp_path / "out")
    assert masks(tmp_path / "out")["a"].all()


def test_data_sets_of_key_points_are_refused(tmp_path):
    write(tmp_path / "labels/a.txt", "0 0.5 0.5 0.2 0.2 0.1 0.1 2 0.2 0.2 2")
    settings(tmp_path / "data.yaml", "kpt_shape: [2, 3]\nnames: [cell]")
    with pytest.raises(ImsegError, match="key points"):
        yolo.read_yolo(look(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("names: [cell", "not valid YAML"),
        ("names:\n  cell: 0", "has wrong names"),
        ("names: [[cell]]", "has wrong names"),
        ("names: [!!python/object/apply:os.mkdir [made]]", "has wrong names"),
        ("a: &a [b, b]\nc: &c [*a, *a]\nnames: [*c, *c]", "has wrong names"),
    ],
)
def test_settings_that_are_damaged_or_hostile_are_refused(tmp_path, monkeypatch, names, reason):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "labels/a.txt", line(0, square(2, 3, 6)))
    settings(tmp_path / "data.yaml", names)
    with pytest.raises(ImsegError, match=reason):
        yolo.read_yolo(look(tmp_path), tmp_path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("README.roboflow.txt", "cells - v3 2024\n====\n"),
        ("train.txt", "data/obj_train_data/a.png\n"),
        ("classes.txt", "1\n2\n"),
        ("notes.txt", ""),
        ("counts.txt", "3 5\n"),
        ("sizes.txt", "1 20.5 31.0 4.2 0.9 7.5 6.1\n"),
        ("args.yaml", "epochs: 3\nlr0: 0.01\n"),
    ],
)
def test_other_files_of_a_data_set_are_not_taken_for_labels(tmp_path, name, text):
    path = write(tmp_path / name)
    path.write_text(text)
    assert look(tmp_path) == []


def test_settings_that_begin_with_a_long_comment_are_recognized(tmp_path):
    root = tmp_path / "data"
    save_picture(root / "images/a.png")
    write(root / "labels/a.txt", line(0, square(2, 3, 6)))
    settings(root / "set.yaml", start="# Ultralytics data set\n" * 60)
    assert convert_polygons(root / "set.yaml", tmp_path / "out").objects == {"cell": 1}


def test_valid_and_test_stay_apart(tmp_path):
    for index, split in enumerate(("train", "valid", "test")):
        save_picture(tmp_path / f"data/{split}/images/{index}.png")
        save_picture(tmp_path / f"data/{split}/images/other{index}.png")
        write(tmp_path / f"data/{split}/labels/{index}.txt", line(0, square(2, 3, 6)))
    save_picture(tmp_path / "data/valid/images/empty.png")
    write(tmp_path / "data/valid/labels/empty.txt")
    settings(tmp_path / "data/data.yaml")
    made = convert_polygons(tmp_path / "data", tmp_path / "out")
    assert (made.labeled, made.unlabeled, made.val, made.test) == (1, 1, 2, 1)
    assert not read(tmp_path / "out/val/masks/empty.png").any()


def test_a_zip_file_of_a_data_set_is_read(tmp_path):
    root = tmp_path / "data"
    save_picture(root / "train/images/a.jpg")
    write(root / "train/labels/a.txt", line(1, square(2, 3, 6)))
    settings(root / "data.yaml")
    write(root / "README.roboflow.txt", "cells - v3")
    shutil.make_archive(str(tmp_path / "cells.v3"), "zip", root)
    assert convert_polygons(tmp_path / "cells.v3.zip", tmp_path / "out").objects == {"dish": 1}


def test_two_formats_in_a_folder_are_refused_by_name(tmp_path):
    root = tmp_path / "data"
    save_picture(root / "images/a.png")
    write(root / "labels/a.txt", line(0, square(2, 3, 6)))
    settings(root / "data.yaml")
    coco = Coco()
    coco.draw(coco.image("a.png"), square(2, 3, 6))
    coco.write(root / "annotations.json")
    with pytest.raises(ImsegError, match=r"several formats[\s\S]*COCO[\s\S]*YOLO"):
        convert_polygons(root, tmp_path / "out")
    assert convert_polygons(root / "labels", tmp_path / "out").format == "YOLO"


def test_two_picture_files_of_one_stem_are_refused(tmp_path):
    root = tmp_path / "data"
    for suffix in (".jpg", ".png"):
        save_picture(root / f"images/a{suffix}")
    write(root / "labels/a.txt", line(0, square(2, 3, 6)))
    settings(root / "data.yaml")
    with pytest.raises(ImsegError, match=r"not named clearly[\s\S]*a\.jpg or images/a\.png"):
        convert_polygons(root / "data.yaml", tmp_path / "out")


@pytest.mark.parametrize("lists", [True, False])
def test_settings_say_which_pictures_are_for_the_test(tmp_path, lists):
    root = tmp_path / "data"
    for name in ("one/a", "two/b"):
        save_picture(root / f"images/{name}.png")
        write(root / f"labels/{name}.txt", line(0, square(2, 3, 6)))
    learned, held = "../images/one", "/content/data/images/two"
    if lists:
        write(root / "a.txt", "./images/one/a.png")
        write(root / "b.txt", "/content/data/images/two/b.png")
        learned, held = "a.txt", "b.txt"
    settings(root / "data.yaml", f"train: {learned}\nval: {learned}\ntest: {held}\nnames: [cell]")
    made = convert_polygons(root, tmp_path / "out")
    assert (made.labeled, made.val, made.test) == (1, 0, 1)
    assert [path.name for path in (tmp_path / "out/test/images").iterdir()] == ["b.png"]
