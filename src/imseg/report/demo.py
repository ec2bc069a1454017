"""The demo: made-up cells, few labels, and what comes of them, every seed shown."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from imseg.approaches.runs.run import load_run
from imseg.comparison.result import Comparison
from imseg.comparison.runner import compare
from imseg.data.folder.scan import read_folder
from imseg.data.synthetic import CellScene, write_demo
from imseg.progress import Progress, Working
from imseg.report.figures import gallery, save

APPROACHES = ("ldt", "im")
"""The baseline that trains as long as im is added by the comparison."""
DATA_SEED = 0
"""Draws the cells."""
PICTURED = 4
"""Test images in each seed's picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSize:
    """How much the demo does; the same for every approach."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Each is a run of every approach, on the same images."""
    networks: int = 2
    """Networks of every stage."""
    generations: int = 1
    """Generations of im."""
    epochs: int = 200
    """Passes over the training images."""
    max_steps: int = 200
    """Most steps of any one network."""
    labeled: int = 20
    """Labeled images."""
    unlabeled: int = 180
    """Unlabeled images."""
    batch_size: int = 16
    """Images per optimizer step."""
    side: int = 64
    """Height and width of the images in pixels."""
    difficulty: float = 0.15
    """How hard the cells are to find, 0..1. Chosen where ten times the labels (fdt) help most on
    the validation images of other cells than those shown; im was not looked at."""

    @property
    def training(self) -> dict[str, int]:
        """Settings of all runs."""
        names = ("networks", "generations", "epochs", "max_steps", "batch_size")
        return {name: getattr(self, name) for name in names}

    def fingerprint(self, *, data_only: bool = False) -> str:
        """Return a short name of these numbers, so that results of others are not mixed in."""
        data = (self.labeled, self.unlabeled, self.side, self.difficulty)
        text = repr(data if data_only else (data, tuple(self.training.values())))
        return hashlib.sha256(text.encode()).hexdigest()[:6]


FULL = DemoSize()
QUICK = DemoSize(seeds=(0,), max_steps=150)


@dataclass(frozen=True, slots=True)
class DemoOutcome:
    """Everything the demo shows."""

    comparison: Comparison
    """All approaches and seeds."""
    data: Path
    """The made-up cells."""
    folder: Path
    """The comparison's."""
    pictures: tuple[Path, ...]
    """One per seed."""


def run_demo(out: Path, size: DemoSize, *, progress: Progress) -> DemoOutcome:
    """Make data, compare the approaches on it with every seed, and draw pictures.

    Args:
        out: Where data, runs and pictures go; what is finished there is kept.
        size: How much to do.
        progress: Told how it goes on.
    """
    data, folder = _data(out, size), out / f"comparison-{size.fingerprint()}"
    found = compare(
        data,
        approaches=APPROACHES,
        seeds=size.seeds,
        out=folder,
        progress=progress,
        image_size=(size.side, size.side),
        **size.training,
        width=0.5,
        device="cpu",
        precision="float32",
    )
    pairs = read_folder(data)
    pictures = []
    for number, run in enumerate(found.row("im").runs):
        progress(Working(what="drawing pictures", done=number, total=len(size.seeds)))
        opened = load_run(folder / run.path)
        drawn = gallery(opened, pairs.test, opened.evaluate(pairs), most=PICTURED)
        pictures.append(save(out / f"overlay-seed-{run.seed}.png", drawn))
    return DemoOutcome(found, data, folder, tuple(pictures))


def _data(out: Path, size: DemoSize) -> Path:
    folder = out / f"cells-{size.fingerprint(data_only=True)}"
    if not (folder / "labeled").is_dir():
        scene = CellScene(difficulty=size.difficulty, size=(size.side, size.side))
        write_demo(
            folder, seed=DATA_SEED, labeled=size.labeled, unlabeled=size.unlabeled, scene=scene
        )
    return folder
