"""Networks whose processes are killed, and kill them again: a run goes on without, and says so."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.small_sets import Told, small_set, train

from imseg.cli.main import run
from imseg.data.synthetic import CellScene, write_demo
from imseg.engine.workers import worker_process
from imseg.engine.workers.executors import Processes
from imseg.errors import TrainingFailed

WORKER = Path(__file__).with_name("mortal_worker.py")
KILLED = "killed, which is how systems answer a lack of memory: a smaller --image-size"


@pytest.fixture
def mortal(monkeypatch) -> Callable[..., None]:
    """A function that names the jobs whose workers are killed."""
    return lambda *jobs: monkeypatch.setattr(
        worker_process, "COMMAND", (sys.executable, str(WORKER), *jobs)
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    scene = CellScene(difficulty=0.0, size=(32, 32))
    folder = tmp_path_factory.mktemp("tiny") / "cells"
    return write_demo(folder, seed=3, labeled=6, unlabeled=4, val=3, test=2, scene=scene)


@pytest.mark.rest
def test_a_run_goes_on_without_a_network_that_is_killed_twice(mortal, tmp_path, tiny, capsys):
    mortal("start/network-1")
    out = tmp_path / "run"
    command = ["train", str(tiny), "--approach", "im", "--out", str(out), "--networks", "3"]
    command += ["--generations", "1", "--select", "all", "--epochs", "2", "--max-steps", "3"]
    command += ["--image-size", "32", "32", "--width", "0.25", "--workers", "2", "--device", "cpu"]
    command += ["--patience", "0"]  # three steps teach little: labels may be all background
    assert run(command) == 0
    told = capsys.readouterr()
    said = " ".join(told.err.split())
    assert f"start/network-1: its process ended unexpectedly ({KILLED}" in said
    assert "and was started again" in said
    assert "start/network-1 is left out, 2 of 3 networks are left: its process ended" in said
    missing = "start: 1 of 3 networks could not be trained (start/network-1: its process ended"
    assert missing in told.out

    done, summary = (json.loads((out / n).read_text()) for n in ("start/DONE", "summary.json"))
    assert len(done["ranking"]) == 2 and len(done["failed"]) == 1
    start, generation = summary["stages"]
    assert start["failed"] == done["failed"] and generation["failed"] == []
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "1 network could not be trained" in page
    warned = re.search(r"<section[^>]*id=.warnings.*?</section>", page, re.DOTALL)
    assert warned is not None and warned[0].count("tart/network-1 is left out") == 1

    # Whoever repeats the command is told again, the run finished or not.
    assert run(command) == 0
    assert missing in capsys.readouterr().out
    (out / "summary.json").unlink()
    assert run(command) == 0
    told = capsys.readouterr()
    assert missing in told.out
    goes_on = "start goes on as it was finished: 1 of 3 networks could not be trained"
    assert goes_on in " ".join(told.err.split())


@pytest.mark.rest
def test_with_too_few_networks_left_a_run_stops_and_can_be_repeated(mortal, tmp_path):
    mortal("start/network-0")
    options = {"generations": 1, "select": "all"}
    out, told = tmp_path / "run", Told()

    with (
        pytest.raises(TrainingFailed, match=r"only 1 of 2 networks.*network-0: its process ended"),
        Processes(2) as executor,
    ):
        train(small_set("binary"), "im", out, executor=executor, told=told, **options)
    assert not (out / "start" / "DONE").exists()
    mortal()
    again = train(small_set("binary"), "im", out, told=told, **options)
    assert told.reused == ["start/network-1"]
    assert [stage["failed"] for stage in again.summary["stages"]] == [[], []]
