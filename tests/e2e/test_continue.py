"""Runs that end before their time: killed ones continue to the same bits, hopeless ones stop."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.small_sets import Killed, Mortal, Scored, Told, Watched, small_set, train, weights_of
from tests.sets import rest_but

from imseg.approaches.running import teachers
from imseg.approaches.runs.run import Run
from imseg.engine.workers.executors import Processes

OPTIONS: dict[str, dict[str, Any]] = {
    "im++": {"generations": 2, "select": "all", "recipe": "modern", "patience": 0},
    "evalnet": {"generations": 2, "select": "all", "thresholds": (0.05, 0.1), "patience": 0},
    "consistency": {"consistency_ramp": 2},
}


def trained(approach: str, out: Path, **more: Any) -> Run:
    return train(small_set("binary"), approach, out, **{**OPTIONS[approach], **more})


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that returns the folder of a run that nobody disturbed."""
    made: dict[str, Path] = {}

    def run(approach: str) -> Path:
        if approach not in made:
            made[approach] = tmp_path_factory.mktemp("whole") / "run"
            trained(approach, made[approach])
        return made[approach]

    return run


def untimed(content: Any) -> Any:
    """Return a summary without what may differ between equal runs."""
    if isinstance(content, dict):
        return {name: untimed(value) for name, value in content.items() if "seconds" not in name}
    return [untimed(value) for value in content] if isinstance(content, list) else content


