"""Which picture an outline is laid on, whatever the annotations call it."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from tests.data.polygons.polygon_files import (
    Coco,
    Cvat,
    cvat_polygon,
    labelme_shape,
    save_picture,
    square,
    write_labelme,
)

from imseg.data.polygons import convert_polygons
from imseg.errors import ImsegError

SHAPES = [labelme_shape("cell", square(2, 2, 5))]


def coco_of(path: Path, *names: str) -> Path:
    """Write a COCO file with a square on each picture."""
    coco = Coco()
    for name in names:
        coco.draw(coco.image(name), square(2, 2, 5))
    return coco.write(path)


def labeled(out: Path) -> dict[str, bytes]:
    """Return the content of the labeled pictures by name."""
    return {path.name: path.read_bytes() for path in (out / "labeled/images").iterdir()}


def two_days(data: Path, name: str) -> Path:
    """Write LabelMe files of two days; the second calls its picture something else."""
    for number in "1237":
        save_picture(data / f"day1/{number}.png", seed=1)
    for number in "123":
        write_labelme(data / f"day1/{number}.json", SHAPES)
    write_labelme(data / "day2/7.json", SHAPES, picture=name)
    return data


STALE = [
    r"C:\Users\me\day2\7.png",
    r"..\photos\7.png",
    "../photos/7.png",
    "C:/Users/me/day1/7.png",
    "/home/me/day1/7.png",
    r"\\server\share\7.png",
    "photos/7.png",
    "file:///C:/Users/me/7.png",
    r"C:\Users\me\7.PNG",
    "7.jpg",
    "gone.png",
]


@pytest.mark.parametrize("name", STALE)
def test_a_stale_name_means_the_picture_beside_the_file_and_is_told(tmp_path, name):
    data = two_days(tmp_path / "data", name)
    wanted = save_picture(data / "day2/7.png", seed=99).read_bytes()
    made = convert_polygons(data, tmp_path / "out")
    found = labeled(tmp_path / "out")
    assert found["day2_7.png"] == wanted and len(found) == 4
    assert not [name for name in found if name.startswith("day1")]
    (finding,) = made.findings
    assert finding.severity == "warning" and f"{name} is day2/7.png" in finding.got
    assert "1 picture was found" in finding.what


@pytest.mark.parametrize("name", ["7.png", *(name for name in STALE if "day1" not in name)])
def test_without_the_picture_beside_it_no_picture_of_another_folder_is_taken(tmp_path, name):
    data = two_days(tmp_path / "data", name)
    with pytest.raises(ImsegError, match=r"not in|leads out|not named clearly"):
        convert_polygons(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_picture_of_another_folder_is_taken_only_if_the_name_says_so(tmp_path):
    data = two_days(tmp_path / "data", "C:/Users/me/day1/7.png")
    made = convert_polygons(data, tmp_path / "out")
    assert labeled(tmp_path / "out")["7.png"] == (data / "day1/7.png").read_bytes()
    assert "C:/Users/me/day1/7.png is 7.png" in made.findings[0].got


def test_the_picture_inside_goes_before_one_of_another_folder(tmp_path):
    data = two_days(tmp_path / "data", "7.png")
    content = save_picture(tmp_path / "other/7.png", seed=4).read_bytes()
    write_labelme(data / "day2/7.json", SHAPES, content=content)
    convert_polygons(data, tmp_path / "out")
    assert content in labeled(tmp_path / "out").values()


def test_a_name_and_its_file_that_point_at_different_pictures_are_refused(tmp_path):
    save_picture(tmp_path / "data/a/7.png")
    save_picture(tmp_path / "data/b/8.png")
    write_labelme(tmp_path / "data/a/7.json", SHAPES, picture=r"D:\old\8.png")
    with pytest.raises(ImsegError, match=r"8\.png \(7\.json\) may be b/8\.png or a/7\.png"):
        convert_polygons(tmp_path / "data", tmp_path / "out")


def test_the_path_decides_among_pictures_of_one_name(tmp_path):
    for day in "12":
        save_picture(tmp_path / f"images/day{day}/7.png", seed=int(day))
    names = [rf"C:\lab\day{day}\7.png" for day in "21"]
    source = coco_of(tmp_path / "notes/a.json", *names)
    made = convert_polygons(source, tmp_path / "out", images=tmp_path / "images")
    assert made.labeled == 2 and "by the last folders of their names" in made.findings[0].what
    assert made.findings[0].got.startswith(rf"{names[0]} is day2/7.png, {names[1]} is day1/7.png")


@pytest.mark.parametrize("name", [r"C:\lab\day3\7.png", "day3/7.png", "7.png", "/7.png"])
def test_several_pictures_of_one_name_are_refused_by_name(tmp_path, name):
    for day in "12":
        save_picture(tmp_path / f"images/day{day}/7.png")
    source = coco_of(tmp_path / "notes/a.json", name)
    with pytest.raises(ImsegError) as caught:
        convert_polygons(source, tmp_path / "out", images=tmp_path / "images")
    assert f"{name} may be day1/7.png or day2/7.png" in str(caught.value)
    assert "--images" in str(caught.value)


@pytest.mark.parametrize("name", ["day2/7.png", r"C:\lab\day2\7.png", r"D:\day2\images\7.png"])
def test_a_folder_that_other_names_lead_to_is_not_taken_for_another(tmp_path, name):
    inner = "images/" if "images" in name else ""
    first = name.replace("day2", "day1").replace("7.png", "1.png")
    for number in "17":
        save_picture(tmp_path / f"pictures/day1/{inner}{number}.png")
    source = coco_of(tmp_path / "notes/a.json", first, name)
    with pytest.raises(ImsegError, match=r"not in|leads out"):
        convert_polygons(source, tmp_path / "out", images=tmp_path / "pictures")


def test_a_name_without_folders_may_be_in_any_if_it_is_there_once(tmp_path):
    save_picture(tmp_path / "images/a/b/7.png")
    source = coco_of(tmp_path / "images/a.json", "7.png")
    made = convert_polygons(source, tmp_path / "out")
    assert made.labeled == 1 and "by the last part of its name" in made.findings[0].what


def test_upper_and_lower_case_do_not_matter_if_one_file_is_meant(tmp_path):
    save_picture(tmp_path / "images/7.PNG")
    source = coco_of(tmp_path / "a.json", "7.png")
    assert "7.png is 7.PNG" in convert_polygons(source, tmp_path / "out").findings[0].got
    exact = save_picture(tmp_path / "images/7.png", seed=3).read_bytes()
    assert convert_polygons(source, tmp_path / "two").findings == []
    assert labeled(tmp_path / "two")["7.png"] == exact
    (tmp_path / "images/7.png").rename(tmp_path / "images/7.Png")
    with pytest.raises(ImsegError, match=r"may be images/7\.PNG or images/7\.Png"):
        convert_polygons(source, tmp_path / "three")


@pytest.mark.parametrize(("written", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_composed_and_decomposed_names_are_equal(tmp_path, written, stored):
    name = "Zelle é/ü.png"
    save_picture(tmp_path / "images" / unicodedata.normalize(stored, name))
    source = coco_of(tmp_path / "a.json", unicodedata.normalize(written, name))
    made = convert_polygons(source, tmp_path / "out")
    assert made.labeled == 1 and made.findings == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my%20cells/a%20b.png", ""),
        ("/data/local-files/?d=my%20cells/a%20b.png", ""),
        ("http://example.org/x/my%20cells/a%20b.png?token=1", "last folders"),
        ("/data/upload/1/0123abcd-a%20b.png", "Label Studio"),
        ("images\\0123abcd-a b.png", "Label Studio"),
        ("a b_png.rf.0123456789abcdef0123456789abcdef.jpg", "Roboflow"),
    ],
)
def test_what_tools_do_to_names_is_undone(tmp_path, name, said):
    save_picture(tmp_path / "images/my cells/a b.png")
    made = convert_polygons(coco_of(tmp_path / "a.json", name), tmp_path / "out")
    assert made.labeled == 1
    assert (said in made.findings[0].what) if said else made.findings == []


def test_a_file_with_the_whole_name_goes_before_what_tools_added(tmp_path):
    save_picture(tmp_path / "images/a.png")
    exact = save_picture(tmp_path / "images/0123abcd-a.png").read_bytes()
    source = coco_of(tmp_path / "a.json", "0123abcd-a.png")
    assert convert_polygons(source, tmp_path / "out").findings == []
    assert labeled(tmp_path / "out") == {"0123abcd-a.png": exact}


def test_two_names_of_one_picture_are_refused(tmp_path):
    save_picture(tmp_path / "images/a.png")
    source = coco_of(tmp_path / "a.json", r"C:\one\a.png", r"C:\two\a.png")
    with pytest.raises(ImsegError, match=r"a\.png from C:\\one\\a\.png and C:\\two\\a\.png"):
        convert_polygons(source, tmp_path / "out")


def test_masks_beside_the_annotations_are_not_taken_for_the_pictures(tmp_path):
    for folder in ("annotations", "images"):
        save_picture(tmp_path / folder / "a.png", seed=len(folder))
    source = coco_of(tmp_path / "annotations/a.json", "a.png")
    with pytest.raises(ImsegError, match=r"may be those in .*annotations or those in .*images"):
        convert_polygons(source, tmp_path / "out")
    convert_polygons(source, tmp_path / "out", images=tmp_path / "images")
    assert labeled(tmp_path / "out")["a.png"] == (tmp_path / "images/a.png").read_bytes()


@pytest.mark.parametrize("other", ["a_masks", "masks", "thumbnails"])
def test_of_two_folders_that_called_images_is_taken_and_others_are_asked_about(tmp_path, other):
    wanted = save_picture(tmp_path / "images/a.png").read_bytes()
    save_picture(tmp_path / other / "a.png", seed=3)
    source = coco_of(tmp_path / "a.json", "a.png")
    convert_polygons(source, tmp_path / "out")
    assert labeled(tmp_path / "out")["a.png"] == wanted
    (tmp_path / "images").rename(tmp_path / "photos")
    with pytest.raises(ImsegError, match=r"a\.png may be .*photos/a\.png"):
        convert_polygons(source, tmp_path / "two")


def test_folders_of_annotations_may_mirror_those_of_the_pictures(tmp_path):
    wanted = {}
    for day in "12":
        wanted[f"day{day}_7.png"] = save_picture(
            tmp_path / f"images/day{day}/7.png", seed=int(day)
        ).read_bytes()
        write_labelme(tmp_path / f"notes/day{day}/7.json", SHAPES)
    made = convert_polygons(tmp_path / "notes", tmp_path / "out", images=tmp_path / "images")
    assert labeled(tmp_path / "out") == wanted and made.findings == []


def test_data_folders_that_were_made_before_are_not_looked_into(tmp_path):
    data = two_days(tmp_path / "data", "7.png")
    save_picture(data / "day2/7.png")
    convert_polygons(data, data / "out")
    made = convert_polygons(data, data / "again")
    assert made.labeled == 4 and made.findings == []


def test_a_data_folder_beside_the_annotations_is_not_taken_for_their_pictures(tmp_path):
    save_picture(tmp_path / "photos/a.png")
    source = coco_of(tmp_path / "export/a.json", "a.png")
    convert_polygons(source, tmp_path / "made")
    assert labeled(tmp_path / "made")
    (tmp_path / "photos/a.png").unlink()
    with pytest.raises(ImsegError, match="are not beside it"):
        convert_polygons(source, tmp_path / "out")
    made = convert_polygons(source, tmp_path / "out", images=tmp_path / "made/labeled/images")
    assert made.labeled == 1


def test_a_picture_of_another_size_is_refused_however_it_was_found(tmp_path):
    data = two_days(tmp_path / "data", r"C:\Users\me\day2\7.png")
    save_picture(data / "day2/7.png", (30, 10))
    with pytest.raises(ImsegError, match="another size"):
        convert_polygons(data, tmp_path / "out")


@pytest.mark.parametrize("way", ["beside", "images", "inside"])
def test_subsets_of_a_project_are_folders_of_pictures(tmp_path, way):
    cvat = Cvat()
    for subset in ("Train", "Other"):
        folder = tmp_path / "export/images" / subset
        save_picture(folder / "a.png", seed=len(subset))
        cvat.image("a.png", cvat_polygon(square(2, 2, 5)), subset=subset)
    source = cvat.write(tmp_path / "export/annotations.xml")
    folder = {"beside": None, "images": source.parent / "images", "inside": source.parent}[way]
    made = convert_polygons(source, tmp_path / "out", images=folder)
    assert made.labeled == 2 and made.findings == []
    stem = "images_Train_a" if way == "inside" else "Train_a"
    copied = labeled(tmp_path / "out")[f"{stem}.png"]
    assert copied == (tmp_path / "export/images/Train/a.png").read_bytes()
    (tmp_path / "export/images/Other/a.png").unlink()
    with pytest.raises(ImsegError, match=r"1 picture .* not in|more than one entry"):
        convert_polygons(source, tmp_path / "two", images=folder)


def test_subsets_are_known_in_spite_of_case(tmp_path):
    cvat = Cvat()
    for subset in ("One", "Two"):
        save_picture(tmp_path / f"images/{subset.lower()}/a.png", seed=len(subset))
        cvat.image("a.png", cvat_polygon(square(2, 2, 5)), subset=subset)
    convert_polygons(cvat.write(tmp_path / "annotations.xml"), tmp_path / "out")
    assert labeled(tmp_path / "out") == {
        f"{name}_a.png": (tmp_path / f"images/{name}/a.png").read_bytes() for name in ("one", "two")
    }


def test_a_name_in_the_same_case_goes_before_others(tmp_path):
    wanted = save_picture(tmp_path / "images/x/7.png", seed=1).read_bytes()
    save_picture(tmp_path / "images/y/7.PNG", seed=2)
    convert_polygons(coco_of(tmp_path / "a.json", r"C:\lab\7.png"), tmp_path / "out")
    assert labeled(tmp_path / "out") == {"7.png": wanted}


def test_the_picture_inside_goes_before_a_file_that_may_be_another(tmp_path):
    content = save_picture(tmp_path / "other/7.png", seed=4).read_bytes()
    write_labelme(tmp_path / "notes/7.json", SHAPES, picture=r"C:\lab\7.png", content=content)
    save_picture(tmp_path / "notes/deeper/7.png", seed=5)
    convert_polygons(tmp_path / "notes", tmp_path / "out")
    assert labeled(tmp_path / "out") == {"7.png": content}


def test_a_copy_of_the_folder_does_not_help_out_with_what_is_missing(tmp_path):
    for folder in ("now", "before"):
        for name in "ab":
            save_picture(tmp_path / folder / f"{name}.png", seed=len(folder))
    source = coco_of(tmp_path / "now/a.json", "a.png", "b.png")
    (tmp_path / "now/b.png").unlink()
    with pytest.raises(ImsegError, match=r"1 picture of the annotations is not in .*now"):
        convert_polygons(source, tmp_path / "out")


def test_a_neighboring_project_does_not_help_out_with_what_is_missing(tmp_path):
    save_picture(tmp_path / "mine/images/a.png")
    for name in "bcd":
        save_picture(tmp_path / f"theirs/images/{name}.png", seed=3)
    source = coco_of(tmp_path / "mine/a.json", *(f"{name}.png" for name in "abcde"))
    with pytest.raises(ImsegError, match=r"4 pictures of the annotations are not in .*mine"):
        convert_polygons(source, tmp_path / "out")


@pytest.mark.parametrize("name", ["day1/7.png", "../day1/7.png", r"..\day1\7.png"])
def test_a_name_that_leads_to_another_folder_is_refused_if_a_picture_lies_beside(tmp_path, name):
    data = two_days(tmp_path / "data", name)
    convert_polygons(data, tmp_path / "one", images=data / "day1")
    save_picture(data / "day2/7.png", seed=9)
    with pytest.raises(ImsegError, match=r"7\.png .*may be day[12]/7\.png or day[12]/7\.png"):
        convert_polygons(data, tmp_path / "out")
    convert_polygons(data, tmp_path / "two", images=data / "day1")
    assert (data / "day1/7.png").read_bytes() in labeled(tmp_path / "two").values()


def test_names_of_files_that_were_renamed_since_are_refused(tmp_path):
    for number in (1, 2, 3):
        save_picture(tmp_path / f"raw/{number}.png", seed=number)
    for number in (2, 3):
        write_labelme(tmp_path / f"raw/{number}.json", SHAPES, picture=f"{number - 1}.png")
    with pytest.raises(ImsegError, match=r"1\.png \(2\.json\) may be 1\.png or 2\.png"):
        convert_polygons(tmp_path / "raw", tmp_path / "out")


def test_pictures_beside_annotations_of_their_own_are_told(tmp_path):
    for folder in ("one", "two"):
        coco_of(tmp_path / f"{folder}/a.json", "1.png")
    save_picture(tmp_path / "two/1.png")
    (finding,) = convert_polygons(tmp_path / "one/a.json", tmp_path / "out").findings
    assert finding.severity == "warning" and "annotations of its own" in finding.what
    assert not convert_polygons(tmp_path / "two/a.json", tmp_path / "out2").findings
    images = tmp_path / "two"
    assert not convert_polygons(tmp_path / "one/a.json", tmp_path / "3", images=images).findings


@pytest.mark.parametrize("name", [r"C:\Users\me\7.png", "/home/me/7.png", "../gone/7.png"])
def test_a_stale_name_whose_picture_is_missing_is_called_missing(tmp_path, name):
    save_picture(tmp_path / "raw/8.png")
    source = coco_of(tmp_path / "raw/a.json", "8.png", name)
    with pytest.raises(ImsegError, match="1 picture of the annotations is not in"):
        convert_polygons(source, tmp_path / "out")
    (tmp_path / "raw/none").mkdir()
    source = coco_of(tmp_path / "raw/b.json", "8.png")
    with pytest.raises(ImsegError, match=r"1 picture of the annotations is not in .*none"):
        convert_polygons(source, tmp_path / "out", images=tmp_path / "raw/none")
