"""Odd names of files and folders: whatever is printed of them is one line that garbles nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from imseg.cli.main import run
from imseg.data.files.listing import short_name
from imseg.data.synthetic import CellScene, write_demo
from imseg.errors import Finding, ImsegError, and_more, explained, shown

ODD = "a\nEVIL\x1b[31m\u2028\u202e\udcff"
SHOWN = r"a\nEVIL\x1b[31m\u2028\u202e\udcff"
NO_TEXT = "bytes\udcff\udcfe"
"""What a name in another encoding is taken for."""


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "cells"
    scene = CellScene(difficulty=0.0, size=(32, 32))
    return write_demo(folder, seed=1, labeled=4, unlabeled=3, val=2, test=2, scene=scene)


def test_what_garbles_is_written_as_python_writes_it_and_all_else_stays() -> None:
    assert shown(ODD) == SHOWN
    kept = "cell 7 \u00f1 n\u0303 \u7ec6\u80de \U0001f9a0 zero\u200bwidth"
    assert shown(kept) == kept
    assert and_more([ODD, "b"]) == f"{SHOWN}, b"


def test_an_error_keeps_its_own_lines_but_not_those_of_a_name() -> None:
    error = ImsegError(f"{ODD} is empty.", got=and_more([ODD]), hint="copy it.\nOr remove it.")
    first, got, *hints = str(error).splitlines()
    assert first == f"{SHOWN} is empty."
    assert got == f"  Got:      {SHOWN}"
    assert [line.strip() for line in hints] == ["Try:      copy it.", "Or remove it."]
    finding = Finding(severity="error", what=f"{ODD} is empty.")
    assert explained("what", finding) == "what", "rows without a text are left out"
    assert str(finding.as_error()) == f"{SHOWN} is empty."


@pytest.mark.parametrize("command", ["check", "train"])
def test_a_data_folder_of_an_odd_name_is_worked_with(cells, tmp_path, capsys, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    # Names that are no text can be checked, but not written into the settings of a run.
    odd = ODD if command == "check" else ODD[:-1]
    data = shutil.copytree(cells, tmp_path / odd)
    more = ["--dry-run", "--no-probe", "--image-size", "32", "32"] if command == "train" else []
    assert run([command, str(data), *more]) == 0
    said = capsys.readouterr()
    for line in (said.out + said.err).split("\n"):
        assert shown(line) == line and not line.startswith("EVIL")
    if command == "check":
        assert (tmp_path / f"imseg-check-{SHOWN}.png").exists()
        assert f"{tmp_path}/{SHOWN}: 4 labeled" in said.out


@pytest.mark.parametrize("command", ["train", "compare"])
@pytest.mark.parametrize("odd", ["data", "out", "above"])
def test_names_that_are_no_text_are_refused_before_anything_is_written(
    cells, tmp_path, capsys, monkeypatch, command, odd
):
    place = tmp_path / NO_TEXT if odd == "above" else tmp_path
    place.mkdir(exist_ok=True)
    monkeypatch.chdir(place)
    data = shutil.copytree(cells, NO_TEXT if odd == "data" else "data")
    out = NO_TEXT if odd == "out" else "out"
    assert run([command, str(data), "--out", out, "--max-steps", "1"]) == 2
    said = capsys.readouterr()
    assert "has bytes that are no text." in said.err and shown(NO_TEXT) in said.err
    assert [each.name for each in place.iterdir()] == [Path(data).name]


@pytest.fixture(scope="module")
def trained(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    asked = ["--approach", "ldt", "--networks", "1", "--max-steps", "1", "--image-size", "32", "32"]
    assert run(["train", str(cells), "--out", str(out), "--no-report", *asked]) == 0
    return out


def test_pictures_pages_and_masks_go_where_names_are_no_text(cells, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["check", str(cells), "--sheet", f"{NO_TEXT}.png"]) == 0
    assert run(["report", str(trained), "--out", f"{NO_TEXT}.html"]) == 0
    assert run(["predict", str(trained), str(cells / "unlabeled"), "--out", NO_TEXT]) == 0
    assert run(["evaluate", str(trained), str(cells), "--pictures", f"{NO_TEXT} shown"]) == 0
    for made in (".png", ".html", "", " shown"):
        assert (tmp_path / f"{NO_TEXT}{made}").exists(), made
    # Nothing under a temporary name is left.
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize(
    "words",
    [
        ["train", "LINES", "--approach", "im", "--dry-run", "--no-probe"],
        ["predict", "RUN", "LINES"],
        ["predict", "RUN", "LINES/labeled/images"],
        ["check", "LINES/tset"],
        ["check", "LINES", "--fix", "LINES/copy"],
        ["report", "RUN", "--out", "LINES"],
        ["verify", "LINES", "--retrain", "start/network-0"],
        ["verify", "RUN", "--data", "LINES"],
        ["status", "LINES"],
        ["prepare", "isic2018", "LINES/tset", "--out", "out"],
        ["polygons", "LINES/test.jsn", "--images", "LINES", "--out", "out"],
        ["LINES"],
        ["check", "--LINES"],
    ],
    ids=str,
)
def test_names_begin_no_lines_in_what_to_try_either(
    cells, trained, tmp_path, capsys, monkeypatch, words
):
    monkeypatch.chdir(tmp_path)
    odd = "a\nEVIL\tb"
    data = shutil.copytree(cells, tmp_path / odd)
    shutil.rmtree(data / "unlabeled")
    given = [word.replace("LINES", str(data)).replace("RUN", str(trained)) for word in words]
    if words[-1] == "LINES/labeled/images":
        given += ["--out", str(data / "labeled" / "images" / "masks")]
    elif words[0] == "predict":
        given += ["--out", "out"]
    assert run(given) == 2
    said = "".join(capsys.readouterr())
    assert r"a\nEVIL\tb" in said or r"a\\nEVIL\\tb" in said
    assert not any(line.strip().startswith("EVIL") for line in said.splitlines())
    assert "\t" not in said


@pytest.mark.parametrize("long", ["x" * 300, "deep/" * 1000])
@pytest.mark.parametrize(
    "words",
    [
        ["check", "LONG"],
        ["train", "DATA", "--dry-run", "--no-probe", "--out", "LONG"],
        ["train", "DATA", "--dry-run", "--no-probe", "--reuse", "LONG"],
        ["train", "DATA", "--dry-run", "--no-probe", "--match", "LONG"],
        ["train", "DATA", "--dry-run", "--no-probe", "--approach=im", "--unlabeled-masks", "LONG"],
        ["train", "DATA", "--dry-run", "--no-probe", "--config", "LONG"],
        ["predict", "RUN", "LONG", "--out", "out"],
        ["predict", "RUN", "DATA/unlabeled", "--out", "LONG"],
        ["report", "LONG"],
        ["status", "LONG"],
        ["verify", "LONG"],
        ["compare", "DATA", "--out", "LONG", "--dry-run"],
        ["prepare", "isic2018", "LONG", "--out", "out"],
        ["polygons", "LONG", "--images", "DATA", "--out", "out"],
        ["reproduce", "isic2018", "DATA", "--out", "LONG"],
        ["demo", "--out", "LONG"],
    ],
    ids=str,
)
def test_names_longer_than_files_have_are_one_clear_error(
    cells, trained, tmp_path, capsys, monkeypatch, words, long
):
    monkeypatch.chdir(tmp_path)
    for plain, meant in (("LONG", long), ("DATA", str(cells)), ("RUN", str(trained))):
        words = [word.replace(plain, meant) for word in words]
    assert run(words) == 2
    said = "".join(capsys.readouterr())
    assert "Try:" in said or "Expected:" in said
    assert not list(tmp_path.iterdir())


def test_an_odd_name_in_json_is_whole(cells, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = shutil.copytree(cells, tmp_path / ODD)
    assert run(["check", str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == str(data)


def test_what_is_called_after_a_folder_is_never_too_long(cells, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = shutil.copytree(cells, tmp_path / ("\u00e9" * 127))
    assert run(["check", str(data)]) == 0
    assert run(["train", str(data), "--dry-run", "--no-probe"]) == 0
    assert short_name(data) == "\u00e9" * 100
    assert (tmp_path / f"imseg-check-{short_name(data)}.png").exists()


def test_links_in_a_circle_are_no_data_folder(tmp_path, capsys):
    (tmp_path / "circle").symlink_to("circle")
    for command in (["check"], ["train", "--dry-run"], ["train", "--dry-run", "--no-probe"]):
        assert run([*command, str(tmp_path / "circle")]) == 2
        said = capsys.readouterr()
        assert "There is no folder" in said.out + said.err