def check_equal(one: Path, other: Path) -> None:
    """Check that two runs are the same but for the time they took."""
    ours, theirs = weights_of(one), weights_of(other)
    assert list(ours) == list(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == []
    scored = [path / "scorers" / "judgment.json" for path in (one, other)]
    assert scored[0].exists() == scored[1].exists()
    assert not scored[0].exists() or scored[0].read_bytes() == scored[1].read_bytes()


@pytest.mark.parametrize(
    ("approach", "lost", "retrained"),
    rest_but(
        [
            ("im++", [], 0),
            ("im++", ["generation-2"], 2),
            ("im++", ["generation-2", "generation-1/DONE", "generation-1/network-0.json"], 3),
            ("im++", ["scorers/DONE", "scorers/network-1.safetensors"], 1),
            ("im++", ["generation-1", "generation-2", "scorers"], 6),
            ("im++", ["scorers/judgment.json", "generation-2"], 2),
            ("im++", ["start/DONE", "start/network-1.json", "scorers", "generation-1/DONE"], 3),
            ("evalnet", ["generation-2"], 2),
            ("evalnet", ["scorers/network-0.json", "generation-2/network-1.safetensors"], 2),
            ("evalnet", ["scorer-start", "scorers/DONE", "generation-1"], 4),
            ("consistency", ["generation-1/DONE", "generation-1/network-1.json"], 1),
            ("consistency", ["start", "generation-1/DONE"], 2),
        ],
        lambda approach, lost, retrained: len(lost) == 4,
    ),
)
def test_a_run_that_lost_files_continues_to_the_same_bits(
    whole, tmp_path, approach, lost, retrained
):
    part = shutil.copytree(whole(approach), tmp_path / "part")
    for name in ("summary.json", *lost):
        path = part / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    executor = Watched()
    run = trained(approach, part, executor=executor)
    assert sum(map(len, executor.jobs.values())) == retrained, "what is there is not trained again"
    check_equal(part, whole(approach))
    again = trained(approach, whole(approach))
    assert untimed(run.summary) == untimed(again.summary)


@pytest.mark.parametrize(
    ("approach", "networks", "keeps_cache"),
    rest_but(
        [
            ("im++", 1, True),
            ("im++", 3, True),
            ("im++", 4, False),
            ("im++", 6, True),
            ("im++", 7, False),
            ("evalnet", 5, False),
            ("evalnet", 8, True),
            ("evalnet", 8, False),
            ("evalnet", 9, False),
            ("consistency", 3, True),
        ],
        lambda approach, networks, keeps_cache: (approach, networks) == ("im++", 4),
    ),
)
def test_a_killed_run_continues_to_the_same_bits(whole, tmp_path, approach, networks, keeps_cache):
    out = tmp_path / "run"
    with pytest.raises(Killed):
        trained(approach, out, executor=Mortal(networks))
    assert len(weights_of(out)) == networks and not (out / "summary.json").exists()
    if not keeps_cache:
        shutil.rmtree(out / "cache")
    executor = Watched()
    trained(approach, out, executor=executor)
    left = len(weights_of(whole(approach))) - networks
    assert sum(map(len, executor.jobs.values())) == left
    check_equal(out, whole(approach))


@pytest.mark.rest
@pytest.mark.parametrize("approach", ["im++", "consistency"])
def test_processes_train_the_same_networks_as_this_one(whole, tmp_path, approach):
    out = tmp_path / "run"
    with Processes(2) as executor:
        trained(approach, out, executor=executor)
    check_equal(out, whole(approach))


@pytest.mark.rest
def test_what_a_generation_learns_depends_on_the_labels_that_evalnet_kept(
    whole, tmp_path, monkeypatch
):
    """Else the tests above would not notice that these are lost."""
    out, undisturbed = tmp_path / "run", whole("evalnet")
    monkeypatch.setattr(teachers, "_kept", lambda _: None)
    trained("evalnet", out, reuse=undisturbed)
    ours, theirs = weights_of(out), weights_of(undisturbed)
    changed = {name for name in ours if ours[name] != theirs[name]}
    assert changed == {f"generation-2/network-{number}.safetensors" for number in (0, 1)}


def scored(out: Path, scores: dict[str, float], told: Told, **options: Any) -> tuple[Run, Scored]:
    """Train im with the given scores in place of true ones; returns the jobs too."""
    executor = Scored(scores)
    run = train(
        small_set("binary"), "im", out, executor=executor, told=told, select="all", **options
    )
    return run, executor


def taught(executor: Watched, stage: str) -> str:
    """Return the digest of the pseudo-labels of a generation."""
    return executor.jobs[stage][0].samples[-1].digest


@pytest.mark.rest
def test_without_a_rise_a_run_ends_early_and_says_so(tmp_path):
    told = Told()
    scores = {"start": 0.5, "generation-1": 0.4, "generation-2": 0.45, "generation-3": 0.9}
    run, executor = scored(tmp_path / "run", scores, told, generations=5, patience=2)
    assert list(executor.jobs) == ["start", "generation-1", "generation-2"]
    assert [stage["name"] for stage in run.summary["stages"]] == list(executor.jobs)
    assert told.said("2 generations without a rise on validation (best: start, IoU 0.500)")
    assert told.said("ends after generation-2 of 5") and told.said("--patience 0")
    assert run.summary["stage"] == "generation-2", "the better of the generations"
    assert run.summary["start_was_better"]


@pytest.mark.rest
def test_a_rise_within_the_patience_keeps_a_run_going(tmp_path):
    told = Told()
    scores = {"start": 0.5, "generation-1": 0.4, "generation-2": 0.6, "generation-3": 0.55}
    run, executor = scored(tmp_path / "run", scores, told, generations=3, patience=2)
    assert list(executor.jobs) == ["start", "generation-1", "generation-2", "generation-3"]
    assert not told.said("without a rise")
    assert run.summary["stage"] == "generation-2" and not run.summary["start_was_better"]


@pytest.mark.rest
def test_a_generation_that_is_worse_does_not_teach(tmp_path):
    told = Told()
    scores = {"start": 0.5, "generation-1": 0.4, "generation-2": 0.6}
    run, executor = scored(tmp_path / "run", scores, told, generations=3, patience=2)
    one, two, three = (taught(executor, f"generation-{number}") for number in (1, 2, 3))
    assert one == two != three, "the start teaches twice, then generation-2"
    assert told.said(
        "generation-1 is worse on validation than start (IoU 0.400 against 0.500,"
        " the 2 best networks of each), so start goes on teaching"
    )
    # Whoever goes on with this run later decides alike.
    for name in ("summary.json", "generation-2", "generation-3"):
        path = run.path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    _, later = scored(run.path, {"generation-2": 0.6}, Told(), generations=3, patience=2)
    assert taught(later, "generation-2") == two and taught(later, "generation-3") == three


@pytest.mark.rest
def test_of_equal_generations_the_later_one_teaches(tmp_path):
    told = Told()
    scores = {"start": 0.5, "generation-1": 0.5}
    _, executor = scored(tmp_path / "run", scores, told, generations=2, patience=2)
    assert taught(executor, "generation-1") != taught(executor, "generation-2")
    assert not told.said("goes on teaching")


@pytest.mark.rest
def test_without_patience_every_generation_teaches_the_next(tmp_path):
    told = Told()
    scores = {"start": 0.5, "generation-1": 0.4, "generation-2": 0.3}
    run, executor = scored(tmp_path / "run", scores, told, generations=3, patience=0)
    assert len(run.summary["stages"]) == 4
    assert len({taught(executor, f"generation-{number}") for number in (1, 2, 3)}) == 3
    assert not told.said("goes on teaching")


class Measured(Watched):
    """Looks at the stored arrays of a run when a stage begins."""

    def __init__(self, cache: Path) -> None:
        super().__init__()
        self.bytes: dict[str, dict[str, int]] = {}
        self._cache = cache

    def run(self, jobs: Any, **reports: Any) -> None:
        """Train all jobs in order."""
        stage = jobs[0].name.split("/")[0]
        files = sorted(self._cache.rglob("*.npy"))
        self.bytes[stage] = {
            file.relative_to(self._cache).as_posix(): file.stat().st_size for file in files
        }
        super().run(jobs, **reports)


@pytest.mark.parametrize(
    ("approach", "copies", "labeled"),
    rest_but(
        [("im+", 6, 8), ("im++", 30, 8), ("aim++", 36, 80)], lambda approach, *_: approach == "im+"
    ),
)
def test_copies_are_not_stored(tmp_path, approach, copies, labeled):
    kept = {}
    for name in ("im", approach):
        executor = Measured(tmp_path / name / "cache")
        options = {"thresholds": (1e-6, 2e-6)} if "++" in name else {}  # five copies of each
        train(
            small_set("binary"), name, tmp_path / name, executor=executor, generations=2,
            select="all", patience=0, **options,
        )  # fmt: skip
        kept[name] = {
            file: size
            for file, size in executor.bytes["generation-2"].items()
            if not file.startswith("scorers/")
        }
    assert executor.jobs["generation-2"][0].images == labeled + copies
    assert kept["im"] == kept[approach]
    assert {"generation-1/labels.npy", "generation-2/labels.npy"} <= set(kept["im"])
