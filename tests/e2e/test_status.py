"""What ``imseg status`` tells of runs that are finished, at work, killed, damaged or compared."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.small_sets import (
    UNLABELED,
    Killed,
    Mortal,
    Scored,
    contents,
    small_set,
    train,
    write_hidden,
)
from tests.e2e.test_integrity import flip
from tests.sets import rest_but

from imseg.approaches.planning.stage_plan import planned_stages
from imseg.approaches.running.preparation import facts_of
from imseg.approaches.runs.record import Recovery, command_in, read_record
from imseg.approaches.runs.run_status import RunStatus, seconds_left, status_of
from imseg.cli.commands.status import _line
from imseg.comparison.result import comparison_status
from imseg.engine.storage.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
OPTIONS = {
    "im": {"generations": 2, "select": "all", "patience": 0},
    "aim++": {"generations": 2, "select": "all", "patience": 0},
    "evalnet": {"generations": 1, "select": "all", "thresholds": (0.05, 0.1)},
    "consistency": {"consistency_ramp": 2},
    "fdt": {},
    "ldt-matched": {},
}


@pytest.fixture(scope="module")
def im(tmp_path_factory) -> Path:
    """A finished run of im with two generations."""
    out = tmp_path_factory.mktemp("im") / "run"
    train(small_set("binary"), "im", out, **OPTIONS["im"])
    return out


def of(status: RunStatus, name: str):
    """Return how far a stage has come."""
    return next(stage for stage in status.stages if stage.planned.name == name)


# The labels are split in the same way for all approaches; two are enough to look at that.
@pytest.mark.parametrize(
    ("approach", "with_validation"),
    rest_but(
        [*((name, True) for name in OPTIONS), ("im", False), ("evalnet", False)],
        lambda approach, with_validation: approach in ("im", "fdt"),
    ),
)
def test_what_is_planned_is_read_from_the_folder_as_the_run_planned_it(
    im, tmp_path, approach, with_validation
) -> None:
    data = small_set("binary", labeled=11 if with_validation else 18)
    if not with_validation:
        data = dataclasses.replace(data, labeled=(*data.labeled, *data.val), val=())
    options = dict(OPTIONS[approach])
    leave_out: tuple[str, ...] = ()
    if approach == "fdt":
        options["unlabeled_masks"] = write_hidden(tmp_path / "hidden", "binary")
    if approach == "ldt-matched":
        options, leave_out = {"match": im}, ("epochs", "max_steps", "image_size", "width")
        leave_out += ("batch_size",)
        data = small_set("binary")
    run = train(data, approach, tmp_path / "run", leave_out=leave_out, **options)
    record = read_record(RunFolder(run.path))
    assert record is not None
    facts = Recovery(RunFolder(run.path)).facts(record.plan)
    real = facts_of(data)
    assert facts is not None
    # What the plan needed once, and stages do not, is not kept.
    names = ("typical_size", "largest_size", "modality", "narrow")
    assert dataclasses.replace(facts, **{name: getattr(real, name) for name in names}) == real
    status = status_of(run.path)
    assert [stage.planned for stage in status.stages] == planned_stages(record.plan, real)
    first = json.loads((run.path / "log.jsonl").read_text().splitlines()[0])
    assert first["first"] and first["steps"] == sum(
        stage.planned.networks * stage.planned.steps for stage in status.stages
    )
    stages = [*run.summary["stages"], *run.summary["aside"]]
    assert {stage["name"]: len(stage["networks"]) for stage in stages} == {
        stage.planned.name: stage.planned.networks for stage in status.stages
    }
    assert status.steps == (run.summary["steps"], run.summary["steps"])
    assert status.state == "finished" and {each.state for each in status.stages} == {"done"}
    start = of(status, "start")
    assert start.planned.steps == run.trained("start/network-0").steps


def test_a_finished_run_is_told_with_its_scores_and_labels(cli, cli_json, im) -> None:
    before = contents(im)
    code, text, _ = cli("status", im)
    assert code == 0 and contents(im) == before, "looking changes nothing"
    summary = json.loads((im / "summary.json").read_text())
    assert "im on arrays, seed 0" in text and "State: finished" in text
    assert "To continue" not in text and "left" not in text.partition("Told last")[0]
    for stage in summary["stages"]:
        assert f"IoU {stage['score']:.3f} ({stage['best'].split('/')[1]})" in text
    assert text.count(f"{UNLABELED} of {UNLABELED} |") == 2
    found = cli_json("status", im)
    assert found["steps_done"] == found["steps"] == summary["steps"]
    assert [each["score"] for each in found["stages"]] == [s["score"] for s in summary["stages"]]
    assert found["seconds_left"] is None and found["damaged"] == []


@pytest.mark.rest
def test_limited_unlabeled_images_are_counted_as_they_are_used(tmp_path) -> None:
    out = tmp_path / "run"
    with pytest.raises(Killed):
        options = {"limit_unlabeled": 4, "select": "all", "patience": 0}
        train(small_set("binary"), "im", out, executor=Mortal(3), **options)
    assert of(status_of(out), "generation-1").pseudo_labels == (4, 4)


@pytest.mark.rest
def test_a_run_that_ended_early_has_left_out_what_it_did_not_need(tmp_path) -> None:
    scores = {"start": 0.5, "generation-1": 0.4, "generation-2": 0.45}
    run = train(
        small_set("binary"), "im", tmp_path / "run", executor=Scored(scores), select="all",
        generations=4, patience=2,
    )  # fmt: skip
    status = status_of(run.path)
    assert [stage.state for stage in status.stages] == [*["done"] * 3, *["left out"] * 2]
    assert status.state == "finished" and status.steps == (run.summary["steps"],) * 2
    assert _line("seed-0/im", status)[1:4] == ["finished", "generation-2", "2 of 2"]


def test_a_stopped_run_says_what_is_left_and_about_how_long(tmp_path) -> None:
    out = tmp_path / "run"
    with pytest.raises(Killed):
        train(small_set("binary"), "im", out, executor=Mortal(3), **OPTIONS["im"])
    status = status_of(out)
    assert status.state == "stopped" and status.owner is None
    assert [stage.state for stage in status.stages] == ["done", "begun", "not begun"]
    assert [len(stage.trained) for stage in status.stages] == [2, 1, 0]
    assert of(status, "generation-1").pseudo_labels == (UNLABELED, UNLABELED)
    first, student = of(status, "start").steps_of_each, of(status, "generation-1").steps_of_each
    assert status.steps == (2 * first + student, 2 * first + 4 * student)
    (trained,) = of(status, "generation-1").trained
    assert trained.steps == student
    known = status.stages[:2]
    assert seconds_left(known, [], workers=1) == pytest.approx(trained.seconds)
    assert seconds_left(status.stages, [], workers=1) == pytest.approx(3 * trained.seconds)
    assert seconds_left(status.stages, [], workers=2) == pytest.approx(2 * trained.seconds)
    log = [
        {"event": "Planned", "at": 0.0, "first": True},
        {"event": "StageFinished", "at": 10.0},
        {"event": "Planned", "at": 17.0, "first": False},
        {"event": "StageFinished", "at": 20.0},
        {"event": "Planned", "at": 0.0, "first": True},
    ]
    more = seconds_left(status.stages, log, workers=1)
    assert more == pytest.approx(3 * trained.seconds + 7), "the labels of generation-2 take as long"
    assert status.seconds_left is not None and status.seconds_left >= 2 * trained.seconds


def test_a_run_without_anything_trained_gives_no_estimate(cli, tmp_path) -> None:
    out = tmp_path / "run"
    with pytest.raises(Killed):
        train(small_set("binary"), "im", out, executor=Mortal(0), **OPTIONS["im"])
    status = status_of(out)
    assert status.seconds_left is None and status.steps[0] == 0
    code, text, _ = cli("status", out)
    assert code == 0 and "when a network has a checkpoint" in text
    assert "To continue" in text


TRAINING = """
import sys
from imseg.cli.main import main
from imseg.engine.training import checkpoint
checkpoint.SHARE = 100.0  # a checkpoint after each pass
if __name__ == "__main__":
    main()
