"""Which defaults are best: one factor at a time from the paper's, on several data sets and seeds.

    python benchmarks/defaults.py DATA [DATA ...] --out .bench/defaults

Each DATA is a prepared data folder (`imseg prepare`); its name is that of a column. The protocol:
64x64 px, half the paper's width, 4 networks a stage, at most 150 steps, one generation, at most 400
unlabeled images. Variants of a data set and seed share their start. What is decided is decided by
the validation scores of the four students; their test scores are shown beside and decide nothing.

Repeating the command continues; what is finished is not done again. Seeds come outermost, so that a
study that is interrupted has whole seeds. All scores are in `scores.json` in the folder.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imseg.approaches.running.experiment import fit
from imseg.approaches.runs.run import Run
from imseg.cli.show import Bars
from imseg.data.folder.scan import read_folder
from imseg.engine.hardware.device import ComputeConfig, usable_cores
from imseg.engine.storage.sealed import write_sealed
from imseg.engine.workers.executors import Executor, choose_executor
from imseg.report.tables import table
from imseg.types import DataSet

# Compiled steps have other bits, and whether they pay is measured: networks could not be shared.
START: dict[str, Any] = {
    "image_size": (64, 64), "width": 0.5, "networks": 4, "precision": "auto", "compile": "off",
}  # fmt: skip
PROTOCOL: dict[str, Any] = {
    **START, "generations": 1, "limit_unlabeled": 400, "blocking": "both",
}  # fmt: skip
MAX_STEPS = 150
DEFAULT = "default"


@dataclass(frozen=True)
class Variant:
    """An approach with some options that are not its defaults."""

    base: str
    """The approach."""
    name: str = DEFAULT
    """What differs."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The same as settings."""

    @property
    def title(self) -> str:
        """What it is called on the command line and in tables."""
        return f"{self.base}/{self.name}"

    def fits(self, kind: str) -> bool:
        """Return whether it differs from its base on targets of a kind."""
        chosen = self.options.get("select")
        # Only of binary masks is an approach's own rule choosy; only classes can be the same.
        return chosen is None or kind == {"all": "binary", "same-classes": "multiclass"}[chosen]

    def settings(self, *, seed: int, max_steps: int) -> dict[str, Any]:
        """Return what is asked for."""
        protocol = START if self.base == "ldt" else PROTOCOL
        asked = {"approach": self.base, "seed": seed, "max_steps": max_steps}
        return {**asked, **protocol, **self.options}


