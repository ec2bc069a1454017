"""COCO's ``iscrowd``: objects that were painted with a brush, and crowds that are void."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as pycocotools
from tests.data.polygons.polygon_files import Coco, bits, read, save_picture, square

from imseg.data.polygons import convert_polygons
from imseg.errors import ImsegError

SIZE = (60, 60)


def runs(left: int, top: int, side: int, *, text: bool = False) -> dict:
    """Return a square as CVAT writes what was painted: run lengths, marked as a crowd."""
    covers = bits(SIZE, left, top, side, side)
    if text:
        packed = pycocotools.encode(np.asfortranarray(covers.astype(np.uint8)))
        counts = packed["counts"].decode()
    else:
        down = covers.T.reshape(-1).astype(int)
        edges = np.flatnonzero(np.diff(down)) + 1
        counts = np.diff([0, *edges, down.size]).tolist()
        counts = [0, *counts] if down[0] else counts
    return {"segmentation": {"size": list(SIZE), "counts": counts}, "iscrowd": 1}


@pytest.fixture
def scene(tmp_path):
    """A COCO file in the making with a picture, and a function that converts it."""
    save_picture(tmp_path / "images/a.png", SIZE)
    coco = Coco("cell", "dish")
    coco.a = coco.image("a.png", SIZE)

    def call(mode="instances", **options):
        out = tmp_path / f"out {len(list(tmp_path.iterdir()))}"
        source = coco.write(tmp_path / "a.json")
        made = convert_polygons(source, out, mode=mode, **options)
        return made, read(out / "labeled/masks/a.png")

    coco.convert = call
    return coco


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("polygons", [0, 1, 40])
def test_what_was_painted_with_a_brush_is_an_object_and_that_is_told(scene, polygons, text):
    for index in range(polygons):
        scene.draw(scene.a, square(6 * (index % 10), 20 + 6 * (index // 10), 5))
    scene.draw(scene.a, **runs(2, 2, 6, text=text))
    made, mask = scene.convert()
    assert made.objects == {"cell": polygons + 1} and made.void_pixels == 0
    assert len(np.unique(mask[2:8, 2:8])) == 1 and mask[4, 4] != 0
    (finding,) = made.findings
    assert finding.severity == "warning" and "taken for objects" in finding.what
    assert f"1 region of {polygons + 1}, 36 pixels" in finding.got
    assert "--crowds void" in finding.hint


def test_a_label_that_was_only_painted_is_one_of_objects(scene):
    scene.draw(scene.a, square(40, 40, 5))
    scene.draw(scene.a, category=2, **runs(2, 2, 30))
    made, mask = scene.convert(mode="classes")
    assert made.objects == {"cell": 1, "dish": 1} and (mask == 2).sum() == 900


def test_painted_objects_keep_their_place_in_the_order(scene):
    scene.draw(scene.a, square(2, 2, 10))
    scene.draw(scene.a, category=2, **runs(6, 6, 10))
    scene.draw(scene.a, square(10, 10, 10))
    _, mask = scene.convert(mode="classes")
    assert [mask[7, 7], mask[11, 11], mask[3, 3]] == [2, 1, 1]


def test_a_crowd_among_hundreds_of_objects_is_void_and_no_warning(scene):
    for index in range(200):
        scene.draw(scene.a, square(2.5 * (index % 20), 2.5 * (index // 20), 2))
    scene.draw(scene.a, **runs(20, 30, 20))
    made, mask = scene.convert()
    assert made.findings == [] and made.void_pixels == (mask == 65535).sum() == 400


def test_large_painted_regions_that_are_not_rare_are_asked_about(scene):
    scene.draw(scene.a, square(2, 2, 5))
    scene.draw(scene.a, **runs(20, 20, 20))
    with pytest.raises(ImsegError) as caught:
        scene.convert()
    text = str(caught.value)
    assert "1 region is marked as crowds (iscrowd), and may be objects" in text
    assert "1 region of 2, 400 pixels, such as annotations[1] (a.png)" in text
    assert "--crowds objects" in text and "--crowds void" in text
    made, mask = scene.convert(crowds="objects")
    assert made.objects == {"cell": 2} and made.findings == []
    made, mask = scene.convert(crowds="void")
    assert made.objects == {"cell": 1} and (mask == 65535).sum() == 400


def test_two_large_regions_of_one_label_in_a_picture_are_not_taken_for_crowds(scene):
    for index in range(100):
        scene.draw(scene.a, square(2.5 * (index % 20), 2.5 * (index // 20), 2))
    for left in (2, 30):
        scene.draw(scene.a, **runs(left, 30, 20))
    with pytest.raises(ImsegError, match="may be objects"):
        scene.convert()


def test_outlines_that_were_marked_by_hand_are_void_and_that_is_told(scene):
    scene.draw(scene.a, square(2, 2, 5))
    scene.draw(scene.a, square(20, 20, 10), iscrowd=1)
    made, _ = scene.convert()
    assert made.void_pixels == 100
    (finding,) = made.findings
    assert "are void" in finding.what and "1 region of 2, 100 pixels" in finding.got
    assert "--crowds objects" in finding.hint
    assert scene.convert(crowds="void")[0].findings == []
    assert scene.convert(crowds="objects")[0].objects == {"cell": 2}


def test_a_file_of_nothing_but_crowds_is_one_of_objects(scene):
    for left in (2, 20):
        scene.draw(scene.a, square(left, 2, 10), iscrowd=1)
    made, mask = scene.convert()
    assert made.objects == {"cell": 2} and set(np.unique(mask)) == {0, 1, 2}
    assert "there are no other objects" in made.findings[0].why
