"""COCO instances: every way to say where an object is, and files that are not what they seem."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from pycocotools import mask as pycocotools
from tests.data.polygons.polygon_files import Coco, bits, flat, read, save_picture, square

from imseg.data.polygons import convert_polygons, read_annotations
from imseg.data.polygons.drawings import FEW_POINTS
from imseg.data.polygons.formats.coco import NO_IMAGE, NO_OUTLINE, REPEATED
from imseg.data.polygons.rasterize import CLIPPED, HIDDEN, NO_PIXEL
from imseg.errors import ImsegError


@pytest.fixture
def coco(tmp_path):
    """A COCO file with one picture, not yet written."""
    save_picture(tmp_path / "images/one.png")
    made = Coco("cell", "dish")
    made.one = made.image("one.png")
    return made


@pytest.fixture
def convert(tmp_path):
    """A function that writes a COCO file and converts it; gives the summary and the masks."""

    def call(coco, mode="classes"):
        source = coco.write(tmp_path / "annotations.json")
        made = convert_polygons(source, tmp_path / "out", mode=mode)
        folder = tmp_path / "out/labeled/masks"
        return made, {path.stem: read(path) for path in sorted(folder.rglob("*.png"))}

    return call


@pytest.fixture
def complaint(tmp_path):
    """A function that reads what must not be read, and returns the error's text."""

    def call(plain):
        path = tmp_path / "annotations.json"
        path.write_text(plain if isinstance(plain, str) else json.dumps(plain))
        with pytest.raises(ImsegError) as caught:
            read_annotations(path)
        return str(caught.value)

    return call


def test_later_annotations_lie_on_top_and_overlaps_are_counted(coco, convert):
    coco.draw(coco.one, square(2, 2, 8))
    coco.draw(coco.one, square(6, 6, 8), category=2)
    made, masks = convert(coco)
    wanted = np.zeros((24, 20), np.uint8)
    wanted[2:10, 2:10] = 1
    wanted[6:14, 6:14] = 2
    assert np.array_equal(masks["one"], wanted)
    assert made.overlap_pixels == 16 and made.overlap_pictures == 1
    assert made.objects == {"cell": 1, "dish": 1} and made.format == "COCO"


def test_objects_of_one_class_may_overlap_without_notice_but_not_as_instances(
    coco, convert, tmp_path
):
    coco.draw(coco.one, square(2, 2, 8))
    coco.draw(coco.one, square(6, 6, 8))
    assert convert(coco)[0].overlap_pixels == 0
    (tmp_path / "out").rename(tmp_path / "before")
    assert convert(coco, "instances")[0].overlap_pixels == 16


def test_several_rings_are_one_object_and_add_up(coco, convert):
    coco.draw(coco.one, square(1, 1, 4), square(10, 10, 4))
    coco.draw(coco.one, square(1, 15, 4))
    made, masks = convert(coco, "instances")
    assert masks["one"].dtype == np.uint16
    assert masks["one"][2, 2] == masks["one"][12, 12] == 1 and masks["one"][16, 2] == 2
    assert made.objects == {"cell": 2}


def test_a_ring_without_a_list_around_it_and_pairs_of_points_are_understood(coco, convert):
    coco.draw(coco.one, segmentation=flat(square(2, 2, 4)))
    coco.draw(coco.one, segmentation=[[list(point) for point in square(10, 10, 4)]])
    _, masks = convert(coco)
    both = bits((24, 20), 2, 2, 4, 4) | bits((24, 20), 10, 10, 4, 4)
    assert np.array_equal(masks["one"] == 1, both)


def test_runs_are_read_as_a_list_and_as_compressed_text(coco, convert, tmp_path):
    mask = bits((24, 20), 3, 5, 6, 7)
    mask[0, 0] = True
    encoded = pycocotools.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = {"size": [24, 20], "counts": encoded["counts"].decode()}
    down = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(down.astype(int))) + 1
    counts = [0, *np.diff([0, *edges, down.size]).tolist()]
    save_picture(tmp_path / "images/two.png")
    coco.draw(coco.one, segmentation=text)
    listed = {"size": [24, 20], "counts": counts}
    coco.draw(coco.image("two.png"), segmentation=listed)
    _, masks = convert(coco)
    assert np.array_equal(masks["one"] == 1, mask) and np.array_equal(masks["two"] == 1, mask)


def test_crowds_are_void_where_nothing_else_is(coco, convert, tmp_path):
    coco.draw(coco.one, square(0, 0, 10), iscrowd=1)
    coco.draw(coco.one, square(5, 5, 10))
    made, masks = convert(coco)
    assert (masks["one"] == 255).sum() == 100 - 25 == made.void_pixels
    assert (masks["one"] == 1).sum() == 100
    assert "void = 255" in (tmp_path / "out/imseg.toml").read_text()


