"""Several files, folders or zip files at once, and the parts of a data set that they keep apart."""

from __future__ import annotations

import shutil
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

from imseg.data.polygons import convert_polygons
from imseg.data.polygons.entries import COPIES, LEFT_OUT, split_of
from imseg.data.polygons.formats.coco import OTHER_KIND
from imseg.errors import ImsegError


def coco_of(path: Path, *names: str, categories: tuple[str, ...] = ("cell",), at: int = 2) -> Path:
    """Write a COCO file with a square of its first category on each picture."""
    coco = Coco(*categories)
    for name in names:
        coco.draw(coco.image(name), square(at, at, 5))
    return coco.write(path)


def cvat_of(path: Path, *names: str, subset: str = "") -> Path:
    """Write a CVAT file with a square on each picture."""
    cvat = Cvat()
    for name in names:
        cvat.image(name, cvat_polygon(square(2, 2, 5)), subset=subset)
    return cvat.write(path)


def zipped(folder: Path) -> Path:
    """Return a zip file of a folder, which is removed."""
    path = Path(shutil.make_archive(str(folder), "zip", folder))
    shutil.rmtree(folder)
    return path


def written(out: Path) -> dict[str, list[str]]:
    """Return the names of the pictures by the part of the data set."""
    found = {
        split: sorted(path.name for path in (out / split / "images").glob("*"))
        for split in ("labeled", "unlabeled", "val", "test")
    }
    for split in ("labeled", "val", "test"):
        masks = sorted(path.stem for path in (out / split / "masks").glob("*"))
        assert masks == sorted(Path(name).stem for name in found[split])
    return {split: names for split, names in found.items() if names}


@pytest.mark.parametrize("form", ["folder", "zip", "files"])
def test_the_folders_of_roboflow_become_the_parts_of_a_data_folder(tmp_path, form):
    root = tmp_path / "download"
    sources = []
    for part, names in {"train": "ab", "valid": "c", "test": "da"}.items():
        for name in names:
            save_picture(root / part / f"{name}.png", seed=len(part))
        sources.append(
            coco_of(root / part / "_annotations.coco.json", *(f"{name}.png" for name in names))
        )
    save_picture(root / "test/unlisted.png")
    source = {"folder": root, "files": sources}.get(form) or zipped(root)
    made = convert_polygons(source, tmp_path / "out")
    assert (made.labeled, made.unlabeled, made.val, made.test) == (2, 0, 1, 2)
    assert written(tmp_path / "out") == {
        "labeled": ["b.png", "train_a.png"],
        "val": ["c.png"],
        "test": ["d.png", "test_a.png"],
    }
    assert made.findings == [] and len(made.noted[LEFT_OUT]) == 1
    assert "unlisted.png" in made.noted[LEFT_OUT][0]


@pytest.mark.parametrize("form", ["folder", "zip", "files"])
def test_instances_of_subsets_are_read_with_the_pictures_of_each(tmp_path, form):
    root = tmp_path / "task"
    sources = []
    for subset in ("Train", "Validation", "Test"):
        save_picture(root / f"images/{subset}/1.png", seed=len(subset))
        sources.append(coco_of(root / f"annotations/instances_{subset}.json", "1.png"))
    coco_of(root / "annotations/person_keypoints_Train.json", "1.png", at=9)
    source = {"folder": root, "files": sources}.get(form) or zipped(root)
    made = convert_polygons(source, tmp_path / "out")
    assert (made.labeled, made.val, made.test) == (1, 1, 1) and made.findings == []
    assert read(tmp_path / "out/test/masks/Test_1.png").sum() == 25
    if form != "files":
        assert made.noted[OTHER_KIND] == ["person_keypoints_Train.json"]
    if form == "folder":
        copied = (tmp_path / "out/val/images/Validation_1.png").read_bytes()
        assert copied == (root / "images/Validation/1.png").read_bytes()


def test_categories_are_joined_by_name_whatever_their_ids(tmp_path):
    for name in "ab":
        save_picture(tmp_path / f"images/{name}.png")
    one = coco_of(tmp_path / "one.json", "a.png", categories=("leaf", "root"))
    two = coco_of(tmp_path / "two.json", "b.png", categories=("root", "stem"))
    made = convert_polygons([one, two], tmp_path / "out")
    assert made.objects == {"leaf": 1, "root": 1} and made.unused == ("stem",)
    values = {stem: int(read(tmp_path / f"out/labeled/masks/{stem}.png").max()) for stem in "ab"}
    assert values == {"a": 1, "b": 2}


