"""Places that cannot be written: one error that names them, whichever command writes there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.data.polygons.polygon_files import labelme_shape, save_picture, square, write_labelme
from tests.e2e.published_layouts import isic2018
from tests.e2e.small_sets import train

from imseg.cli.main import run
from imseg.data.synthetic import CellScene, write_demo

NOBODY = 65534


@pytest.fixture(scope="module")
def public() -> Iterator[Path]:
    """A folder that everybody may read, with what the commands need."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        scene = CellScene(difficulty=0.0, size=(32, 32))
        write_demo(root / "cells", seed=1, labeled=4, unlabeled=2, val=2, test=2, scene=scene)
        train(root / "cells", "ldt", root / "run")  # type: ignore[arg-type]
        isic2018(root / "raw")
        save_picture(root / "notes/a.png", (40, 48))
        shapes = [labelme_shape("cell", square(3, 3, 12))]
        write_labelme(root / "notes/a.json", shapes, picture="a.png", size=(40, 48))
        (root / "closed").mkdir()
        (root / "file").write_text("kept")
        (root / "circle").symlink_to("circle")
        for path in (root, *root.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() else 0o644)
        (root / "closed").chmod(0o555)
        yield root


COMMANDS = {
    "predict": ["predict", "{root}/run", "{root}/cells/unlabeled", "--out", "{place}"],
    "evaluate": ["evaluate", "{root}/run", "{root}/cells", "--pictures", "{place}/a.png"],
    "check": ["check", "{root}/cells", "--sheet", "{place}/a.png"],
    "prepare": ["prepare", "isic2018", "{root}/raw", "--out", "{place}"],
    "polygons": ["polygons", "{root}/notes", "--out", "{place}"],
    "train": ["train", "{root}/cells", "--out", "{place}", "--max-steps", "2"],
}
PLACES = ("file", "file/inner", "closed/new", "circle/new", "y" * 300)


@contextmanager
def as_somebody() -> Iterator[None]:
    """Take away the right to write everywhere, where there is one."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place[:12])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_place_that_cannot_be_written_is_named(command, place, public, capsys):
    before = sorted(public.rglob("*"))
    words = [word.format(root=public, place=public / place) for word in COMMANDS[command]]
    with as_somebody():
        status = run(words)
    err = capsys.readouterr().err
    assert status == 2, err
    assert err.count("imseg: ") == 1 and "Traceback" not in err
    assert str(public / place) in err.split("imseg: ")[1].splitlines()[0], err
    assert sorted(public.rglob("*")) == before
    assert (public / "file").read_text() == "kept"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_place_of_an_odd_name_is_written_and_makes_no_line_of_its_own(
    command, public, tmp_path, capsys
):
    place = tmp_path / "a\nEVIL\x1b[31m"
    words = [word.format(root=public, place=place) for word in COMMANDS[command]]
    more = ["--dry-run", "--no-probe", "--image-size", "32", "32"] if command == "train" else []
    assert run([*words, *more]) == 0
    said = capsys.readouterr()
    assert r"a\nEVIL\x1b[31m" in said.out
    assert not [line for line in (said.out + said.err).split("\n") if line.startswith("EVIL")]
    assert "\x1b" not in said.out + said.err


def test_check_says_what_it_found_though_the_sheet_cannot_be_written(public, capsys):
    status = run(["check", str(public / "cells"), "--sheet", str(public / "file/a.png")])
    said = capsys.readouterr()
    assert status == 2 and "4 labeled" in said.out
    assert f"{public / 'file'} cannot be written to." in said.err


def test_a_folder_that_may_not_be_looked_into_is_named(public, tmp_path, capsys):
    data = Path(shutil.copytree(public / "cells", public / "copy"))
    try:
        (data / "val/masks").chmod(0)
        with as_somebody():
            status = run(["check", str(data), "--sheet", str(public / "file/a.png")])
        said = capsys.readouterr()
        assert status == 2
        assert "val/masks cannot be looked into." in said.out
        with as_somebody():
            status = run(["predict", str(public / "run"), str(data / "val/masks"), "--out", "x"])
        assert status == 2
        assert "val/masks cannot be looked into." in capsys.readouterr().err
    finally:
        (data / "val/masks").chmod(0o755)
        shutil.rmtree(data)
