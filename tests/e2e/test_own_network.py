"""A network of one's own, named as module:callable on the command line."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.e2e.small_sets import mask_of, scenes

import imseg
from imseg.approaches.runs.run_files import Record
from imseg.engine.storage.run_folder import RunFolder
from imseg.networks.registry import CustomConfig

NETWORK = """
from pathlib import Path

from torch import nn

Path("imported").write_text("this module was run")


def net(*, channels, outputs, width=1.0):
    return nn.Sequential(
        nn.Conv2d(channels, round(32 * width), 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(round(32 * width), outputs, 1),
    )
"""
SMALL = (
    *("--networks", "2", "--epochs", "2", "--max-steps", "3", "--width", "0.25", "--batch-size"),
    *("8", "--image-size", "32", "32", "--workers", "2", "--device", "cpu", "--no-report"),
)


def imseg_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder, as its script does: the folder is not on Python's path."""
    source = str(Path(imseg.__file__).parents[1])
    code = "import sys; sys.path.pop(0); from imseg.cli.main import main; main()"
    environment = {**os.environ, "PYTHONPATH": source}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a module with a network, and a run that was trained with it."""
    folder = tmp_path_factory.mktemp("own")
    for split, seed, count in (("labeled", 0, 8), ("val", 2, 4), ("unlabeled", 1, 6)):
        images, labels = scenes(seed, count)
        for number, (image, mask) in enumerate(zip(images, labels, strict=True)):
            inside = folder / "data" / split / ("images" if split != "unlabeled" else "")
            inside.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(inside / f"{number}.png")
            if split != "unlabeled":
                (masks := folder / "data" / split / "masks").mkdir(exist_ok=True)
                Image.fromarray(mask_of(mask, "binary") * 255).save(masks / f"{number}.png")
    (folder / "mine.py").write_text(NETWORK)
    done = imseg_in(
        *(folder, "train", "data", "--network", "mine:net", "--approach", "im"),
        *("--generations", "1", "--out", "run", *SMALL),
    )
    assert done.returncode == 0, done.stderr
    (folder / "imported").unlink()
    return folder


@pytest.mark.rest
def test_a_network_named_on_the_command_line_is_trained_in_worker_processes(place: Path) -> None:
    plan = imseg.load_run(place / "run").plan
    assert plan.network.callable == "mine:net" and plan.network.width == 0.25
    assert plan.workers == 2
    with pytest.raises(imseg.ImsegError, match="not imported unasked"):
        imseg.load_run(place / "run").load(["start/network-0"])


@pytest.mark.rest
@pytest.mark.parametrize(
    ("command", "whole"),
    [
        (("predict", "run", "data/unlabeled", "--out", "masks"), "masks/0.png"),
        (("evaluate", "run", "data", "--split", "val"), ""),
        (("report", "run", "data"), "run/report.html"),
        (("verify", "run", "--retrain", "start/network-0", "--data", "data"), ""),
    ],
    ids=lambda each: each[0] if isinstance(each, tuple) else "",
)
def test_a_run_names_its_network_and_it_is_imported_only_if_the_run_is_trusted(
    place: Path, command: tuple[str, ...], whole: str
) -> None:
    refused = imseg_in(place, *command)
    assert refused.returncode == 2, refused.stderr
    assert "mine:net" in refused.stderr and "Try:      --trust-network" in refused.stderr
    assert "Expected:" in refused.stderr and "Got:" in refused.stderr
    assert not (place / "imported").exists(), "the module was run though the run is not trusted"
    done = imseg_in(place, *command, "--trust-network")
    assert done.returncode == 0, done.stderr
    assert (place / "imported").exists()
    (place / "imported").unlink()
    assert (place / whole).exists()


@pytest.mark.rest
def test_a_trusted_network_that_is_not_there_is_named(place: Path) -> None:
    (place / "mine.py").rename(place / "moved.py")
    try:
        done = imseg_in(
            *(place, "predict", "run", "data/unlabeled", "--out", "other", "--trust-network")
        )
    finally:
        (place / "moved.py").rename(place / "mine.py")
    assert done.returncode == 2
    assert "The network 'mine:net' cannot be imported." in done.stderr
    assert "ModuleNotFoundError" in done.stderr


@pytest.mark.rest
def test_a_network_planted_in_the_start_of_a_run_is_not_imported(place: Path) -> None:
    """Workers import what jobs name; a run that is continued may come from anywhere."""
    words = ("train", "data", "--approach", "im", "--generations", "1", "--out", "planted", *SMALL)
    done = imseg_in(place, *words)
    assert done.returncode == 0, done.stderr
    folder = RunFolder(place / "planted")
    folder.summary.unlink()
    record = Record.read(folder.experiment)
    approach = record.plan.approach
    start = dataclasses.replace(approach.start, network=CustomConfig(callable="mine:net"))
    plan = dataclasses.replace(record.plan, approach=dataclasses.replace(approach, start=start))
    record.model_copy(update={"plan": plan}).write(folder.experiment)
    (place / "planted" / "start" / "DONE").unlink()
    for path in (place / "planted").glob("start/network-*"):
        path.unlink()
    done = imseg_in(place, *words)
    assert not (place / "imported").exists()
    assert done.returncode == 2, done.stderr
    assert "mine:net" in done.stderr


def test_trust_says_nothing_where_no_network_is_made(cli, tmp_path) -> None:
    status, _, err = cli("verify", tmp_path, "--trust-network")
    assert status == 2
    assert "--trust-network says nothing without --retrain." in err and "leave it out" in err
