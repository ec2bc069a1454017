"""Tiny finished runs of every kind of masks, shared by the tests of their pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.small_sets import PLANES, UNLABELED, VALIDATION, pairs, scenes, train, write_hidden

import imseg
from imseg.approaches.runs.run import Run
from imseg.types import DataSet


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Run, DataSet]]:
    """A function that returns a run of ``im`` and its data, made once for each kind of masks."""
    made: dict[str, tuple[Run, DataSet]] = {}

    def get(kind: str) -> tuple[Run, DataSet]:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            data = imseg.dataset_from_arrays(
                pairs(kind, 0, 8),
                unlabeled=scenes(1, UNLABELED)[0],
                val=pairs(kind, 2, VALIDATION),
                test=pairs(kind, 3, 5),
                task=kind,
                class_names=PLANES if kind == "multilabel" else None,
            )
            hidden = write_hidden(folder / "hidden", kind)
            run = train(data, "im", folder / "run", generations=1, unlabeled_masks=hidden)
            made[kind] = run, data
        return made[kind]

    return get


@pytest.fixture
def comparison(tmp_path: Path) -> Path:
    """The folder of a made-up comparison."""
    from tests.report.comparisons import write

    return write(tmp_path / "comparison")
