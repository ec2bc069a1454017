"""What predict does not predict is told: other files, subfolders, pictures that cannot be read."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.e2e.small_sets import scenes, small_set, train

from imseg.approaches.runs.run import Run
from imseg.cli.commands.predict import written_text
from imseg.cli.main import run as command
from imseg.data.files.picture_list import find_pictures
from imseg.errors import ImsegError
from imseg.report.predictions.writing import write_predictions


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    data = small_set("binary")
    return train(data, "ldt", tmp_path_factory.mktemp("runs") / "run", networks=1)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Pictures of equal names in several folders, beside what is no picture."""
    root = tmp_path / "pictures"
    names = ("a.png", "one/1.png", "two/1.png", "two/deep/2.tif", ".hidden/3.png")
    for name, gray in zip(names, scenes(5, 5)[0], strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(gray).save(root / name)
    (root / "c.czi").write_bytes(b"ZISRAWFILE")
    (root / "two" / "notes.txt").write_text("notes")
    (root / "Thumbs.db").write_bytes(b"")
    return root


def masks_in(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))


def predict(run: Run, capsys, *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = command(["predict", str(run.path), *map(str, words)])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_files_and_folders_that_are_passed_over_are_named(run, tree, tmp_path, capsys):
    status, out, err = predict(run, capsys, tree, "--out", tmp_path / "out", "--overlay")
    assert status == 0
    assert "1 file is passed over" in err and "c.czi" in err and "(1 .czi)" in err
    assert "How to convert Zeiss CZI: bfconvert in.czi" in err and "\\n" not in err
    assert "one/ (1 picture), two/ (2 pictures); --recursive goes into subfolders" in err
    assert "1 file and 2 folders (see the warnings)" in out and "Predicted: a.png" in out
    assert str(tmp_path / "out" / "overlays") in out
    assert "hidden" not in err and "Thumbs" not in err


def test_json_says_what_was_passed_over(run, tree, tmp_path, capsys):
    found = json.loads(predict(run, capsys, tree, "--out", tmp_path / "out", "--json")[1])
    assert found["passed_over"]["files"] == ["c.czi"]
    assert [(each["name"], each["pictures"]) for each in found["passed_over"]["folders"]] == [
        ("one", 1),
        ("two", 2),
    ]
    assert found["skipped"] == []


def test_nothing_is_said_where_nothing_is_passed_over(run, tree, tmp_path, capsys):
    assert predict(run, capsys, tree / "one", "--out", tmp_path / "out")[2].strip() == ""


def test_subfolders_keep_their_structure(run, tree, tmp_path, capsys):
    out = tmp_path / "out"
    _, told, err = predict(run, capsys, tree, "--out", out, "--recursive", "--overlay")
    wanted = ["a.png", "one/1.png", "two/1.png", "two/deep/2.png"]
    assert masks_in(out) == sorted([*wanted, *(f"overlays/{name}" for name in wanted)])
    with (out / "measurements.csv").open() as file:
        names = [row["image"] for row in csv.DictReader(file)]
    assert names == ["a.png", "one/1.png", "two/1.png", "two/deep/2.tif"]
    assert "c.czi, two/notes.txt" in err and "4 masks" in told
    alone = tmp_path / "alone"
    write_predictions(run, tree / "two" / "1.png", alone)
    masks = [np.asarray(Image.open(path)) for path in (out / "two" / "1.png", alone / "1.png")]
    assert np.array_equal(*masks)


def test_masks_of_predictions_and_links_to_folders_are_not_gone_into(run, tree, tmp_path, capsys):
    (tree / "around").symlink_to(tree)
    predict(run, capsys, tree, "--out", tree / "out", "--recursive")
    first = masks_in(tree / "out")
    assert len(first) == 4
    again = predict(run, capsys, tree, "--out", tree / "out", "--recursive", "--overwrite")
    assert masks_in(tree / "out") == first
    assert "around/ (a link to a folder), out/ (where masks go)" in again[2]
    _, told, err = predict(run, capsys, tree, "--out", tmp_path / "else", "--recursive")
    assert "4 masks" in told and "out/ (masks of a prediction)" in err


@pytest.mark.parametrize("recursive", [False, True])
def test_recursive_is_not_offered_for_links(tmp_path, recursive: bool):
    (tmp_path / "real").mkdir()
    (tmp_path / "other").mkdir()
    for place in ("real/a.png", "other/b.png"):
        Image.new("L", (8, 8)).save(tmp_path / place)
    (tmp_path / "other/link").symlink_to(tmp_path / "real")
    (told,) = find_pictures(tmp_path / "other", recursive=recursive).passed_over_text()
    assert "link/ (a link to a folder)" in told and "--recursive" not in told
    assert f"name a link itself to look into it: {tmp_path / 'other/link'}" in told
    (tmp_path / "other/b.png").unlink()
    with pytest.raises(ImsegError) as refused:
        find_pictures(tmp_path / "other", recursive=recursive)
    assert refused.value.hint == f"name one of the folders: {tmp_path / 'other/link'}."


def test_a_subfolder_that_is_called_as_overlays_are_is_refused(run, tree, tmp_path):
    (tree / "one").rename(tree / "overlays")
    Image.open(tree / "a.png").save(tree / "1.png")
    found = find_pictures(tree, recursive=True)
    with pytest.raises(ImsegError, match="would be written to the same place"):
        write_predictions(run, found, tmp_path / "out", overlay=True)
    assert len(write_predictions(run, found, tmp_path / "out")) == 5


@pytest.mark.parametrize(
    "names", [("A.png", "a.tif"), ("cafe\u0301.png", "caf\xe9.png"), ("x/B.png", "X/b.png")]
)
def test_masks_that_would_get_one_name_on_some_systems_are_refused(tmp_path, names):
    for name, gray in zip(names, scenes(5, 2)[0], strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(gray).save(tmp_path / name)
    with pytest.raises(ImsegError, match="masks of the same name") as caught:
        find_pictures(tmp_path, recursive=True)
    one, other = str(caught.value.got).rstrip(".").split(" and ")
    assert one != other


def test_pictures_that_cannot_be_read_are_left_out_where_that_is_asked_for(
    run, tree, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("imseg.engine.inference.pictures.BATCH", 1)
    (tree / "empty.png").write_bytes(b"")
    whole = Image.open(tree / "a.png")
    whole.save(tree / "cut.bmp")
    content = (tree / "cut.bmp").read_bytes()
    (tree / "cut.bmp").write_bytes(content[:-100])
    Image.fromarray(np.zeros((20, 20), np.uint16)).save(tree / "deep.png")
    (tree / "nowhere.png").symlink_to("nothing.png")
    (tree / "odd\x1b.png").write_bytes((tree / "a.png").read_bytes())
    words = (tree, "--out", tmp_path / "out")
    status, _, err = predict(run, capsys, *words)
    assert status == 2 and "--skip-bad" in err and not (tmp_path / "out").exists()
    status, out, _ = predict(run, capsys, *words, "--skip-bad")
    assert status == 0 and "1 mask in" in out and "Left out, because they cannot be read: 5" in out
    assert "empty.png is empty" in out and masks_in(tmp_path / "out") == ["a.png"]
    with (tmp_path / "out" / "skipped.csv").open() as file:
        rows = {row["image"]: row["reason"] for row in csv.DictReader(file)}
    assert set(rows) == {"empty.png", "cut.bmp", "deep.png", "nowhere.png", "odd\x1b.png"}
    assert "cut short" in rows["cut.bmp"] and "not of the kind" in rows["deep.png"]
    for name in rows:
        (tree / name).unlink()
    predict(run, capsys, *words, "--skip-bad", "--overwrite")
    assert not (tmp_path / "out" / "skipped.csv").exists()


@pytest.mark.parametrize("names", [["0.bmp"], ["0.bmp", "1.bmp"]])
def test_an_error_about_a_picture_says_how_to_go_on_without_it(run, tmp_path, capsys, names):
    (tmp_path / "in").mkdir()
    for name in names:
        Image.fromarray(scenes(5, 1)[0][0]).save(tmp_path / "in" / name)
        content = (tmp_path / "in" / name).read_bytes()
        (tmp_path / "in" / name).write_bytes(content[:-100])
    words = (tmp_path / "in", "--out", tmp_path / "out")
    status, _, err = predict(run, capsys, *words)
    assert status == 2 and "--skip-bad goes on without" in err
    status, _, err = predict(run, capsys, *words, "--skip-bad")
    assert status == 2 and "pictures can be predicted" in err and "0.bmp" in err


def test_a_folder_without_pictures_says_what_is_there(tree):
    (tree / "a.png").unlink()
    with pytest.raises(ImsegError) as caught:
        find_pictures(tree)
    text = str(caught.value)
    assert "folders: one, two, 1 file of another kind: c.czi" in text
    assert "--recursive goes into all of them" in text


def test_python_logs_what_is_passed_over(run, tree, caplog):
    (tree / "empty.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        found = [each.name for each in run.predict(tree, recursive=True, skip_bad=True)]
    assert found == ["a.png", "one/1.png", "two/1.png", "two/deep/2.tif"]
    assert "c.czi, two/notes.txt" in caplog.text and "left out empty.png" in caplog.text


def test_what_lies_beside_masks_of_a_prediction_is_told(run, tree, tmp_path, capsys):
    out = tmp_path / "out"
    words = (tree, "--out", out, "--overwrite")
    assert "did not write" not in predict(run, capsys, *words, "--overlay")[2]
    (out / "notes.txt").write_text("notes")
    Image.open(tree / "a.png").save(out / "a.tif")
    for name in ("counts.csv", "inconsistency.csv"):
        head = "image,objects" if name == "counts.csv" else "share_of_inconsistent_pixels,image"
        (out / name).write_text(head)
    _, said, err = predict(run, capsys, *words)
    assert "pictures that this prediction did not write: a.tif, overlays/" in err
    assert "counts.csv" not in said and not (out / "inconsistency.csv").exists()
    (out / "a.tif").unlink()
    assert "did not write" not in predict(run, capsys, *words, "--overlay")[2]


def test_void_is_no_value_of_a_predicted_mask(run):
    spec = dataclasses.replace(run.spec, void=-1)
    first = written_text([], Path("out"), spec, overlay=False, inconsistency=False)[0]
    assert "1 (foreground)" in first and "void" not in first


def test_a_stack_to_predict_says_what_helps_there(run, tmp_path):
    pictures = [Image.fromarray(gray) for gray in scenes(5, 2)[0]]
    pictures[0].save(tmp_path / "a.tif", save_all=True, append_images=pictures[1:])
    with pytest.raises(ImsegError, match="trained on pictures of one page") as caught:
        write_predictions(run, tmp_path / "a.tif", tmp_path / "out")
    assert "--skip-bad" not in str(caught.value)


def test_pictures_are_never_replaced_by_their_masks(run, tree, tmp_path, capsys):
    before = {path: path.read_bytes() for path in tree.rglob("*.png")}
    words = ("--recursive", "--overwrite")
    status, _, err = predict(run, capsys, tree, "--out", tree, *words)
    assert status == 2 and "among the pictures" in err
    deep = tree / "two" / "two"
    deep.mkdir()
    (deep / "1.png").write_bytes((tree / "a.png").read_bytes())  # its mask would be two/1.png
    status, _, err = predict(run, capsys, tree / "two", "--out", tree, *words)
    assert status == 2 and "would replace a picture" in err
    (tree / "overlays").mkdir()
    (tree / "overlays" / "1.png").write_bytes(b"x")
    status, _, err = predict(run, capsys, tree / "one", "--out", tree, "--overlay")
    assert status == 2 and "overlays/1.png" in err
    assert all(path.read_bytes() == content for path, content in before.items())
