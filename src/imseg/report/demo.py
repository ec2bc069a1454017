"""The demo: made-up cells, few labels, three ways to use them, every seed shown."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imseg.approaches.experiment import fit
from imseg.approaches.run import Run
from imseg.data.folder import read_folder
from imseg.data.synthetic import CellScene, write_demo
from imseg.engine.device import Numerics, usable_cores
from imseg.engine.evaluator import Evaluation
from imseg.engine.executors import Executor, choose_executor
from imseg.engine.progress import Note, Progress
from imseg.report.figures import save
from imseg.report.gallery import gallery
from imseg.report.tables import mean_and_spread, table
from imseg.types import DataSet

APPROACHES = ("ldt", "im", "ldt-matched")
PICTURED = 4
"""Test images in each seed's picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSize:
    """How much the demo does; the same for every approach."""

    seeds: tuple[int, ...]
    """Each draws its own data, split and networks."""
    networks: int
    """Networks of every stage."""
    generations: int
    """Generations of im."""
    epochs: int
    """Passes over the training images."""
    max_steps: int
    """Most steps of any one network."""
    labeled: int
    """Labeled images."""
    unlabeled: int
    """Unlabeled images."""
    batch_size: int = 16
    """Images an optimizer step."""
    side: int = 64
    """Height and width of the images in pixels."""
    difficulty: float = 0.15
    """How hard the cells are to find, 0..1. Chosen where ten times the labels (fdt) help most on
    the validation images of a seed that is not shown; im was not looked at."""

    def fingerprint(self, *, data_only: bool = False) -> str:
        """Return a short name of these numbers, so that results of others are not mixed in."""
        data = (self.labeled, self.unlabeled, self.side, self.difficulty)
        training = (self.networks, self.generations, self.epochs, self.max_steps, self.batch_size)
        text = repr(data if data_only else (data, training))
        return hashlib.sha256(text.encode()).hexdigest()[:6]


FULL = DemoSize(
    seeds=(0, 1, 2, 3, 4),
    networks=2,
    generations=1,
    epochs=200,
    max_steps=200,
    labeled=20,
    unlabeled=180,
)
QUICK = dataclasses.replace(FULL, seeds=(0,), max_steps=150)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """One approach on one seed."""

    approach: str
    """Which approach."""
    seed: int
    """Which seed."""
    iou: float
    """Mean test IoU over images."""
    dice: float
    """Mean test Dice over images."""
    steps: int
    """Optimizer steps of all networks together."""
    network_steps: int
    """Optimizer steps of the final network."""
    seconds: float
    """Training seconds of all networks together."""


@dataclass(frozen=True, slots=True)
class DemoOutcome:
    """Everything the demo shows."""

    results: tuple[DemoResult, ...]
    """All approaches and seeds."""
    pictures: tuple[Path, ...]
    """One a seed."""


def run_demo(
    out: Path, size: DemoSize, *, progress: Progress, approaches: Sequence[str] = APPROACHES
) -> DemoOutcome:
    """Make data, train the approaches on every seed, evaluate them and draw pictures.

    Args:
        out: Where data, runs and pictures go; what is finished there is kept.
        size: How much to do.
        progress: Told how it goes on.
        approaches: Which approaches; matched ones are matched to the last one before them.
    """
    results, pictures = [], []
    with choose_executor(Numerics(), workers=usable_cores()) as executor:
        for seed in size.seeds:
            folder = _data(out, size, seed)
            dataset = read_folder(folder)
            latest: Run | None = None
            for name in approaches:
                progress(Note(text=f"seed {seed}: {name}"))
                latest = _train(dataset, out, size, name, seed, latest, executor, progress)
                found = latest.evaluate(dataset)
                results.append(_result(latest, found, name, seed))
                if name == "im":
                    picture = gallery(latest, dataset.test, found, most=PICTURED)
                    pictures.append(save(out / f"overlay-seed-{seed}.png", picture))
    return DemoOutcome(tuple(results), tuple(pictures))


def results_table(outcome: DemoOutcome) -> str:
    """Return test IoU of every seed, its mean and spread, and what it cost."""
    seeds = sorted({result.seed for result in outcome.results})
    rows = []
    for name in dict.fromkeys(result.approach for result in outcome.results):
        mine = [result for result in outcome.results if result.approach == name]
        ious = [result.iou for result in mine]
        steps = sum(result.network_steps for result in mine) // len(mine)
        minutes = sum(result.seconds for result in mine) / len(mine) / 60
        cells = [f"{iou:.3f}" for iou in ious]
        rows.append([name, *cells, mean_and_spread(ious), str(steps), f"{minutes:.2f}"])
    header = ["test IoU", *(f"seed {seed}" for seed in seeds), "mean +- spread"]
    return table([*header, "steps of a network", "core minutes"], rows)


def _data(out: Path, size: DemoSize, seed: int) -> Path:
    folder = out / f"data-{size.fingerprint(data_only=True)}-seed-{seed}"
    if not (folder / "labeled").is_dir():
        scene = CellScene(difficulty=size.difficulty, size=(size.side, size.side))
        write_demo(folder, seed=seed, labeled=size.labeled, unlabeled=size.unlabeled, scene=scene)
    return folder


def _train(
    dataset: DataSet,
    out: Path,
    size: DemoSize,
    name: str,
    seed: int,
    before: Run | None,
    executor: Executor,
    progress: Progress,
) -> Run:
    options: dict[str, Any] = {
        "approach": name,
        "seed": seed,
        "networks": size.networks,
        "device": "cpu",
        "precision": "float32",
    }
    if name == "im":
        options["generations"] = size.generations
    if name == "ldt-matched":
        options["match"] = before.path if before is not None else None
    else:
        options |= {
            "epochs": size.epochs,
            "max_steps": size.max_steps,
            "batch_size": size.batch_size,
            "image_size": (size.side, size.side),
            "width": 0.5,
        }
    runs = out / f"runs-{size.fingerprint()}-seed-{seed}"
    runs.mkdir(parents=True, exist_ok=True)
    return fit(
        dataset, out=runs / name, reuse=runs, executor=executor, progress=progress, **options
    )


def _result(run: Run, found: Evaluation, name: str, seed: int) -> DemoResult:
    return DemoResult(
        approach=name,
        seed=seed,
        iou=found.per_image["iou"],
        dice=found.per_image["dice"],
        steps=run.summary["steps"],
        network_steps=run.trained(run.summary["network"]).steps,
        seconds=run.summary["training_seconds"],
    )


def as_plain(outcome: DemoOutcome) -> dict[str, object]:
    """Return plain values for JSON."""
    return {
        "results": [dataclasses.asdict(result) for result in outcome.results],
        "pictures": [str(path) for path in outcome.pictures],
    }