VARIANTS = (
    Variant("ldt"),
    Variant("im"),
    Variant("im", "blocking-input", {"blocking": "input"}),
    Variant("im", "blocking-output", {"blocking": "output"}),
    Variant("im", "blocking-none-ignore", {"blocking": "none", "ignore": True}),
    Variant("im", "blocking-both-ignore", {"ignore": True}),
    Variant("im", "color-mean", {"block_color": "mean"}),
    Variant("im", "color-noise", {"block_color": "noise"}),
    Variant("im+"),
    Variant("im+", "fresh-copies", {"fresh_copies": True}),
    Variant("im+", "no-reblock", {"reblock": False}),
    Variant("im+", "level-3", {"strength_level": 3}),
    Variant("im+", "level-5", {"strength_level": 5}),
    Variant("im", "teachers-3", {"teachers": 3}),
    Variant("im", "teachers-4", {"teachers": 4}),
    Variant("im", "select-all", {"select": "all"}),
    Variant("im", "select-same-classes", {"select": "same-classes"}),
    Variant("im", "erode-3", {"erode": 3}),
    Variant("im", "dilate-3", {"dilate": 3}),
    Variant("im", "erode-3-dilate-3", {"erode": 3, "dilate": 3}),
    Variant("im", "dilate-5", {"dilate": 5}),
)
"""The most interesting ones first. What is not named is as in the paper: blocking in image and
label, in black (but again in copies), two teachers, no clean-up, the approach's own selection,
copies that are drawn once, by level 1 in the only generation."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path(".bench/defaults"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    titles = [variant.title for variant in VARIANTS]
    parser.add_argument("--only", nargs="+", choices=titles, default=titles, metavar="VARIANT")
    parser.add_argument("--max-steps", type=int, default=MAX_STEPS, help="with another --out")
    arguments = parser.parse_args()
    data_sets = {path.resolve().name: read_folder(path) for path in arguments.data}
    if len(data_sets) < len(arguments.data):
        parser.error("two data folders have the same name")
    with choose_executor(ComputeConfig(), workers=usable_cores()) as executor:
        for seed, (name, dataset), variant in itertools.product(
            arguments.seeds, data_sets.items(), VARIANTS
        ):
            if variant.title not in arguments.only or not variant.fits(dataset.spec.kind):
                continue
            runs = arguments.out / f"{name}-seed{seed}"
            asked = variant.settings(seed=seed, max_steps=arguments.max_steps)
            named = {"data": name, "seed": seed}
            do(variant, dataset, runs, asked=asked, named=named, executor=executor)
            write_sealed(arguments.out / "scores.json", {"runs": known_in(arguments.out)})
    print(in_words(known_in(arguments.out), list(data_sets)))


def do(
    variant: Variant,
    dataset: DataSet,
    runs: Path,
    *,
    asked: dict[str, Any],
    named: dict[str, Any],
    executor: Executor,
) -> None:
    """Train a variant and score its students, unless that was done before.

    Args:
        variant: What.
        dataset: On what.
        runs: The folder of all runs of this data set and seed, whose equal networks are shared.
        asked: The settings.
        named: What else is kept with the scores.
        executor: Trains; its processes serve run after run.
    """
    folder = variant.title.replace("/", "-")
    place = runs / "scores" / f"{folder}.json"
    plain = json.loads(json.dumps(asked))
    if place.exists() and json.loads(place.read_text())["asked"] == plain:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    with Bars() as bars:
        run = fit(dataset, out=runs / folder, reuse=runs, progress=bars, executor=executor, **asked)
    said = {**named, "base": variant.base, "variant": variant.name, "asked": plain}
    write_sealed(place, {**said, **described(run, dataset)})


def described(run: Run, dataset: DataSet) -> dict[str, Any]:
    """Return the scores of all students of a run; of the start where no image was admitted."""
    stage, metric = run.summary["stages"][-1], run.metric
    labels = stage.get("pseudo_labels") or {"admitted": 0, "inconsistent_share": None}
    students = sorted(stage["networks"], key=lambda network: network["name"])
    evaluated = [run.evaluate(dataset, networks=[student["name"]]) for student in students]
    return {
        "metric": metric.key,
        "label": metric.label,
        "stage": stage["name"],
        "networks": [student["name"] for student in students],
        "validation": [student["scores"][metric.key] for student in students],
        "test": [evaluation.per_image[metric.key] for evaluation in evaluated],
        "admitted": labels["admitted"],
        "inconsistent_share": labels["inconsistent_share"],
        "seconds": run.summary["seconds"],
    }


def known_in(out: Path) -> list[dict[str, Any]]:
    """Return everything that was scored so far, now or earlier."""
    found = [json.loads(path.read_text()) for path in sorted(out.glob("*-seed*/scores/*.json"))]
    order = {(variant.base, variant.name): place for place, variant in enumerate(VARIANTS)}
    return sorted(
        found, key=lambda one: (one["seed"], one["data"], order[one["base"], one["variant"]])
    )


def in_words(found: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Return the tables of both splits in Markdown."""
    texts = []
    for split, what in (
        ("validation", "Validation: what is decided by"),
        ("test", "Test: beside it"),
    ):
        texts.append(f"{what}. Means over seeds of the mean of the students.\n")
        texts.append(as_table(found, names, split=split) + "\n")
    return "\n".join(texts)


def as_table(found: Sequence[Mapping[str, Any]], names: Sequence[str], *, split: str) -> str:
    """Return a row a variant: scores on each data set, and the difference to its base."""
    score = {
        (one["base"], one["variant"], one["data"], one["seed"]): statistics.fmean(one[split])
        for one in found
    }
    seeds = sorted({one["seed"] for one in found})
    labels = {one["data"]: one["label"] for one in found}
    rows = []
    for variant in VARIANTS:
        mine = {
            (data, seed): score[variant.base, variant.name, data, seed]
            for data in names
            for seed in seeds
            if (variant.base, variant.name, data, seed) in score
        }
        if not mine:
            continue
        row = [variant.title]
        for data in names:
            values = [value for (here, _), value in mine.items() if here == data]
            row.append(f"{statistics.fmean(values):.4f}" if values else "-")
        pairs = [
            value - score[variant.base, DEFAULT, data, seed]
            for (data, seed), value in mine.items()
            if variant.name != DEFAULT and (variant.base, DEFAULT, data, seed) in score
        ]
        rows.append([*row, difference(pairs), str(len(pairs)) if pairs else "-"])
    header = ["variant", *(f"{name}, {labels.get(name, '-')}" for name in names)]
    return table([*header, "minus its default", "pairs"], rows)


def difference(pairs: Sequence[float]) -> str:
    """Return mean and standard error of paired differences."""
    if not pairs:
        return "-"
    if len(pairs) == 1:
        return f"{pairs[0]:+.4f}"
    error = statistics.stdev(pairs) / len(pairs) ** 0.5
    return f"{statistics.fmean(pairs):+.4f} +- {error:.4f}"


if __name__ == "__main__":
    main()
