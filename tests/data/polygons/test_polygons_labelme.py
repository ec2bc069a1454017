"""LabelMe: every shape, names from any system, pictures inside the file, and damaged files."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
from tests.data.polygons.polygon_files import (
    bits,
    labelme_shape,
    png_text,
    read,
    save_picture,
    square,
    write_labelme,
)

from imseg.data.polygons import convert_polygons
from imseg.data.polygons.drawings import FEW_POINTS
from imseg.data.polygons.readers import UNKNOWN_KIND
from imseg.errors import ImsegError

SIZE = (24, 20)


@pytest.fixture
def labelme(tmp_path):
    """A function that writes one LabelMe file with its picture, and returns the mask."""

    def call(*shapes, mode="classes", **more):
        save_picture(tmp_path / "raw/one.png")
        write_labelme(tmp_path / "raw/one.json", list(shapes), **more)
        made = convert_polygons(tmp_path / "raw", tmp_path / "out", mode=mode)
        return made, read(tmp_path / "out/labeled/masks/one.png")

    return call


def test_polygons_are_filled_and_labels_numbered_by_the_alphabet(labelme, tmp_path):
    made, mask = labelme(
        labelme_shape("leaf", square(10, 10, 5)), labelme_shape("bud", square(2, 2, 5))
    )
    assert np.array_equal(mask == 1, bits(SIZE, 2, 2, 5, 5))
    assert np.array_equal(mask == 2, bits(SIZE, 10, 10, 5, 5))
    assert made.format == "LabelMe" and made.objects == {"bud": 1, "leaf": 1}
    copied = tmp_path / "out/labeled/images/one.png"
    assert copied.read_bytes() == (tmp_path / "raw/one.png").read_bytes()


def test_rectangles_have_two_corners_in_any_order_or_four(labelme):
    turned = [(15.0, 10.0), (19.0, 14.0), (15.0, 18.0), (11.0, 14.0)]
    _, mask = labelme(
        labelme_shape("a", [(6, 7), (2, 3)], "rectangle"),
        labelme_shape("b", turned, "rotation"),
        labelme_shape("c", square(2, 12, 3), "rectangle"),
    )
    assert np.array_equal(mask == 1, bits(SIZE, 2, 3, 4, 4))
    assert (mask == 2).sum() == pytest.approx(32, abs=4) and mask[14, 15] == 2
    assert np.array_equal(mask == 3, bits(SIZE, 2, 12, 3, 3))


def test_a_circle_is_its_center_and_a_point_on_its_rim(labelme):
    _, mask = labelme(labelme_shape("a", [(10, 12), (13, 16)], "circle"))
    rows, columns = np.mgrid[:24, :20] + 0.5
    away = np.hypot(columns - 10, rows - 12)
    assert (mask[away < 4.8] == 1).all() and (mask[away > 5.2] == 0).all()
    assert (mask == 1).sum() == pytest.approx(math.pi * 25, abs=5)


def test_a_mask_stands_in_the_window_between_its_corners(labelme):
    covers = np.array([[1, 0, 1], [0, 1, 1]], bool)
    _, mask = labelme(labelme_shape("a", [(4, 5), (6, 6)], "mask", mask=png_text(covers)))
    assert np.array_equal(mask[5:7, 4:7] == 1, covers) and mask.sum() == 4


def test_old_files_without_shape_types_groups_and_sizes_are_read(tmp_path):
    save_picture(tmp_path / "raw/one.png")
    shape = {"label": "a", "line_color": None, "points": square(2, 2, 5), "fill_color": None}
    plain = {"imageData": None, "shapes": [shape], "imagePath": "one.png", "lineColor": [0, 255]}
    (tmp_path / "raw/one.json").write_text(json.dumps(plain))
    convert_polygons(tmp_path / "raw/one.json", tmp_path / "out")
    assert read(tmp_path / "out/labeled/masks/one.png").sum() == 25


def test_one_group_of_one_label_is_one_object(labelme):
    made, mask = labelme(
        labelme_shape("a", square(1, 1, 3), group=4),
        labelme_shape("a", square(8, 1, 3), group=5),
        labelme_shape("a", square(1, 8, 3), group=4),
        labelme_shape("b", square(8, 8, 3), group=4),
        labelme_shape("b", square(14, 14, 3)),
        labelme_shape("b", square(14, 1, 3)),
        mode="instances",
    )
    assert mask[2, 2] == mask[9, 2]
    places = [(2, 2), (2, 9), (9, 9), (15, 15), (2, 15)]
    assert sorted({int(mask[place]) for place in places}) == [1, 2, 3, 4, 5]
    assert made.objects == {"a": 2, "b": 3}


def test_lines_and_points_have_no_area_and_are_named(labelme):
    made, mask = labelme(
        labelme_shape("a", square(2, 2, 5)),
        labelme_shape("a", [(1, 1), (5, 5)], "line"),
        labelme_shape("a", [(1, 1), (5, 5), (9, 1)], "linestrip"),
        labelme_shape("b", [(1, 1)], "point"),
        labelme_shape("a", [(1, 1), (3, 3)]),
    )
    assert mask.sum() == 25
    assert made.noted["shapes without an area (line)"] == ["one.json shapes[1]"]
    assert made.noted["shapes without an area (point)"] == ["one.json shapes[3]"]
    assert made.noted[FEW_POINTS] == ["one.json shapes[4]"]
    assert made.objects == {"a": 1}, "a label of points alone is no class"


def test_ignore_is_void_and_background_is_background(labelme, tmp_path):
    made, mask = labelme(
        labelme_shape("a", square(2, 2, 8)),
        labelme_shape("_background_", square(2, 2, 2)),
        labelme_shape("__ignore__", square(0, 0, 5)),
    )
    assert (mask == 1).sum() == 64 - 4
    assert (mask == 255).sum() == 25 - 9 == made.void_pixels
    assert made.objects == {"a": 1}
    text = (tmp_path / "out/imseg.toml").read_text()
    assert 'task = "binary"\nvoid = 255\n' in text and "ignore" not in text


@pytest.mark.parametrize("name", ["../images/one.png", "..\\images\\one.png"])
def test_names_lead_from_the_file_to_the_picture(tmp_path, name):
    save_picture(tmp_path / "images/one.png")
    write_labelme(tmp_path / "notes/one.json", [labelme_shape("a", square(2, 2, 5))], picture=name)
    made = convert_polygons(tmp_path / "notes", tmp_path / "out")
    assert made.labeled == 1 and read(tmp_path / "out/labeled/masks/one.png").sum() == 25


@pytest.mark.parametrize(
    "name", ["C:\\Users\\me\\one.png", "/home/me/one.png", "../../elsewhere/one.png"]
)
def test_names_from_another_place_are_never_followed_but_looked_up_in_the_folder(tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    write_labelme(tmp_path / "a/b/one.json", [labelme_shape("a", square(2, 2, 5))], picture=name)
    save_picture(tmp_path / "elsewhere/one.png", (9, 9))
    (tmp_path / "a/pictures").mkdir()
    there = name.startswith("..")
    said = "1 file name leads out of" if there else "1 picture of the annotations is not in"
    with pytest.raises(ImsegError, match=f"{said} .*pictures"):
        convert_polygons(tmp_path / "a/b", tmp_path / "out", images=tmp_path / "a/pictures")
    save_picture(tmp_path / "a/pictures/one.png")
    made = convert_polygons(tmp_path / "a/b", tmp_path / "out", images=tmp_path / "a/pictures")
    assert made.labeled == 1
    assert read(tmp_path / "out/labeled/images/one.png").shape == (24, 20, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_the_picture_inside_is_used_where_there_is_no_file(tmp_path, suffix):
    content = save_picture(tmp_path / f"other/one{suffix}").read_bytes()
    shape = labelme_shape("a", square(2, 2, 5))
    write_labelme(tmp_path / "raw/one.json", [shape], picture="one.jpg", content=content)
    made = convert_polygons(tmp_path / "raw", tmp_path / "out")
    assert (tmp_path / f"out/labeled/images/one{suffix}").read_bytes() == content
    assert made.labeled == 1 and read(tmp_path / "out/labeled/masks/one.png").sum() == 25


def test_the_file_is_taken_before_the_picture_inside(tmp_path):
    content = save_picture(tmp_path / "other/one.png", seed=5).read_bytes()
    save_picture(tmp_path / "raw/one.png")
    write_labelme(tmp_path / "raw/one.json", [labelme_shape("a", square(2, 2, 5))], content=content)
    convert_polygons(tmp_path / "raw", tmp_path / "out")
    copied = (tmp_path / "out/labeled/images/one.png").read_bytes()
    assert copied == (tmp_path / "raw/one.png").read_bytes() != content


def test_pictures_inside_files_of_one_name_stay_apart(tmp_path):
    for folder in ("x", "y"):
        content = save_picture(tmp_path / f"other/{folder}.png").read_bytes()
        shape = labelme_shape("a", square(2, 2, 5))
        write_labelme(tmp_path / f"raw/{folder}/1.json", [shape], picture="1.png", content=content)
    convert_polygons(tmp_path / "raw", tmp_path / "out")
    for folder in ("x", "y"):
        copied = (tmp_path / f"out/labeled/images/{folder}_1.png").read_bytes()
        assert copied == (tmp_path / f"other/{folder}.png").read_bytes()


def test_files_without_shapes_and_pictures_without_files_are_unlabeled(tmp_path):
    for name in ("one", "two", "three"):
        save_picture(tmp_path / f"raw/{name}.png")
    write_labelme(tmp_path / "raw/one.json", [labelme_shape("a", square(2, 2, 5))])
    write_labelme(tmp_path / "raw/two.json", [])
    (tmp_path / "raw/settings.json").write_text('{"theme": "dark"}')
    (tmp_path / "raw/camera.xml").write_text("<camera/>")
    made = convert_polygons(tmp_path / "raw", tmp_path / "out")
    assert (made.labeled, made.unlabeled, made.listed_empty, made.unlisted) == (1, 2, 1, 1)
    found = sorted(path.name for path in (tmp_path / "out/unlabeled/images").iterdir())
    assert found == ["three.png", "two.png"]
    assert made.noted[UNKNOWN_KIND] == ["camera.xml", "settings.json"]


def test_all_damaged_files_are_told_at_once(tmp_path):
    save_picture(tmp_path / "raw/one.png")
    good = write_labelme(tmp_path / "raw/one.json", [labelme_shape("a", square(2, 2, 5))])
    for number in range(8):
        text = good.read_text()
        (tmp_path / f"raw/bad_{number}.json").write_text(text[: len(text) // 2])
    with pytest.raises(ImsegError) as caught:
        convert_polygons(tmp_path / "raw", tmp_path / "out")
    text = str(caught.value)
    assert "bad_0.json ends in the middle" in text and "bad_4.json ends in the middle" in text
    assert "3 more files" in text and "bad_5" not in text


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (labelme_shape("", square(1, 1, 4)), "wrong label"),
        (labelme_shape("a\nb", square(1, 1, 4)), "control characters in label"),
        ({"points": [[1, 2]] * 3}, "has no label"),
        (labelme_shape("a", None or [("x", "y")] * 3), "wrong outline"),
        (labelme_shape("a", [(1, 2), (math.nan, 4), (5, 6)]), "no positions"),
        (labelme_shape("a", [(1, 1), (3, 3)], "mask", mask="%%%"), "mask is damaged"),
        (labelme_shape("a", [(1, 1), (3, 3)], "mask"), "has no mask"),
        (labelme_shape("a", [(1, 1)], "mask", mask="aaaa"), "mask without a window"),
        (labelme_shape("a", [(1, 1.5), (3, 3)], "mask", mask="aaaa"), "mask without a window"),
        (labelme_shape("a", [(1, 1), (3, 3)], "mask", mask="aaaa"), "not a whole PNG"),
        (
            labelme_shape("a", [(1, 1), (3, 3)], "mask", mask=png_text(np.ones((9, 9)))),
            "a mask of 9x9 for a window of 3x3",
        ),
        (labelme_shape("a", [(1, 1), (90, 3)], "mask", mask="aaaa"), "the picture is 24x20"),
        (labelme_shape("a", square(1, 1, 4), group=[1]), "wrong group_id"),
        ("polygon", "is not an object"),
    ],
)
def test_a_shape_that_makes_no_sense_is_named(labelme, tmp_path, shape, reason):
    with pytest.raises(ImsegError) as caught:
        labelme(labelme_shape("a", square(2, 2, 5)), shape)
    assert "shapes[1]" in str(caught.value) and reason in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"not a picture", "is not a PNG"), (b"\x89PNG but no more", "is not a PNG")],
)
def test_a_damaged_picture_inside_is_an_error(tmp_path, content, reason):
    write_labelme(tmp_path / "raw/one.json", [labelme_shape("a", square(2, 2, 5))], content=content)
    with pytest.raises(ImsegError, match=r"one\.json holds a picture \(imageData\) that " + reason):
        convert_polygons(tmp_path / "raw", tmp_path / "out")


def test_text_that_is_no_picture_inside_is_an_error(tmp_path):
    shape = labelme_shape("a", square(2, 2, 5))
    write_labelme(tmp_path / "raw/one.json", [shape], imageData="%%%")
    with pytest.raises(ImsegError, match="imageData is damaged"):
        convert_polygons(tmp_path / "raw", tmp_path / "out")


def test_two_files_for_one_picture_are_an_error(tmp_path):
    save_picture(tmp_path / "raw/one.png")
    for name in ("one", "one again"):
        shape = labelme_shape("a", square(2, 2, 5))
        write_labelme(tmp_path / f"raw/{name}.json", [shape], picture="one.png")
    with pytest.raises(ImsegError, match=r"one\.png from one again\.json and one\.json"):
        convert_polygons(tmp_path / "raw", tmp_path / "out")


def test_a_moved_tree_still_works(tmp_path):
    save_picture(tmp_path / "raw/deep/one.png")
    write_labelme(tmp_path / "raw/deep/one.json", [labelme_shape("a", square(2, 2, 5))])
    shutil.move(tmp_path / "raw", tmp_path / "moved")
    assert convert_polygons(tmp_path / "moved", tmp_path / "out").labeled == 1


def test_outlines_that_lie_outside_of_a_picture_are_refused_where_no_size_is_said(tmp_path):
    save_picture(tmp_path / "raw/a.png")
    shapes = [labelme_shape("a", square(2, 2, 5)), labelme_shape("a", square(90, 90, 5))]
    write_labelme(tmp_path / "raw/a.json", shapes, size=None)
    with pytest.raises(ImsegError, match=r"a.json shapes\[1\] lies outside of its picture"):
        convert_polygons(tmp_path / "raw", tmp_path / "out")
