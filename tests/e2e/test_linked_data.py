"""A data folder of links to files elsewhere: every command that reads it, and a run continued."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.e2e.small_sets import scenes

SMALL = (
    *("--approach", "ldt", "--image-size", 32, 32, "--width", 0.25, "--networks", 1),
    *("--max-steps", 2, "--device", "cpu"),
)


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """Pairs that lie in a store under other names; the data folder holds links alone."""
    store, data = tmp_path / "store", tmp_path / "data"
    store.mkdir()
    for split, seed, count in (("labeled", 0, 6), ("test", 1, 3)):
        for number, gray in enumerate(scenes(seed, count)[0]):
            mask = np.zeros(gray.shape, np.uint8)
            mask[4 + number : 20, 6:18] = 255
            for kind, array in (("images", gray), ("masks", mask)):
                stored = store / f"{split}{kind}{number}.png"
                Image.fromarray(array).save(stored)
                link = data / split / kind / f"{number}.png"
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(stored)
    return data


def test_links_are_followed_by_every_command_that_is_told_to(cli, linked, tmp_path):
    run = tmp_path / "run"
    for words in (
        ("train", linked, *SMALL, "--out", run),
        ("compare", linked, "--approaches", "ldt", "--seeds", 0, "--out", tmp_path / "compared"),
    ):
        status, _, err = cli(*words)
        assert status == 2 and "18 links lead out" in err and "--follow-links" in err
    assert not run.exists()
    status, out, err = cli("train", linked, *SMALL, "--no-report", "--out", run, "--follow-links")
    assert status == 0, err
    assert "18 links lead out of the data folder; what is there is read" in err
    assert "evaluate" in out and "--follow-links" in out
    status, _, err = cli("evaluate", run, linked)
    assert status == 2 and "--follow-links" in err
    status, _, err = cli("evaluate", run, linked, "--follow-links")
    assert status == 0 and "were read, because of --follow-links" in err


@pytest.mark.rest
def test_reports_show_linked_images_where_links_are_followed(cli, linked, tmp_path):
    run = tmp_path / "run"
    assert cli("train", linked, *SMALL, "--out", run, "--follow-links")[0] == 0
    assert (run / "report.html").exists()
    assert cli("report", run, linked)[0] == 2
    assert cli("report", run, linked, "--follow-links")[0] == 0


def test_a_run_goes_on_when_its_files_have_become_links_or_files_again(cli, linked, tmp_path):
    words = ("train", linked, *SMALL, "--no-report", "--out", tmp_path / "run")
    assert cli(*words, "--follow-links")[0] == 0
    for path in linked.rglob("*.png"):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    status, _, err = cli(*words)
    assert status == 0 and "already finished" in err


def test_what_a_run_says_about_links_does_not_count_when_it_is_verified(cli, linked, tmp_path):
    run = tmp_path / "run"
    assert cli("train", linked, *SMALL, "--no-report", "--out", run, "--follow-links")[0] == 0
    words = ("verify", run, "--retrain", "start/network-0", "--data", linked)
    status, _, err = cli(*words)
    assert status == 2 and "18 links lead out" in err
    assert cli(*words, "--follow-links")[0] == 0