"""


@pytest.fixture
def at_work(tmp_path, cells) -> Iterator[tuple[subprocess.Popen[bytes], Path, list[str]]]:
    """A training in a process of its own that goes on for longer than any test."""
    script = tmp_path / "imseg"
    script.write_text(TRAINING, encoding="utf-8")
    out = tmp_path / "run"
    words = ["train", str(cells), "--approach", "im", "--generations", "1", "--networks", "2"]
    words += ["--epochs", "9000", "--max-steps", "9000", "--image-size", "32", "32"]
    words += ["--width", "0.25", "--batch-size", "8", "--workers", "1", "--device", "cpu"]
    words += ["--validate-every", "1", "--compile", "off", "--no-report", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    process = subprocess.Popen(
        [sys.executable, str(script), *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process, out, words
    finally:
        process.kill()
        process.wait()


def until_saved(process: subprocess.Popen[bytes], out: Path, more_than: int = 0) -> int:
    """Wait for a checkpoint of more steps, and return how many they are."""
    for _ in range(600):
        assert process.poll() is None
        if (out / "log.jsonl").exists():
            saved = of(status_of(out), "start").saved
            if saved and saved[0].step > more_than:
                return saved[0].step
        time.sleep(0.1)
    raise AssertionError("no checkpoint was written")


@pytest.mark.rest
def test_a_run_is_looked_at_while_it_is_trained_and_after_it_was_killed(
    cli, cli_json, at_work
) -> None:
    process, out, words = at_work
    step = until_saved(process, out)
    lock = (out / ".lock").read_bytes()
    for _ in range(3):  # files are replaced meanwhile
        found = cli_json("status", out)
        assert found["state"] == "under way" and found["damaged"] == []
        assert found["owner"]["pid"] == process.pid and found["owner"]["host"] == platform.node()
    assert (out / ".lock").read_bytes() == lock
    start, generation = found["stages"]
    assert (start["state"], generation["state"]) == ("under way", "not begun")
    assert start["checkpoints"][0]["network"] == "start/network-0"
    assert found["steps"] == 4 * 9000 and 0 < found["steps_done"] < 9000
    assert found["seconds_left"] > 1
    text = cli("status", out)[1]
    assert f"being trained by process {process.pid} on {platform.node()} since 2" in text
    assert "of 9000" in text and "of at most 36000 training steps" in text
    assert "About" in text and "To continue" not in text
    until_saved(process, out, more_than=step)
    assert process.poll() is None, "it was not disturbed"

    process.send_signal(signal.SIGKILL)
    process.wait()
    left = contents(out)
    found = cli_json("status", out)
    assert found["state"] == "stopped" and found["owner"] is None
    assert found["stages"][0]["state"] == "begun" and found["stages"][0]["checkpoints"]
    assert found["command"].split() == ["imseg", *words]
    text = cli("status", out)[1]
    assert "State: stopped; last written to" in text and "when it is continued" in text
    assert f"To continue: imseg train {words[1]}" in text
    assert contents(out) == left, "nothing was written"

    checkpoint = out / "start" / "network-0.checkpoint"
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    status = status_of(out)
    assert of(status, "start").saved == () and status.seconds_left is None
    assert [wrong for wrong in status.damaged if "network-0.checkpoint is damaged" in wrong]


def test_notes_are_told_with_their_age(tmp_path, im) -> None:
    run = shutil.copytree(im, tmp_path / "run")
    then = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - 7200))
    with (run / "log.jsonl").open("a") as log:
        note = {"event": "Note", "at": 1.0, "text": "the fan is loud", "warning": True}
        log.write(json.dumps(note) + "\n")
        log.write(json.dumps({**note, "time": then, "text": "quiet again", "warning": False}))
        log.write('\n{"event": "Note", "at": 2.0, "te')
    *_, early, late = status_of(run).notes
    assert (early.text, early.warning, early.age) == ("the fan is loud", True, None)
    assert (late.text, late.warning) == ("quiet again", False)
    assert late.age == pytest.approx(7200, abs=60)
    assert status_of(im).notes and all(note.age is not None for note in status_of(im).notes)


DAMAGED = {
    "experiment.toml": 3,
    "provenance.json": 3,
    "target.json": 3,
    "data.json": 3,
    "summary.json": 3,
    "start/DONE": 3,
    "generation-1/network-0.json": 3,
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_is_named_and_the_rest_is_told(cli, im, tmp_path, name) -> None:
    run = shutil.copytree(im, tmp_path / "run")
    flip(run / name)
    code, text, _ = cli("status", run)
    assert code == 0
    assert f"* {run / name} is damaged" in text
    assert text.count("is damaged:") == 1
    status = status_of(run)
    assert len(status.stages) == DAMAGED[name]
    assert len(of(status, "generation-2").trained) == 2 and status.approach == "im"
    assert (status.state == "stopped") == (name == "summary.json")
    if name != "target.json":
        assert of(status, "generation-2").best is not None


def test_a_run_whose_settings_are_lost_is_told_as_far_as_it_goes(cli, im, tmp_path) -> None:
    run = shutil.copytree(im, tmp_path / "run")
    for name in ("experiment.toml", "provenance.json"):
        flip(run / name)
    code, text, _ = cli("status", run)
    assert code == 0 and "State: finished" in text and "Told last" in text
    for name in ("experiment.toml", "provenance.json"):
        assert f"{run / name} is damaged" in text


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\0\xff", b'{"ranking": 3}', b"a = ["])
def test_whatever_stands_in_a_file_it_is_named_and_nothing_else_is_lost(
    cli, im, tmp_path, content
) -> None:
    run = shutil.copytree(im, tmp_path / "run")
    names = [path.relative_to(run) for path in run.rglob("*") if path.is_file()]
    for name in names:
        if name.suffix == ".safetensors":
            continue  # these are not looked at; imseg verify does that
        (run / name).write_bytes(content)
        code, text, _ = cli("status", run)
        assert code == 0, name
        unsealed = content.startswith(b"{") and name.name == "provenance.json"
        if name.name != "log.jsonl" and not unsealed:  # of which nothing is wanted here
            assert f"* {run / name}" in text, (name, text)
        (run / name).write_bytes((im / name).read_bytes())


@pytest.mark.parametrize("name", ["start/network-1.safetensors", "generation-2/network-0.json"])
def test_what_is_missing_is_named(im, tmp_path, name) -> None:
    run = shutil.copytree(im, tmp_path / "run")
    (run / name).unlink()
    status = status_of(run)
    assert list(status.damaged) == [f"{run / name} is missing."]
    assert of(status, name.partition("/")[0]).state == "begun"


@pytest.mark.parametrize("place", ["nowhere", "empty", "other"])
def test_what_is_no_run_is_refused(cli, tmp_path, place) -> None:
    for name in ("empty", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "other" / "letter.txt").write_text("Dear ...")
    code, _, err = cli("status", tmp_path / place)
    assert code == 2 and "There is no run in" in err


def test_a_run_that_still_reads_its_images_is_known(cli, tmp_path) -> None:
    from imseg.engine.storage.run_folder import locked

    run = tmp_path / "run"
    (run / "cache").mkdir(parents=True)
    with locked(run):
        code, text, _ = cli("status", run)
    assert code == 0 and f"being trained by process {os.getpid()}" in text
    assert "Its images are read" in text


def test_the_command_that_continues_can_be_copied() -> None:
    words = ["/opt/venv/bin/imseg", "train", "my data", "--out", "runs/a"]
    assert command_in(words) == "imseg train 'my data' --out runs/a"
    words[0] = "/home/me/src/imseg/__main__.py"
    assert command_in(words) == "imseg train 'my data' --out runs/a"
    assert command_in(["my study.py", "--fast"]) == "python 'my study.py' --fast"
    assert command_in([""]) is None and command_in([]) is None


def test_a_comparison_is_told_a_line_a_run(cli, cli_json, compared, tmp_path) -> None:
    before = contents(compared)
    code, text, _ = cli("status", compared)
    assert code == 0 and "6 of 6 runs finished" in text and "State: finished" in text
    assert contents(compared) == before
    rows = [f"seed-{seed}/{name}" for seed in (0, 1) for name in ("ldt", "im", "ldt-matched-to-im")]
    assert list(cli_json("status", compared)["runs"]) == rows

    part = shutil.copytree(compared, tmp_path / "part")
    (part / "comparison.json").unlink()
    shutil.rmtree(part / "seed-1" / "ldt-matched-to-im")
    (part / "seed-1" / "im" / "summary.json").unlink()
    shutil.rmtree(part / "seed-1" / "im" / "generation-1")
    flip(part / "seed-0" / "ldt" / "start" / "network-0.json")
    found = comparison_status(part)
    assert found.finished == 4 and found.state == "stopped"
    assert found.runs["seed-1/ldt-matched-to-im"] is None
    assert found.runs["seed-1/im"] is not None and found.runs["seed-1/im"].state == "stopped"
    matched = found.runs["seed-0/ldt-matched-to-im"]
    assert matched is not None and found.seconds_left is not None
    spent = sum(each.seconds for stage in matched.stages for each in stage.trained)
    left = found.runs["seed-1/im"].seconds_left
    assert left is not None and found.seconds_left == pytest.approx(spent + left)
    code, text, _ = cli("status", part)
    assert code == 0 and "4 of 6 runs finished" in text
    assert "| seed-1/ldt-matched-to-im | not begun |" in text
    assert "ldt/start/network-0.json is damaged" in text


def test_a_comparison_whose_settings_are_damaged_shows_the_runs_that_are_there(
    cli, compared, tmp_path
) -> None:
    part = shutil.copytree(compared, tmp_path / "part")
    flip(part / "comparison.toml")
    code, text, _ = cli("status", part)
    assert code == 0 and "6 of 6 runs" in text and "comparison.toml is damaged" in text


def test_a_comparison_at_work_says_who_is_at_it(cli_json, compared) -> None:
    from imseg.engine.storage.run_folder import locked

    with locked(compared):
        assert cli_json("status", compared)["owner"]["pid"] == os.getpid()


def test_only_baselines_that_were_planned_are_missed(compared, tmp_path) -> None:
    """A reproduction may have none that train as long."""
    from imseg.engine.storage.sealed import read_sealed, write_sealed

    part = shutil.copytree(compared, tmp_path / "part")
    for seed in (0, 1):
        shutil.rmtree(part / f"seed-{seed}" / "ldt-matched-to-im")
    assert len(comparison_status(part).runs) == 6
    said = read_sealed(part / "comparison.toml")
    assert said["matched"] is True
    write_sealed(part / "comparison.toml", {**said, "matched": False})
    assert list(comparison_status(part).runs) == [
        f"seed-{seed}/{name}" for seed in (0, 1) for name in ("ldt", "im")
    ]
