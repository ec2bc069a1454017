"""Every approach with every kind of masks, from arrays to masks for new pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.e2e.small_sets import (
    KINDS,
    LABELED,
    SETTINGS,
    SIDE,
    UNLABELED,
    VALIDATION,
    Scored,
    Told,
    Watched,
    scenes,
    small_set,
    train,
    weights_of,
    write_hidden,
)
from tests.sets import rest_but

from imseg.approaches.methods.catalog import APPROACHES
from imseg.approaches.runs.run import Run
from imseg.engine.training.objectives.mixed import MixedObjective
from imseg.engine.training.objectives.online_labels import OnlineLabelsAtWork
from imseg.errors import ImsegError, TrainingFailed
from imseg.types import DataSet

GENERATIONS = 2
SETTLED_BY_MATCH = ("epochs", "max_steps", "width", "image_size", "batch_size")
NO_IOU = ("im++", "aim++", "evalnet", "gt-im++")


@dataclass(frozen=True)
class Wanted:
    """What a run of an approach must look like."""

    labeled: int = LABELED
    """Labeled samples of its own networks."""
    start: str | None = None
    """The single-stage approach whose networks it starts from."""
    stages: int = 0
    """Generations."""
    grows: bool = False
    """Whether the second generation is wider."""
    blocks: bool = False
    """Whether pixels are found inconsistent."""
    fewest: int = 1
    """Samples that each admitted image gives at least."""
    most: int = 1
    """The same at most."""
    aside: tuple[str, ...] = ()
    """Stages that help."""


COPIED = 10 * LABELED  # every image and nine copies of it
WANTED = {
    "auto": Wanted(start="ldt", stages=1),
    "ldt": Wanted(),
    "aldt": Wanted(labeled=COPIED),
    "ldt-online": Wanted(),
    "fdt": Wanted(labeled=LABELED + UNLABELED),
    "model-ensemble": Wanted(start="ldt", stages=2),
    "input-ensemble": Wanted(start="ldt", stages=2),
    "noisy-student": Wanted(start="ldt", stages=2, grows=True),
    "consistency": Wanted(start="ldt", stages=1),
    "mean-teacher": Wanted(),
    **dict.fromkeys(("fixmatch", "unimatch", "unimatch+im", "cps", "online-im"), Wanted()),
    "evalnet": Wanted(start="ldt", stages=2, aside=("scorer-start", "scorers")),
    "im": Wanted(start="ldt", stages=2, blocks=True),
    "im+": Wanted(start="ldt", stages=2, grows=True, blocks=True),
    "im++": Wanted(start="ldt", stages=2, grows=True, blocks=True, most=5, aside=("scorers",)),
    "aim+": Wanted(
        labeled=COPIED, start="aldt", stages=2, grows=True, blocks=True, fewest=2, most=2
    ),
    "aim++": Wanted(
        labeled=COPIED, start="aldt", stages=2, grows=True, blocks=True, fewest=2, most=6,
        aside=("scorers",),
    ),
    "gt-im++": Wanted(start="ldt", stages=2, grows=True, blocks=True, most=5),
}  # fmt: skip


@dataclass(frozen=True)
class ScorerGroup:
    """What all runs of a kind share."""

    data: DataSet
    hidden: Path
    runs: Path

    def train(self, approach: str, **watching: Any) -> Run:
        """Train an approach; networks that another run has are taken over."""
        made, options = APPROACHES[approach], {"recipe": "modern"}
        if made.generations > 1:
            options["generations"] = GENERATIONS
        if made.pseudo_label is not None:
            options["select"] = "all"  # three steps do not teach two networks to agree
            options["patience"] = 0  # nor that all is not background, which else ends a run
        if made.carry:
            options["thresholds"] = (0.05, 0.1)
        if made.sees_truth:
            options["unlabeled_masks"] = self.hidden
        return train(
            self.data, approach, self.runs / approach, reuse=self.runs, **watching, **options
        )


@pytest.fixture(scope="session")
def bench_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ScorerGroup]:
    """A function that returns the bench of a kind, with both starts trained."""
    made: dict[str, ScorerGroup] = {}

    def bench(kind: str) -> ScorerGroup:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            hidden = write_hidden(folder / "hidden", kind)
            (folder / "runs").mkdir()
            made[kind] = ScorerGroup(small_set(kind), hidden, folder / "runs")
            for start in ("ldt", "aldt"):
                made[kind].train(start)
        return made[kind]

    return bench


def steps_for(samples: int, batch: int = 8) -> int:
    """Return the steps of a training in batches; a last batch of one joins the one before."""
    epoch = samples // batch + (samples % batch > 1)
    return min(SETTINGS["max_steps"], SETTINGS["epochs"] * epoch)


def check_networks(
    run: Run, stage: dict[str, Any], *, width: float, images: int, steps: int | None = None
) -> None:
    """Check what the networks of a stage have learned from, for how long, and their order."""
    steps = steps_for(images) if steps is None else steps
    assert stage["failed"] == []
    assert len(stage["networks"]) == 2
    for network in stage["networks"]:
        assert network["width"] == width
        assert network["images"] == images
        assert network["steps"] == steps
        assert all(np.isfinite(value) for value in network["scores"].values())
    scores = [network["scores"][run.metric.key] for network in stage["networks"]]
    assert scores == sorted(scores, reverse=run.metric.higher_is_better)
    assert (stage["best"], stage["score"]) == (stage["networks"][0]["name"], scores[0])


def check_generation(run: Run, stage: dict[str, Any], number: int, wanted: Wanted) -> None:
    """Check a generation and what it was taught."""
    width = 0.25 + (0.25 * (number - 1) if wanted.grows else 0)
    taught = stage["pseudo_labels"]
    assert taught["images"] == UNLABELED
    assert 1 <= taught["admitted"] <= UNLABELED
    samples = taught["samples"] or taught["admitted"]
    assert wanted.fewest * taught["admitted"] <= samples <= wanted.most * taught["admitted"]
    assert (taught["inconsistent_share"] > 0) == wanted.blocks
    check_networks(run, stage, width=width, images=wanted.labeled + samples)


def check_judges(run: Run) -> None:
    """Check what judges of masks learned from, and what is known about them."""
    further, scorers = [None, *run.summary["aside"]][-2:]
    scored = json.loads((run.path / "scorers" / "judgment.json").read_text())
    # Ten rounds and three, or what two networks of each start say; of the latter judges also learn
    # from the truth itself, but nobody asks them about it.
    rounds, rounds_validation = (10, 3) if further is None else (5, 4)
    assert scored["samples"] == VALIDATION * rounds_validation
    for network in scorers["networks"]:
        assert (network["images"], network["width"]) == (LABELED * rounds, 0.5)
    if further is not None:
        check_networks(run, further, width=0.25, images=COPIED)
    low, high = scored["thresholds"]
    assert 0 <= low <= high <= 1


def check_prediction(run: Run, kind: str) -> None:
    """Check the mask of a picture of another size than the run's."""
    picture = np.kron(scenes(9, 1)[0][0], np.ones((2, 1), np.uint8))[: SIDE + 5]
    (found,) = run.predict([picture], disagreement=True)
    mask = found.mask
    assert mask.shape[-2:] == picture.shape and found.inconsistent.shape == picture.shape
    values = set(np.unique(mask).tolist())
    match kind:
        case "multilabel":
            assert len(mask) == 3 and values <= {0, 255}
        case "regression":
            assert mask.dtype == np.float32 and mask.min() >= 1 and mask.max() <= 5
        case "instances":
            assert mask.dtype == np.uint16 and values == set(range(len(values)))
        case _:
            assert values <= ({0, 1} if kind == "binary" else {0, 1, 2, 3})


