"""What every format has in common: ways of writing masks, pictures and their names, errors."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.data.polygons.polygon_files import (
    Coco,
    Cvat,
    bits,
    cvat_polygon,
    labelme_shape,
    read,
    save_picture,
    square,
    write_labelme,
)

from imseg.data.polygons import convert_polygons, read_annotations
from imseg.data.polygons.entries import choose_stems
from imseg.data.polygons.locate import ALIKE
from imseg.data.polygons.rasterize import name_folders
from imseg.errors import ImsegError, ImsegErrors

SIZE = (24, 20)


def make(
    folder: Path, *pictures: str, objects: int = 1, names: tuple[str, ...] = ("cell",)
) -> Path:
    """Write pictures, and a COCO file with so many squares on each, of each category in turn."""
    coco = Coco(*names)
    for picture in pictures:
        number = coco.image(picture)
        save_picture(folder / "images" / picture)
        for index in range(objects):
            ring = square(1 + 6 * index, 1 + 4 * index, 5)
            coco.draw(number, ring, category=1 + index % len(names))
    return coco.write(folder / "annotations.json")


def settings(out: Path) -> dict:
    return tomllib.loads((out / "imseg.toml").read_text())


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_one_label_with_several_objects_becomes_instances(tmp_path):
    made = convert_polygons(make(tmp_path, "a.png", "b.png", objects=3), tmp_path / "out")
    assert made.mode == "instances" and "3 objects" in made.reason
    assert settings(tmp_path / "out") == {"task": "instances"}
    mask = read(tmp_path / "out/labeled/masks/a.png")
    assert mask.dtype == np.uint16 and np.unique(mask).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("objects", "mode"), [(1, "classes"), (2, "instances")])
def test_two_objects_are_several(tmp_path, objects, mode):
    source = make(tmp_path, "a.png", "b.png", objects=objects)
    assert convert_polygons(source, tmp_path / "out").mode == mode


def test_one_label_with_one_object_becomes_a_binary_mask(tmp_path):
    source = make(tmp_path, "a.png", "b.png", "c.png")
    assert convert_polygons(source, tmp_path / "out").mode == "classes"
    assert settings(tmp_path / "out") == {
        "task": "binary",
        "classes": {
            "0": {"name": "background", "color": "#000000"},
            "1": {"name": "cell", "color": "#ffa000"},
        },
    }
    assert np.unique(read(tmp_path / "out/labeled/masks/a.png")).tolist() == [0, 1]


def test_parts_of_one_object_do_not_count_as_several(tmp_path):
    save_picture(tmp_path / "raw/one.png")
    shapes = [labelme_shape("a", square(1 + 6 * part, 1, 4), group=1) for part in range(3)]
    write_labelme(tmp_path / "raw/one.json", shapes)
    assert convert_polygons(tmp_path / "raw", tmp_path / "out").mode == "classes"


def test_several_labels_become_classes_with_names_and_colors_of_their_own(tmp_path):
    source = make(tmp_path, "a.png", objects=3, names=("cell", 'a "b" \\ c', "Zelle é"))
    assert convert_polygons(source, tmp_path / "out").mode == "classes"
    found = settings(tmp_path / "out")
    assert found["task"] == "multiclass" and "void" not in found
    names = [entry["name"] for entry in found["classes"].values()]
    assert names == ["background", "cell", 'a "b" \\ c', "Zelle é"]
    colors = {entry["color"] for entry in found["classes"].values()}
    assert len(colors) == 4
    with Image.open(tmp_path / "out/labeled/masks/a.png") as mask:
        assert mask.mode == "P"
        shown = np.array(mask.convert("RGB"))
    assert shown[3, 3].tolist() == [255, 160, 0], "viewers show the color that imseg.toml says"


def test_labels_overlap_in_files_of_their_own(tmp_path):
    source = make(tmp_path, "a.png", "b.png", objects=3, names=("cell", "in/side"))
    coco = json.loads(source.read_text())
    coco["annotations"][1]["segmentation"] = [[2, 2, 6, 2, 6, 6, 2, 6]]
    source.write_text(json.dumps(coco))
    made = convert_polygons(source, tmp_path / "out", mode="labels")
    masks = tmp_path / "out/labeled/masks"
    assert files(masks) == ["cell/a.png", "cell/b.png", "in_side/a.png", "in_side/b.png"]
    cell, inside = read(masks / "cell/a.png"), read(masks / "in_side/a.png")
    assert np.array_equal(cell == 255, bits(SIZE, 1, 1, 5, 5) | bits(SIZE, 13, 9, 5, 5))
    assert np.array_equal(inside == 255, bits(SIZE, 2, 2, 4, 4))
    assert set(np.unique(cell)) == {0, 255} and made.overlap_pixels == 16
    assert settings(tmp_path / "out") == {
        "task": "multilabel",
        "classes": {
            "cell": {"name": "cell", "color": "#ffa000"},
            "in_side": {
                "name": "in/side",
                "color": settings(tmp_path / "out")["classes"]["in_side"]["color"],
            },
        },
    }


def test_a_picture_without_a_label_has_an_empty_mask_of_it(tmp_path):
    coco = Coco("cell", "dish")
    for category, name in ((1, "a.png"), (2, "b.png")):
        save_picture(tmp_path / "images" / name)
        coco.draw(coco.image(name), square(2, 2, 4), category=category)
    convert_polygons(coco.write(tmp_path / "x.json"), tmp_path / "out", mode="labels")
    assert not read(tmp_path / "out/labeled/masks/dish/a.png").any()
    assert not read(tmp_path / "out/labeled/masks/cell/b.png").any()


@given(labels=st.lists(st.text(min_size=1, max_size=6), unique=True, max_size=8))
def test_folders_of_labels_are_safe_and_differ(labels):
    folders = name_folders(tuple(labels))
    assert list(folders) == labels
    assert len({name.lower() for name in folders.values()}) == len(labels)
    for name in folders.values():
        assert name and Path(name).name == name and name not in (".", "..", "position")
        assert not name.startswith((".", " ")) and not name.isdecimal()


def test_labels_that_mean_something_else_as_folders_are_renamed():
    wanted = {"position": "label_position", "12": "label_12", "../up": "_up", "a:b": "a_b"}
    assert name_folders(tuple(wanted)) == wanted
    assert name_folders(("x" * 500, "x" * 400)) == {"x" * 500: "x" * 50, "x" * 400: "x" * 50 + "_2"}
    assert name_folders(("a/b", "a:b", "A_b")) == {"a/b": "a_b", "a:b": "a_b_2", "A_b": "A_b_3"}


def test_everything_that_is_not_annotated_is_unlabeled(tmp_path):
    source = make(tmp_path, "a.png")
    coco = json.loads(source.read_text())
    coco["images"].append({"id": 5, "file_name": "seen.png", "width": 20, "height": 24})
    source.write_text(json.dumps(coco))
    for name in ("seen.png", "free.JPG", "a.bmp", ".hidden.png", "deeper/other.png"):
        save_picture(tmp_path / "images" / name)
    (tmp_path / "images/notes.txt").write_text("no picture")
    made = convert_polygons(source, tmp_path / "out")
    assert (made.labeled, made.unlabeled, made.listed_empty, made.unlisted) == (1, 2, 1, 1)
    assert files(tmp_path / "out") == [
        "imseg.toml",
        "labeled/images/a.png",
        "labeled/masks/a.png",
        "unlabeled/images/free.JPG",
        "unlabeled/images/seen.png",
    ]
    assert made.noted[ALIKE] == ["a.bmp"], "it may be a mask"
    for path in ("labeled/images/a.png", "unlabeled/images/free.JPG"):
        copied = (tmp_path / "out" / path).read_bytes()
        assert copied == (tmp_path / "images" / Path(path).name).read_bytes()


def test_without_anything_unlabeled_there_is_no_such_folder(tmp_path):
    convert_polygons(make(tmp_path, "a.png"), tmp_path / "out")
    assert not (tmp_path / "out/unlabeled").exists()


def test_pictures_of_one_stem_get_their_folders_before_it(tmp_path):
    made = convert_polygons(make(tmp_path, "b/1.png", "a/1.png", "a/2.png"), tmp_path / "out")
    assert files(tmp_path / "out/labeled/images") == ["2.png", "a_1.png", "b_1.png"]
    assert files(tmp_path / "out/labeled/masks") == ["2.png", "a_1.png", "b_1.png"]
    assert made.renamed == {"a/1.png": "a_1", "b/1.png": "b_1"}
    for folder in ("a", "b"):
        copied = (tmp_path / f"out/labeled/images/{folder}_1.png").read_bytes()
        assert copied == (tmp_path / f"images/{folder}/1.png").read_bytes()


def test_stems_are_chosen_alike_in_any_order():
    names = ["1.png", "1.jpg", "a/1.png", "a_1.png", "A/1.png", "b/c/2.tif", "2.png", ".x.png"]
    wanted = {
        ".x.png": "x",
        "1.jpg": "1",
        "1.png": "1_png",
        "2.png": "2",
        "A/1.png": "A_1_png",
        "a/1.png": "a_1_2",
        "a_1.png": "a_1",
        "b/c/2.tif": "b_c_2",
    }
    assert choose_stems(names) == choose_stems(reversed(names)) == wanted


parts = st.sampled_from(["a", "A", "b", "1", "a_1", ".a"])


@given(
    st.lists(
        st.tuples(parts, parts, st.sampled_from([".png", ".PNG", ".jpg"])).map(
            lambda found: f"{found[0]}/{found[1]}{found[2]}"
        ),
        unique=True,
    )
)
def test_no_two_pictures_get_one_stem(names):
    stems = choose_stems(names)
    assert set(stems) == set(names)
    assert len({stem.lower() for stem in stems.values()}) == len(names)
    assert not any(stem.startswith(".") for stem in stems.values())


@pytest.mark.parametrize("name", ["../secret.png", "a/../../secret.png", "{}/secret.png"])
@pytest.mark.parametrize("style", ["coco", "cvat"])
def test_names_that_lead_out_of_the_folder_are_never_followed(tmp_path, name, style):
    name = name.format(tmp_path)
    save_picture(tmp_path / "secret.png", seed=5)
    save_picture(tmp_path / "images/good.png")
    source = tmp_path / "annotations"
    if style == "coco":
        coco = Coco()
        for each in ("good.png", name):
            coco.draw(coco.image(each), square(2, 2, 4))
        coco.write(source)
    else:
        cvat = Cvat()
        for each in ("good.png", name):
            cvat.image(each, cvat_polygon(square(2, 2, 4)))
        cvat.write(source)
    with pytest.raises(ImsegError) as caught:
        convert_polygons(source, tmp_path / "out", images=tmp_path / "images")
    text = str(caught.value)
    assert "1 file name leads out of" in text and name in text
    assert f"--images {tmp_path}" in text
    assert not (tmp_path / "out").exists()
    inside = save_picture(tmp_path / "images/secret.png")
    made = convert_polygons(source, tmp_path / "out", images=tmp_path / "images")
    copied = (tmp_path / "out/labeled/images/secret.png").read_bytes()
    assert copied == inside.read_bytes() != (tmp_path / "secret.png").read_bytes()
    assert f"{name} is secret.png" in made.findings[0].got


def test_a_link_that_leads_out_is_refused(tmp_path):
    source = make(tmp_path, "good.png", "link.png")
    shutil.move(tmp_path / "images/link.png", tmp_path / "elsewhere.png")
    (tmp_path / "images/link.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(ImsegError, match=r"link\.png \(a link\)"):
        convert_polygons(source, tmp_path / "out", images=tmp_path / "images")


def test_names_with_backslashes_or_folders_that_are_not_there_are_found(tmp_path):
    source = make(tmp_path, "one.png", "deep/two.png", "three.png")
    coco = json.loads(source.read_text())
    for image, name in zip(
        coco["images"], ("train/one.png", "deep\\two.png", "./three.png"), strict=True
    ):
        image["file_name"] = name
    source.write_text(json.dumps(coco))
    made = convert_polygons(source, tmp_path / "out", images=tmp_path / "images")
    assert made.labeled == 3


def test_all_missing_pictures_are_told_at_once_with_what_may_be_meant(tmp_path):
    source = make(tmp_path, *(f"cell_{number}.png" for number in range(14)))
    for number in range(1, 14):
        (tmp_path / f"images/cell_{number}.png").unlink()
    save_picture(tmp_path / "images/cell_1 (copy).png")
    with pytest.raises(ImsegError) as caught:
        convert_polygons(source, tmp_path / "out")
    text = str(caught.value)
    assert "13 pictures of the annotations are not in" in text
    assert "cell_1.png (is it cell_1 (copy).png?)" in text and "(and 3 more)" in text
    assert "--images" in text


def test_two_entries_for_one_file_are_an_error(tmp_path):
    source = make(tmp_path, "one.png")
    coco = json.loads(source.read_text())
    coco["images"].append({"id": 5, "file_name": "train/one.png", "width": 20, "height": 24})
    source.write_text(json.dumps(coco))
    with pytest.raises(ImsegError, match=r"one\.png from one\.png and train/one\.png"):
        convert_polygons(source, tmp_path / "out")


def test_pictures_of_another_size_are_all_told(tmp_path):
    source = make(tmp_path, "a.png", "b.png", "c.png")
    save_picture(tmp_path / "images/a.png", (12, 10))
    save_picture(tmp_path / "images/b.png", (48, 40))
    with pytest.raises(ImsegError) as caught:
        convert_polygons(source, tmp_path / "out")
    text = str(caught.value)
    assert "2 pictures have another size" in text
    assert "a.png is 12x10, the annotations say 24x20" in text and "b.png is 48x40" in text


def turned_picture(path: Path, orientation: int) -> None:
    """Write a JPEG of 24x20 stored pixels that viewers turn."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    save_picture(path, SIZE, exif=exif)