def test_zip_files_of_jobs_are_joined_and_shared_pictures_are_one(tmp_path):
    sources = []
    for job, names in {"job_1": ("1.png", "2.png"), "job_2": ("2.png", "3.png")}.items():
        for name in names:
            save_picture(tmp_path / job / "images" / name)
        cvat_of(tmp_path / job / "annotations.xml", *names)
        sources.append(zipped(tmp_path / job))
    made = convert_polygons(sources, tmp_path / "out")
    assert written(tmp_path / "out") == {"labeled": ["1.png", "2.png", "3.png"]}
    assert made.objects == {"cell": 3} and made.images == f"{sources[0]}, {sources[1]}"


def test_pictures_of_one_name_in_two_zip_files_stay_apart(tmp_path):
    sources, wanted = [], {}
    for seed, task in enumerate(("one", "two")):
        picture = save_picture(tmp_path / "at" / task / "export/images/1.png", seed=seed)
        wanted[seed] = picture.read_bytes()
        cvat_of(tmp_path / "at" / task / "export/annotations.xml", "1.png")
        sources.append(zipped(tmp_path / "at" / task / "export"))
    convert_polygons(sources, tmp_path / "out")
    names = written(tmp_path / "out")["labeled"]
    assert len(names) == 2
    found = {(tmp_path / "out/labeled/images" / name).read_bytes() for name in names}
    assert found == set(wanted.values())


@pytest.mark.parametrize("way", ["path", "copy"])
def test_two_files_that_say_different_things_of_one_picture_are_refused(tmp_path, way):
    sources = []
    for number, name in enumerate(("one", "two")):
        folder = tmp_path if way == "path" else tmp_path / name
        save_picture(folder / "images/a.png")
        sources.append(coco_of(folder / f"{name}.json", "a.png", at=2 + number))
    with pytest.raises(ImsegError, match=r"a\.png in one\.json and a\.png in two\.json"):
        convert_polygons(sources, tmp_path / "out")
    coco_of(sources[1], "a.png", at=2)
    assert convert_polygons(sources, tmp_path / "out").labeled == 1


def test_a_file_that_lists_a_picture_without_regions_contradicts_no_other(tmp_path):
    save_picture(tmp_path / "images/a.png")
    save_picture(tmp_path / "images/b.png")
    one, two = Coco(), Coco()
    for coco, drawn in ((one, "a.png"), (two, "b.png")):
        for name in ("a.png", "b.png"):
            number = coco.image(name)
            if name == drawn:
                coco.draw(number, square(2, 2, 5))
    sources = [one.write(tmp_path / "instances_train.json")]
    sources.append(two.write(tmp_path / "instances_test.json"))
    convert_polygons(sources, tmp_path / "out")
    assert written(tmp_path / "out") == {"labeled": ["a.png"], "test": ["b.png"]}


def test_a_picture_for_training_and_for_the_test_is_refused(tmp_path):
    save_picture(tmp_path / "images/a.png")
    sources = [coco_of(tmp_path / f"instances_{part}.json", "a.png") for part in ("train", "test")]
    with pytest.raises(ImsegError, match=r"instances_train\.json and a\.png in instances_test"):
        convert_polygons(sources, tmp_path / "out")


def test_a_copy_of_a_test_picture_is_not_taken_for_an_unlabeled_one(tmp_path):
    for folder in ("train", "test"):
        save_picture(tmp_path / folder / "held.png")
    save_picture(tmp_path / "train/a.png")
    sources = [
        coco_of(tmp_path / "train/x.json", "a.png"),
        coco_of(tmp_path / "test/x.json", "held.png"),
    ]
    made = convert_polygons(sources, tmp_path / "out")
    assert written(tmp_path / "out") == {"labeled": ["a.png"], "test": ["held.png"]}
    assert made.noted[COPIES] == ["train/held.png"]


