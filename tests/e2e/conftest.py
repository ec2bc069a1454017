"""Small data and one finished run that the end-to-end tests share."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from imseg.cli.main import run
from imseg.data.files import listing
from imseg.data.synthetic import CellScene, write_demo

SMALL = ["--networks", "2", "--epochs", "90", "--max-steps", "90", "--image-size", "48", "48"]
SMALL += ["--width", "0.5", "--batch-size", "8", "--workers", "1", "--device", "cpu", "--no-report"]


COMPARED = ["--networks", "2", "--max-steps", "12", "--epochs", "4", "--image-size", "32", "32"]
COMPARED += ["--width", "0.5", "--batch-size", "8", "--device", "cpu", "--generations", "1"]
COMPARED += ["--select", "all", "--precision", "float32", "--patience", "0"]


def comparison_words(cells: Path, out: Path, *more: object) -> list[object]:
    """Return the command of ``compared``, with another folder and further options."""
    return [
        "compare",
        cells,
        "--approaches",
        "ldt,im",
        "--seeds",
        "0,1",
        "--out",
        out,
        *COMPARED,
        *more,
    ]


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "cells"
    scene = CellScene(difficulty=0.0, size=(48, 48))
    return write_demo(folder, seed=3, labeled=12, unlabeled=16, val=6, test=8, scene=scene)


@pytest.fixture(scope="session")
def im_run(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "im"
    words = ["train", str(cells), "--approach", "im", "--generations", "1", "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        # What is known of files that were just written is not kept; these are never changed.
        patch.setattr(listing, "RECENT", 0)
        assert run([*words, *SMALL]) == 0
    return out


@pytest.fixture(scope="session")
def compared(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison of ldt and im, two seeds; not to be changed."""
    out = tmp_path_factory.mktemp("compared") / "all"
    assert run([str(word) for word in comparison_words(cells, out)]) == 0
    return out


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process; gives exit status, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = run([str(word) for word in words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


@pytest.fixture
def cli_json(cli: Callable[..., tuple[int, str, str]]) -> Callable[..., dict]:
    """Run a command with ``--json`` and return what it printed."""

    def call(*words: object) -> dict:
        status, out, err = cli(*words, "--json")
        assert status == 0, err
        return json.loads(out)

    return call


@pytest.fixture(scope="session")
def isic_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some real ISIC 2017 images in the published layout; IMSEG_DATA says where they are."""
    place = os.environ.get("IMSEG_DATA")
    if not place:
        pytest.skip("IMSEG_DATA is not set: it names the folder that holds isic2017/")
    source = Path(place) / "isic2017"
    assert source.is_dir(), f"IMSEG_DATA is set, but {source} is missing"
    raw = tmp_path_factory.mktemp("raw")
    for split, count in (("Training", 60), ("Validation", 30)):
        images = source / f"ISIC-2017_{split}_Data"
        masks = source / f"ISIC-2017_{split}_Part1_GroundTruth"
        for folder in (images, masks):
            (raw / folder.name).mkdir()
        for image in sorted(images.iterdir())[:: max(1, len(list(images.iterdir())) // count)][
            :count
        ]:
            shutil.copy(image, raw / images.name)
            shutil.copy(masks / f"{image.stem}_segmentation.png", raw / masks.name)
    return raw
