"""LDT, IM, LDT-matched and FDT on ISIC 2017 under one fixed protocol: every network's test score.

    python benchmarks/main_job.py RAW --out .bench/main-job

RAW is the folder with the ISIC 2017 download. The protocol was fixed before any test score was
looked at: 96x96 px, width 0.5, 3 networks a stage, 20 epochs, at most 300 steps, 2 generations,
seeds 0, 1, 2 (each with its own labeled tenth and its own validation and test halves). Repeating
the command continues; what is finished is not done again. About an hour on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from imseg.approaches.running.experiment import fit
from imseg.approaches.runs.run import Run
from imseg.cli.show import Bars
from imseg.data.datasets import prepare_data_set
from imseg.data.folder.scan import read_folder
from imseg.report.figures import gallery, save
from imseg.report.tables import mean_and_spread, table

PROTOCOL = {"image_size": (96, 96), "width": 0.5, "networks": 3, "epochs": 20, "max_steps": 300}
SEEDS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path)
    parser.add_argument("--out", type=Path, default=Path(".bench/main-job"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    arguments = parser.parse_args()
    found: list[dict[str, object]] = []
    for seed in arguments.seeds:
        found += run_seed(arguments.raw, arguments.out, seed)
        (arguments.out / "scores.json").write_text(json.dumps(found, indent=1))
    print(as_table(found))


def run_seed(raw: Path, out: Path, seed: int) -> list[dict[str, object]]:
    data, runs = out / f"data-{seed}", out / f"runs-{seed}"
    if not data.exists():
        prepare_data_set("isic2018", raw, data, labeled=0.1, seed=seed)
    runs.mkdir(parents=True, exist_ok=True)
    hidden = data / "hidden" / "masks"
    dataset = read_folder(data)
    with Bars() as bars:
        common = {"seed": seed, "precision": "float32", "device": "cpu"}
        ldt = fit(dataset, approach="ldt", out=runs / "ldt", progress=bars, **common, **PROTOCOL)
        im = fit(
            dataset, approach="im", generations=2, teachers=2, out=runs / "im",
            reuse=runs / "ldt", progress=bars, **common, **PROTOCOL,
        )  # fmt: skip
        matched = fit(
            dataset, approach="ldt-matched", match=im.path, networks=3,
            out=runs / "ldt-matched", progress=bars, **common,
        )  # fmt: skip
        fdt = fit(
            dataset, approach="fdt", unlabeled_masks=hidden, out=runs / "fdt", progress=bars,
            **common, **PROTOCOL,
        )  # fmt: skip
        rows = []
        for label, run in (("ldt", ldt), ("im", im), ("ldt-matched", matched), ("fdt", fdt)):
            rows += score(label, run, dataset, seed)
        picture = gallery(im, dataset.test, im.evaluate(dataset))
        save(out / f"im-seed-{seed}.png", picture)
    return rows


def score(label: str, run: Run, dataset: object, seed: int) -> list[dict[str, object]]:
    """Return test scores of every network; the start of im is ldt and is not counted twice."""
    rows = []
    for stage in run.summary["stages"]:
        if label == "im" and stage["name"] == "start":
            continue
        for network in stage["networks"]:
            found = run.evaluate(dataset, networks=[network["name"]])
            rows.append(
                {
                    "approach": label if label != "im" else f"im {stage['name']}",
                    "seed": seed,
                    "network": network["name"],
                    "best_of_stage": network["name"] == stage["best"],
                    "validation_iou": network["scores"]["iou"],
                    "iou": found.per_image["iou"],
                    "dice": found.per_image["dice"],
                    "dataset_iou": found.dataset["iou"],
                    "steps": network["steps"],
                    "images": network["images"],
                    "seconds": network["seconds"],
                    "pseudo_labels": stage.get("pseudo_labels"),
                }
            )
    return rows


def as_table(found: list[dict[str, object]]) -> str:
    rows = []
    for name in dict.fromkeys(row["approach"] for row in found):
        mine = [row for row in found if row["approach"] == name]
        best = [row["iou"] for row in mine if row["best_of_stage"]]
        each = " ".join(f"{row['iou']:.3f}" for row in mine)
        dices = [row["dice"] for row in mine]
        steps = sorted({row["steps"] for row in mine})
        minutes = statistics.fmean(row["seconds"] for row in mine) / 60
        rows.append(
            [
                str(name), each, mean_and_spread([row["iou"] for row in mine]),
                mean_and_spread(best), mean_and_spread(dices),
                "-".join(str(n) for n in steps), f"{minutes:.1f}",
            ]
        )  # fmt: skip
    header = ["approach", "test IoU of every network", "mean +- sd", "chosen networks", "Dice"]
    return table([*header, "steps", "minutes a network"], rows)


if __name__ == "__main__":
    main()
