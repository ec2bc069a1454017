"""Approaches under the same conditions: the table, what it rests on, and going on after an end."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.e2e.conftest import comparison_words as words
from tests.e2e.small_sets import SETTINGS, Killed, small_set

import imseg
from imseg.comparison import runner as comparing
from imseg.comparison.participants import participants_of
from imseg.engine.storage.sealed import read_sealed, write_sealed
from imseg.errors import ImsegError, TrainingFailed


def untimed(found: dict) -> dict:
    """Return a result without what may differ between equal comparisons."""
    for row in found["rows"]:
        row.pop("minutes")
        for each in row["runs"]:
            each.pop("seconds")
    return found


def read(out: Path) -> dict:
    return read_sealed(out / "comparison.json")


def test_the_table_rests_on_scores_that_anyone_can_recompute(compared):
    found = read(compared)
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["ldt", "im", "ldt-matched-to-im"]
    means = {}
    for name, row in rows.items():
        runs = [imseg.load_run(compared / run["path"]) for run in row["runs"]]
        kept = [
            json.loads((compared / "scores" / f"seed-{run['seed']}" / f"{name}.json").read_text())
            for run in row["runs"]
        ]
        each = np.array(
            [k[r.summary["network"]]["each"]["iou"] for k, r in zip(kept, runs, strict=True)]
        )
        assert each.shape == (2, 8)
        means[name] = each
        assert row["mean"] == pytest.approx(each.mean())
        assert row["spread"] == pytest.approx(each.mean(axis=1).std(ddof=1))
        assert row["steps"] == np.mean([r.summary["steps"] for r in runs])
    difference = rows["im"]["difference"]
    assert difference["mean"] == pytest.approx((means["im"] - means["ldt-matched-to-im"]).mean())
    assert rows["ldt"]["difference"] is None


def test_scores_are_those_of_evaluate(compared, cells):
    run = imseg.load_run(compared / "seed-1" / "im")
    found = run.evaluate(cells)
    kept = json.loads((compared / "scores" / "seed-1" / "im.json").read_text())
    assert kept[run.summary["network"]]["per_image"] == pytest.approx(found.per_image)


def test_baselines_get_the_steps_and_width_of_the_final_network(compared):
    for seed in (0, 1):
        im, matched = (
            imseg.load_run(compared / f"seed-{seed}" / name) for name in ("im", "ldt-matched-to-im")
        )
        final, baseline = (run.trained(run.summary["network"]) for run in (im, matched))
        assert (baseline.steps, baseline.network.width) == (final.steps, final.network.width)


def test_the_start_is_trained_once_a_seed(compared):
    for seed in (0, 1):
        ldt, im = (compared / f"seed-{seed}" / name for name in ("ldt", "im"))
        for network in ("network-0", "network-1"):
            name = f"start/{network}.safetensors"
            assert (ldt / name).read_bytes() == (im / name).read_bytes()
        log = [json.loads(line) for line in (im / "log.jsonl").read_text().splitlines()]
        taken = [
            e["reused"] for e in log if e["event"] == "NetworkFinished" and "start" in e["network"]
        ]
        assert taken == [True, True]


def test_tables_for_people_and_spreadsheets_say_the_same(compared):
    text = (compared / "comparison.md").read_text()
    rows = {row["name"]: row for row in read(compared)["rows"]}
    assert f"{rows['im']['mean']:.3f} +- {rows['im']['spread']:.3f}" in text
    assert "| ldt-matched to im " in text and "Two seeds say little" in text
    assert "8 test images are too few to say that anything is better" in text
    lines = list(csv.DictReader((compared / "comparison.csv").open()))
    assert len(lines) == 6
    mine = [float(line["score"]) for line in lines if line["approach"] == "im"]
    assert np.mean(mine) == pytest.approx(rows["im"]["mean"])


@pytest.mark.rest
def test_a_comparison_that_is_killed_and_repeated_ends_with_the_same_table(
    compared, cells, cli, tmp_path, monkeypatch
):
    out = tmp_path / "killed"
    real, calls = comparing.fit, []

    def mortal(*arguments, **options):
        calls.append(options["out"])
        if len(calls) == 3:
            raise Killed
        return real(*arguments, **options)

    monkeypatch.setattr(comparing, "fit", mortal)
    with pytest.raises(Killed):
        cli(*words(cells, out))
    assert not (out / "comparison.json").exists()
    monkeypatch.undo()
    assert cli(*words(cells, out))[0] == 0
    assert untimed(read(out)) == untimed(read(compared))


def test_a_finished_comparison_trains_nothing_and_says_the_same(compared, cells, cli, tmp_path):
    out = shutil.copytree(compared, tmp_path / "copy")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    status, _, said = cli(*words(cells, out))
    assert status == 0 and "validation IoU" not in said
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == before
    assert untimed(read(out)) == untimed(read(compared))


@pytest.mark.rest
def test_scores_in_another_form_are_counted_again(compared, cells, cli, tmp_path):
    out = shutil.copytree(compared, tmp_path / "copy")
    spoiled = itertools.cycle(
        [
            lambda kept: kept.pop("each"),
            lambda kept: kept.update(ci95=3),
            lambda kept: kept.update(each={"iou": ["a word"]}),
            lambda kept: kept.update(per_image=None),
        ]
    )
    files = sorted((out / "scores").rglob("*.json"))
    for path in files:
        found = read_sealed(path)
        for kept, spoil in zip(found.values(), spoiled, strict=False):
            spoil(kept)
        write_sealed(path, found)
    assert files and cli(*words(cells, out))[0] == 0
    assert untimed(read(out)) == untimed(read(compared))


@pytest.mark.rest
def test_approaches_are_added_and_earlier_ones_stay_even_in_a_moved_folder(
    compared, cells, cli_json, tmp_path
):
    out = shutil.copytree(compared, tmp_path / "copy")
    hidden = hidden_masks_of(cells, tmp_path / "hidden")
    asked = words(cells, out, "--unlabeled-masks", hidden)
    asked[asked.index("ldt,im")] = "fdt"
    asked[asked.index("0,1")] = "0"
    found = cli_json(*asked)
    rows = {row["name"]: row for row in found["rows"]}
    assert set(rows) == {"ldt", "im", "ldt-matched-to-im", "fdt"}
    assert found["seeds"] == [0, 1], "what was asked for earlier is not taken away"
    then = {row["name"]: row["mean"] for row in read(compared)["rows"]}
    assert {name: rows[name]["mean"] for name in then} == then


def hidden_masks_of(cells: Path, folder: Path) -> Path:
    """Return masks for the unlabeled images: anything of their size will do here."""
    folder.mkdir()
    for image in (cells / "unlabeled").iterdir():
        array = np.asarray(Image.open(image).convert("L"))
        Image.fromarray(((array > array.mean()) * 255).astype(np.uint8)).save(
            folder / f"{image.stem}.png"
        )
    return folder


def test_other_settings_data_or_folders_are_refused_before_training(compared, cells, cli, tmp_path):
    status, _, said = cli(*words(cells, compared, "--teachers", "2"))
    assert status == 2 and "under other settings" in said and "teachers" in said
    changed = shutil.copytree(cells, tmp_path / "cells")
    victim = sorted((changed / "test" / "masks").iterdir())[0]
    other = sorted((changed / "test" / "masks").iterdir())[1]
    shutil.copy(other, victim)
    status, _, said = cli(*words(changed, compared))
    assert status == 2 and "data has changed" in said and "test" in said
    status, _, said = cli(*words(cells, compared / "seed-0" / "im"))
    assert status == 2 and "is a run, not a comparison" in said
    (tmp_path / "stuff").mkdir()
    (tmp_path / "stuff" / "notes.txt").write_text("mine")
    (tmp_path / "stuff" / ".hidden").write_text("mine too")
    status, _, said = cli(*words(cells, tmp_path / "stuff"))
    assert status == 2 and "is not empty and is not a comparison" in said


def test_without_test_images_there_is_nothing_to_compare_on(cells, cli, tmp_path):
    folder = shutil.copytree(cells, tmp_path / "cells")
    shutil.rmtree(folder / "test")
    status, _, said = cli(*words(folder, tmp_path / "out"))
    assert status == 2 and "no test images to compare approaches on" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--seeds", "0,x"], "--seeds cannot be read"),
        (["--approaches", "imm"], "There is no approach named 'imm'"),
        (["--approaches", "ldt-matched"], "has nothing to be matched to"),
        (["--approaches", ""], "Nothing is compared"),
    ],
)
def test_what_cannot_be_is_one_clear_error(cells, cli, tmp_path, more, said):
    status, _, err = cli("compare", cells, "--out", tmp_path / "out", *more)
    assert status == 2 and said in err


def test_the_nearest_approach_is_put_into_the_list_that_was_typed():
    with pytest.raises(ImsegError) as caught:
        participants_of(["ldt", "imm", "fdt"])
    assert caught.value.hint == "--approaches ldt,im,fdt"


@pytest.mark.rest
def test_a_run_that_fails_is_left_out_and_told(cells, cli, tmp_path, monkeypatch):
    real = comparing.fit

    def failing(*arguments, **options):
        if options["out"].name == "im":
            raise TrainingFailed("its loss was no number")
        return real(*arguments, **options)

    monkeypatch.setattr(comparing, "fit", failing)
    asked = words(cells, tmp_path / "out")
    asked[asked.index("0,1")] = "0"
    status, shown, said = cli(*asked)
    assert status == 1
    assert "im, seed 0, failed and is left out: its loss was no number" in said
    assert "| ldt " in shown and "Left out: im, seed 0" in shown
    assert "Left out: ldt-matched-to-im, seed 0: im, which it is matched to, is missing" in shown


@pytest.mark.rest
def test_a_method_whose_baseline_fails_is_shown_without_a_difference(
    cells, cli_json, cli, tmp_path, monkeypatch
):
    real = comparing.fit

    def failing(*arguments, **options):
        if options["out"].name.startswith("ldt-matched"):
            raise TrainingFailed("its process was killed")
        return real(*arguments, **options)

    monkeypatch.setattr(comparing, "fit", failing)
    asked = words(cells, tmp_path / "out")
    asked[asked.index("0,1")] = "0"
    status, shown, said = cli(*asked)
    assert status == 1 and "| im " in shown, said
    (im,) = (row for row in read(tmp_path / "out")["rows"] if row["name"] == "im")
    assert im["baseline"] is None and im["difference"] is None
    assert "Left out: ldt-matched-to-im, seed 0: its process was killed" in shown


def test_what_masks_mean_is_part_of_the_data(compared, cells, cli, tmp_path):
    changed = shutil.copytree(cells, tmp_path / "cells")
    settings = changed / "imseg.toml"
    settings.write_text("void = 7\n" + settings.read_text())
    status, _, said = cli(*words(changed, compared))
    assert status == 2 and "The data has changed" in said and "imseg.toml" in said


@pytest.mark.rest
def test_a_dry_run_says_how_long_and_writes_nothing(cells, cli, cli_json, tmp_path):
    asked = words(cells, tmp_path / "out", "--dry-run")
    found = cli_json(*asked)
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["ldt", "im", "ldt-matched-to-im"]
    assert rows["im"]["networks"] == 2, "its start is that of ldt"
    assert found["seconds"] == pytest.approx(2 * sum(r["seconds"] for r in rows.values()), abs=1)
    assert not (tmp_path / "out").exists()
    asked[asked.index("ldt,im")] = "ldt,im,ldt-same-cost"
    rows = {row["name"]: row for row in cli_json(*asked)["rows"]}
    alone, longer = rows["ldt-same-cost-to-im"], rows["ldt-matched-to-im"]
    assert alone["networks"] == 1 and alone["width"] == longer["width"]
    assert alone["network_steps"] > 2 * longer["network_steps"], "all four cost more than two"


def test_arrays_without_test_images_are_refused_too(tmp_path):
    with pytest.raises(ImsegError, match="no test images"):
        imseg.compare(small_set("binary"), approaches=["ldt"], seeds=[0], out=tmp_path / "out")


@pytest.mark.rest
def test_errors_are_compared_by_less(tmp_path):
    """Arrays, numbers for masks, and a metric of which less is better."""
    data = small_set("regression")
    data = dataclasses.replace(data, test=data.val, val=())
    found = imseg.compare(
        data, approaches=["im"], seeds=[0, 1], out=tmp_path / "out", **SETTINGS, generations=1
    )
    im, baseline = found.row("im"), found.row("ldt-matched-to-im")
    assert not found.metric.higher_is_better and im.difference is not None
    assert im.difference.mean == pytest.approx(im.mean - baseline.mean)
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["metric"]["key"] == "rmse"