def test_pictures_for_the_test_whose_regions_cover_nothing_are_left_out(tmp_path):
    for part, name in (("train", "a"), ("test", "b"), ("test", "c")):
        save_picture(tmp_path / part / f"{name}.png")
    coco_of(tmp_path / "train/x.json", "a.png")
    coco = Coco()
    coco.draw(coco.image("b.png"), square(2, 2, 5))
    coco.draw(coco.image("c.png"), square(90, 90, 5))
    coco.write(tmp_path / "test/x.json")
    made = convert_polygons(tmp_path, tmp_path.parent / f"{tmp_path.name}-out")
    assert (made.labeled, made.unlabeled, made.test) == (1, 0, 1)
    assert made.noted[LEFT_OUT] == ["test/c.png"]


def test_labelme_folders_and_subsets_of_cvat_keep_their_parts_too(tmp_path):
    for part in ("train", "val", "test"):
        save_picture(tmp_path / f"raw/{part}/{part}_1.png")
        write_labelme(tmp_path / f"raw/{part}/{part}_1.json", [labelme_shape("a", square(1, 1, 4))])
    convert_polygons(tmp_path / "raw", tmp_path / "out")
    wanted = {"labeled": ["train_1.png"], "val": ["val_1.png"], "test": ["test_1.png"]}
    assert written(tmp_path / "out") == wanted
    cvat = Cvat()
    for part in ("train", "val", "test"):
        cvat.image(f"{part}_1.png", cvat_polygon(square(1, 1, 4)), subset=part)
    convert_polygons(cvat.write(tmp_path / "raw/annotations.xml"), tmp_path / "two")
    assert written(tmp_path / "two") == wanted


@pytest.mark.parametrize("part", ["val2017", "test"])
def test_a_single_part_is_simply_the_data(tmp_path, part):
    save_picture(tmp_path / part / "a.png")
    source = coco_of(tmp_path / f"annotations/instances_{part}.json", "a.png")
    convert_polygons(source, tmp_path / "out")
    assert written(tmp_path / "out") == {"labeled": ["a.png"]}


def test_without_a_part_to_learn_from_validation_is_learned_and_the_test_stays(tmp_path):
    for part in ("val", "test"):
        save_picture(tmp_path / f"raw/{part}/{part}.png")
        coco_of(tmp_path / f"raw/{part}/a.json", f"{part}.png")
    convert_polygons(tmp_path / "raw", tmp_path / "out")
    assert written(tmp_path / "out") == {"labeled": ["val.png"], "test": ["test.png"]}


@pytest.mark.parametrize("form", ["coco", "cvat", "zip", "folders"])
def test_the_test_is_never_learned_from_whatever_says_that_it_is_one(tmp_path, form):
    raw, sources = tmp_path / "raw", []
    for part in ("train", "test"):
        folder = f"{part}/" if form == "folders" else ""
        save_picture(raw / f"images/{folder}{part[1]}.png")
        cvat = Cvat()
        cvat.image(f"{part[1]}.png", cvat_polygon(square(1, 1, 4)))
        if form == "coco":
            sources.append(coco_of(raw / f"{part}set.json", f"{part[1]}.png"))
        elif form == "cvat":
            sources.append(cvat.write(raw / f"{part}.xml"))
        elif form == "zip":
            save_picture(raw / f"{part}/images/{part[1]}.png")
            cvat.write(raw / f"{part}/annotations.xml")
            name = shutil.make_archive(str(raw / f"job_{part}"), "zip", raw / part)
            sources.append(Path(name))
    if form == "folders":
        sources = [coco_of(raw / "instances_default.json", "train/r.png", "test/e.png")]
    convert_polygons(sources, tmp_path / "out")
    assert written(tmp_path / "out") == {"labeled": ["r.png"], "test": ["e.png"]}


def test_a_copy_of_a_test_picture_in_the_same_source_is_not_unlabeled(tmp_path):
    for name in ("images/held.png", "images/test/held.png", "images/a.png", "images/b.png"):
        save_picture(tmp_path / name)
    coco_of(tmp_path / "annotations/train.json", "a.png")
    coco_of(tmp_path / "annotations/test.json", "test/held.png")
    made = convert_polygons(tmp_path / "annotations", tmp_path / "out")
    wanted = {"labeled": ["a.png"], "test": ["held.png"], "unlabeled": ["b.png"]}
    assert written(tmp_path / "out") == wanted
    assert made.noted[COPIES] == ["held.png"]


def test_files_that_are_only_called_like_parts_are_not_parts(tmp_path):
    for name in ("test_1", "train_1", "validate"):
        save_picture(tmp_path / f"raw/{name}.png")
        write_labelme(tmp_path / f"raw/{name}.json", [labelme_shape("a", square(1, 1, 4))])
    assert convert_polygons(tmp_path / "raw", tmp_path / "out").labeled == 3


