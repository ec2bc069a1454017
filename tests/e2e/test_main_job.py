"""From a folder with few labels to masks for new images, as a user does it."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from tests.e2e.conftest import SMALL
from tests.sets import rest_but

FILES = ("network-0.safetensors", "network-1.safetensors")


def test_check_finds_nothing_wrong_with_demo_data(cli, cells, tmp_path):
    sheet = tmp_path / "sheet.png"
    status, out, _ = cli("check", cells, "--sheet", sheet)
    assert status == 0
    assert "12 labeled, 16 unlabeled, 6 val, 8 test" in out
    assert "binary" in out and "cell" in out
    assert Image.open(sheet).width > 300


def test_a_run_learns_and_its_pseudo_labels_are_used(im_run):
    summary = json.loads((im_run / "summary.json").read_text())
    start, generation = summary["stages"]
    assert [stage["name"] for stage in summary["stages"]] == ["start", "generation-1"]
    assert 0 < generation["pseudo_labels"]["admitted"] <= 16
    assert generation["networks"][0]["images"] == 12 + generation["pseudo_labels"]["admitted"]
    assert start["score"] > 0.3, "even 40 steps find easy cells"
    assert summary["network"] == generation["best"], "the start is a baseline, never chosen"
    assert summary["start_was_better"] == (start["score"] > generation["score"])
    assert summary["steps"] == sum(
        network["steps"] for stage in summary["stages"] for network in stage["networks"]
    )


def test_a_run_folder_holds_what_it_promises_and_no_images(im_run):
    names = {path.relative_to(im_run).as_posix() for path in im_run.rglob("*") if path.is_file()}
    stages = {
        f"{stage}/{name}"
        for stage in ("start", "generation-1")
        for name in (*FILES, "network-0.json", "network-1.json", "DONE")
    }
    others = {"experiment.toml", "provenance.json", "target.json", "data.json", "facts.json"}
    others |= {"summary.json", "log.jsonl"}
    assert names == stages | others


def test_evaluate_reports_both_kinds_of_scores_with_intervals(cli_json, cells, im_run):
    found = cli_json("evaluate", im_run, cells, "--split", "test")
    assert found["task"] == "binary" and found["images"] == 8
    assert {"iou", "dice", "boundary_iou", "accuracy"} <= set(found["per_image"])
    assert set(found["dataset"]["iou_per_class"]) == {"background", "cell"}
    low, high = found["ci95"]["per_image"]["iou"]
    assert low <= found["per_image"]["iou"] <= high
    low, high = found["ci95"]["dataset"]["miou"]
    assert low <= found["dataset"]["miou"] <= high


def test_evaluate_says_that_scores_of_seen_images_are_not_honest(cli, cells, im_run):
    def said(split: str) -> str:
        return " ".join(cli("evaluate", im_run, cells, "--split", split)[2].split())

    assert "only test is an honest" not in said("test")
    assert "learned from labeled; only test is an honest score" in said("labeled")


def test_evaluate_takes_other_networks_ensembles_and_draws_pictures(
    cli, cli_json, cells, im_run, tmp_path
):
    one = cli_json("evaluate", im_run, cells, "--network", "start/network-0")
    two = cli_json("evaluate", im_run, cells, "--ensemble", "2", "--pictures", tmp_path / "p.png")
    assert one["networks"] == ["start/network-0"] and len(two["networks"]) == 2
    assert one["per_image"] != two["per_image"]
    assert Image.open(tmp_path / "p.png").height > 600
    status, _, err = cli("evaluate", im_run, cells, "--ensemble", "9")
    assert status == 2 and "1 to 2" in err


def test_masks_come_at_each_images_size_in_the_users_values(cli, cells, im_run, tmp_path):
    images = tmp_path / "new"
    images.mkdir()
    picture = Image.open(next((cells / "test" / "images").iterdir()))
    picture.resize((70, 53)).save(images / "a.PNG")
    picture.convert("RGB").resize((31, 90)).save(images / "b.jpg")
    out = tmp_path / "masks"
    status, shown, _ = cli("predict", im_run, images, "--out", out, "--overlay", "--inconsistency")
    assert status == 0 and "255 (cell)" in shown
    for name, size in (("a", (70, 53)), ("b", (31, 90))):
        mask = Image.open(out / f"{name}.png")
        assert mask.size == size and mask.mode == "L"
        assert set(np.unique(mask)) <= {0, 255}
        assert Image.open(out / "overlays" / f"{name}.png").size == size
        disputed = Image.open(out / "inconsistency" / f"{name}.png")
        assert disputed.size == size and set(np.unique(disputed)) <= {0, 255}
    listed = (out / "inconsistency.csv").read_text().splitlines()
    assert listed[0] == "share_of_inconsistent_pixels,image" and len(listed) == 3
    assert "worth labeling next" in shown


def test_masks_that_are_there_are_not_overwritten_unasked(cli, cells, im_run, tmp_path):
    out = tmp_path / "masks"
    words = ["predict", im_run, cells / "test" / "images", "--out", out]
    assert cli(*words)[0] == 0
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    status, _, err = cli(*words)
    assert status == 2 and "would be overwritten" in err and "--overwrite" in err
    assert before == {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert cli(*words, "--overwrite")[0] == 0


def test_a_finished_run_is_not_taken_for_one_on_other_data(cli, cells, im_run, tmp_path):
    other = shutil.copytree(cells, tmp_path / "cells")
    first = sorted((other / "unlabeled").iterdir())[0]
    Image.fromarray(255 - np.array(Image.open(first))).save(first)
    words = ["train", other, "--approach", "im", "--generations", "1", "--out", im_run, *SMALL]
    status, _, err = cli(*words)
    assert status == 2 and "data has changed" in err and "unlabeled" in err


@pytest.mark.rest
def test_a_lost_file_of_a_finished_stage_is_trained_again(cli, cells, im_run, tmp_path):
    part = shutil.copytree(im_run, tmp_path / "part")
    for name in ("summary.json", "start/network-0.safetensors"):
        (part / name).unlink()
    words = ["train", cells, "--approach", "im", "--generations", "1", "--out", part, *SMALL]
    assert cli(*words)[0] == 0
    whole = (im_run / "start" / "network-0.safetensors").read_bytes()
    assert (part / "start" / "network-0.safetensors").read_bytes() == whole


def test_two_processes_do_not_train_one_run(cli, cells, im_run):
    from imseg.engine.storage.run_folder import locked

    words = ["train", cells, "--approach", "im", "--generations", "1", "--out", im_run, *SMALL]
    with locked(im_run):
        status, _, err = cli(*words)
    assert status == 2 and "by another process" in err and str(os.getpid()) in err
    assert cli(*words)[0] == 0, "afterwards it is free again"


@pytest.mark.rest
@pytest.mark.parametrize(
    ("options", "keeps"),
    [
        (["--teachers", "2", "--erode", "3", "--dilate", "5"], "erode = 3"),
        (["--blocking", "both", "--ignore"], "ignore = true"),
        (["--blocking", "output"], 'blocking = "output"'),
        (["--blocking", "input"], 'blocking = "input"'),
        (["--block-color", "noise"], 'block_color = "noise"'),
        (["--select", "same-classes"], 'select = "same-classes"'),
        (["--select", "all"], 'select = "all"'),
    ],
)
def test_every_way_to_treat_inconsistent_pixels_trains(
    cli, cells, im_run, tmp_path, options, keeps
):
    few = ["--networks", "2", "--epochs", "90", "--max-steps", "90", "--image-size", "48", "48"]
    few += ["--width", "0.5", "--batch-size", "8", "--workers", "1", "--device", "cpu"]
    words = ["train", cells, "--approach", "im", "--generations", "1", *few, *options]
    status, _, err = cli(*words, "--reuse", im_run, "--out", tmp_path / "run")
    assert status == 0, err
    assert err.count("already trained") == 2, "the start does not depend on these options"
    assert keeps in (tmp_path / "run" / "experiment.toml").read_text()


def test_a_copy_of_the_run_predicts_the_same_without_the_data(cli, cells, im_run, tmp_path):
    copy = shutil.copytree(im_run, tmp_path / "elsewhere")
    for run, out in ((im_run, "one"), (copy, "two")):
        assert cli("predict", run, cells / "unlabeled", "--out", tmp_path / out)[0] == 0
    masks = sorted((tmp_path / "one").iterdir())
    assert len(masks) == 17  # masks, and what they amount to
    for mask in masks:
        assert mask.read_bytes() == (tmp_path / "two" / mask.name).read_bytes()


def test_repeating_the_command_of_a_finished_run_changes_nothing(cli, cells, im_run):
    before = {path: path.stat().st_mtime_ns for path in im_run.rglob("*")}
    words = ["train", cells, "--approach", "im", "--generations", "1", "--out", im_run, *SMALL]
    status, _, err = cli(*words)
    assert status == 0 and "already finished" in err
    assert before == {path: path.stat().st_mtime_ns for path in im_run.rglob("*")}


@pytest.mark.parametrize(
    "lost",
    rest_but(
        [
            ["summary.json"],
            ["summary.json", "generation-1/DONE", "generation-1/network-1.json"],
            ["summary.json", "generation-1", "start/DONE", "start/network-0.safetensors"],
        ],
        lambda lost: "generation-1" not in lost,
    ),
)
def test_an_interrupted_run_continues_to_the_same_bits(cli, cells, im_run, tmp_path, lost):
    part = shutil.copytree(im_run, tmp_path / "part")
    for name in lost:
        path = part / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    words = ["train", cells, "--approach", "im", "--generations", "1", "--out", part, *SMALL]
    status, _, err = cli(*words)
    assert status == 0, err
    assert "It is continued" in err
    for stage in ("start", "generation-1"):
        for name in FILES:
            whole = (im_run / stage / name).read_bytes()
            assert (part / stage / name).read_bytes() == whole, f"{stage}/{name}"


def test_another_experiment_in_the_same_folder_is_refused(cli, cells, im_run):
    words = ["train", cells, "--approach", "im", "--generations", "2", "--out", im_run, *SMALL]
    status, _, err = cli(*words)
    assert status == 2
    assert "another experiment" in err and "generations = 1" in err and "generations = 2" in err


def test_changed_data_is_noticed_when_a_run_continues(cli, cells, im_run, tmp_path):
    part = shutil.copytree(im_run, tmp_path / "part")
    (part / "summary.json").unlink()
    data = shutil.copytree(cells, tmp_path / "cells")
    mask = next((data / "labeled" / "masks").iterdir())
    values = np.array(Image.open(mask))
    values[:9, :9] = 255 - values[:9, :9]
    Image.fromarray(values).save(mask)
    words = ["train", data, "--approach", "im", "--generations", "1", "--out", part, *SMALL]
    status, _, err = cli(*words)
    assert status == 2 and "data has changed" in err and "labeled" in err


@pytest.mark.rest
def test_equal_start_networks_are_taken_over_and_others_are_not(cli, cells, im_run, tmp_path):
    words = ["train", cells, "--approach", "ldt", *SMALL, "--reuse", im_run]
    status, _, err = cli(*words, "--out", tmp_path / "same")
    assert status == 0 and err.count("already trained") == 2
    for name in FILES:
        start = (im_run / "start" / name).read_bytes()
        assert (tmp_path / "same" / "start" / name).read_bytes() == start
    status, _, err = cli(*words, "--seed", "1", "--out", tmp_path / "other")
    assert status == 0 and "already trained" not in err


@pytest.mark.rest
def test_the_matched_baseline_has_the_steps_and_width_of_the_final_network(
    cli_json, cells, im_run, tmp_path
):
    final = json.loads((im_run / "summary.json").read_text())
    stage = next(each for each in final["stages"] if each["name"] == final["stage"])
    wanted = stage["networks"][0]
    found = cli_json(
        "train", cells, "--approach", "ldt-matched", "--match", im_run, "--networks", "2",
        "--workers", "1", "--out", tmp_path / "matched",
    )  # fmt: skip
    for network in found["stages"][0]["networks"]:
        assert network["steps"] == wanted["steps"] and network["width"] == wanted["width"]
        assert network["images"] == 12, "labels alone"


def test_the_upper_bound_sees_hidden_masks_and_nobody_else_does(cli, cli_json, cells, tmp_path):
    hidden = cells / "hidden" / "masks"
    few = ["--networks", "1", "--max-steps", "4", "--workers", "1"]
    found = cli_json(
        "train", cells, "--approach", "fdt", "--unlabeled-masks", hidden, *few,
        "--out", tmp_path / "fdt",
    )  # fmt: skip
    assert found["stages"][0]["networks"][0]["images"] == 12 + 16
    for name in ("ldt", "consistency"):  # of the others pseudo-labels are compared with them
        status, _, err = cli(
            "train",
            cells,
            "--approach",
            name,
            "--unlabeled-masks",
            hidden,
            "--out",
            tmp_path / name,
        )
        assert status == 2 and "may not see the hidden masks" in err
        assert not (tmp_path / name).exists()


def test_settings_come_from_toml_and_options_win(cli, cells, tmp_path):
    config = tmp_path / "settings.toml"
    config.write_text(
        'approach = "ldt"\nnetworks = 1\nmax_steps = 3\nimage_size = [32, 48]\nwidth = 0.25\n'
        "workers = 1\nseed = 5\n"
    )
    status, _, err = cli(
        "train", cells, "--config", config, "--seed", "6", "--out", tmp_path / "run"
    )
    assert status == 0, err
    written = (tmp_path / "run" / "experiment.toml").read_text()
    assert "seed = 6" in written and "max_steps = 3" in written
    assert "image_size = [\n    32,\n    48,\n]" in written


def test_the_papers_schedule_trains_with_its_own_rules(cli_json, cells, tmp_path):
    found = cli_json(
        "train", cells, "--effort", "paper", "--approach", "im", "--generations", "1",
        "--networks", "2", "--epochs", "3", "--image-size", "32", "32", "--width", "0.25",
        "--workers", "1", "--batch-size", "8", "--out", tmp_path / "run",
    )  # fmt: skip
    network = found["stages"][0]["networks"][0]
    assert network["steps"] == 3 * (12 // 8), "floor(images / batch) steps an epoch"
    assert found["stage"] == found["stages"][-1]["name"], "the last generation, not the best"


def test_without_validation_images_a_fifth_of_the_labels_is_taken(cli_json, cells, tmp_path):
    data = shutil.copytree(cells, tmp_path / "cells")
    shutil.rmtree(data / "val")
    found = cli_json(
        "train", data, "--approach", "ldt", *SMALL, "--max-steps", "2", "--out", tmp_path / "run"
    )
    assert found["stages"][0]["networks"][0]["images"] == 10


@pytest.mark.rest
def test_a_limit_on_unlabeled_images_is_kept(cli_json, cells, tmp_path):
    found = cli_json(
        "train", cells, "--approach", "im", "--generations", "1", *SMALL,
        "--limit-unlabeled", "5", "--out", tmp_path / "run",
    )  # fmt: skip
    labels = [stage.get("pseudo_labels") for stage in found["stages"]]
    assert labels[-1] is None or labels[-1]["images"] == 5


def test_every_approach_is_listed_and_explained(cli, cli_json):
    names = cli_json("approaches")
    assert list(names) == [
        *(
            "auto",
            "ldt",
            "ldt-matched",
            "ldt-same-cost",
            "aldt",
            "aldt-matched",
            "ldt-online",
            "fdt",
        ),
        *("model-ensemble", "input-ensemble", "noisy-student", "consistency", "evalnet"),
        *("mean-teacher", "fixmatch", "unimatch", "unimatch+im", "cps", "online-im"),
        *("im", "im+", "im++", "aim+", "aim++", "gt-im++"),
    ]
    for name in names:
        status, out, _ = cli("explain", name)
        assert status == 0 and names[name] in out
    assert "differs from ldt" in cli("explain", "fdt")[1]


SHARED = (
    "--address --augment --average-weights --averaged-teachers --batch-size --block-color"
    " --blocking --class-balance --clip-gradients --compile --confidence --consistency-level"
    " --consistency-ramp --consistency-weight --cutmix --decoder-width --device --dilate"
    " --encoder-learning-rate --epochs --erode --exchange --executor --feature-dropout --filter"
    " --follow-links --fresh-copies --generations --grow-labels --ignore --image-size"
    " --keep-weights --labeled-share --learners --learning-rate --learning-rate-schedule"
    " --limit-unlabeled --loss --mask-scorers --max-steps --network --networks"
    " --no-averaged-teachers --no-exchange --no-follow-links --no-fresh-copies --no-grow-labels"
    " --no-ignore --no-plain-view --no-reblock --no-rotate --no-tta --optimizer --patience"
    " --plain-view --precision --rare-share --reblock --recipe --rotate --select --start-share"
    " --strong-views --task --teacher-ramp --teacher-weight --teachers --thresholds --tta"
    " --validate-every --views --vote --warm-up-steps --weight-decay --weights --width --workers"
)
"""Settings that several runs can share."""


def test_options_are_frozen(cli):
    wanted = {
        "check": "--fix --follow-links --help --json --sheet --task",
        "train": "--address --approach --augment --average-weights --averaged-teachers --batch-size"
        " --block-color --blocking --class-balance --clip-gradients --compile --confidence --config"
        " --consistency-level --consistency-ramp --consistency-weight --cutmix --decoder-width"
        " --device --dilate --dry-run --effort --encoder-learning-rate --epochs --erode"
        " --exchange --executor --feature-dropout --filter --follow-links --fresh-copies"
        " --generations --grow-labels --help"
        " --ignore --image-size --json --keep-weights --labeled-share --learners --learning-rate"
        " --learning-rate-schedule --limit-unlabeled --loss --mask-scorers --match --max-steps"
        " --minutes --network --networks --no-averaged-teachers --no-exchange --no-follow-links"
        " --no-fresh-copies --no-grow-labels --no-ignore --no-plain-view --no-probe --no-reblock"
        " --no-report --no-rotate --no-tta --no-whole-image --object-size --optimizer --out"
        " --paper --patch --patience --plain-view --precision --probe --rare-share --reblock"
        " --recipe --report --reuse --rotate --scale --seed --select --start-share"
        " --start-with --strength-level --strength-schedule --strong-views --task --teacher-ramp"
        " --teacher-weight --teachers --thresholds --tta --unlabeled-masks --validate-every --views"
        " --vote --warm-up-steps --weight-decay --weights --whole-image --width --workers",
        "evaluate": "--device --ensemble --follow-links --help --json --network --no-tta --pictures"
        " --split --trust-network --tta",
        "predict": "--address --device --ensemble --executor --help --inconsistency --json"
        " --network --no-tta --out --overlay --overwrite --pixel-size --recursive --scale"
        " --skip-bad --trust-network --tta",
        "status": "--help --json",
        "verify": "--data --follow-links --help --json --retrain --trust-network",
        "report": "--device --follow-links --help --json --out --trust-network",
        "prepare": "--classes --help --json --labeled --out --paper-split --seed",
        "polygons": "--as --crowds --encoding --help --images --json --out --pages",
        "approaches": "--help --json",
        "explain": "--help --json",
        "demo": "--help --json --out --quick",
        "compare": f"--approaches --config --dry-run --help --json --out --seeds {SHARED}"
        " --effort --unlabeled-masks --strength-schedule --strength-level"
        " --scale --patch --whole-image --no-whole-image --object-size",
        "reproduce": f"--approaches --config --dry-run --help --json --out --runs {SHARED}"
        " --matched --no-matched",
    }
    for command, options in wanted.items():
        status, _, err = cli(command, "--zzzzzz")
        assert status == 2
        assert f"Expected: {', '.join(sorted(options.split()))}\n" in err


@pytest.mark.rest
def test_the_quick_demo_shows_its_seed_costs_and_pictures(cli, tmp_path, monkeypatch):
    from imseg.report import demo

    small = demo.DemoSize(
        seeds=(0, 1),
        networks=2,
        generations=1,
        epochs=4,
        max_steps=4,
        labeled=8,
        unlabeled=8,
        side=32,
    )
    monkeypatch.setattr(demo, "QUICK", small)
    status, out, _ = cli("demo", "--out", tmp_path / "demo", "--quick")
    assert status == 0
    assert "seed 0" in out and "seed 1" in out and "ldt-matched to im" in out
    for seed in (0, 1):
        assert f"overlay-seed-{seed}.png" in out
        assert (tmp_path / "demo" / f"overlay-seed-{seed}.png").exists()


@pytest.mark.rest
def test_isic_goes_from_the_download_to_scores(cli, cli_json, isic_sample, tmp_path):
    """The real thing in small: 60 training and 30 validation images of ISIC 2017."""
    data = tmp_path / "isic"
    counts = cli_json("prepare", "isic2018", isic_sample, "--out", data, "--labeled", "0.3")
    assert (counts["labeled"], counts["unlabeled"]) == (18, 42)
    assert (counts["val"], counts["test"]) == (10, 20)
    status, out, _ = cli("check", data, "--sheet", tmp_path / "sheet.png")
    assert status == 0 and "lesion" in out
    found = cli_json(
        "train", data, "--approach", "im", "--generations", "1", "--networks", "2",
        "--epochs", "200", "--max-steps", "200", "--image-size", "48", "48", "--width", "0.5",
        "--batch-size", "16", "--precision", "float32", "--out", tmp_path / "run",
    )  # fmt: skip
    assert found["stages"][0]["score"] > 0.3, "200 steps find most lesions roughly"
    scores = cli_json("evaluate", tmp_path / "run", data)
    assert scores["images"] == 20 and scores["per_image"]["iou"] > 0.3
