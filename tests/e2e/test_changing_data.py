"""Labels that arrive later, images that come and go, files that change under a running training."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.e2e.conftest import SMALL

from imseg.approaches.running import experiment
from imseg.approaches.running.generations import Generations

FEW = [word if word != "90" else "4" for word in SMALL]


@pytest.fixture
def copied(cells: Path, tmp_path: Path) -> Path:
    return shutil.copytree(cells, tmp_path / "cells")


@pytest.fixture
def train(cli, tmp_path) -> Callable[..., tuple[Path, str]]:
    """Train a few steps into a new folder; gives it and what was said."""

    def call(data: Path, name: str, *words: object) -> tuple[Path, str]:
        out = tmp_path / "runs" / name
        status, _, err = cli("train", data, "--out", out, *FEW, *words)
        assert status == 0, err
        return out, err

    return call


def label(data: Path, count: int) -> None:
    """Draw the masks of some unlabeled images, as a person would a week later."""
    for image in sorted((data / "unlabeled").rglob("*.png"))[:count]:
        shutil.copy(image, data / "labeled" / "images" / image.name)
        shutil.copy(data / "hidden" / "masks" / image.name, data / "labeled" / "masks" / image.name)


@pytest.mark.rest
def test_new_labels_are_counted_and_everything_is_trained_anew(train, copied, tmp_path):
    words = ("--approach", "im", "--generations", "1")
    train(copied, "first", *words)
    label(copied, 3)
    _, said = train(copied, "second", *words, "--reuse", tmp_path / "runs")
    assert "labeled: 3 new; unlabeled: 3 gone" in said
    assert "all are trained anew" in said
    assert "already trained" not in said


def test_new_unlabeled_images_leave_the_start_valid(train, copied, tmp_path):
    words = ("--approach", "im", "--generations", "1")
    train(copied, "first", *words)
    image = next((copied / "unlabeled").rglob("*.png"))
    picture = np.asarray(Image.open(image)).copy()
    picture[0, 0] ^= 255
    Image.fromarray(picture).save(image.with_name("another.png"))
    _, said = train(copied, "second", *words, "--reuse", tmp_path / "runs" / "first")
    assert "unlabeled: 1 new" in said and "students are trained anew" in said
    assert said.count("already trained") == 2


def test_other_names_for_the_same_images_are_no_news(train, copied, tmp_path):
    first, _ = train(copied, "first", "--approach", "ldt")
    for folder in ("images", "masks"):
        for path in sorted((copied / "labeled" / folder).iterdir()):
            path.rename(path.with_name(f"renamed-{path.name}"))
    second, said = train(copied, "second", "--approach", "ldt", "--reuse", tmp_path / "runs")
    assert f"The data is that of {first}" in said
    assert said.count("already trained") == 2
    weights = [run / "start" / "network-0.safetensors" for run in (first, second)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_file_that_changes_during_training_is_noticed(train, copied, monkeypatch):
    mask = next((copied / "labeled" / "masks").iterdir())

    class Meddled(Generations):
        def run(self):
            stages = super().run()
            Image.fromarray(np.zeros((48, 48), np.uint8)).save(mask)
            os.utime(mask, ns=(1, 1))
            return stages

    monkeypatch.setattr(experiment, "Generations", Meddled)
    _, said = train(copied, "run", "--approach", "ldt")
    assert "1 image or mask changed during training" in said
    assert mask.stem in said


@pytest.mark.rest
def test_a_lost_file_of_a_generation_is_trained_again_with_its_pseudo_labels(
    cli, cells, im_run, tmp_path
):
    run = shutil.copytree(im_run, tmp_path / "run")
    weights = run / "generation-1" / "network-0.safetensors"
    kept, summary = weights.read_bytes(), json.loads((run / "summary.json").read_text())
    weights.unlink()
    (run / "summary.json").unlink()
    words = ["train", cells, "--approach", "im", "--generations", "1", "--out", run, *SMALL]
    status, _, err = cli(*words)
    assert status == 0, err
    assert weights.read_bytes() == kept
    again = json.loads((run / "summary.json").read_text())
    assert again["stages"][1]["pseudo_labels"] == summary["stages"][1]["pseudo_labels"]
    assert again["stages"][1]["pseudo_labels"]["admitted"] > 0


def test_classes_that_change_under_a_run_are_noticed_when_it_continues(cli, train, copied):
    run, _ = train(copied, "run", "--approach", "ldt")
    (run / "summary.json").unlink()
    toml = copied / "imseg.toml"
    toml.write_text(toml.read_text().replace('task = "binary"', "") + '254 = "debris"\n')
    status, _, err = cli("train", copied, "--out", run, *FEW, "--approach", "ldt")
    assert status == 2
    assert "What the data means has changed" in err and "254 (debris)" in err


@pytest.mark.rest
def test_data_that_nobody_may_write_to_is_read(train, copied):
    for path in [copied, *copied.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    run, _ = train(copied, "run", "--approach", "ldt")
    assert (run / "summary.json").exists()
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*")} == before
    for path in [copied, *copied.rglob("*")]:
        path.chmod(0o755)