@pytest.mark.parametrize(("mode", "void"), [("instances", 65535), ("labels", 128)])
def test_crowds_are_void_in_the_other_ways_too(coco, convert, tmp_path, mode, void):
    coco.draw(coco.one, square(0, 0, 10), iscrowd=1)
    coco.draw(coco.one, square(5, 5, 10), category=2)
    coco.draw(coco.one, square(0, 0, 2))
    made, _ = convert(coco, mode)
    assert f"void = {void}" in (tmp_path / "out/imseg.toml").read_text()
    if mode == "instances":
        assert (read(tmp_path / "out/labeled/masks/one.png") == void).sum() == 75 - 4
        return
    cell = read(tmp_path / "out/labeled/masks/cell/one.png")
    dish = read(tmp_path / "out/labeled/masks/dish/one.png")
    assert (cell == 255).sum() == 4
    assert (cell == void).sum() == 96 == made.void_pixels, "it says nothing about dishes"
    assert set(np.unique(dish)) == {0, 255} and (dish == 255).sum() == 100


def test_what_encloses_nothing_is_left_out_counted_and_named(coco, convert):
    coco.draw(coco.one, square(2, 2, 4))
    coco.draw(coco.one, [(1, 1), (5, 5)])
    coco.draw(coco.one, [(1, 1), (5, 5), (9, 9)])
    coco.draw(coco.one, square(90, 90, 5))
    coco.draw(coco.one, segmentation=[])
    coco.draw(coco.one, segmentation=None)
    coco.draw(coco.one, square(16, 20, 9))
    coco.draw(4711, square(1, 1, 5))
    made, masks = convert(coco)
    assert {what: len(places) for what, places in made.noted.items()} == {
        FEW_POINTS: 1,
        NO_OUTLINE: 2,
        NO_IMAGE: 1,
        NO_PIXEL: 2,
        CLIPPED: 1,
    }
    assert made.noted[FEW_POINTS] == ["annotations[1] (one.png)"]
    assert np.array_equal(
        masks["one"] == 1, bits((24, 20), 2, 2, 4, 4) | bits((24, 20), 16, 20, 4, 4)
    )


def test_an_object_that_others_cover_is_named(coco, convert):
    coco.draw(coco.one, square(4, 4, 4))
    coco.draw(coco.one, square(2, 2, 10))
    made, masks = convert(coco, "instances")
    assert made.noted[HIDDEN] == ["annotations[0] (one.png)"]
    assert np.unique(masks["one"]).tolist() == [0, 1], "numbers have no gaps"
    assert made.objects == {"cell": 1}


def test_numbers_follow_the_ids_of_all_categories_so_that_two_exports_agree(coco, convert):
    coco.categories = [
        {"id": 30, "name": "leaf"},
        {"id": 4, "name": "root"},
        {"id": 11, "name": "stem"},
    ]
    coco.draw(coco.one, square(2, 2, 4), category=30)
    made, masks = convert(coco)
    assert np.unique(masks["one"]).tolist() == [0, 3]
    assert made.unused == ("root", "stem")


def test_categories_of_one_name_are_one(coco, convert):
    coco.categories.append({"id": 9, "name": " cell "})
    coco.draw(coco.one, square(2, 2, 4))
    coco.draw(coco.one, square(10, 10, 4), category=9)
    made, masks = convert(coco)
    assert np.unique(masks["one"]).tolist() == [0, 1] and made.objects == {"cell": 2}
    assert made.noted[REPEATED] == ["cell"]


def test_background_regions_erase_what_is_below(coco, convert):
    coco.categories.append({"id": 3, "name": "Background"})
    coco.draw(coco.one, square(2, 2, 8))
    coco.draw(coco.one, square(4, 4, 2), category=3)
    made, masks = convert(coco)
    assert masks["one"][4, 4] == 0 and (masks["one"] == 1).sum() == 64 - 4
    assert made.overlap_pixels == 0 and made.objects == {"cell": 1}


def test_ids_may_be_texts_or_fractions_of_nothing(coco, convert):
    coco.draw(coco.one, square(2, 2, 4), image_id=str(coco.one), category_id=1.0)
    assert convert(coco)[0].labeled == 1


def test_sizes_that_are_not_said_are_taken_from_the_pictures(tmp_path, convert):
    save_picture(tmp_path / "images/one.png", (30, 10))
    coco = Coco()
    coco.draw(coco.image("one.png", None), square(2, 20, 4))
    _, masks = convert(coco)
    assert masks["one"].shape == (30, 10) and masks["one"][22, 4] == 1