def test_labels_follow_the_alphabet_over_several_labelme_folders(tmp_path):
    for name, label in (("x", "leaf"), ("y", "bud")):
        save_picture(tmp_path / name / f"{name}.png")
        write_labelme(tmp_path / name / f"{name}.json", [labelme_shape(label, square(1, 1, 4))])
    convert_polygons([tmp_path / "x", tmp_path / "y"], tmp_path / "out")
    assert np.unique(read(tmp_path / "out/labeled/masks/x.png")).tolist() == [0, 2]


def test_files_of_one_folder_may_be_named_one_by_one(tmp_path):
    for name in "abc":
        save_picture(tmp_path / f"{name}.png")
        write_labelme(tmp_path / f"{name}.json", [labelme_shape("a", square(1, 1, 4))])
    made = convert_polygons([tmp_path / "a.json", tmp_path / "b.json"], tmp_path / "out")
    assert (made.labeled, made.unlisted) == (2, 1)


def test_a_folder_of_two_formats_is_refused(tmp_path):
    save_picture(tmp_path / "a.png")
    write_labelme(tmp_path / "a.json", [labelme_shape("a", square(1, 1, 4))])
    coco_of(tmp_path / "all.json", "a.png")
    with pytest.raises(ImsegError, match=r"several formats[\s\S]*LabelMe \(a.json\)[\s\S]*COCO"):
        convert_polygons(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("Train", "labeled"),
        ("training", "labeled"),
        ("val2017", "val"),
        ("valid", "val"),
        ("Validation", "val"),
        ("dev", "val"),
        ("test_2", "test"),
        ("testset", "test"),
        ("test-dev2017", "test"),
        ("job_3_test", "test"),
        ("trainval", ""),
        ("TEST", "test"),
        ("contest", ""),
        ("default", ""),
        ("testosterone", ""),
        ("", ""),
    ],
)
def test_parts_are_known_by_their_usual_names(name, split):
    assert split_of(name) == split


def test_zip_files_of_annotations_that_lie_in_a_folder_are_named_and_no_others(tmp_path):
    folder = tmp_path / "project"
    save_picture(folder / "1.png")
    source = coco_of(folder / "a.json", "1.png")
    save_picture(folder / "raw/2.png").with_name("readme.txt").write_text("of 2024")
    zipped(folder / "raw")
    assert convert_polygons(folder, tmp_path / "quiet").findings == []
    (folder / "labels/2.txt").parent.mkdir()
    (folder / "labels/2.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    archive = Path(shutil.make_archive(str(folder / "yolo"), "zip", folder, "labels"))
    shutil.rmtree(folder / "labels")
    cvat_of(folder / "job/annotations.xml", "1.png")
    zipped(folder / "job")
    (folder / "broken.zip").write_bytes(b"PK")
    (finding,) = convert_polygons(folder, tmp_path / "out").findings
    assert finding.what == "3 zip files were not read."
    assert finding.got == f"{folder}/broken.zip, {folder}/job.zip, {archive}."
    assert f"imseg polygons {folder}/broken.zip {folder}/job.zip {archive} --out" in finding.hint
    assert convert_polygons(source, tmp_path / "one").findings == []
    (folder / "broken.zip").unlink()
    archive.unlink()
    assert convert_polygons([folder, folder / "job.zip"], tmp_path / "both").findings == []
    (inner,) = convert_polygons(zipped(folder), tmp_path / "inner").findings
    assert inner.got == f"{folder}.zip/job.zip." and "unpack" in inner.hint


@pytest.mark.parametrize("count", [1, 8, 9])
def test_all_zip_files_of_a_folder_are_suggested(tmp_path, count):
    folder = tmp_path / "my exports"
    for number in range(count):
        cvat_of(folder / f"{number}/annotations.xml", "1.png")
        zipped(folder / f"{number}")
    with pytest.raises(ImsegError) as caught:
        convert_polygons(folder, tmp_path / "out")
    names = [f"'{folder}/{number}.zip'" for number in range(count)]
    wanted = " ".join(names) if count < 9 else f"'{folder}'/*.zip"
    assert caught.value.hint == f"imseg polygons {wanted} --out DATA"