def test_outlines_of_a_turned_picture_are_those_of_what_is_seen(tmp_path):
    coco = Coco()
    turned_picture(tmp_path / "images/a.jpg", 6)
    coco.draw(coco.image("a.jpg", (20, 24)), square(18, 2, 5))
    convert_polygons(coco.write(tmp_path / "a.json"), tmp_path / "out")
    assert np.array_equal(
        read(tmp_path / "out/labeled/masks/a.png") == 1, bits((20, 24), 18, 2, 5, 5)
    )
    original = (tmp_path / "images/a.jpg").read_bytes()
    assert (tmp_path / "out/labeled/images/a.jpg").read_bytes() == original


def test_outlines_drawn_on_the_picture_as_it_is_stored_are_refused(tmp_path):
    coco = Coco()
    turned_picture(tmp_path / "images/a.jpg", 6)
    coco.draw(coco.image("a.jpg", SIZE), square(2, 2, 5))
    with pytest.raises(ImsegError) as caught:
        convert_polygons(coco.write(tmp_path / "a.json"), tmp_path / "out")
    text = str(caught.value)
    assert "a.jpg is 20x24, the annotations say 24x20" in text
    assert "EXIF" in text and "exiftool -Orientation= FILE" in text


def test_pictures_that_cannot_be_read_are_told_with_everything_else(tmp_path):
    source = make(tmp_path, "a.png", "b.png", "c.tga", "d.png", "e.png")
    (tmp_path / "images/a.png").write_bytes(b"nothing")
    (tmp_path / "images/b.png").unlink()
    save_picture(tmp_path / "images/d.png", (10, 10))
    with pytest.raises(ImsegErrors) as caught:
        convert_polygons(source, tmp_path / "out")
    text = str(caught.value)
    assert "2 files cannot be read" in text and "suffix .tga" in text
    assert "1 picture of the annotations is not in" in text and "another size" in text


