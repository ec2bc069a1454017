"""Pseudo-labels that show nothing any more: who makes them again, when a run ends, what is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.e2e.small_sets import (
    KINDS,
    LABELED,
    PLANES,
    SIDE,
    UNLABELED,
    VALIDATION,
    Told,
    Watched,
    pairs,
    scenes,
    stage_of,
    train,
    write_hidden,
)

import imseg
from imseg.errors import TrainingFailed
from imseg.types import DataSet

DIM = 0.3
"""How much darker unlabeled images are: their disks have gray values of 43 to 71."""


def unlike(kind: str, unlabeled: np.ndarray) -> DataSet:
    """Return a data set whose unlabeled images are not like the labeled ones."""
    return imseg.dataset_from_arrays(
        pairs(kind, 0, LABELED),
        unlabeled=unlabeled,
        val=pairs(kind, 2, VALIDATION),
        task=kind,
        class_names=PLANES if kind == "multilabel" else None,
    )


def dim() -> DataSet:
    return unlike("binary", (scenes(1, UNLABELED)[0] * DIM).astype(np.uint8))


class Above(torch.nn.Module):
    """Says foreground where a picture is brighter than a threshold, which training leaves alone."""

    threshold = 0.35
    """Of the networks made next, 0..1."""

    def __init__(self, **_: object) -> None:
        super().__init__()
        self.steep = torch.nn.Parameter(torch.tensor(20.0))
        self.register_buffer("above", torch.tensor(Above.threshold))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.steep * (images[:, :1] - self.above)


class Own(Watched):
    """Trains a user's own networks.

    Args:
        network: Makes them.
    """

    def __init__(self, network: type[torch.nn.Module]) -> None:
        super().__init__()
        self._factory = network


class Staged(Own):
    """Gives the networks of a stage their threshold.

    Args:
        thresholds: By stage; 0.35 finds the disks of labeled images, and nothing in dim ones, 0.14
            finds these, and noise in labeled ones.
    """

    def __init__(self, **thresholds: float) -> None:
        super().__init__(Above)
        self._thresholds = thresholds

    def run(self, jobs, **reports) -> None:
        """Train all jobs in order."""
        stage = stage_of(jobs[0]).replace("-", "_")
        Above.threshold = self._thresholds.get(stage, 0.35)
        super().run(jobs, **reports)


def fit(out: Path, executor: Staged, told: Told, **options):
    options = {"select": "all", "generations": 3, **options}
    return train(dim(), "im", out, executor=executor, told=told, network=Above, **options)


@pytest.mark.parametrize(
    ("select", "why"),
    [
        ("all", "100.00% of their pixels are background, of people's "),
        ("paper", "no unlabeled image was admitted"),
    ],
)
def test_a_good_generation_whose_labels_collapse_is_replaced_by_the_start(tmp_path, select, why):
    """It is best on validation, and finds nothing in unlabeled images, which are darker."""
    told, executor, out = Told(), Staged(start=0.14), tmp_path / "run"
    hidden = write_hidden(tmp_path / "hidden", "binary")
    options = {"generations": 2, "select": select, "unlabeled_masks": hidden}
    run = fit(out, executor, told, **options)
    start, one, two = run.summary["stages"]
    assert one["score"] > start["score"]
    digests = [
        executor.jobs[name][0].samples[-1].digest for name in ("generation-1", "generation-2")
    ]
    assert digests[0] == digests[1], "the start has labeled for both"
    assert one["pseudo_labels"]["collapsed"] is None
    assert why in two["pseudo_labels"]["collapsed"]
    assert two["pseudo_labels"]["collapsed"].endswith("(labels of generation-1)")
    (text,) = [text for text in told.warnings if "of no use" in text]
    assert text.startswith("generation-2: the pseudo-labels of generation-1 are of no use (")
    assert text.endswith("so those of start are made and learned from.")
    done = json.loads((out / "generation-2" / "DONE").read_text())
    assert done["pseudo_labels"] == two["pseudo_labels"]
    audit = run.audits["generation-2"]
    assert audit["images"] == UNLABELED, "what is not learned from is not audited"
    assert audit == run.audits["generation-1"]

    # Who was killed before the generation was finished, or after, decides alike.
    before = untimed(run.summary)
    for lost in (["generation-2", "summary.json"], ["summary.json"]):
        for name in lost:
            path = out / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        again = fit(out, Staged(start=0.14), Told(), **options)
        assert untimed(again.summary) == before


def untimed(content):
    """Return a summary without what may differ between equal runs."""
    if isinstance(content, dict):
        return {name: untimed(value) for name, value in content.items() if "seconds" not in name}
    return [untimed(value) for value in content] if isinstance(content, list) else content


def test_networks_that_see_only_background_end_a_run_with_the_start(tmp_path):
    told, executor = Told(), Staged()
    run = fit(tmp_path / "run", executor, told)
    assert list(executor.jobs) == ["start"]
    assert [stage["name"] for stage in run.summary["stages"]] == ["start"]
    (text,) = [text for text in told.warnings if "collapsed" in text]
    assert text.startswith(
        "generation-1: the pseudo-labels have collapsed: 100.00% of their pixels"
    )
    assert "The run ends with the stage before" in text and "--patience 0" in text


def test_without_patience_it_is_said_and_kept_and_nothing_else(tmp_path):
    told, executor = Told(), Staged()
    run = fit(tmp_path / "run", executor, told, generations=2, patience=0)
    assert list(executor.jobs) == ["start", "generation-1", "generation-2"]
    assert all(
        "are background" in stage["pseudo_labels"]["collapsed"]
        for stage in run.summary["stages"][1:]
    )
    assert len([text for text in told.warnings if "have collapsed" in text]) == 2
    assert not told.said("of no use")


class Pointwise(torch.nn.Module):
    """Looks at each pixel alone."""

    def __init__(self, *, channels: int, outputs: int, width: float) -> None:
        super().__init__()
        self.line = torch.nn.Conv2d(channels, outputs, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.line(images)


@pytest.mark.parametrize("kind", KINDS)
def test_images_on_which_there_is_nothing_to_see_end_a_run_of_any_kind(tmp_path, kind):
    """A camera with its cap on: whatever a network says of black, it says it everywhere."""
    told, executor = Told(), Own(Pointwise)
    black = np.zeros((UNLABELED, SIDE, SIDE), np.uint8)
    train(
        unlike(kind, black), "model-ensemble", tmp_path / "run", told=told, executor=executor,
        network=Pointwise, generations=2,
    )  # fmt: skip
    assert list(executor.jobs) == ["start"]
    assert told.said("generation-1: the pseudo-labels have collapsed: ")


@pytest.mark.parametrize("kind", KINDS)
def test_networks_that_say_the_same_of_everything_are_no_start(tmp_path, kind):
    class Blind(torch.nn.Module):
        def __init__(self, *, outputs: int, **_: object) -> None:
            super().__init__()
            self.bias = torch.nn.Parameter(torch.linspace(-1, 0, outputs).reshape(1, -1, 1, 1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.bias.expand(len(images), -1, *images.shape[2:])

    executor = Own(Blind)
    with pytest.raises(TrainingFailed, match=r"0 of 2 networks.*whatever it sees"):
        train(
            unlike(kind, scenes(1, UNLABELED)[0]), "ldt", tmp_path / "run", executor=executor,
            network=Blind,
        )  # fmt: skip
    assert not list((tmp_path / "run").rglob("*.safetensors"))