def best_of(stages: list[dict[str, Any]], run: Run) -> float:
    """Return the best score of any generation."""
    scores = [stage["score"] for stage in stages]
    return max(scores) if run.metric.higher_is_better else min(scores)


def test_the_table_knows_every_approach():
    assert set(WANTED) == {name for name, each in APPROACHES.items() if not each.matched}


PAIRS = [
    (kind, name)
    for kind in KINDS
    for name in WANTED
    if not (kind == "regression" and name in (*NO_IOU, "fixmatch", "unimatch", "unimatch+im"))
]
ONE_EACH = {
    ("binary", "im"), ("binary", "consistency"), ("binary", "mean-teacher"),
    ("binary", "fdt"), ("binary", "aim++"),
    ("multiclass", "online-im"), ("instances", "cps"), ("binary", "fixmatch"),
    ("binary", "auto"), ("multilabel", "unimatch"), ("multiclass", "unimatch+im"),
    ("multiclass", "im+"), ("multiclass", "evalnet"), ("multiclass", "ldt-online"),
    ("multilabel", "im++"), ("multilabel", "input-ensemble"), ("multilabel", "ldt"),
    ("regression", "model-ensemble"), ("regression", "noisy-student"), ("regression", "aim+"),
    ("instances", "gt-im++"), ("instances", "aldt"), ("instances", "consistency"),
}  # fmt: skip
"""Pairs in ``make test``: each approach and each kind of masks."""


