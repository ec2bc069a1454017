"""CVAT for images 1.1: every shape, the order of layers, and XML that is not to be trusted."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from tests.data.polygons.polygon_files import (
    Cvat,
    bits,
    cvat_polygon,
    cvat_shape,
    read,
    save_picture,
    square,
)

from imseg.data.polygons import convert_polygons
from imseg.data.polygons.drawings import FEW_POINTS
from imseg.errors import ImsegError

SIZE = (24, 20)
BOMB = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;">]>
<annotations><image id="0" name="&d;" width="20" height="24"/></annotations>"""
FETCHED = """<?xml version="1.0"?>
<!DOCTYPE a [<!ENTITY secret SYSTEM "file:///etc/passwd">]>
<annotations><image id="0" name="&secret;" width="20" height="24"/></annotations>"""


@pytest.fixture
def cvat(tmp_path):
    """A function that writes a CVAT file of one picture, and returns summary and mask."""

    def call(*shapes, labels=("cell", "dish"), mode="classes"):
        save_picture(tmp_path / "raw/images/one.png")
        made = Cvat(*labels)
        made.image("one.png", *shapes)
        source = made.write(tmp_path / "raw/annotations.xml")
        found = convert_polygons(source, tmp_path / "out", mode=mode)
        return found, read(tmp_path / "out/labeled/masks/one.png")

    return call


def test_polygons_boxes_and_ellipses_are_filled(cvat):
    made, mask = cvat(
        cvat_polygon(square(1, 1, 4)),
        cvat_shape("box", xtl="10.00", ytl="1.00", xbr="14.00", ybr="4.00"),
        cvat_shape("ellipse", "dish", cx="8.00", cy="14.00", rx="6.00", ry="3.00"),
    )
    assert np.array_equal(mask == 1, bits(SIZE, 1, 1, 4, 4) | bits(SIZE, 10, 1, 4, 3))
    rows, columns = np.mgrid[:24, :20] + 0.5
    value = ((columns - 8) / 6) ** 2 + ((rows - 14) / 3) ** 2
    sure = np.abs(value - 1) > 0.1
    assert np.array_equal((mask == 2)[sure], (value < 1)[sure])
    assert made.format == "CVAT" and made.objects == {"cell": 2, "dish": 1}


def test_boxes_are_turned_clockwise_about_their_middle(cvat):
    _, mask = cvat(cvat_shape("box", xtl=2, ytl=8, xbr=14, ybr=12, rotation="90.00"))
    assert np.array_equal(mask == 1, bits(SIZE, 6, 4, 4, 12))


def test_masks_are_runs_along_the_rows_of_their_window(cvat):
    rle = "1, 2, 3, 1, 1, 1"  # .xx / ..  . / x.x of a window 3 wide and 3 high
    _, mask = cvat(cvat_shape("mask", rle=rle, left=5, top=6, width=3, height=3))
    wanted = np.array([[0, 1, 1], [0, 0, 0], [1, 0, 1]], bool)
    assert np.array_equal(mask[6:9, 5:8] == 1, wanted) and (mask == 1).sum() == 4


def test_the_example_of_the_documentation_fills_its_window(cvat):
    rle = (
        "3, 5, 7, 7, 5, 9, 3, 11, 2, 11, 2, 12, 1, 12, 1, 26, 1, 12, 1, 12, 2, 11, 3, 9, 5, 7, 7,"
        " 5, 3"
    )
    _, mask = cvat(cvat_shape("mask", rle=rle, left=2, top=4, width=13, height=15))
    assert mask[4, 2:15].tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]
    assert mask[11, 2:15].all() and mask.sum() == sum(map(int, rle.split(",")[1::2]))


def test_a_higher_z_order_lies_on_top_whatever_the_order_in_the_file(cvat):
    _, mask = cvat(
        cvat_polygon(square(4, 4, 8), "cell", z_order=2),
        cvat_polygon(square(2, 2, 8), "dish", z_order=-1),
        cvat_polygon(square(8, 8, 8), "dish", z_order=2),
    )
    assert mask[5, 5] == 1 and mask[2, 2] == 2 and mask[10, 10] == 2


def test_groups_are_one_object_and_group_0_is_none(cvat):
    made, mask = cvat(
        cvat_polygon(square(1, 1, 3), group_id=3),
        cvat_polygon(square(8, 1, 3), group_id=3),
        cvat_polygon(square(1, 8, 3), group_id=0),
        cvat_polygon(square(8, 8, 3), group_id=0),
        mode="instances",
    )
    assert mask[2, 2] == mask[2, 9] and len(np.unique(mask)) == 4
    assert made.objects == {"cell": 3}


def test_lines_points_and_skeletons_are_counted_and_tags_are_not(cvat):
    made, mask = cvat(
        cvat_polygon(square(1, 1, 4)),
        cvat_shape("polyline", points="1.00,1.00;5.00,5.00"),
        cvat_shape("points", points="1.00,1.00"),
        '<skeleton label="dish" z_order="0"><points label="1" points="1,1"/></skeleton>',
        '<tag label="dish" source="manual"></tag>',
        cvat_shape("polygon", points="1.00,1.00;5.00,5.00"),
    )
    assert mask.sum() == 16
    assert made.noted == {
        "CVAT shapes without an area (polyline)": ["one.png polyline 1"],
        "CVAT shapes without an area (points)": ["one.png points 2"],
        "CVAT shapes without an area (skeleton)": ["one.png skeleton 3"],
        FEW_POINTS: ["one.png polygon 5"],
    }
    assert made.unused == ("dish",)


