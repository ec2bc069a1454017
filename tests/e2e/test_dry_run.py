"""``imseg train --dry-run``: what it says, that it is true, and that it leaves no trace."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.approaches.planning.made_up_costs import costs
from tests.e2e.small_sets import small_set, write_hidden
from tests.sets import rest_but
from torch import nn

import imseg
from imseg.approaches.planning import duration
from imseg.approaches.planning import estimate as estimating
from imseg.approaches.planning.duration import ACTIVITIES, Measured
from imseg.approaches.planning.estimate import estimate
from imseg.approaches.running import preparation
from imseg.engine.hardware.benchmark import Prober
from imseg.engine.hardware.device import bytes_kept
from imseg.engine.storage.run_folder import RunFolder
from imseg.networks.registry import UNetConfig, provide

FEW = ["--networks", "2", "--max-steps", "6", "--image-size", "48", "48", "--batch-size", "8"]
FEW += ["--workers", "1", "--device", "cpu"]


def everything_in(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


@pytest.fixture
def pretended(monkeypatch) -> list[Measured]:
    """Nothing is measured; what would be is here."""
    found = [costs(0.25, memory=500_000_000, start_up=2.0)]
    monkeypatch.setattr(duration, "measure", lambda *_: found[0])
    return found


@pytest.mark.slow
def test_a_measurement_says_what_a_run_would_take(cli_json, cells, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = everything_in(cells)
    said = cli_json("train", cells, "--approach", "aim++", *FEW, "--workers", "2", "--dry-run")
    assert everything_in(tmp_path) == {} and everything_in(cells) == before
    assert tuple(said["time"]) == ACTIVITIES
    wanted = {
        "training",
        "augmentation",
        "validation",
        "pseudo-labels",
        "mask scorers",
        "files",
        "other",
    }
    assert {name for name, seconds in said["time"].items() if seconds > 0} == wanted
    assert 0 < said["seconds"] < 600
    # A bare process with PyTorch takes hundreds of megabytes, such small networks few more.
    assert 100e6 < said["memory"]["process"] < 2e9
    assert said["memory"]["fits"] and said["disk"]["fits"]


def test_it_says_what_would_be_trained_and_leaves_no_trace(
    cli, cells, tmp_path, monkeypatch, pretended
):
    monkeypatch.chdir(tmp_path)
    before = everything_in(cells)
    status, out, err = cli("train", cells, "--approach", "im", *FEW, "--dry-run")
    assert status == 0 and everything_in(tmp_path) == {} and everything_in(cells) == before
    assert re.search(r"^\| start +\| +2 \| +0.5 \| +6 \|$", out, re.M)
    assert re.search(r"^\| generation-2 +\| +2 \|", out, re.M)
    assert re.search(r"done at about \d\d:\d\d", out)
    for word in ("in all", "Memory:", "Disk:", "Nothing was trained or written."):
        assert word in out
    assert "warning" not in out and "The run goes to" not in err


@pytest.mark.parametrize("approach", rest_but(["ldt", "im", "aim++"], lambda name: name == "ldt"))
def test_the_steps_are_those_that_train_makes(cli_json, cells, tmp_path, approach, pretended):
    out = tmp_path / "run"
    command = ["train", cells, "--approach", approach, *FEW, "--out", out]
    if approach != "ldt":
        command += ["--generations", "1", "--select", "all", "--patience", "0"]
    said = cli_json(*command, "--dry-run")
    assert not out.exists()
    done = cli_json(*command)
    trained = [*done["stages"], *done["aside"]]
    assert {stage["name"] for stage in said["stages"]} == {stage["name"] for stage in trained}
    for stage in trained:
        (mine,) = (each for each in said["stages"] if each["name"] == stage["name"])
        assert mine["networks"] == len(stage["networks"])
        assert {mine["steps"]} == {network["steps"] for network in stage["networks"]}
        assert {mine["width"]} == {network["width"] for network in stage["networks"]}
    assert said["steps"] == done["steps"]
    assert said["plan"] == imseg.load_run(out).plan.as_dict()


@pytest.mark.rest
def test_what_standard_fits_to_a_budget_is_what_train_fits_to_it(
    cli_json, cells, tmp_path, monkeypatch
):
    slow = costs(120.0)
    # One measurement is enough for both the steps and the time.
    once = iter([slow, slow])
    monkeypatch.setattr(duration, "measure", lambda *_: next(once))
    command = ["train", cells, "--approach", "ldt", "--networks", "1", "--image-size", "32", "32"]
    command += ["--workers", "1", "--device", "cpu", "--width", "0.125", "--out", tmp_path / "run"]
    said = cli_json(*command, "--dry-run")
    assert said["plan"]["approach"]["recipe"]["max_steps"] == 50, "the fewest that are worth it"
    assert 50 * 120 < said["seconds"] < 50 * 120 * 1.1, "and what is validated on the way"
    assert said["stages"][0]["steps"] == cli_json(*command)["steps"] == 50


def test_without_a_probe_there_is_no_time_but_all_else(cli, cells, tmp_path, monkeypatch):
    monkeypatch.setattr(duration, "measure", None)
    command = ["train", cells, "--out", tmp_path / "run", "--dry-run", "--no-probe"]
    status, out, _ = cli(*command, *FEW)
    assert status == 0 and "Time: not measured (--no-probe)." in out
    assert "by formula" in out and "Disk:" in out and "at most" not in out
    # What standard fits to a budget of time is then the most that it could be.
    status, out, _ = cli(*command, "--image-size", "48", "48", "--epochs", "9999")
    assert status == 0 and re.search(r"\| +at most 3000 \|", out)
    assert "Steps are as many as there is time for" in out


def test_no_probe_says_nothing_about_a_training(cli, cells):
    status, out, err = cli("train", cells, "--no-probe")
    assert (status, out) == (2, "")
    assert "--no-probe says nothing without --dry-run." in err


@pytest.mark.parametrize(
    "wrong",
    [
        ["--approach", "ldt-matched"],
        ["--image-size", "8", "8"],
        ["--approach", "im", "--views", "3"],
        ["--approach", "im", "--select", "same-classes", "--grow-labels"],
        ["--reuse", "nowhere"],
        ["--paper", "suim"],
        ["--approach", "im", "--unlabeled-masks", "nowhere"],
        ["--generations", "2"],
        ["--approach", "evalnet", "--mask-scorers", "9"],
        ["--device", "abacus"],
    ],
    ids=lambda wrong: " ".join(wrong),
)
def test_what_is_wrong_is_said_in_the_words_of_train(cli, cells, tmp_path, wrong, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train, dry = cli("train", cells, *wrong), cli("train", cells, *wrong, "--dry-run")
    assert train == dry
    assert train[0] == 2 and train[2].lstrip().startswith("imseg: ")


def test_a_place_that_train_refuses_is_refused(cli, cells, tmp_path, pretended):
    (tmp_path / "file").write_text("a")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("a")
    for place in ("file", "full", "file/below", "y" * 300):
        command = ["train", cells, *FEW, "--out", tmp_path / place]
        dry, train = cli(*command, "--dry-run"), cli(*command)
        assert dry[0] == train[0] == 2
        assert dry[2][dry[2].index("imseg: ") :] == train[2][train[2].index("imseg: ") :]


def test_a_place_is_refused_before_data_is_read_and_costs_are_measured(
    cli, cells, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("a")
    monkeypatch.setattr(preparation, "read_data", None)
    monkeypatch.setattr(duration, "measure", None)
    status, _, err = cli("train", cells, *FEW, "--effort", "standard", "--out", tmp_path / "file")
    assert status == 2 and "file" in err and "Expected:" in err


def test_a_folder_that_is_no_data_is_refused(cli, tmp_path):
    assert cli("train", tmp_path, "--dry-run") == cli("train", tmp_path)


@pytest.mark.rest
def test_a_run_that_is_there_already_keeps_its_plan(cli, cells, tmp_path, pretended):
    command = ["train", cells, "--approach", "ldt", *FEW, "--out", tmp_path / "run"]
    assert cli(*command)[0] == 0
    before = everything_in(tmp_path)
    status, _, err = cli(*command, "--dry-run")
    assert status == 0 and everything_in(tmp_path) == before
    assert "is already finished: what follows is for all of it" in err
    status, _, err = cli(*command, "--seed", "7", "--dry-run")
    assert status == 2 and "holds another experiment" in err


def test_too_little_memory_or_disk_is_said_with_a_way_out(
    cli, cells, tmp_path, monkeypatch, pretended
):
    monkeypatch.setattr(estimating.machine, "available_memory", lambda: 400_000_000)
    monkeypatch.setattr(estimating, "free_disk", lambda _: 10_000)
    status, out, _ = cli("train", cells, *FEW, "--out", tmp_path / "run", "--dry-run")
    assert status == 0
    assert "warning: that is more memory than is free.\n  Try:      a smaller --batch-size" in out
    assert "warning: that is more than is free on this disk.\n  Try:      --out on another" in out
    monkeypatch.setattr(estimating.machine, "available_memory", lambda: None)
    assert "an unknown amount free here" in cli("train", cells, *FEW, "--dry-run")[1]


@pytest.mark.parametrize(
    ("approach", "kind"),
    rest_but(
        [
            ("ldt", "regression"),
            ("im", "binary"),
            ("im", "multilabel"),
            ("aim++", "binary"),
            ("evalnet", "multilabel"),
            ("gt-im++", "binary"),
            ("consistency", "binary"),
        ],
        lambda approach, kind: approach == "im" and kind == "binary",
    ),
)
def test_the_disk_that_is_foretold_is_the_disk_that_is_taken(tmp_path, monkeypatch, approach, kind):
    taken: list[int] = []

    def measure_and_drop(folder: RunFolder) -> None:
        taken.append(_size_of(folder.cache))
        drop(folder)

    drop = RunFolder.drop_cache
    monkeypatch.setattr(RunFolder, "drop_cache", measure_and_drop)
    asked: dict[str, Any] = {
        "approach": approach, "max_steps": 2, "epochs": 2, "image_size": (64, 64), "workers": 1,
        "networks": 2, "batch_size": 4, "device": "cpu",
    }  # fmt: skip
    if approach not in ("ldt", "consistency"):
        asked |= {"generations": 2, "select": "all", "patience": 0}
    if approach == "evalnet":
        asked["thresholds"] = (0.0001, 0.0002)
        del asked["select"]
    if approach == "gt-im++":
        asked["unlabeled_masks"] = write_hidden(tmp_path / "hidden", kind)
    data = small_set(kind)
    said = estimate(data, out=tmp_path / "run", probe=False, **asked)
    run = imseg.fit(data, out=tmp_path / "run", **asked)
    assert [stage.name for stage in said.stages if stage.name.startswith("gen")] == [
        stage["name"] for stage in run.summary["stages"][1:]
    ]
    assert said.disk.cache == pytest.approx(taken[0], rel=0.03)
    assert said.disk.finished == pytest.approx(_size_of(run.path), rel=0.03)


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.rest
def test_a_network_of_ones_own_is_measured_here(tmp_path):
    def mine(channels: int, outputs: int, width: float):
        from imseg.networks.unet import unet

        return unet(channels=channels, outputs=outputs, width=width / 2)

    asked: dict[str, Any] = {"approach": "ldt", "max_steps": 2, "image_size": (48, 48)}
    asked |= {"networks": 1, "batch_size": 4, "device": "cpu"}
    found = imseg.estimate(small_set("binary"), out=tmp_path / "run", network=mine, **asked)
    assert found.seconds is not None and found.seconds > 0
    assert found.memory.processes == 1 and found.memory.command == 0
    assert (
        found.disk.weights
        < estimate(small_set("binary"), out=tmp_path / "run", probe=False, **asked).disk.weights
    )
    assert not (tmp_path / "run").exists()


def test_what_is_kept_for_the_way_back_grows_with_pixels_and_images():
    def kept(shape: tuple[int, ...], width: float = 0.5) -> int:
        return bytes_kept(UNetConfig(width=width), (shape,), channels=3, outputs=1)

    one = kept((1, 3, 64, 64))
    assert kept((4, 3, 64, 64)) == pytest.approx(4 * one, rel=0.01)
    assert kept((1, 3, 128, 128)) == pytest.approx(4 * one, rel=0.01)
    assert kept((1, 3, 64, 64), 1.0) == pytest.approx(2 * one, rel=0.1)


def test_what_is_kept_is_what_the_way_back_needs_and_no_weights():
    def one_layer(channels: int, outputs: int, width: float) -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.Conv2d(4, outputs, 3))

    kept = bytes_kept(provide(one_layer), ((2, 3, 16, 16),), channels=3, outputs=1)
    assert kept == 2 * (3 + 4) * 16 * 16 * 4  # the input of each layer, in float32


def test_a_measurement_that_the_system_ends_is_told_as_a_lack_of_memory(monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(imseg.ImsegError) as caught:
        Prober(2, threads=1)
    assert "was ended by the system" in str(caught.value) and "--workers 1" in str(caught.value)
