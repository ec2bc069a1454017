"""Hidden truth is out of reach: images have no target, and upper bounds alone are given it.

Whoever makes pseudo-labels may be watched by an audit that compares them with hidden masks. What it
finds goes to people; nothing of it returns to who trains.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import imseg
from imseg.approaches.methods.approach import Approach
from imseg.approaches.methods.catalog import APPROACHES
from imseg.approaches.planning.budget import make_plan
from imseg.approaches.planning.plan import Facts
from imseg.approaches.planning.settings import Settings, settings_from
from imseg.approaches.running.run_data import PictureStore, RunData, gather
from imseg.components.consensus import Block, Everything, PseudoLabelBatch
from imseg.components.labeling import PseudoLabels, ask_teachers, pseudo_label
from imseg.errors import ImsegError
from imseg.types import DataSet, Image, LabeledImage, Reading

ROOT = Path(imseg.__file__).parent
UPPER_BOUNDS = ["fdt", "gt-im++"]
BLIND = ["ldt", "ldt-matched", "aldt", "aldt-matched", "ldt-online", "consistency", "mean-teacher"]
BLIND += ["ldt-same-cost", "auto", "fixmatch", "unimatch", "unimatch+im", "cps", "online-im"]
"""Neither upper bounds nor makers of pseudo-labels: they have no use for hidden masks."""


@functools.cache
def trees() -> list[tuple[str, ast.Module]]:
    """Return the path of each source file, relative to the package, and what is in it."""
    return [
        (path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(ROOT.rglob("*.py"))
    ]


def importers(module: str) -> set[str]:
    """Return the files that import a module or anything in it, at the top or inside a function."""
    package, _, name = module.rpartition(".")
    found = set()
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {node.module or ""}
                if node.module == package and name in {alias.name for alias in node.names}:
                    names.add(module)
            else:
                continue
            if any(each == module or each.startswith(f"{module}.") for each in names):
                found.add(path)
    return found


def named_from(module: str, paths: set[str]) -> set[str]:
    """Return what files import from a module."""
    return {
        alias.name
        for path, tree in trees()
        if path in paths
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == module
        for alias in node.names
    }


def readers(attribute: str) -> dict[str, int]:
    """Return how often files read an attribute of anything."""
    found: dict[str, int] = {}
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == attribute:
                found[path] = found.get(path, 0) + 1
    return found


def test_an_image_has_a_name_and_pixels_and_their_size_and_nothing_else() -> None:
    names = [field.name for field in dataclasses.fields(Image)]
    assert names == ["name", "pixels", "pixel_size"]
    with pytest.raises((AttributeError, TypeError)):
        Image("a.png", Path("a.png")).mask = Path("truth.png")


def test_a_data_set_has_no_field_for_hidden_masks() -> None:
    names = [field.name for field in dataclasses.fields(DataSet)]
    looks = ["modality", "narrow"]  # of the labeled images alone
    wanted = ["name", "spec", "reading", "labeled", "unlabeled", "val", "test", "digests", *looks]
    assert names == wanted


def test_the_run_data_of_an_approach_has_no_test_images() -> None:
    names = [field.name for field in dataclasses.fields(RunData)]
    assert names == ["labeled", "validation", "unlabeled", "hidden", "indices"]


def test_upper_bounds_alone_use_hidden_masks() -> None:
    """Issue 4 adds the second one, gt-im++: it copies by the true quality. No start uses any."""
    assert [name for name, each in APPROACHES.items() if each.labeled.hidden_too] == ["fdt"]
    copied = {name: each.amplification for name, each in APPROACHES.items()}
    truth = [name for name, each in copied.items() if each is not None and each.needs_truth]
    assert truth == ["gt-im++"]
    assert [name for name, each in APPROACHES.items() if each.sees_truth] == UPPER_BOUNDS
    starts = [start for each in APPROACHES.values() for start in (each.start, each.scorer_start)]
    assert not any(start.sees_truth for start in starts if start is not None)


@pytest.mark.parametrize("approach", BLIND)
def test_hidden_masks_are_refused_where_nothing_can_be_compared_with_them(approach: str) -> None:
    """Issue 4: they are no longer refused to makers of pseudo-labels, which are audited by them."""
    options = {"approach": approach, "unlabeled_masks": "hidden/masks"}
    if APPROACHES[approach].matched:
        options["match"] = "runs/a"
    with pytest.raises(ImsegError, match=f"{re.escape(approach)} may not see the hidden masks"):
        settings_from(options)


@pytest.mark.parametrize("approach", sorted(set(APPROACHES) - {*BLIND, *UPPER_BOUNDS}))
def test_hidden_masks_can_be_named_for_the_audit_of_pseudo_labels(approach: str) -> None:
    assert APPROACHES[approach].pseudo_label is not None
    settings = settings_from({"approach": approach, "unlabeled_masks": "hidden/masks"})
    assert settings.unlabeled_masks == Path("hidden/masks")
    assert not APPROACHES[approach].sees_truth


@pytest.mark.parametrize("approach", UPPER_BOUNDS)
def test_an_upper_bound_without_hidden_masks_is_refused(approach: str) -> None:
    with pytest.raises(ImsegError) as caught:
        settings_from({"approach": approach})
    assert caught.value.what.startswith(f"{approach} needs the hidden masks")
    assert settings_from({"approach": approach, "unlabeled_masks": "hidden/masks"})


def picture(number: int, *, labeled: bool) -> Image | LabeledImage:
    generator = np.random.default_rng(number)
    image = Image(f"{number}.png", generator.integers(0, 256, (32, 32, 1), dtype=np.uint8))
    if not labeled:
        return image
    return LabeledImage(image, generator.integers(0, 2, (32, 32), dtype=np.uint8))


@pytest.mark.parametrize("approach", APPROACHES)
def test_run_data_holds_hidden_masks_for_upper_bounds_alone(
    approach: str, binary: Callable[..., object], tmp_path: Path
) -> None:
    """Even where they are named, as for an audit."""
    data = DataSet(
        name="made-up",
        spec=binary().spec,
        reading=Reading(channels=1),
        labeled=tuple(picture(number, labeled=True) for number in range(4)),
        unlabeled=tuple(picture(number, labeled=False) for number in range(10, 13)),
        val=tuple(picture(number, labeled=True) for number in range(20, 22)),
    )
    hidden = tuple(picture(number, labeled=True) for number in range(10, 13))
    facts = Facts(
        task="binary",
        labeled=4,
        validation=2,
        unlabeled=3,
        channels=1,
        outputs=1,
        typical_size=(32, 32),
    )
    asked = Settings(approach=approach, effort="quick", device="cpu", image_size=(32, 32))
    plan = make_plan(asked, facts)
    store = PictureStore(data=data, plan=plan, folder=tmp_path, progress=lambda _: None)
    run_data = gather(store, hidden=hidden)
    assert (run_data.hidden is not None) == (approach in UPPER_BOUNDS)
    assert ("hidden" in run_data.digests) == (approach in UPPER_BOUNDS)
    stored = {path.name for path in tmp_path.iterdir()}
    assert any("hidden" in name for name in stored) == (approach in UPPER_BOUNDS)
    if run_data.unlabeled is not None:
        assert run_data.unlabeled.targets is None


def test_hidden_run_data_is_read_by_the_two_upper_bounds_alone() -> None:
    """In ``context.py`` for fdt, in ``mask_scoring.py`` for the oracle; ``run_data.py`` hashes it.

    Nothing else is called ``hidden``, so nothing else can be meant.
    """
    found = readers("hidden")
    assert set(found) == {
        "approaches/running/context.py",
        "approaches/running/mask_scoring.py",
        "approaches/running/run_data.py",
    }
    assert (
        found["approaches/running/context.py"] == found["approaches/running/mask_scoring.py"] == 1
    )
    text = (ROOT / "approaches/running/context.py").read_text(encoding="utf-8")
    assert "self.data.hidden if approach.labeled.hidden_too else None" in text


def test_what_is_prepared_hands_hidden_pairs_to_the_run_data_and_to_estimates_alone() -> None:
    assert set(readers("hidden_pairs")) == {
        "approaches/running/experiment.py",
        "approaches/planning/estimate.py",
        "approaches/running/preparation.py",
    }
    # There only hashes of the masks' files are taken, which are written down at the beginning.
    hashes = next(
        ast.unparse(node)
        for path, tree in trees()
        if path == "approaches/running/preparation.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "hidden_contents"
    )
    inside = hashes.count(".hidden_pairs")
    assert readers("hidden_pairs")["approaches/running/preparation.py"] == inside == 2
    assert "self.files.content_of(pair.mask) for pair in self.hidden_pairs" in hashes
    assert set(readers("hidden_contents")) == {"approaches/running/experiment.py"}


def test_nothing_that_trains_knows_the_audit() -> None:
    """The way there is one: the experiment starts it, and it compares; nobody else has its name."""
    assert importers("imseg.approaches.running.auditing") == {"approaches/running/experiment.py"}
    # Of those that read finished runs, which show what was found and know its type alone:
    shown = {"approaches/runs/run.py", "approaches/runs/run_files.py"}
    assert importers("imseg.components.audit") == {"approaches/running/auditing.py", *shown}
    assert named_from("imseg.components.audit", shown) == {"AuditResult"}
    # What is written down about it is found by the audit and by who opens a run to show it.
    assert set(readers("audit")) == {"approaches/running/auditing.py", "approaches/runs/run.py"}
    shows = {path for path in readers("audits") if path.startswith(("report/", "cli/"))}
    assert set(readers("audits")) == shows != set()


def test_the_audit_looks_from_outside_at_who_trains() -> None:
    """It imports no room in which networks are trained, ranked or taught, but for their types."""
    tree = ast.parse((ROOT / "approaches/running/auditing.py").read_text(encoding="utf-8"))
    names = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    rooms = ("generations", "mask_scoring", "context", "stage", "early_stopping")
    training = tuple(f"imseg.approaches.running.{room}" for room in rooms)
    inside = {name for name in names if name.startswith(training)}
    assert inside == {"imseg.approaches.running.generations.Watch"}


def test_who_is_watched_takes_no_answer() -> None:
    """An observer is called as a statement: there is no value to be used."""
    calls, statements = set(), set()
    for path, tree in trees():
        for node in ast.walk(tree):
            match node:
                case ast.Expr(value=ast.Call(func=ast.Name(id="observe"), lineno=line)):
                    statements.add((path, line))
                case ast.Call(func=ast.Name(id="observe"), lineno=line):
                    calls.add((path, line))
    assert calls == statements
    assert {path for path, _ in calls} == {"components/labeling.py"}


class Vandal:
    """Looks at pseudo-labels and breaks whatever it gets hold of."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, start: int, agreement: PseudoLabelBatch, admitted: torch.Tensor) -> None:
        self.seen += len(admitted)
        for name in ("labels", "consensus", "first"):
            getattr(agreement, name).fill_(1)
        agreement.inconsistent.fill_(True)
        admitted.fill_(False)


