"""What each part of the recipe is worth: labels alone, each part alone and left out, several sets.

    python benchmarks/recipe.py RAW --out .bench/recipe

RAW is a folder with the downloads `isic2017`, `nuclei` and `camvid`. One network of width .5, 1,000
steps of 32 images. Settings: skin lesions at 128 px with 156 labels, and with 30 of them; nuclei at
96 px with 30 labels; road scenes at 160x208 px with 36; and maps of numbers: how much of the
neighborhood of a pixel of the nuclei is covered by them, at 96 px with 30 labels. Lesions are
scored over the 1,512 images that nobody learned from, the others over their test images, each
without and with flips. Chosen is by the validation images, whose scores stand beside.

Each job is one training and its scores, in a file of its own; repeating the command continues, and
several such commands may run side by side with `--slice K N`. The table of all that is there is
printed at the end, and written to `benchmarks/results/recipe.json` with `--publish`.

    python benchmarks/recipe.py --speed

times a training step of either recipe in turn, on made-up images, with one thread.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from PIL import Image
from torch.nn import functional

from imseg.approaches.planning.budget import make_plan
from imseg.approaches.planning.duration import request_for
from imseg.approaches.planning.plan import Facts
from imseg.approaches.planning.settings import Settings
from imseg.approaches.planning.stage_plan import planned_stages
from imseg.approaches.running.experiment import fit
from imseg.data.datasets import prepare_data_set
from imseg.data.folder.scan import hidden_masks, read_folder
from imseg.engine.hardware.benchmark import measure_here
from imseg.engine.workers.executors import Serial
from imseg.report.tables import table
from imseg.types import DataSet, TargetSpec

RESULTS = Path(__file__).with_name("results") / "recipe.json"
STEPS = 1000
LESIONS = 30 / 1568
"""The share of the lesions that keep their masks where they are few."""
REACH = 4.0
"""Standard deviation in pixels of the neighborhood in which coverage is measured."""


@dataclass(frozen=True)
class Setting:
    """A data set with so many labels, at a size."""

    name: str
    """What it is called in the table."""
    source: str
    """The data set it is made from, as `imseg prepare` calls it."""
    raw: str
    """The folder of its download."""
    size: tuple[int, int]
    """Height and width at which networks work."""
    share: float = 0.1
    """The share of the training images that is labeled."""


SETTINGS = {
    each.name: each
    for each in (
        Setting("lesions-156", "isic2018", "isic2017", (128, 128)),
        Setting("lesions-30", "isic2018", "isic2017", (128, 128), LESIONS),
        Setting("nuclei-30", "nuclei", "nuclei", (96, 96)),
        Setting("scenes-36", "camvid", "camvid", (160, 208)),
        Setting("coverage-30", "nuclei", "nuclei", (96, 96)),
    )
}


@dataclass(frozen=True)
class Variant:
    """A recipe with some parts that are not its own."""

    name: str
    """What differs."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The same as options of a training."""
    approach: str = "ldt"
    """What is trained."""


def _paper(name: str, **options: Any) -> Variant:
    return Variant(name, {"recipe": "paper", **options})