def test_an_image_folder_that_is_not_there_is_an_error(tmp_path):
    source = make(tmp_path, "a.png")
    with pytest.raises(ImsegError, match=r"no folder .*imagse"):
        convert_polygons(source, tmp_path / "out", images=tmp_path / "imagse")


@pytest.mark.parametrize("place", [".", "images", "../images", "images/train", "train2017"])
def test_pictures_are_found_around_the_annotations(tmp_path, place):
    coco = Coco()
    coco.draw(coco.image("one.png"), square(2, 2, 5))
    source = coco.write(tmp_path / "project/annotations/instances.json")
    save_picture(source.parent / place / "one.png")
    assert convert_polygons(source, tmp_path / "out").labeled == 1


def test_pictures_that_are_nowhere_near_are_asked_for(tmp_path):
    coco = Coco()
    coco.draw(coco.image("one.png"), square(2, 2, 5))
    source = coco.write(tmp_path / "project/annotations/instances.json")
    with pytest.raises(ImsegError, match=r"not beside it[\s\S]*--images FOLDER"):
        convert_polygons(source, tmp_path / "out")


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(ImsegError, match="not empty"):
        convert_polygons(make(tmp_path, "a.png"), tmp_path / "out")
    assert files(tmp_path / "out") == ["mine.txt"]


