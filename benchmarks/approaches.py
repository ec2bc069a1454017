"""Every approach on ISIC 2017 under one small protocol: scores, steps, minutes, pseudo-labels.

    python benchmarks/approaches.py RAW --out .bench/approaches

RAW is the folder with the ISIC 2017 download. The protocol: 64x64 px, 3 networks a stage, at most
150 steps, 2 generations, one seed, a tenth of the training images labeled. It shows that every
approach does what it says, not which is best: so few steps favor those that have little to learn
from. Repeating the command continues; what is finished is not done again. About 40 minutes on two
idle cores.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from imseg.approaches.methods.catalog import APPROACHES, find_approach
from imseg.approaches.running.experiment import fit
from imseg.approaches.runs.run import Run
from imseg.cli.show import Bars
from imseg.data.datasets import prepare_data_set
from imseg.data.folder.scan import read_folder
from imseg.report.tables import mean_and_spread, table
from imseg.types import DataSet

PROTOCOL: dict[str, Any] = {"image_size": (64, 64), "networks": 3, "max_steps": 150}
MATCHED_TO = "im++"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path)
    parser.add_argument("--out", type=Path, default=Path(".bench/approaches"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=list(APPROACHES))
    arguments = parser.parse_args()
    data, runs = arguments.out / f"data-{arguments.seed}", arguments.out / f"runs-{arguments.seed}"
    if not data.exists():
        prepare_data_set("isic2018", arguments.raw, data, labeled=0.1, seed=arguments.seed)
    runs.mkdir(parents=True, exist_ok=True)
    dataset, found = read_folder(data), []
    # Baselines that are matched to another run come after it.
    for name in sorted(arguments.only, key=lambda name: find_approach(name).matched):
        run = train(name, dataset, data, runs, seed=arguments.seed)
        found.append(described(name, run, dataset))
        (arguments.out / f"scores-{arguments.seed}.json").write_text(json.dumps(found, indent=1))
    print(as_table(found))


def train(name: str, dataset: DataSet, data: Path, runs: Path, *, seed: int) -> Run:
    """Return the run of an approach, trained now or earlier."""
    approach = find_approach(name)
    asked: dict[str, Any] = {"seed": seed, "precision": "float32", "device": "cpu"}
    if approach.matched:
        asked |= {"match": runs / MATCHED_TO, "networks": PROTOCOL["networks"]}
    else:
        asked |= PROTOCOL
    if approach.generations > 1:
        asked["generations"] = 2
    if approach.sees_truth or approach.pseudo_label is not None:
        asked["unlabeled_masks"] = data / "hidden" / "masks"
    with Bars() as bars:
        return fit(dataset, approach=name, out=runs / name, reuse=runs, progress=bars, **asked)


def described(name: str, run: Run, dataset: DataSet) -> dict[str, Any]:
    """Return what is told about a run."""
    chosen = run.summary["stage"]
    stage = next(each for each in run.summary["stages"] if each["name"] == chosen)
    each = [
        run.evaluate(dataset, networks=[network["name"]]).per_image["iou"]
        for network in stage["networks"]
    ]
    return {
        "approach": name,
        "stage": chosen,
        "stages": len(run.summary["stages"]),
        "test_iou": each[0],
        "test_iou_of_networks": each,
        "validation_iou": run.summary["validation"]["iou"],
        "steps_of_network": stage["networks"][0]["steps"],
        "width": stage["networks"][0]["width"],
        "steps": run.summary["steps"],
        "tflops": run.summary["flops"] / 1e12,
        "minutes": run.summary["training_seconds"] / 60,
        "pseudo_labels": stage.get("pseudo_labels"),
        "audits": run.audits,
        "judgment": {k: v for k, v in (run.judgment or {}).items() if k not in ("said", "true")},
    }


def as_table(found: list[dict[str, Any]]) -> str:
    rows = []
    for one in found:
        audit = one["audits"].get(one["stage"])
        scored = one["judgment"]
        rows.append(
            [
                one["approach"], f"{one['test_iou']:.3f}",
                mean_and_spread(one["test_iou_of_networks"]), f"{one['validation_iou']:.3f}",
                one["stage"], f"{one['width']:g}", str(one["steps"]), f"{one['tflops']:.0f}",
                f"{one['minutes']:.1f}",
                f"{audit['admitted']}/{audit['images']}" if audit else "-",
                _share(audit, "outside"), _share(audit, "inside"),
                f"{scored['rank_correlation']:.2f}" if scored else "-",
            ]
        )  # fmt: skip
    header = [
        "approach", "test IoU", "its stage's networks", "validation", "stage", "width",
        "steps in all", "TFLOP in all", "training minutes", "admitted", "IoU outside the mask",
        "inside", "mask scorers' rank correlation",
    ]  # fmt: skip
    return table(header, rows)


def _share(audit: dict[str, Any] | None, region: str) -> str:
    value = audit[region]["score"] if audit else None
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
