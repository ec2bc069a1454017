"""Runs whose predictions are averaged over flipped images: who does that, and what is said."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from tests.e2e.small_sets import SETTINGS, Told

import imseg
from imseg.approaches.runs.run import Run, load_run
from imseg.comparison.scoring import score
from imseg.components import consensus
from imseg.data.folder.scan import read_folder
from imseg.engine.inference import evaluator, predictor
from imseg.engine.storage.sealed import read_sealed, write_sealed
from imseg.engine.workers.executors import Serial
from imseg.ops.augment import MOVES, UNMOVED
from imseg.report.figures import gallery


@pytest.fixture(scope="module")
def pair(cells, tmp_path_factory) -> dict[bool, tuple[Run, list, Told]]:
    """A run without flips and one with them: the run, how teachers saw images, what was said."""
    made = {}
    for tta in (False, True):
        seen, told = [], Told()

        def spied(*given, moves, _asked=consensus.probabilities_of, _seen=seen):
            _seen.append(moves)
            return _asked(*given, moves=moves)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(consensus, "probabilities_of", spied)
            run = imseg.fit(
                cells, approach="im", out=tmp_path_factory.mktemp("runs") / str(tta), tta=tta,
                generations=1, select="all", executor=Serial(), progress=told,
                patience=0, **SETTINGS,
            )  # fmt: skip
        made[tta] = run, seen, told
    return made


@pytest.fixture
def never_timed(monkeypatch) -> None:
    def refuse(*_given, **_named):
        raise AssertionError("nothing had to be measured")

    monkeypatch.setattr(predictor, "seconds_per_image", refuse)


def test_teachers_see_flipped_images_and_validation_does_not(pair) -> None:
    (plain, before, _), (flipped, seen, told) = pair[False], pair[True]
    runs = (plain, flipped)
    assert set(before) == {UNMOVED} and set(seen) == {MOVES} and len(seen) == len(before)
    assert told.said("Predictions will be averaged over 8 orientations of each image.")
    scores, jobs = (
        [[getattr(run.trained(f"{stage}/network-{n}"), name) for n in (0, 1)] for run in runs]
        for stage, name in (("start", "scores"), ("generation-1", "job"))
    )
    assert scores[0] == scores[1], "labels alone, validated as ever"
    assert not set(jobs[0]) & set(jobs[1]), "students learn from other pseudo-labels"
    again = load_run(flipped.path)
    assert again.plan.tta and not load_run(plain.path).plan.tta


def test_scores_are_those_of_how_the_run_was_trained_and_say_so(pair, cells, never_timed) -> None:
    data = read_folder(cells)
    for tta, (run, *_) in pair.items():
        own, other = run.evaluate(data), run.evaluate(data, tta=not tta)
        assert (own.orientations, other.orientations) == ((8, 1) if tta else (1, 8))
        assert own.as_dict()["orientations"] == own.orientations
        looking = run.predictor(tta=tta)
        assert own.per_image == evaluator.evaluate(data.test, looking).per_image
        assert own.per_image != other.per_image


def test_predictions_are_averaged_by_themselves_where_that_takes_less_than_a_second(
    pair, monkeypatch
) -> None:
    run = pair[True][0]
    images = list(np.random.default_rng(3).integers(0, 256, (2, 40, 30), dtype=np.uint8))
    images = [np.stack([each] * run.reading.channels, axis=-1) for each in images]
    masks = {}
    for seconds, tta in ((0.124, True), (0.126, False)):
        monkeypatch.setattr(predictor, "seconds_per_image", lambda *_, s=seconds, **__: s)
        found = run.orientations()
        assert found.tta == tta and found.moves == (MOVES if tta else UNMOVED)
        assert found.too_slow == (None if tta else pytest.approx(8 * 0.126))
        masks[tta] = [each.mask for each in run.predict(images)]
    for tta, wanted in masks.items():
        found = [each.mask for each in run.predict(images, tta=tta)]
        np.testing.assert_array_equal(found, wanted)
    assert not np.array_equal(masks[True], masks[False])


def test_a_run_without_flips_predicts_as_before_and_measures_nothing(pair, never_timed) -> None:
    run = pair[False][0]
    assert run.orientations().moves == UNMOVED and run.orientations().text == ""
    assert run.orientations(tta=True).moves == MOVES
    assert pair[True][0].orientations(tta=False).moves == UNMOVED


def test_commands_say_in_how_many_orientations_images_are_seen(
    pair, cells, cli, tmp_path, monkeypatch
) -> None:
    plain, flipped = (pair[tta][0].path for tta in (False, True))
    note = "each image is seen in 8 orientations; --no-tta is about 8 times as fast"
    pictures = cells / "test" / "images"

    def predicted(run: Path, name: str, *words: str) -> tuple[int, str]:
        out = tmp_path / name
        status, found, err = cli("predict", run, pictures, "--out", out, "--json", *words)
        assert status == 0
        return json.loads(found)["orientations"], " ".join(err.split())

    count, said = predicted(plain, "a")
    assert count == 1 and "--no-tta" not in said and "--tta" not in said
    count, said = predicted(plain, "b", "--tta")
    assert count == 8 and note in said
    monkeypatch.setattr(predictor, "seconds_per_image", lambda *_, **__: 2.0)
    count, said = predicted(flipped, "c")
    assert count == 1 and "it would take 16.0 s here (--tta does" in said
    status, out, err = cli("evaluate", flipped, cells)
    assert status == 0 and "each seen in 8 orientations" in out and note in " ".join(err.split())


def test_a_matched_baseline_is_predicted_as_its_match_is(pair, cells) -> None:
    def matched(run: Run, **asked: bool) -> bool:
        made = {"approach": "ldt-matched", "match": run.path, "device": "cpu", **asked}
        return imseg.estimate(cells, probe=False, progress=Told(), **made).plan.tta

    assert [matched(pair[tta][0]) for tta in (False, True)] == [False, True]
    assert matched(pair[False][0], tta=True) and not matched(pair[True][0], tta=False)


def test_pictures_of_an_evaluation_are_predicted_as_it_was(pair, cells, monkeypatch) -> None:
    run, data, asked = pair[True][0], read_folder(cells), []
    predictor = Run.predictor

    def spied(run, *given, tta, **named):
        asked.append(tta)
        return predictor(run, *given, tta=tta, **named)

    found = run.evaluate(data, "val", tta=False)
    monkeypatch.setattr(Run, "predictor", spied)
    for count in (1, 8):
        gallery(run, data.val, dataclasses.replace(found, orientations=count), most=1)
    assert asked == [False, True]


def test_a_comparison_scores_again_what_was_scored_in_other_orientations(
    pair, cells, tmp_path, monkeypatch
) -> None:
    run, data, path = pair[False][0], read_folder(cells), tmp_path / "scores.json"
    flipped = dataclasses.replace(run, plan=dataclasses.replace(run.plan, tta=True))

    def scored(run: Run) -> dict[str, int]:
        found = score(run, data, path=path, digest="data", progress=lambda *_: None)
        return {name: each.orientations for name, each in found.items()}

    assert set(scored(run).values()) == {1}
    kept = read_sealed(path)
    for each in kept.values():
        if isinstance(each, dict):
            assert each.pop("orientations") == 1
    write_sealed(path, {k: v for k, v in kept.items() if isinstance(v, dict)})
    with monkeypatch.context() as patched:
        patched.setattr(Run, "evaluate", lambda *_: pytest.fail("it was scored before"))
        assert set(scored(run).values()) == {1}, "files from before there were orientations"
    assert set(scored(flipped).values()) == {8}
    assert {each["orientations"] for each in json.loads(path.read_text()).values()
            if isinstance(each, dict)} == {8}  # fmt: skip