def test_what_is_written_does_not_depend_on_the_order_of_the_pictures(tmp_path):
    source = make(tmp_path, "b/1.png", "a/1.png", "c.png", objects=2)
    convert_polygons(source, tmp_path / "one")
    coco = json.loads(source.read_text())
    coco["images"].reverse()
    source.write_text(json.dumps(coco))
    convert_polygons(source, tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    for name in files(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_file_in_which_nothing_is_drawn_is_an_error_with_the_counts(tmp_path):
    source = make(tmp_path, "a.png")
    coco = json.loads(source.read_text())
    coco["annotations"][0]["segmentation"] = []
    source.write_text(json.dumps(coco))
    with pytest.raises(ImsegError, match="1 annotations without an outline"):
        convert_polygons(source, tmp_path / "out")


def test_shares_instead_of_pixels_are_recognized(tmp_path):
    source = make(tmp_path, "a.png")
    coco = json.loads(source.read_text())
    coco["annotations"][0]["segmentation"] = [[0.1, 0.1, 0.4, 0.1, 0.4, 0.4]]
    source.write_text(json.dumps(coco))
    with pytest.raises(ImsegError, match="shares of 0 to 1"):
        convert_polygons(source, tmp_path / "out")


def test_too_many_classes_for_one_mask_are_told(tmp_path):
    names = tuple(f"kind {number}" for number in range(260))
    coco = Coco(*names)
    save_picture(tmp_path / "images/a.png")
    number = coco.image("a.png")
    for category in range(1, 261):
        coco.draw(number, square(2, 2, 5), category=category)
    with pytest.raises(ImsegError, match=r"260 labels[\s\S]*--as labels"):
        convert_polygons(coco.write(tmp_path / "a.json"), tmp_path / "out", mode="classes")


NESTED = "[" * 200_000
GUESSES = [
    ('{"images": [], "annota', "ends in the middle"),
    ('{"images": [}', "is not valid JSON"),
    ('{"images": [{"id": tru', "ends in the middle"),
    ('{"images": [{"id": 1', "ends in the middle"),
    ('{"images": [{"id": 1}]', "ends in the middle"),
    (NESTED, "nested more deeply"),
    ('{"images": [' + "9" * 5000 + "]}", "is not a usable JSON file"),
    ("", "an empty file"),
    ("cell 0.5 0.5 0.1", "'cell 0.5 0.5 0.1' at its start"),
    ("[]", "a list"),
    ("[1, 2]", "a list"),
    ('[{"image_id": 1, "segmentation": [], "score": 0.9}]', "COCO results"),
    ('[{"id": 1, "data": {}, "annotations": []}]', "does not name one picture"),
    ('{"_via_settings": {}, "_via_img_metadata": {}}', "VGG Image Annotator"),
    ('{"a.jpg123": {"filename": "a.jpg", "regions": []}}', "VGG Image Annotator"),
    ('{"size": {"width": 1}, "objects": []}', "Supervisely"),
    ('{"imgHeight": 1, "imgWidth": 1, "objects": []}', "Cityscapes"),
    ('{"images": [], "categories": []}', "COCO without annotations"),
    ('{"images": [], "annotations": []}', "has no categories"),
    ('{"imagePath": "a.png", "shapes": null}', "LabelMe without"),
    ('{"a": 1}', "an object with 'a'"),
    ("{}", "an object with nothing"),
    ("\x00\x01\x02", "at its start"),
]


@pytest.mark.parametrize(("text", "reason"), GUESSES, ids=range(len(GUESSES)))
def test_what_is_no_annotation_file_is_told_with_a_guess(tmp_path, text, reason):
    path = tmp_path / "annotations.json"
    path.write_text(text)
    with pytest.raises(ImsegError) as caught:
        read_annotations(path)
    assert reason in str(caught.value) and "Expected:" in str(caught.value)


OTHER_FILES = [
    ("export.zip", "xx", "no whole zip file", "copy it again"),
    ("export.csv", "id,image,label", "a table that begins with 'id,image,label'", "as JSON"),
    ("cell.png", "\x89PNG", "a picture", "--images FOLDER"),
    ("cell.txt", "", "an empty file", "copy it again"),
]


@pytest.mark.parametrize(("name", "text", "reason", "remedy"), OTHER_FILES)
def test_what_to_do_about_other_files_fits_their_kind(tmp_path, name, text, reason, remedy):
    (tmp_path / name).write_text(text)
    with pytest.raises(ImsegError) as caught:
        read_annotations(tmp_path / name)
    assert reason in str(caught.value) and remedy in str(caught.value)
    assert "COCO, LabelMe or CVAT for" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_of_other_encodings_are_read(tmp_path, encoding):
    source = make(tmp_path, "a.png", names=("Zelle é",))
    source.write_text(source.read_text(), encoding=encoding)
    assert read_annotations(source).labels == ("Zelle é",)


def test_a_folder_without_annotations_is_told_what_lies_there(tmp_path):
    with pytest.raises(ImsegError, match="an empty folder"):
        read_annotations(tmp_path)
    (tmp_path / "export.zip").write_bytes(b"PK")
    with pytest.raises(ImsegError, match=r"imseg polygons .*export\.zip"):
        read_annotations(tmp_path)
    (tmp_path / "a.json").write_text('{"_via_settings": {}, "_via_img_metadata": {}}')
    with pytest.raises(ImsegError, match=r"a\.json holds no[\s\S]*VGG Image Annotator"):
        read_annotations(tmp_path)
    (tmp_path / "a.json").unlink()
    (tmp_path / "annotations.xml").write_text("<annotations/>")
    with pytest.raises(ImsegError, match=r"annotations\.xml holds no pictures of CVAT"):
        read_annotations(tmp_path)


def test_a_misspelt_file_is_told_with_its_neighbor(tmp_path):
    make(tmp_path, "a.png")
    with pytest.raises(ImsegError, match=r"did you mean .*annotations\.json"):
        read_annotations(tmp_path / "anotations.json")


def test_progress_counts_every_picture(tmp_path):
    seen = []
    source = make(tmp_path, "a.png", "b.png", "c.png")
    convert_polygons(source, tmp_path / "out", progress=lambda *step: seen.append(step))
    assert seen == [(1, 3), (2, 3), (3, 3)]