VARIANTS = (
    _paper("paper"),
    Variant("modern"),
    Variant("modern, no augmentation", {"augment": "none"}),
    Variant("modern, weak augmentation", {"augment": "weak"}),
    Variant("modern, loss of the paper", {"loss": "paper"}),
    Variant("modern, cross-entropy alone", {"loss": "cross-entropy"}),
    Variant("modern, constant step size", {"learning_rate_schedule": "constant"}),
    Variant("modern, polynomial decay", {"learning_rate_schedule": "polynomial"}),
    Variant("modern, no warm-up", {"warm_up_steps": 0}),
    Variant("modern, no average", {"average_weights": 0.0}),
    Variant("modern, optimizer of the paper", {"optimizer": "keras-adamw"}),
    Variant("modern, best epoch", {"keep_weights": "best"}),
    Variant("modern, network of the paper", {"network": "unet"}),
    Variant("modern, longer by the network's cost", {"max_steps": 1400, "epochs": 1400}),
    Variant("modern, clipped gradients", {"clip_gradients": 1.0}),
    Variant("modern, no class balance", {"class_balance": 0.0}),
    Variant("modern, classes balanced", {"class_balance": 0.5}),
    _paper("paper, strong augmentation", augment="strong"),
    _paper("paper, weak augmentation", augment="weak"),
    _paper("paper, cross-entropy and Dice", loss="cross-entropy+dice"),
    _paper("paper, cosine", learning_rate_schedule="cosine", warm_up_steps=50),
    _paper("paper, averaged weights", average_weights=0.995),
    _paper("paper, optimizer of torch", optimizer="adamw"),
    _paper("paper, last epoch", keep_weights="last"),
    _paper("paper, clipped gradients", clip_gradients=1.0),
    Variant("fdt, modern", approach="fdt"),
    Variant("fdt, paper", {"recipe": "paper"}, approach="fdt"),
)
"""The most interesting ones first."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path, nargs="?")
    parser.add_argument("--speed", action="store_true", help="time steps instead; needs no data")
    parser.add_argument("--out", type=Path, default=Path(".bench/recipe"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    names = [each.name for each in VARIANTS]
    parser.add_argument("--variants", nargs="+", choices=names, default=names, metavar="VARIANT")
    parser.add_argument("--slice", type=int, nargs=2, default=(0, 1), metavar=("K", "N"))
    parser.add_argument("--publish", action="store_true", help="write the results beside this file")
    arguments = parser.parse_args()
    if arguments.speed:
        print(speed())
        return
    wanted = list(
        itertools.product(
            arguments.seeds,
            [each for each in VARIANTS if each.name in arguments.variants],
            [SETTINGS[name] for name in arguments.settings],
        )
    )
    part, of = arguments.slice
    if of > 1:  # one core each
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[part % len(cores)]})
    for seed, variant, setting in wanted[part::of]:
        done = arguments.out / "scores" / f"{setting.name}-{seed}-{_file(variant.name)}.json"
        if done.exists() or not _fits(variant, setting):
            continue
        data = data_of(setting, arguments.raw, arguments.out / "data", seed)
        found = score(variant, setting, data, seed, arguments.out / "runs" / done.stem)
        done.parent.mkdir(parents=True, exist_ok=True)
        done.with_suffix(".part").write_text(json.dumps(found, indent=1))
        done.with_suffix(".part").replace(done)
        print(f"{done.stem}: {found['plain']:.4f}, with flips {found['flips']:.4f}", flush=True)
    known = [
        json.loads(path.read_text()) for path in sorted((arguments.out / "scores").glob("*.json"))
    ]
    print(as_tables(known))
    if arguments.publish:
        RESULTS.write_text(json.dumps(known, indent=1) + "\n")


def _file(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")


def _fits(variant: Variant, setting: Setting) -> bool:
    """Return whether a variant says something about a kind of masks."""
    if setting.name == "coverage-30":
        return (
            not {"loss", "class_balance"} & variant.options.keys()
            or variant.options.get("loss") == "paper"
        )
    return "class_balance" not in variant.options or setting.name == "scenes-36"


def data_of(setting: Setting, raw: Path, folder: Path, seed: int) -> DataSet:
    """Return the data of a setting and seed; its test images are all that nobody learned from."""
    whole = folder / f"{setting.source}-{seed}"
    if not whole.exists():
        prepare_data_set(setting.source, raw / setting.raw, whole, seed=seed)
    if setting.name.startswith("coverage"):
        return read_folder(_covered(whole, folder / f"coverage-{seed}"))
    dataset = read_folder(whole)
    if setting.source == "isic2018":
        dataset = replace(
            dataset, test=dataset.test + hidden_masks(dataset, whole / "hidden/masks")
        )
    if setting.share < 0.1:
        few = folder / f"{setting.name}-{seed}"
        if not few.exists():
            prepare_data_set(
                setting.source, raw / setting.raw, few, seed=seed, labeled=setting.share
            )
        names = {path.stem for path in (few / "labeled/images").iterdir()}
        kept = tuple(pair for pair in dataset.labeled if Path(pair.name).stem in names)
        dataset = replace(dataset, labeled=kept)
    return dataset


def _covered(nuclei: Path, out: Path) -> Path:
    """Write a data folder whose masks say how much around a pixel is covered by nuclei, 0..1."""
    if out.exists():
        return out
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    for split in ("labeled", "val", "test"):
        for mask in sorted((nuclei / split / "masks").iterdir()):
            place = part / split
            (place / "images").mkdir(parents=True, exist_ok=True)
            (place / "masks").mkdir(parents=True, exist_ok=True)
            image = next((nuclei / split / "images").glob(f"{mask.stem}.*"))
            shutil.copy(image, place / "images" / image.name)
            covered = torch.from_numpy((np.array(Image.open(mask)) > 0).astype(np.float32))
            smooth = _smooth(covered, REACH * max(covered.shape) / 96)
            tifffile.imwrite(place / "masks" / f"{mask.stem}.tif", smooth.numpy())
    (part / "imseg.toml").write_text('task = "regression"\n')
    part.rename(out)
    return out


def _smooth(values: torch.Tensor, sigma: float) -> torch.Tensor:
    reach = int(3 * sigma)
    places = torch.arange(-reach, reach + 1, dtype=torch.float32)
    taps = torch.exp(-((places / sigma) ** 2) / 2)
    taps /= taps.sum()
    wide = functional.pad(values[None, None], [reach] * 4, mode="reflect")
    along = functional.conv2d(wide, taps.reshape(1, 1, 1, -1))
    return functional.conv2d(along, taps.reshape(1, 1, -1, 1))[0, 0].clamp(0, 1)


def score(
    variant: Variant, setting: Setting, dataset: DataSet, seed: int, place: Path
) -> dict[str, Any]:
    """Return the scores of a training."""
    options: dict[str, Any] = {
        "image_size": setting.size, "width": 0.5, "max_steps": STEPS, "epochs": STEPS,
        **variant.options,
    }  # fmt: skip
    if variant.approach == "fdt":
        options["unlabeled_masks"] = Path(dataset.name) / "hidden/masks"
    began = time.process_time()
    run = fit(
        dataset, approach=variant.approach, out=place, seed=seed, networks=1, workers=1,
        device="cpu", executor=Serial(), compile="off", **options,
    )  # fmt: skip
    cpu = time.process_time() - began
    trained = run.trained(run.summary["network"])
    found: dict[str, Any] = {
        "setting": setting.name, "variant": variant.name, "seed": seed,
        "metric": run.task.metric.key,
        "validation": run.task.metric.merit(trained.scores), "images": len(dataset.test),
        "cpu": cpu,
        "step": (trained.clock["steps"] + trained.clock["batches"]) / trained.steps,
    }  # fmt: skip
    for way, flips in (("plain", False), ("flips", True)):
        scores = run.evaluate(dataset, tta=flips)
        found[way] = scores.per_image[found["metric"]]
        found[f"{way} over pixels"] = run.task.metric.pooled(scores.dataset)
        found[f"{way}, all"] = {"per image": scores.per_image, "over pixels": scores.dataset}
    shutil.rmtree(place / "cache", ignore_errors=True)
    return found


ROUNDS = 7


def speed() -> str:
    """Return what a step of either recipe costs, its batch included, measured in turn."""
    rows = []
    for kind, size, outputs in (("binary", (128, 128), 1), ("multiclass", (160, 208), 12)):
        facts = Facts(
            task=kind, labeled=156, validation=50, unlabeled=0, channels=3, outputs=outputs,
            typical_size=size,
        )  # fmt: skip
        names = tuple(f"class {number}" for number in range(outputs - 1)) or ("ground", "thing")
        values = tuple(range(len(names)))
        colors = tuple((10 * value, 0, 0) for value in values)
        spec = TargetSpec(kind=kind, values=values, names=names, colors=colors)
        requests = {}
        for recipe in ("paper", "modern"):
            asked = Settings(
                approach="ldt", recipe=recipe, image_size=size, width=0.5, device="cpu", workers=1
            )
            plan = make_plan(asked, facts)
            plan = replace(plan, compute=replace(plan.compute, threads=1))
            request = request_for(planned_stages(plan, facts)[0], plan, facts, spec)
            requests[recipe] = replace(request, seconds=4.0)
        found: dict[str, list[float]] = {recipe: [] for recipe in requests}
        for recipe in (*requests, *[*requests] * ROUNDS):  # the first of each warms up
            cost = measure_here(requests[recipe])
            found[recipe].append(cost.step + cost.batch)
        old, new = (found[recipe][1:] for recipe in ("paper", "modern"))
        ratios = [b / a for a, b in zip(old, new, strict=True)]
        rows.append(
            [
                f"{kind}, {size[0]}x{size[1]} px",
                *(f"{1000 * statistics.median(each):.0f}" for each in (old, new)),
                f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
            ]
        )
    return table(["step of 32 images", "paper, ms", "modern, ms", "ratio"], rows)


def as_tables(known: Sequence[Mapping[str, Any]]) -> str:
    """Return a table per setting: means over seeds, and all seeds."""
    texts = []
    for name in SETTINGS:
        here = [one for one in known if one["setting"] == name]
        rows = []
        for variant in VARIANTS:
            mine = sorted(
                (one for one in here if one["variant"] == variant.name), key=lambda one: one["seed"]
            )
            if not mine:
                continue
            seeds = " ".join(f"{one['plain']:.3f}/{one['flips']:.3f}" for one in mine)
            columns = ("plain", "flips", "plain over pixels", "flips over pixels", "validation")
            means = [f"{statistics.fmean(abs(one[key]) for one in mine):.4f}" for key in columns]
            step = f"{1000 * statistics.fmean(one['step'] for one in mine):.0f}"
            rows.append([variant.name, str(len(mine)), *means, step, seeds])
        if rows:
            header = [
                "recipe",
                "seeds",
                "plain",
                "flips",
                "pixels",
                "pixels, flips",
                "val",
                "ms",
                "each",
            ]
            texts.append(f"{name} ({here[0]['metric']})\n{table(header, rows)}")
    return "\n\n".join(texts)


if __name__ == "__main__":
    main()