def test_more_than_254_numbers_need_16_bits(coco, convert, tmp_path):
    coco.categories = [{"id": number, "name": f"kind {number}"} for number in range(1, 301)]
    coco.draw(coco.one, square(2, 2, 4), category=300)
    coco.draw(coco.one, square(0, 0, 4), category=7, iscrowd=1)
    _, masks = convert(coco)
    assert masks["one"].dtype == np.uint16
    assert np.unique(masks["one"]).tolist() == [0, 300, 65535]


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ([[1, 2, math.nan, 4, 5, 6]], "no positions"),
        ([[1, 2, math.inf, 4, 5, 6]], "no positions"),
        ([[1, 2, 1e300, 4, 5, 6]], "no positions"),
        ([[1, 2, 10**400, 4, 5, 6]], "wrong outline"),
        ([[1, 2, 3, 4, 5]], "wrong outline"),
        ([["1", "2", "3", "4", "5", "6"]], "wrong outline"),
        ([[1, 2, None, 4, 5, 6]], "wrong outline"),
        ([[[1, 2], [3]]], "wrong outline"),
        ("M 1 2 L 3 4", "wrong segmentation"),
        (7, "wrong segmentation"),
        ({"size": [24, 20]}, "neither a text nor a list"),
        ({"size": [24], "counts": [480]}, "runs of a wrong size"),
        ({"size": [24, -20], "counts": [480]}, "cannot be read"),
        ({"size": [24, 20], "counts": [481]}, "longer than the picture"),
        ({"size": [24, 20], "counts": [3, 5]}, "8 pixels long, not 480"),
        ({"size": [24, 20], "counts": [-3, 483]}, "negative"),
        ({"size": [24, 20], "counts": [10**30]}, "cannot be read"),
        ({"size": [24, 20], "counts": ""}, "0 pixels long"),
        ({"size": [24, 20], "counts": "PPP"}, "ends inside a number"),
        ({"size": [24, 20], "counts": "oooooooooooooooooooooooo"}, "cannot"),
        ({"size": [10**9, 10**9], "counts": [10**18]}, "size is impossible"),
    ],
)
def test_an_annotation_that_makes_no_sense_is_named(coco, complaint, segmentation, reason):
    coco.draw(coco.one, square(2, 2, 4))
    coco.draw(coco.one, segmentation=segmentation)
    text = complaint(coco.plain())
    assert "annotations[1]" in text and reason in text
    assert "Expected:" in text and "Got:" in text and "Try:" in text


def test_runs_of_another_size_than_the_picture_are_refused(coco, tmp_path):
    coco.draw(coco.one, segmentation={"size": [20, 24], "counts": [100, 380]})
    with pytest.raises(ImsegError, match="is a mask of 20x24, the picture is 24x20"):
        convert_polygons(coco.write(tmp_path / "annotations.json"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda plain: plain["images"].append(dict(plain["images"][0])), "id that another image"),
        (lambda plain: plain["images"][0].pop("file_name"), "has no file_name"),
        (lambda plain: plain["images"][0].update(file_name=7), "wrong file_name"),
        (lambda plain: plain["images"][0].update(file_name="a\u202eb.png"), "control characters"),
        (lambda plain: plain["images"][0].update(height="tall"), "wrong height"),
        (lambda plain: plain["images"][0].update(height=-4), "negative size"),
        (lambda plain: plain["images"][0].update(id=[1]), "wrong id"),
        (lambda plain: plain["images"].append("one.png"), "images[1] is not an object"),
        (lambda plain: plain.update(images={}), "has no list of images"),
        (lambda plain: plain.update(categories=None), "has no categories"),
        (lambda plain: plain["categories"][0].update(name=""), "wrong name"),
        (lambda plain: plain["categories"][0].update(id=2), "id that another has"),
        (lambda plain: plain["annotations"][0].pop("category_id"), "has no category_id"),
        (lambda plain: plain["annotations"][0].update(category_id=77), "not listed"),
        (lambda plain: plain["annotations"].append(None), "annotations[1] is not an object"),
    ],
)
def test_every_entry_is_checked(coco, complaint, spoil, reason):
    coco.draw(coco.one, square(2, 2, 4))
    plain = json.loads(json.dumps(coco.plain()))
    spoil(plain)
    assert reason in complaint(plain)


def test_unknown_categories_are_told_with_those_that_there_are(coco, complaint):
    coco.draw(coco.one, square(2, 2, 4), category=77)
    text = complaint(coco.plain())
    assert "1 (cell), 2 (dish)" in text and "77" in text
