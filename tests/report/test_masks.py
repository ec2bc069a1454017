"""Predictions as files: what is there when something goes wrong half way, and what is refused."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.e2e.small_sets import scenes, small_set, train

from imseg.approaches.runs.run import Run
from imseg.cli.main import run as command
from imseg.errors import ImsegError
from imseg.report.predictions.writing import write_predictions


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return train(small_set("instances"), "im", tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, gray in enumerate(scenes(5, 3)[0]):
        Image.fromarray(gray).save(folder / f"{number}.png")
    return folder


def test_an_end_half_way_says_what_is_written_and_all_of_it_is_whole(
    run, pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr("imseg.engine.inference.pictures.BATCH", 2)
    # Its header is whole: what is wrong shows when it is its turn.
    broken = pictures / "2.bmp"
    with Image.open(pictures / "2.png") as picture:
        picture.save(broken)
    (pictures / "2.png").unlink()
    broken.write_bytes(broken.read_bytes()[:-100])
    out = tmp_path / "out"
    with pytest.raises(ImsegError) as caught:
        write_predictions(run, pictures, out, overlay=True, inconsistency=True)
    said = str(caught.value)
    assert "2.bmp is cut short or damaged" in said and "copy it again, or remove it." in said
    assert f"2 of 3 masks are written in {out}, without tables; the same command goes on" in said
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    pngs = [f"{part}{n}.png" for part in ("", "inconsistency/", "overlays/") for n in "01"]
    assert files == [*pngs, "unfinished.jsonl"]
    for name in pngs:
        Image.open(out / name).load()
    broken.unlink()
    assert len(write_predictions(run, pictures, out, overwrite=True)) == 2
    assert not (out / "unfinished.jsonl").exists()


def test_an_end_at_the_first_picture_leaves_nothing_to_speak_of(run, pictures, tmp_path):
    (pictures / "0.png").write_bytes(b"")
    with pytest.raises(ImsegError, match=r"0\.png is empty") as caught:
        write_predictions(run, pictures, tmp_path / "out")
    assert "masks are written" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_names_with_commas_and_quotes_are_whole_in_every_table(run, pictures, tmp_path):
    name = 'a, "b".png'
    (pictures / "0.png").rename(pictures / name)
    out = tmp_path / "out"
    written = write_predictions(run, pictures, out, inconsistency=True)
    with (out / "inconsistency.csv").open(newline="") as file:
        shares = list(csv.DictReader(file))
    assert [row["image"] for row in shares] == [each.image for each in written]
    assert list(shares[0]) == ["share_of_inconsistent_pixels", "image"]
    with (out / "counts.csv").open(newline="") as file:
        assert name in [row["image"] for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", ["a\nb.png", "a\x1b[31m.png", "a\udcff.png", "a\u202egnp.png"])
def test_names_that_would_garble_are_refused_before_anything_is_written(
    run, pictures, tmp_path, name
):
    (pictures / "0.png").rename(pictures / name)
    for images in (pictures, pictures / name):
        with pytest.raises(ImsegError, match="1 picture would get a mask with control") as caught:
            write_predictions(run, images, tmp_path / "out")
        assert ascii(name)[1:-1] in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["nowhere", "circle", "pipe"])
def test_pictures_that_cannot_be_opened_are_named_and_not_left_out(run, pictures, tmp_path, kind):
    path = pictures / "1.png"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("1.png" if kind == "circle" else "nowhere.png")
    with pytest.raises(ImsegError, match="1 picture cannot be opened") as caught:
        write_predictions(run, pictures, tmp_path / "out")
    assert str(path) in str(caught.value) and not (tmp_path / "out").exists()


def test_masks_go_nowhere_through_links_in_a_circle(run, pictures, tmp_path):
    out = tmp_path / "out"
    out.symlink_to("out")
    with pytest.raises(ImsegError, match="out cannot be written"):
        write_predictions(run, pictures, out)
    with pytest.raises(ImsegError, match="There is no picture or folder"):
        write_predictions(run, out, tmp_path / "elsewhere")


def test_names_as_long_as_names_can_be_are_written(run, pictures, tmp_path):
    name = "x" * 251
    (pictures / "0.png").rename(pictures / f"{name}.png")
    write_predictions(run, pictures, tmp_path / "out", overlay=True)
    found = np.asarray(Image.open(tmp_path / "out/overlays" / f"{name}.png"))
    assert found.shape == (32, 32, 3)


@pytest.mark.parametrize("size", ["1e300", "0", "nan", "-1"])
def test_a_pixel_size_beyond_reason_is_refused(run, pictures, tmp_path, size, capsys):
    words = ["predict", str(run.path), str(pictures), "--out", str(tmp_path / "out")]
    assert command([*words, "--pixel-size", size]) == 2
    assert "--pixel-size is out of range." in capsys.readouterr().err
    rows = write_predictions(run, pictures, tmp_path / "huge", pixel_size=1e300)
    assert len(rows) == 3  # from Python, areas are infinite then
