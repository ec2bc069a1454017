"""The paper's experiments, small, from a download in each published layout to the last table."""

from __future__ import annotations

import csv
import json
import re
import statistics
import tomllib

import pytest
from tests.e2e.published_layouts import LAYOUTS

import imseg
from imseg.approaches.methods.catalog import find_approach
from imseg.comparison.paper_comparison import PUBLISHED, default_approaches

TINY = ["--networks", "2", "--max-steps", "3", "--epochs", "1", "--image-size", "32", "32"]
TINY += ["--width", "0.25", "--batch-size", "8", "--workers", "1", "--device", "cpu"]
TINY += ["--precision", "float32"]
METHOD = ["--generations", "1", "--select", "all"]
LABELS = {"isic2018": "IoU", "hela": "mIoU_ad", "suim": "mIoU", "cityscapes": "mIoU"}


@pytest.mark.rest
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_download_becomes_a_table_of_published_scores_and_ours(name, cli, tmp_path):
    raw, out = LAYOUTS[name](tmp_path / "raw"), tmp_path / "out"
    runs = 2 if name == "isic2018" else 1
    asked = ["reproduce", name, raw, "--approaches", "ldt,fdt,im", "--runs", runs, "--out", out]
    status, shown, said = cli(*asked, *TINY, *METHOD)
    assert status == 0, said
    assert "| approach" in shown and "published" in shown and LABELS[name] in shown
    (departures,) = re.findall("Not the published experiment: (.*)", shown)
    for told in ("networks = 2", "max_steps = 3", "select = all", f"{runs} of the paper's 3 runs"):
        assert told in departures
    assert "device" not in departures, "it is the same experiment on every device"
    found = json.loads((out / "reproduction.json").read_text())
    lines = {(line["approach"], line["generation"]): line for line in found["lines"]}
    assert set(lines) == {("ldt", None), ("fdt", None), ("im", 1)}
    for (approach, generation), line in lines.items():
        assert line["published"] == PUBLISHED[name].of(approach)[(generation or 1) - 1]
        ours = []
        for seed in range(runs):
            run = imseg.load_run(out / f"split-{seed}" / f"seed-{seed}" / approach)
            assert run.plan.paper and run.plan.published == name
            network = run.summary["stages"][-1]["best"]
            scored = run.evaluate(out / f"data-{seed}", networks=[network])
            ours.append(scored.per_image[run.metric.key])
        assert line["ours"] == pytest.approx(ours)
        assert line["difference"] == pytest.approx(statistics.fmean(ours) - line["published"])
    rows = list(csv.DictReader((out / "reproduction.csv").open()))
    assert len(rows) == 3 * runs and {row["score"] for row in rows} == {LABELS[name]}


@pytest.mark.rest
def test_each_run_has_a_split_of_its_own(cli, tmp_path):
    raw, out = LAYOUTS["isic2018"](tmp_path / "raw"), tmp_path / "out"
    asked = ["reproduce", "isic2018", raw, "--approaches", "ldt", "--runs", "2", "--out", out]
    assert cli(*asked, *TINY)[0] == 0
    splits = [json.loads((out / f"data-{s}" / "splits.json").read_text()) for s in (0, 1)]
    assert splits[0]["splits"]["labeled"] != splits[1]["splits"]["labeled"]
    assert splits[0]["splits"]["test"] == splits[1]["splits"]["test"]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    status, _, said = cli(*asked, *TINY)
    assert status == 0 and "validation IoU" not in said, "it continues, and nothing is left to do"
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == before


@pytest.mark.rest
def test_a_prepared_folder_is_taken_as_it_is_and_the_headline_comes_last(cli, cli_json, tmp_path):
    raw, data, out = LAYOUTS["suim"](tmp_path / "raw"), tmp_path / "data", tmp_path / "out"
    assert cli("prepare", "suim", raw, "--out", data)[0] == 0
    asked = ["reproduce", "suim", data, "--approaches", "aim+", "--runs", "1", "--out", out]
    found = cli_json(*asked, *TINY, *METHOD, "--matched")
    assert found["headline"]["approach"] == "aim+" and found["headline"]["published"] == 0.482
    assert {line["approach"] for line in found["lines"]} == {"aldt", "aim+", "aldt-matched-to-aim+"}
    assert not (out / "data-0").exists()
    settings = tomllib.loads((out / "split-0" / "comparison.toml").read_text())
    assert settings["asked"]["paper"] == "suim"


@pytest.mark.rest
def test_a_dry_run_states_the_hours_and_trains_nothing(cli, tmp_path):
    raw, out = LAYOUTS["isic2018"](tmp_path / "raw"), tmp_path / "out"
    asked = ["reproduce", "isic2018", raw, "--approaches", "im", "--dry-run", "--out", out]
    status, shown, _ = cli(*asked, "--image-size", "32", "32", "--workers", "1", "--device", "cpu")
    assert status == 0
    assert "All of it, 3 seeds, one after the other on this machine: about" in shown
    assert not list(out.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["isic", "raw"], "There is no published experiment named 'isic'"),
        (["hela", "nowhere"], "nowhere"),
        (["isic2018", "raw", "--runs", "0"], "There is nothing to do"),
        (["isic2018", "raw", "--approaches", "imm"], "There is no approach named 'imm'"),
        (["hela", "raw"], "hela"),
    ],
)
def test_what_cannot_be_is_one_clear_error(cli, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    LAYOUTS["isic2018"](tmp_path / "raw")
    status, _, err = cli("reproduce", *words)
    assert status == 2 and said in err


def test_the_published_table_names_approaches_and_holds_the_headlines():
    for name, paper in PUBLISHED.items():
        for approach in (*paper.alone, *paper.generations, *paper.below):
            find_approach(approach)
        assert all(len(scores) == 5 for scores in paper.generations.values())
        assert paper.alone["ldt"] < paper.alone["aldt"] < paper.alone["fdt"]
        if paper.headline is not None:
            assert paper.headline.approach in default_approaches(name)
    assert PUBLISHED["isic2018"].headline.value == 0.85
    assert PUBLISHED["cityscapes"].of("im++")[-1] == 0.425