def test_the_pairs_of_the_fast_tests_have_every_approach_and_every_kind():
    assert {name for _, name in ONE_EACH} == set(WANTED)
    assert {kind for kind, _ in ONE_EACH} == set(KINDS)
    assert set(PAIRS) >= ONE_EACH


@pytest.mark.parametrize(("kind", "approach"), rest_but(PAIRS, lambda *pair: pair in ONE_EACH))
def test_every_approach_learns_from_every_kind_of_masks(bench_for, kind, approach):
    bench, wanted = bench_for(kind), WANTED[approach]
    told, executor = Told(), Watched()
    run = bench.train(approach, told=told, executor=executor)
    summary = run.summary
    start, *generations = summary["stages"]
    names = [f"generation-{number}" for number in range(1, wanted.stages + 1)]
    assert [stage["name"] for stage in generations] == names, told.warnings
    assert [stage["name"] for stage in summary["aside"]] == list(wanted.aside)
    trained = [*summary["stages"], *summary["aside"]]
    assert summary["steps"] == sum(net["steps"] for each in trained for net in each["networks"])
    chosen = next(stage for stage in summary["stages"] if stage["name"] == summary["stage"])
    candidates = summary["stages"] if APPROACHES[approach].keeps_start else generations or [start]
    assert chosen in candidates and summary["network"] == chosen["best"]
    assert chosen["score"] == best_of(candidates, run)
    assert (summary["gain"] is None) == (not generations)

    if wanted.start is None:
        mixed = isinstance(APPROACHES[approach].objective, MixedObjective)
        steps = steps_for(wanted.labeled, 4 if mixed else 8)  # half of a batch
        check_networks(run, start, width=0.25, images=wanted.labeled, steps=steps)
    else:
        check_networks(run, start, width=0.25, images=WANTED[wanted.start].labeled)
        theirs, ours = weights_of(bench.runs / wanted.start), weights_of(run.path)
        assert theirs and theirs.items() <= ours.items(), "the start is that of its approach"
        assert "start" not in executor.jobs, "and not trained again"
    if approach == "consistency":
        # Twice the epochs, each with a step on labeled and a step on unlabeled images.
        check_networks(run, generations[0], width=0.25, images=LABELED, steps=min(3, 4 * 2))
        assert generations[0]["pseudo_labels"] is None
        for job in executor.jobs["generation-1"]:
            assert job.initial.weights == run.path / f"{start['best']}.safetensors"
            assert len(job.unlabeled.indices) == UNLABELED
    elif approach == "auto":
        check_networks(run, generations[0], width=0.25, images=LABELED, steps=steps_for(LABELED, 4))
        assert generations[0]["pseudo_labels"] is None
        for job in executor.jobs["generation-1"]:
            assert job.initial is None and len(job.unlabeled.indices) == UNLABELED
        assert any("What unlabeled images bought" in text for text in told.notes)
    else:
        for number, stage in enumerate(generations, 1):
            check_generation(run, stage, number, wanted)
    assert (run.path / "scorers").exists() == ("scorers" in wanted.aside)
    if "scorers" in wanted.aside:
        check_judges(run)
    check_prediction(run, kind)
    assert not (run.path / "cache").exists()


