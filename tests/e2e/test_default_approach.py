"""Trainings for which no approach is named, from the first command to one that continues them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.approaches.planning.made_up_costs import costs
from tests.e2e.small_sets import SETTINGS, Killed, Mortal, Told, Watched, small_set, weights_of

import imseg
from imseg.approaches.planning import duration
from imseg.approaches.runs.retraining import retrain
from imseg.approaches.runs.run import Run
from imseg.approaches.runs.run_files import Record
from imseg.engine.storage.run_folder import RunFolder
from imseg.errors import ImsegError
from imseg.types import DataSet

ALONE = "There are no unlabeled images: networks learn from labels alone (ldt)."


def fit(out: Path, data: DataSet | None = None, **options: Any) -> Run:
    settings = {**SETTINGS, "recipe": "modern", "executor": Watched(), "progress": Told()}
    return imseg.fit(data or small_set("binary"), out=out, **settings | options)


def without_unlabeled() -> DataSet:
    return replace(small_set("binary"), unlabeled=())


def record_of(run: Run) -> Record:
    return Record.read(RunFolder(run.path).experiment)


def test_auto_is_trained_and_known_again_with_and_without_its_name(tmp_path: Path) -> None:
    told = Told()
    run = fit(tmp_path / "run", progress=told)
    assert run.plan.approach.name == "auto" and told.said("What unlabeled images bought")
    assert "approach" not in record_of(run).asked, "what was not named is not written down"
    for named in ({}, {"approach": "auto"}):
        told = Told()
        assert fit(run.path, progress=told, **named).plan == run.plan
        assert told.said("is already finished")
    with pytest.raises(ImsegError, match="holds another experiment") as caught:
        fit(run.path, approach="im")
    assert (caught.value.expected, caught.value.got) == ("approach = auto", "approach = im")


def test_a_run_of_another_approach_is_not_that_of_none(tmp_path: Path) -> None:
    run = fit(tmp_path / "run", approach="ldt")
    with pytest.raises(ImsegError, match="holds another experiment") as caught:
        fit(run.path)
    assert (caught.value.expected, caught.value.got) == ("approach = ldt", "approach = (default)")


def test_a_run_that_an_earlier_version_began_without_a_name_goes_on_as_im(tmp_path: Path) -> None:
    """It wrote down ``im``, as if that had been named."""
    whole = fit(tmp_path / "whole", approach="im")
    with pytest.raises(Killed):
        fit(tmp_path / "part", approach="im", executor=Mortal(1))
    executor = Watched()
    part = fit(tmp_path / "part", executor=executor)
    assert part.plan == whole.plan and part.plan.approach.name == "im"
    assert weights_of(part.path) == weights_of(whole.path)
    assert [job.name for job in executor.jobs["start"]] == ["start/network-1"]


def test_minutes_that_an_earlier_version_began_without_a_name_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wrote down ``im`` there, too, although labels alone came first."""
    monkeypatch.setattr(duration, "measure", lambda *_: costs(30.0))
    asked = {"max_steps": None, "epochs": None, "minutes": 40.0, "networks": None}
    told = Told()
    run = fit(tmp_path / "run", without_unlabeled(), progress=told, **asked)
    assert run.plan.approach.name == "ldt" and told.notes.count(ALONE) == 1
    record = record_of(run)
    record.asked["approach"] = "im"
    record.write(RunFolder(run.path).experiment)
    told = Told()
    assert fit(run.path, without_unlabeled(), progress=told, **asked).plan == run.plan
    assert told.said("is already finished") and not told.said(ALONE)


@pytest.mark.parametrize("recipe", ["modern", "paper"])
def test_without_unlabeled_images_labels_alone_are_trained_and_it_is_said(
    tmp_path: Path, recipe: str
) -> None:
    told = Told()
    run = fit(tmp_path / "run", without_unlabeled(), recipe=recipe, progress=told)
    assert run.plan.approach.name == "ldt" and told.notes.count(ALONE) == 1
    named = fit(tmp_path / "named", without_unlabeled(), recipe=recipe, approach="ldt")
    assert weights_of(named.path) == weights_of(run.path)
    assert fit(run.path, without_unlabeled(), recipe=recipe).plan == run.plan, "it is known again"
    assert retrain(run.path, run.summary["network"], without_unlabeled()).same
    told = Told()
    assert fit(run.path, recipe=recipe, progress=told).plan == run.plan
    assert told.said("There were no unlabeled images when this run was begun")


def test_auto_by_name_needs_unlabeled_images_and_so_does_an_option_about_them(
    tmp_path: Path,
) -> None:
    text = """auto learns from unlabeled images, and arrays has none.
  Expected: images in unlabeled/ (no masks needed).
  Got:      no unlabeled images.
  Try:      copy images into arrays/unlabeled/, or --approach ldt."""
    for asked in ({"approach": "auto"}, {"learners": 3}, {"limit_unlabeled": 4}):
        with pytest.raises(ImsegError) as caught:
            fit(tmp_path / "run", without_unlabeled(), **asked)
        assert str(caught.value) == text
    assert not list(tmp_path.iterdir())


def test_an_estimate_is_about_what_would_be_trained(tmp_path: Path) -> None:
    for data, approach in ((small_set("binary"), "auto"), (without_unlabeled(), "ldt")):
        told = Told()
        asked = {**SETTINGS, "recipe": "modern", "probe": False, "progress": told}
        assert imseg.estimate(data, out=tmp_path / "run", **asked).plan.approach.name == approach
        assert told.said(ALONE) == (approach == "ldt")


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "regression", "instances"])
def test_the_default_is_for_every_kind_of_masks(tmp_path: Path, kind: str) -> None:
    run = fit(tmp_path / "run", small_set(kind))
    assert run.plan.approach.name == "auto" and run.summary["stage"] in ("start", "generation-1")