def test_labels_are_numbered_in_the_order_of_the_task(cvat):
    _, mask = cvat(cvat_polygon(square(1, 1, 4), "apple"), labels=("zebra", "apple"))
    assert np.unique(mask).tolist() == [0, 2]


def test_pictures_without_shapes_are_unlabeled(tmp_path):
    made = Cvat()
    for name in ("a/one.png", "a/two.png"):
        save_picture(tmp_path / "images" / name)
    made.image("a/one.png", cvat_polygon(square(1, 1, 4)))
    made.image("a/two.png")
    found = convert_polygons(made.write(tmp_path / "annotations.xml"), tmp_path / "out")
    assert (found.labeled, found.unlabeled, found.listed_empty) == (1, 1, 1)
    assert (tmp_path / "out/unlabeled/images/two.png").is_file()


@pytest.fixture
def exported(tmp_path):
    """A function that writes the zip file of an export, with or without pictures."""

    def call(*names, more=()):
        made = Cvat()
        made.image("one.png", cvat_polygon(square(1, 1, 4)), *more)
        picture = save_picture(tmp_path / "other/one.png")
        archive = tmp_path / "export.zip"
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("annotations.xml", made.text())
            for name in names:
                file.write(picture, name)
        return archive

    return call


def test_the_zip_that_cvat_exports_is_read_and_leaves_nothing_behind(exported, tmp_path):
    found = convert_polygons(exported("images/one.png"), tmp_path / "out")
    assert found.labeled == 1 and found.images == str(tmp_path / "export.zip")
    assert read(tmp_path / "out/labeled/masks/one.png").sum() == 16
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export.zip", "other", "out"]


def test_pictures_that_are_not_in_the_zip_are_looked_for_beside_it(exported, tmp_path):
    found = convert_polygons(exported(), tmp_path / "out")
    assert found.images == str(tmp_path / "other")


def test_errors_about_a_zip_name_the_zip(exported, tmp_path):
    more = (cvat_shape("polygon", points="1,2;3"),)
    with pytest.raises(ImsegError, match=r"export\.zip/annotations\.xml: one\.png polygon 1"):
        convert_polygons(exported("images/one.png", more=more), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_zip_that_leaves_its_folder_is_refused(exported, tmp_path):
    with pytest.raises(ImsegError, match="leaves the folder"):
        convert_polygons(exported("../one.png"), tmp_path / "out")


@pytest.mark.parametrize("text", [BOMB, FETCHED], ids=["bomb", "fetched"])
def test_entities_are_refused(tmp_path, text):
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(ImsegError, match="declares entities or a document type"):
        convert_polygons(tmp_path / "annotations.xml", tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<annotations><image", "not valid XML, or ends in the middle"),
        ("<annotations><track id='0' label='a'/></annotations>", "CVAT for video"),
        ("<annotation><object/></annotation>", "Pascal VOC"),
        ("<html><body/></html>", "<html> without an <image>"),
        ("<annotations/>", "<annotations> without an <image>"),
        ("<annotations><image id='0' width='20' height='24'/></annotations>", "has no name"),
        ("<a>" * 100_000, "not valid XML, or ends in the middle"),
        ("<a>" * 100_000 + "</a>" * 100_000, "<a> without an <image>"),
    ],
)
def test_xml_of_another_kind_is_named(tmp_path, text, reason):
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(ImsegError) as caught:
        convert_polygons(tmp_path / "annotations.xml", tmp_path / "out")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (cvat_shape("polygon", points="1,2;3,4;5"), "wrong outline"),
        (cvat_shape("polygon", points="1,2;3,4;5,x"), "wrong outline"),
        (cvat_shape("polygon", points="1,2;3,4;5,nan"), "no positions"),
        (cvat_shape("polygon", points="1,2;3,4;5,1e99"), "no positions"),
        (cvat_shape("polygon"), "has no points"),
        (cvat_shape("box", xtl=1, ytl=2, xbr=3), "has no ybr"),
        (cvat_shape("box", xtl=1, ytl=2, xbr=3, ybr="inf"), "wrong ybr"),
        (cvat_shape("ellipse", cx=1, cy=2, rx="wide", ry=3), "wrong rx"),
        (cvat_shape("mask", rle="1, 2", left=0, top=0, width=2, height=2), "3 pixels long, not 4"),
        (cvat_shape("mask", rle="1, -2, 5", left=0, top=0, width=2, height=2), "negative"),
        (cvat_shape("mask", rle="1, two", left=0, top=0, width=2, height=2), "cannot be read"),
        (cvat_shape("mask", rle="0", left=0, top=0, width=0, height=9), "has no pixels"),
        (
            cvat_shape("mask", rle=str(10**16), left=0, top=0, width=10**8, height=10**8),
            "the picture is 24x20",
        ),
        (cvat_shape("polygon", "", points="1,2;3,4;5,6"), "wrong label"),
        (cvat_shape("polygon", points="1,2;3,4;5,6", z_order="top"), "wrong z_order"),
    ],
)
def test_a_shape_that_makes_no_sense_is_named(cvat, shape, reason):
    with pytest.raises(ImsegError) as caught:
        cvat(cvat_polygon(square(1, 1, 4)), shape)
    assert "one.png" in str(caught.value) and reason in str(caught.value)
