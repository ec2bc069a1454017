"""From annotations of each tool to a data folder that the other commands accept."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.data.polygons.polygon_files import (
    Coco,
    Cvat,
    cvat_polygon,
    labelme_shape,
    read,
    save_picture,
    square,
    write_labelme,
)

SIZE = (48, 40)
STEMS = [f"cell_{number}" for number in range(6)]
LABELS = ("cell", "dish")


def squares(number: int) -> list[tuple[str, list[tuple[float, float]]]]:
    """Return what is drawn on a picture: three squares, two of which overlap."""
    first = 2 + number
    return [
        ("cell", square(first, 3, 10)),
        ("dish", square(first + 6, 8, 12)),
        ("cell", square(first + 2, 28, 9)),
    ]


@pytest.fixture(params=["coco", "labelme", "cvat", "zip"])
def annotations(request, tmp_path) -> Path:
    """The same outlines on the same pictures, as each tool writes them."""
    raw = tmp_path / "raw"
    coco, cvat = Coco(*LABELS), Cvat(*LABELS)
    for number, stem in enumerate(STEMS):
        save_picture(raw / f"images/{stem}.png", SIZE)
        image = coco.image(f"{stem}.png", SIZE)
        for label, ring in squares(number):
            coco.draw(image, ring, category=1 + LABELS.index(label))
        shapes = [labelme_shape(label, ring) for label, ring in squares(number)]
        if request.param == "labelme":
            name = f"..\\images\\{stem}.png"
            write_labelme(raw / f"notes/{stem}.json", shapes, picture=name, size=SIZE)
        cvat.image(
            f"{stem}.png",
            *(cvat_polygon(ring, label) for label, ring in squares(number)),
            size=SIZE,
        )
    save_picture(raw / "images/free.png", SIZE)
    if request.param == "coco":
        return coco.write(raw / "instances.json")
    if request.param == "labelme":
        return raw / "notes"
    if request.param == "cvat":
        return cvat.write(raw / "annotations.xml")
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as file:
        file.writestr("annotations.xml", cvat.text())
        for path in sorted((raw / "images").iterdir()):
            file.write(path, f"images/{path.name}")
    return tmp_path / "export.zip"


@pytest.mark.parametrize("way", ["classes", "instances", "labels"])
def test_every_format_gives_the_same_data_folder_and_check_accepts_it(
    cli, annotations, tmp_path, way
):
    out = tmp_path / "data"
    status, shown, err = cli("polygons", annotations, "--out", out, "--as", way)
    assert status == 0, err
    assert f"The data goes to {out}" in err
    assert f"Wrote masks as {way} (as asked for)" in shown and "6 labeled, 1 unlabeled" in shown
    assert "120 pixels in 6 pictures" in shown and f"Next: imseg check {out}" in shown
    number = 2
    wanted = np.zeros(SIZE, int)
    for index, (label, ring) in enumerate(squares(number), start=1):
        (left, top), (right, bottom) = map(tuple, (map(int, ring[0]), map(int, ring[2])))
        value = index if way == "instances" else 1 + LABELS.index(label)
        wanted[top:bottom, left:right] = value
    folder = out / "labeled/masks"
    if way == "labels":
        dish = read(folder / f"dish/cell_{number}.png") == 255
        assert np.array_equal(dish, wanted == 2)
        assert (read(folder / f"cell/cell_{number}.png") == 255).sum() == 100 + 81
    else:
        assert np.array_equal(read(folder / f"cell_{number}.png"), wanted)
    assert cli("check", out, "--sheet", tmp_path / "sheet.png")[0] == 0


def test_the_way_is_chosen_by_the_data_and_said(cli, cli_json, tmp_path):
    coco = Coco("cell")
    for number, stem in enumerate(STEMS):
        save_picture(tmp_path / f"raw/{stem}.png", SIZE)
        image = coco.image(f"{stem}.png", SIZE)
        for _, ring in squares(number)[::2]:
            coco.draw(image, ring)
    source = coco.write(tmp_path / "raw/cells.json")
    found = cli_json("polygons", source, "--out", tmp_path / "one")
    assert found["mode"] == "instances" and found["labeled"] == 6
    assert found["objects"] == {"cell": 12} and found["noted"] == {}
    assert found["images"] == str(tmp_path / "raw") and found["out"] == str(tmp_path / "one")
    _, shown, _ = cli("polygons", source, "--out", tmp_path / "two")
    assert "one label, typically 2 objects per picture" in shown
    assert "--as classes or --as labels" in shown
    assert cli("check", tmp_path / "two", "--sheet", tmp_path / "sheet.png")[0] == 0


def test_what_was_left_out_is_shown(cli, tmp_path):
    coco = Coco("cell", "dish")
    for name in ("a/1.png", "b/1.png", "c.png"):
        save_picture(tmp_path / "raw" / name, SIZE)
        image = coco.image(name, SIZE)
        coco.draw(image, square(2, 2, 9))
    coco.draw(image, square(5, 5, 9), iscrowd=1)
    coco.draw(image, [(1, 1), (2, 2)])
    coco.draw(image, square(35, 40, 20))
    _, shown, _ = cli("polygons", coco.write(tmp_path / "raw/x.json"), "--out", tmp_path / "out")
    assert "1 outlines with fewer than 3 points: annotations[4] (c.png)" in shown
    assert "1 regions that reached out of their picture (clipped): annotations[5] (c.png)" in shown
    assert "declared, but drawn nowhere: dish" in shown
    assert "45 pixels void" in shown
    assert "a/1.png is now a_1, b/1.png is now b_1" in shown


def test_mistakes_end_with_an_explanation_and_nothing_is_written(cli, tmp_path):
    source = tmp_path / "notes.json"
    source.write_text('{"images": [], "annotations": [')
    status, _, err = cli("polygons", source, "--out", tmp_path / "out")
    assert status == 2 and "imseg: " in err and "ends in the middle" in err
    status, _, err = cli("polygons", source, "--out", tmp_path / "out", "--as", "instance")
    assert status == 2 and "--as instances" in err
    source.write_text(json.dumps(Coco().plain()))
    status, _, err = cli("polygons", source, "--out", tmp_path / "out")
    assert status == 2 and "no region that gives a mask" in err
    assert not (tmp_path / "out").exists()


def test_several_sources_are_joined_and_what_was_decided_is_told(cli, cli_json, tmp_path):
    sources = []
    for part in ("train", "test"):
        coco = Coco("cell")
        for number in range(2):
            name = f"{part}_{number}.png"
            save_picture(tmp_path / part / name, SIZE)
            image = coco.image(rf"C:\lab\{name}", SIZE)
            coco.draw(image, square(2, 2, 9))
            covers = {
                "size": list(SIZE),
                "counts": [30 * 48, 100, SIZE[0] * SIZE[1] - 30 * 48 - 100],
            }
            coco.draw(image, segmentation=covers, iscrowd=1)
        sources.append(coco.write(tmp_path / part / "_annotations.coco.json"))
    status, shown, err = cli("polygons", *sources, "--out", tmp_path / "out")
    assert status == 0, err
    assert "2 labeled, 0 unlabeled, 0 val, 2 test" in shown
    assert "warning: Regions marked as crowds (iscrowd) are taken for objects." in shown
    assert "warning: 2 pictures were found beside the annotations" in shown
    assert r"C:\lab\train_0.png is train_0.png" in shown
    assert cli("check", tmp_path / "out", "--sheet", tmp_path / "sheet.png")[0] == 0
    found = cli_json("polygons", *sources, "--out", tmp_path / "two", "--crowds", "void")
    assert found["test"] == 2 and found["void_pixels"] == 400
    assert [finding["severity"] for finding in found["findings"]] == ["warning", "warning"]
    status, _, err = cli("polygons", *sources, "--out", tmp_path / "three", "--crowds", "voids")
    assert status == 2 and "--crowds void" in err