class Copied:
    """A labeler that says what is bright, and disputes what is nearly so."""

    teachers = 1
    block = Block()

    def label(self, teacher_batch: object) -> PseudoLabelBatch:
        pixels = torch.from_numpy(teacher_batch.images.copy()).permute(0, 3, 1, 2)
        labels = (pixels > 128).byte()
        disputed = (pixels > 100) & (pixels < 150)
        return PseudoLabelBatch(
            labels=labels,
            inconsistent=disputed.clone(),
            disputed=disputed,
            consensus=labels.clone(),
            first=labels.clone(),
        )


class Seated:
    """As much of a panel as that labeler asks for."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images
        self.hard_predictions = torch.zeros(1, len(images), 1, 16, 16)


def test_an_observer_cannot_change_what_is_learned(binary, tmp_path) -> None:
    """An audited run has the labels, masks, images and digests of one that is not."""
    images = np.random.default_rng(3).integers(0, 256, (70, 16, 16, 1), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)

    def made(name: str, observe: Vandal | None) -> PseudoLabels:
        return pseudo_label(
            tmp_path / "images.npy",
            "digest",
            ask=ask_teachers(
                tmp_path / "images.npy",
                teacher_batch_for=lambda start, some: Seated(some),
                labeler=Copied(),
                select=Everything(),
                task=binary(),
            ),
            block=Copied().block,
            task=binary(),
            folder=tmp_path / name,
            progress=lambda done, total: None,
            observe=observe,
        )

    vandal = Vandal()
    alone, watched = made("alone", None), made("watched", vandal)
    assert vandal.seen == 70
    assert watched.part.digest == alone.part.digest
    assert watched.part.indices == alone.part.indices == tuple(range(70))
    assert watched.inconsistent_share == alone.inconsistent_share
    for name in ("labels.npy", "inconsistent.npy", "labels.json"):
        assert (tmp_path / "watched" / name).read_bytes() == (
            tmp_path / "alone" / name
        ).read_bytes()


def test_an_approach_says_by_its_stages_alone_that_it_sees_the_truth() -> None:
    """There is no switch to forget."""
    assert "sees_truth" not in {field.name for field in dataclasses.fields(Approach)}


def test_test_images_are_read_by_the_evaluation_alone() -> None:
    """The attribute ``.test`` of a data set is looked at where data sets are made and scored.

    Since issue 4 every room of ``approaches/`` is looked at, not a list of them.
    """
    training = ("components", "approaches", "engine", "tasks", "networks", "ops")
    assert all((ROOT / room).is_dir() for room in training)
    assert {name for name in readers("test") if name.startswith(training)} == set()
