"""GeoJSON of QuPath: holes and islands, classes, kinds of objects, planes, names of files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.polygons.polygon_files import Corners, bits, read, save_picture, square

from imseg.data.polygons import convert_polygons, read_annotations
from imseg.data.polygons.formats import geojson
from imseg.errors import ImsegError

SIZE = (24, 20)


def closed(corners: Corners) -> list[list[float]]:
    return [list(corner) for corner in [*corners, corners[0]]]


def polygon(*rings: Corners, **more) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [closed(ring) for ring in rings]} | more


def multi(*polygons: tuple[Corners, ...]) -> dict[str, Any]:
    found = [[closed(ring) for ring in rings] for rings in polygons]
    return {"type": "MultiPolygon", "coordinates": found}


def feature(
    geometry: dict[str, Any] | None, name: str | None = "Tumor", kind: str = "annotation", **more
) -> dict[str, Any]:
    """Return an object as QuPath 0.5 exports it."""
    properties: dict[str, Any] = {"objectType": kind, "isLocked": False}
    properties["measurements"] = {"Area µm^2": 3.5}
    if name is not None:
        properties["classification"] = {"name": name, "color": [200, 0, 0]}
    return {
        "type": "Feature",
        "id": "5b7f0b3c-7d2e-4c1e-9a39-5a3c6f6f0d11",
        "geometry": geometry,
        "properties": properties | more.pop("properties", {}),
    } | more


def write(path: Path, *features: dict[str, Any], form: str = "collection") -> Path:
    plain: Any = list(features)
    if form == "collection":
        plain = {"type": "FeatureCollection", "features": plain}
    elif form == "feature":
        (plain,) = features
    path.write_text(json.dumps(plain), encoding="utf-8")
    return path


def convert(folder: Path, *features: dict[str, Any], **options) -> tuple[Any, np.ndarray]:
    save_picture(folder / "slide_01.png")
    made = convert_polygons(
        write(folder / "slide_01.geojson", *features, **options), folder / "out"
    )
    return made, read(folder / "out/labeled/masks/slide_01.png")


@pytest.mark.parametrize("form", ["collection", "list", "feature"])
def test_an_outline_covers_the_pixels_that_were_drawn_in_every_form_of_export(tmp_path, form):
    made, mask = convert(tmp_path, feature(polygon(square(2, 3, 6))), form=form)
    assert made.format == "GeoJSON" and made.objects == {"Tumor": 1} and not made.noted
    assert np.array_equal(mask == 1, bits(SIZE, 2, 3, 6, 6))


def test_holes_are_cut_out_and_islands_in_holes_belong(tmp_path):
    lake = square(2, 2, 16), square(4, 4, 12)
    _, mask = convert(tmp_path, feature(multi(lake, (square(7, 7, 4),))))
    wanted = bits(SIZE, 2, 2, 16, 16) & ~bits(SIZE, 4, 4, 12, 12) | bits(SIZE, 7, 7, 4, 4)
    assert np.array_equal(mask == 1, wanted)


def test_several_holes_are_cut_out(tmp_path):
    holes = [square(x, y, 2) for x in (3, 8, 13) for y in (3, 8, 13)]
    _, mask = convert(tmp_path, feature(polygon(square(1, 1, 18), *holes)))
    wanted = bits(SIZE, 1, 1, 18, 18)
    for x, y in [hole[0] for hole in holes]:
        wanted &= ~bits(SIZE, x, y, 2, 2)
    assert np.array_equal(mask == 1, wanted)


def test_polygons_of_one_object_that_overlap_add_up(tmp_path):
    made, mask = convert(tmp_path, feature(multi((square(1, 1, 6),), (square(4, 4, 6),))))
    assert np.array_equal(mask == 1, bits(SIZE, 1, 1, 6, 6) | bits(SIZE, 4, 4, 6, 6))
    assert made.objects == {"Tumor": 1}


def test_collections_of_geometries_give_what_has_an_area(tmp_path):
    line = {"type": "LineString", "coordinates": [[1, 1], [5, 5]]}
    both = {"type": "GeometryCollection", "geometries": [line, polygon(square(2, 3, 6))]}
    _, mask = convert(tmp_path, feature(both))
    assert np.array_equal(mask == 1, bits(SIZE, 2, 3, 6, 6))


def test_heights_after_x_and_y_do_not_matter(tmp_path):
    shape = polygon(square(2, 3, 6))
    shape["coordinates"] = [[[*corner, 0] for corner in shape["coordinates"][0]]]
    _, mask = convert(tmp_path, feature(shape))
    assert np.array_equal(mask == 1, bits(SIZE, 2, 3, 6, 6))


CLASSES = {
    "QuPath 0.2": {"classification": {"name": "Stroma", "colorRGB": -6895466}},
    "a derived class": {"classification": {"names": ["Stroma"], "color": [1, 2, 3]}},
    "a text": {"classification": "Stroma"},
}


@pytest.mark.parametrize("properties", CLASSES.values(), ids=CLASSES)
def test_classes_are_read_as_every_version_writes_them(tmp_path, properties):
    made, _ = convert(tmp_path, feature(polygon(square(2, 3, 6)), properties=properties))
    assert made.objects == {"Stroma": 1}


def test_derived_classes_keep_all_their_names(tmp_path):
    derived = {"classification": {"names": ["Tumor", "Positive"]}}
    made, _ = convert(tmp_path, feature(polygon(square(2, 3, 6)), properties=derived))
    assert made.objects == {"Tumor: Positive": 1}


def test_objects_without_a_class_are_one_class_and_that_is_said(tmp_path):
    made, mask = convert(
        tmp_path,
        feature(polygon(square(2, 3, 6)), None, "detection"),
        feature(polygon(square(9, 9, 5)), None, "detection", properties={"name": "Nucleus 7"}),
    )
    assert made.objects == {"unclassified": 2} and made.mode == "instances"
    assert list(made.noted) == [geojson.NO_CLASS] and np.unique(mask).tolist() == [0, 1, 2]


def test_the_area_in_which_cells_were_detected_is_left_out_and_said(tmp_path):
    around = feature(polygon(square(0, 0, 20)), None)
    cell = feature(polygon(square(2, 3, 6)), None, "cell")
    made, mask = convert(tmp_path, cell, around)
    assert np.array_equal(mask == 1, bits(SIZE, 2, 3, 6, 6))
    assert set(made.noted) == {geojson.AROUND, geojson.NO_CLASS}


def test_detections_lie_above_annotations_whatever_their_order(tmp_path):
    around = feature(polygon(square(0, 0, 20)), "Tumor")
    _, mask = convert(tmp_path, feature(polygon(square(2, 3, 6)), "Cell", "detection"), around)
    assert np.array_equal(mask == 1, bits(SIZE, 2, 3, 6, 6)), "labels are numbered by the alphabet"


def test_cells_have_their_whole_outline_and_their_nuclei_are_noted(tmp_path):
    nucleus = {"nucleusGeometry": polygon(square(4, 5, 2))}
    made, mask = convert(tmp_path, feature(polygon(square(2, 3, 6)), "Cell", "cell", **nucleus))
    assert np.array_equal(mask == 1, bits(SIZE, 2, 3, 6, 6))
    assert list(made.noted) == [geojson.NUCLEI]


def test_points_lines_and_cores_are_noted(tmp_path):
    old = feature(polygon(square(0, 0, 20)), None, id="TMACoreObject")
    del old["properties"]["objectType"]
    made, _ = convert(
        tmp_path,
        feature(polygon(square(2, 3, 6))),
        feature({"type": "MultiPoint", "coordinates": [[1, 1], [2, 2]]}),
        feature({"type": "LineString", "coordinates": [[1, 1], [2, 2]]}),
        feature(None),
        feature(polygon(square(0, 0, 5)), None, "tile"),
        old,
    )
    assert {what: len(places) for what, places in made.noted.items()} == {
        "shapes without an area (MultiPoint)": 1,
        "shapes without an area (LineString)": 1,
        "shapes without an area (no geometry)": 1,
        geojson.CORES: 2,
    }


def test_objects_on_several_planes_are_refused(tmp_path):
    planes = [polygon(square(2, 3, 6), plane={"c": -1, "z": z, "t": 0}) for z in (0, 2)]
    with pytest.raises(ImsegError, match=r"several planes[\s\S]*z 0, t 0, z 2, t 0"):
        convert(tmp_path, *map(feature, planes))
    made, _ = convert(tmp_path, feature(planes[1]))
    assert made.objects == {"Tumor": 1}


def test_objects_that_were_drawn_on_a_larger_copy_of_the_picture_are_refused(tmp_path):
    good, far = feature(polygon(square(2, 3, 6))), feature(polygon(square(40, 60, 6)))
    with pytest.raises(ImsegError, match=r"features\[1\] lies outside of its picture"):
        convert(tmp_path, good, far)


def test_objects_that_reach_out_of_the_picture_are_clipped(tmp_path):
    made, mask = convert(tmp_path, feature(polygon(square(15, 20, 9))))
    assert np.array_equal(mask == 1, bits(SIZE, 15, 20, 5, 4)) and made.noted


def test_coordinates_on_a_map_are_refused(tmp_path):
    plain = {"type": "FeatureCollection", "crs": {"type": "name"}, "features": []}
    (tmp_path / "a.geojson").write_text(json.dumps(plain))
    with pytest.raises(ImsegError, match="coordinates on a map"):
        read_annotations(tmp_path / "a.geojson")


@pytest.mark.parametrize(
    ("picture", "name"),
    [
        ("slide_01.tif", "slide_01.geojson"),
        ("slide_01.JPG", "slide_01.json"),
        ("slide_01.tif", "slide_01.tif.geojson"),
        ("slide.ome.tif", "slide.ome.geojson"),
        ("images/slide_01.png", "slide_01.geojson"),
    ],
)
def test_a_picture_is_found_by_the_name_of_the_file(tmp_path, picture, name):
    save_picture(tmp_path / picture)
    save_picture((tmp_path / picture).with_stem("other"))
    source = write(tmp_path / name, feature(polygon(square(2, 3, 6))))
    made = convert_polygons(source, tmp_path / "out")
    assert (made.labeled, made.unlabeled) == (1, 1)
    assert [path.name for path in (tmp_path / "out/labeled/images").iterdir()] == [
        picture.rpartition("/")[2]
    ]


def test_the_zip_file_that_qupath_offers_is_read(tmp_path):
    save_picture(tmp_path / "slide_01.png")
    plain = write(tmp_path / "plain.geojson", feature(polygon(square(2, 3, 6))))
    with zipfile.ZipFile(tmp_path / "slide_01.zip", "w") as archive:
        archive.write(plain, "slide_01.geojson")
    plain.unlink()
    assert convert_polygons(tmp_path / "slide_01.zip", tmp_path / "out").labeled == 1


def test_a_folder_of_files_gives_a_mask_for_each(tmp_path):
    for name, label in (("a", "Tumor"), ("b", "Stroma")):
        save_picture(tmp_path / f"data/{name}.png")
        write(tmp_path / f"data/{name}.geojson", feature(polygon(square(2, 3, 6)), label))
    made = convert_polygons(tmp_path / "data", tmp_path / "out")
    assert made.objects == {"Stroma": 1, "Tumor": 1} and made.labeled == 2


@pytest.mark.parametrize(
    ("geometry", "reason"),
    [
        ({"type": "Polygon", "coordinates": 5}, "has wrong coordinates"),
        ({"type": "Polygon", "coordinates": [[["x", 1]]]}, "has a wrong outline"),
        ({"type": "MultiPolygon", "coordinates": [5]}, "has wrong coordinates"),
        ({"type": "Polygon", "coordinates": [[[1e300, 1], [2, 2], [3, 1]]]}, "no positions"),
        ({"coordinates": []}, "has no type"),
        (5, "is not an object"),
    ],
)
def test_a_wrong_geometry_is_refused_with_its_place(tmp_path, geometry, reason):
    good = feature(polygon(square(2, 3, 6)))
    with pytest.raises(ImsegError, match=rf"slide_01\.geojson: .*features\[1\].*{reason}"):
        convert(tmp_path, good, feature(geometry))
