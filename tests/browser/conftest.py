"""Pages in a real browser: the system's chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.small_sets import PLANES, UNLABELED, VALIDATION, pairs, scenes, train, write_hidden
from tests.report.comparisons import write

import imseg
from imseg.report.html.make import make_report


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A browser that was started once."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is missing: pip install '.[dev]'"
    )
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("chromium is missing: apt-get install chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of a run with everything there is, and that of a comparison."""
    folder = tmp_path_factory.mktemp("pages")
    data = imseg.dataset_from_arrays(
        pairs("multilabel", 0, 12),
        unlabeled=scenes(1, UNLABELED)[0],
        val=pairs("multilabel", 2, VALIDATION),
        test=pairs("multilabel", 3, 5),
        task="multilabel",
        class_names=PLANES,
    )
    hidden = write_hidden(folder / "hidden", "multilabel")
    run = train(data, "im++", folder / "run", generations=2, unlabeled_masks=hidden, networks=2)
    comparison = write(folder / "comparison")
    return {
        "run": make_report(run.path, data, progress=lambda event: None),
        "comparison": make_report(comparison, progress=lambda event: None),
    }
