"""The page of outputs against real outputs: what is written is described, and nothing else."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from tests.e2e.test_kinds import INSTANCES, colors, depths, indexed, instances, planes, write_set

from imseg.cli.main import run
from imseg.data.synthetic import CellScene, write_demo
from imseg.engine.storage.sealed import read_sealed

PAGE = (Path(__file__).parents[2] / "docs/reference/outputs.md").read_text(encoding="utf-8")
TINY = ["--networks", "2", "--max-steps", "2", "--epochs", "2", "--image-size", "32", "32"]
TINY += ["--width", "0.25", "--batch-size", "8", "--workers", "1", "--device", "cpu"]
PLACEHOLDERS = {
    "J": r"\d+", "K": r"\d+", "S": r"\d+", "ID": r"\w+",
    "NAME": r"[^/]+", "LABEL": r"[^/]+", "APPROACH": r"[^/]+", "...": r".+",
}  # fmt: skip
KEYS = [
    ("provenance.json", "provenance.json"),
    ("network-J.json", "generation-1/network-0.json"),
    ("network-J.json", "scorers/network-0.json"),
    ("DONE", "generation-1/DONE"),
    ("audit.json", "generation-1/audit.json"),
    ("judgment.json", "scorers/judgment.json"),
    ("summary.json", "summary.json"),
]
"""Parts of the page, and a file whose keys stand there."""
COLUMNS = {
    "binary": ["image", "CLASS area [px]", "CLASS area [px]"],
    "multilabel": ["image", *["LABEL area [px]"] * 2, *["LABEL cells"] * 2],
    "instances": ["image", "object", "area [px]", "area [um2]", "row", "column"],
    "regression": ["image", "mean [UNIT]", "least [UNIT]", "greatest [UNIT]"],
}
"""Columns of ``measurements.csv``, as the page has them."""
WITHOUT_MEANING = {"void", "low", "high", "stored", "unit", "pixel_size", "indexed", "values"}
"""Keys of target.json that only some kinds of masks have."""


def first_cells(text: str) -> Iterator[str]:
    """Yield the first cell of each row of the tables in a part of the page."""
    for line in text.splitlines():
        if line.startswith("| `"):
            yield line.split("|")[1]


def described(section: str) -> dict[str, re.Pattern[str]]:
    """Return the names of files in a marked part of the page, as patterns."""
    part = PAGE.partition(f"<!-- files: {section} -->")[2].partition("<!-- end -->")[0]
    names = [name for cell in first_cells(part) for name in re.findall(r"`([^`]+)`", cell)]
    assert names, section
    return {name: as_pattern(name) for name in names}


def as_pattern(name: str) -> re.Pattern[str]:
    parts = re.split(r"(\.\.\.|\b(?:NAME|LABEL|APPROACH|ID|J|K|S)\b)", name)
    return re.compile("".join(PLACEHOLDERS.get(part) or re.escape(part) for part in parts))


def keys_of(title: str) -> set[str]:
    """Return the keys that a part of the page lists for a file."""
    part = PAGE.partition(f"### `{title}`\n")[2]
    part = re.split(r"^#", part, maxsplit=1, flags=re.MULTILINE)[0]
    found = {name for cell in first_cells(part) for name in re.findall(r"`([^`]+)`", cell)}
    assert found, title
    return found


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def files_of(folders: Iterable[Path]) -> set[str]:
    return set().union(*map(files_in, folders))


def check_both_ways(known: dict[str, re.Pattern[str]], found: set[str]) -> None:
    """Check that the page describes these files, and no others."""
    unknown = {each for each in found if not any(p.fullmatch(each) for p in known.values())}
    assert unknown == set(), "written, but not on the page"
    unseen = {name for name, p in known.items() if not any(map(p.fullmatch, found))}
    assert unseen == set(), "on the page, but not written"


def done(*words: object) -> None:
    assert run([str(word) for word in words]) == 0


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scene = CellScene(difficulty=0.0, size=(32, 32))
    folder = tmp_path_factory.mktemp("outputs") / "cells"
    return write_demo(folder, seed=1, labeled=8, unlabeled=6, val=4, test=4, scene=scene)


@pytest.fixture(scope="module")
def runs(cells: Path) -> list[Path]:
    """Runs that together write every file a run can have."""
    # However bad the masks of two steps are, some are taken.
    lenient: dict[str, list[object]] = {
        "im++": ["--select", "all", "--generations", "2", "--patience", "0"],
        "evalnet": ["--thresholds", "0", "0.01", "--generations", "1"],
    }
    for name, words in lenient.items():
        words += ["--unlabeled-masks", cells / "hidden/masks", *TINY]
        done("train", cells, "--approach", name, "--out", cells.parent / name, *words)
    return [cells.parent / name for name in lenient]


@pytest.fixture(scope="module")
def predicted(cells: Path) -> dict[str, Path]:
    """Predictions of every kind of masks; runs lie beside them."""
    kinds = {
        "instances": (instances, INSTANCES + "pixel_size = 0.5\n"),
        "multilabel": (planes, ""),
        "regression": (depths, 'unit = "mm"\n'),
        "multiclass": (colors, 'void = "#ffffff"\n'),
        "indexed": (indexed, ""),
    }
    place = cells.parent / "binary"
    done("train", cells, "--approach", "ldt", "--out", place / "run", "--no-report", *TINY)
    done("predict", place / "run", cells / "unlabeled", "--out", place / "masks")
    found = {"binary": place / "masks"}
    for kind, (write, toml) in kinds.items():
        place = cells.parent / kind
        data = write_set(place / "data", write, toml=toml)
        done("train", data, "--approach", "ldt", "--out", place / "run", "--no-report", *TINY)
        words = ["--overlay", "--inconsistency"]
        done("predict", place / "run", data / "test/images", "--out", place / "masks", *words)
        found[kind] = place / "masks"
    return found


# Few tests, so that several test processes do not make the same runs twice.


@pytest.mark.rest
def test_every_file_and_key_of_a_run_is_described(cells: Path, runs: list[Path]) -> None:
    done("report", runs[0], cells)  # with test scores too
    check_both_ways({**described("run"), **described("report")}, files_of(runs))
    for title, file in KEYS:
        for folder in runs:
            found = read_sealed(folder / file)
            assert set(found) == keys_of(title), folder / file
    settings = read_sealed(runs[0] / "experiment.toml")
    assert set(settings) == keys_of("experiment.toml")


@pytest.mark.rest
def test_every_file_key_column_and_score_of_predictions_is_described(
    predicted: dict[str, Path],
) -> None:
    check_both_ways(described("predict"), files_of(predicted.values()))
    runs = {kind: folder.with_name("run") for kind, folder in predicted.items()}
    targets = [read_sealed(folder / "target.json") for folder in runs.values()]
    assert set().union(*targets) == keys_of("target.json")
    assert keys_of("target.json") - set.intersection(*map(set, targets)) <= WITHOUT_MEANING
    for kind, columns in COLUMNS.items():
        header = next(csv.reader((predicted[kind] / "measurements.csv").open()))
        assert len(header) == len(columns), kind
        for name, told in zip(header, columns, strict=True):
            pattern = as_pattern(told.replace("CLASS", "NAME").replace("UNIT", "NAME"))
            assert pattern.fullmatch(name) and f"`{told}`" in PAGE, f"{kind}: {name}"
    part = PAGE.partition("## Scores")[2].partition("\n## ")[0]
    scores = {name.replace("LABEL", r"\w+") for name in re.findall(r"`([^`]+)`", part)}
    for kind, folder in runs.items():
        for name in read_sealed(folder / "summary.json")["validation"]:
            assert any(re.fullmatch(each, name) for each in scores), f"{kind}: {name}"


@pytest.mark.rest
def test_every_file_of_a_comparison_is_described(cells: Path) -> None:
    out = cells.parent / "comparison"
    words = ["--select", "all", "--generations", "1", "--patience", "0", *TINY]
    done("compare", cells, "--approaches", "ldt,im", "--seeds", "0", "--out", out, *words)
    assert (out / "seed-0/ldt-matched-to-im/summary.json").exists()
    check_both_ways(described("comparison"), files_in(out))