def test_teachers_can_be_trained_by_another_approach(bench_for):
    bench, executor = bench_for("binary"), Watched()
    run = train(
        bench.data, "im", bench.runs / "from-fixmatch", executor=executor, start_with="fixmatch",
        generations=1, select="all", patience=0, confidence=0.75, reuse=bench.runs,
    )  # fmt: skip
    for job in executor.jobs["start"]:
        assert job.objective.filter == "confidence" and job.objective.confidence == 0.75
        assert len(job.unlabeled.indices) == UNLABELED
    assert [stage["name"] for stage in run.summary["stages"]] == ["start", "generation-1"]
    assert run.plan.approach.start.name == "fixmatch"


def test_auto_hands_labels_alone_over_where_unlabeled_images_bring_nothing(bench_for):
    bench, told = bench_for("binary"), Told()
    executor = Scored({"start": 0.9, "generation-1": 0.4})
    run = train(bench.data, "auto", bench.runs / "kept", executor=executor, told=told)
    assert run.summary["stage"] == "start" and len(run.summary["stages"]) == 2
    assert told.said("which learned from labels alone")
    told = Told()
    train(
        bench.data, "ldt-matched", bench.runs / "to-kept", match=run.path, told=told,
        leave_out=SETTLED_BY_MATCH,
    )  # fmt: skip
    assert told.said("says nothing about unlabeled images")


def test_auto_keeps_labels_alone_where_the_rest_cannot_be_trained(bench_for, monkeypatch):
    bench, told = bench_for("binary"), Told()

    def never(self, *args, **how):
        raise TrainingFailed("generation-1/network-0: the loss is no number")

    monkeypatch.setattr(OnlineLabelsAtWork, "begin", never)
    run = train(bench.data, "auto", bench.runs / "failed", told=told, executor=Watched())
    assert [stage["name"] for stage in run.summary["stages"]] == ["start"]
    assert told.said("the loss is no number") and told.said("The run ends with the start")
    check_prediction(run, "binary")
    with pytest.raises(TrainingFailed):
        train(bench.data, "online-im", bench.runs / "failed-alone", executor=Watched())


@pytest.mark.parametrize("kind", rest_but(KINDS, lambda kind: kind == "binary"))
def test_matched_baselines_get_the_steps_and_width_of_another_run(bench_for, kind):
    bench = bench_for(kind)
    other = train(
        bench.data, "im", bench.runs / "other", generations=1, select="all", width=0.375, epochs=9
    )
    final = other.trained(other.summary["network"])
    assert (final.steps, final.network.width) == (3, 0.375), "ldt has 2 steps and a width of 0.25"
    for approach, images in (("ldt-matched", LABELED), ("aldt-matched", COPIED)):
        run = train(
            bench.data,
            approach,
            bench.runs / approach,
            match=other.path,
            reuse=bench.runs,
            leave_out=SETTLED_BY_MATCH,
        )
        (stage,) = run.summary["stages"]
        check_networks(run, stage, width=0.375, images=images, steps=3)
        check_prediction(run, kind)
    run = train(
        bench.data,
        "ldt-same-cost",
        bench.runs / "same-cost",
        match=other.path,
        leave_out=(*SETTLED_BY_MATCH, "networks"),
    )
    ((alone,),) = (stage["networks"] for stage in run.summary["stages"])
    assert alone["steps"] > final.steps and alone["width"] == 0.375
    a_step = run.summary["flops"] / alone["steps"]
    assert 0 <= run.summary["flops"] - other.summary["flops"] <= 1.01 * a_step


@pytest.mark.parametrize("approach", NO_IOU)
def test_approaches_that_go_by_the_iou_are_refused_numbers(bench_for, approach):
    bench = bench_for("regression")
    with pytest.raises(ImsegError, match="does not fit regression masks") as refused:
        bench.train(approach)
    assert str(refused.value).startswith(approach)
    assert not (bench.runs / approach).exists()
