"""``imseg train --minutes``: a training chosen by what steps cost here, once and for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.approaches.planning.made_up_costs import costs
from tests.e2e.small_sets import small_set

import imseg
from imseg.approaches.planning import duration
from imseg.approaches.planning.minutes import MOST_STEPS
from imseg.approaches.planning.plan import Plan
from imseg.approaches.runs.run_files import Record
from imseg.comparison.comparison_plan import plan_comparison
from imseg.engine.storage.run_folder import RunFolder
from imseg.errors import ImsegError

SMALL = {"width": 0.25, "batch_size": 8, "workers": 1, "device": "cpu", "precision": "float32"}


@pytest.fixture
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """A step takes half a minute; returned is what was measured."""
    asked: list[Plan] = []

    def measure(plan: Plan, *_: object) -> duration.Measured:
        asked.append(plan)
        return costs(30.0)

    monkeypatch.setattr(duration, "measure", measure)
    return asked


def test_a_run_of_minutes_is_measured_once_and_ends_as_planned(
    tmp_path: Path, slow_machine: list[Plan]
) -> None:
    data, out = small_set("binary"), tmp_path / "run"
    run = imseg.fit(data, out=out, minutes=40, **SMALL)
    plan = run.plan
    assert plan.approach.name == "ldt" and plan.image_size == (32, 32)
    assert plan.recipe.max_steps == 50, "of 40 minutes some are left for the end"
    assert run.trained(run.summary["network"]).steps == 50
    assert len(slow_machine) == 1
    again = imseg.fit(data, out=out, minutes=40, **SMALL)
    assert again.plan == plan and len(slow_machine) == 1, "a run keeps its plan"
    assert Record.read(RunFolder(out).experiment).asked["minutes"] == 40


def test_minutes_that_are_not_enough_are_refused_before_anything_is_written(
    tmp_path: Path, slow_machine: list[Plan]
) -> None:
    with pytest.raises(ImsegError, match="10 minutes are not enough for ldt") as caught:
        imseg.fit(small_set("binary"), out=tmp_path / "run", minutes=10, **SMALL)
    assert "time for 50 steps of every network, about" in caught.value.expected
    assert not list(tmp_path.iterdir())


def test_labels_alone_are_said_to_come_first(
    tmp_path: Path, cells: Path, slow_machine: list[Plan], cli: Callable[..., Any]
) -> None:
    _, _, told = cli("train", cells, "--minutes", 100, "--dry-run", "--out", tmp_path / "run")
    assert "more is won by longer training and larger images" in told
    assert "--approach auto tries them all the same" in told
    assert "ldt: 1 network of" in told


def test_without_measuring_the_smallest_training_is_told(
    tmp_path: Path, cells: Path, cli: Callable[..., Any]
) -> None:
    words = ("train", cells, "--minutes", 9, "--dry-run", "--no-probe", "--out", tmp_path / "run")
    _, text, told = cli(*words)
    assert "with --minutes image size and width depend on it too" in text
    assert f"at most {MOST_STEPS}" in text
    assert "ldt: 1 network of width 0.5, on images of 48x48 px" in told


def test_a_comparison_refuses_minutes(tmp_path: Path, cells: Path) -> None:
    with pytest.raises(ImsegError, match="the same image size and the same number of steps"):
        plan_comparison(
            cells,
            approaches=["ldt", "im"],
            seeds=[0],
            out=tmp_path / "all",
            options={"minutes": 5.0},
            progress=lambda _: None,
        )


def test_minutes_need_no_unlabeled_images(tmp_path: Path, slow_machine: list[Plan]) -> None:
    data = replace(small_set("binary"), unlabeled=())
    run = imseg.fit(data, out=tmp_path / "run", minutes=40, **SMALL)
    assert run.plan.approach.name == "ldt"
    with pytest.raises(ImsegError, match="im learns from unlabeled images"):
        imseg.fit(data, out=tmp_path / "im", minutes=40, approach="im", **SMALL)
