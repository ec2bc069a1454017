"""Do unlabeled images pay? Ways to use them beside labels alone, at equal cost.

    python benchmarks/pays.py RAW --out .bench/pays
    python benchmarks/pays.py RAW --out .bench/pays --settings lesions-10 --ways labels-alone cps

The protocol is docs/decisions/0047-do-unlabeled-images-pay.md: settings, ways, what is chosen by
what, and when nuclei are touched. RAW is a folder with the downloads `isic2017`, `nuclei` and
`camvid`. A draw takes other labels, a seed another training of the same images. Each job is one
training and its scores, in a file of its own: the command, repeated, goes on after the last one,
and several may run side by side with `--slice K N`. The tables of all that is there are printed at
the end and written to `benchmarks/results/pays.json` with `--publish`.
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
from recipe import SETTINGS as SOURCES
from recipe import data_of

from imseg.approaches.running.experiment import fit
from imseg.approaches.runs.run import Run
from imseg.data.folder.scan import hidden_masks
from imseg.engine.workers.executors import Serial
from imseg.report.tables import table
from imseg.types import DataSet

RESULTS = Path(__file__).with_name("results") / "pays.json"
STEPS = 1000
HELD = 3
"""One unlabeled lesion in so many is kept from all trainings and tested on: the download has few
test images."""


@dataclass(frozen=True)
class Setting:
    """A data set with so many labels."""

    name: str
    source: str
    """The setting of `recipe.py` whose images it has."""
    labels: int | None
    """How many images have labels; None: all of them."""
    sees: Mapping[str, Any]
    """What networks see, as options of a training."""


LESIONS: Mapping[str, Any] = {"image_size": (128, 128)}
SCENES: Mapping[str, Any] = {"image_size": (160, 208)}
NUCLEI: Mapping[str, Any] = {"scale": 1.0}
SETTINGS = {
    each.name: each
    for each in (
        Setting("lesions-10", "lesions-156", 10, LESIONS),
        Setting("scenes-12", "scenes-36", 12, SCENES),
        Setting("lesions-30", "lesions-156", 30, LESIONS),
        Setting("scenes-36", "scenes-36", 36, SCENES),
        Setting("lesions-156", "lesions-156", 156, LESIONS),
        Setting("lesions-all", "lesions-156", None, LESIONS),
        Setting("scenes-all", "scenes-36", None, SCENES),
        Setting("nuclei-5", "nuclei-30", 5, NUCLEI),
        Setting("nuclei-30", "nuclei-30", 30, NUCLEI),
        Setting("nuclei-all", "nuclei-30", None, NUCLEI),
    )
}
"""Those with all labels are the ceiling: labels alone are trained on them."""
UNTOUCHED = "nuclei"
"""Nothing is chosen by it: it is asked for by name, at the end."""


@dataclass(frozen=True)
class Way:
    """A way to train."""

    name: str
    approach: str
    options: Mapping[str, Any] = field(default_factory=dict)
    networks: int = 1
    """Networks whose mean is scored."""
    at_cost: float = 0.0
    """Above 0: one network does as much work as two in so many steps that learn from unlabeled
    images too."""
    repeated: int = 1
    """How often each label is in the training set: batches of few labels are larger then."""


def _online(name: str, approach: str = "online-im", **options: Any) -> Way:
    return Way(name, approach, options)


WAYS = {
    each.name: each
    for each in (
        Way("labels-alone", "ldt"),
        Way("labels-alone-best-epoch", "ldt", {"keep_weights": "best"}),
        Way("labels-alone-same-cost", "ldt", at_cost=STEPS),
        Way("labels-alone-same-cost-best-epoch", "ldt", {"keep_weights": "best"}, at_cost=STEPS),
        Way("labels-alone-same-cost-longer", "ldt", at_cost=2 * STEPS),
        Way("labels-alone-wider", "ldt", {"width": 0.75}),
        Way("ensemble", "ldt", networks=2),
        Way("labels-alone-repeated", "ldt", {"max_steps": 2 * STEPS}, repeated=3),
        _online("online-im"),
        _online("online-no-mask", filter="none"),
        _online("online-confidence", filter="confidence"),
        _online("online-random", filter="random"),
        _online("online-both", filter="both"),
        Way("fixmatch", "fixmatch"),
        Way("fixmatch-averaged", "fixmatch", {"averaged_teachers": True}),
        Way("unimatch", "unimatch"),
        Way("unimatch-im", "unimatch+im"),
        Way("cps", "cps"),
        Way("cps-averaged", "cps", {"averaged_teachers": True}),
        Way("mean-teacher", "mean-teacher"),
        Way("im", "im", {"generations": 1}, networks=2),
        _online("online-im-labeled-25", labeled_share=0.25),
        _online("online-im-no-cutmix", cutmix=0.0),
        _online("online-im-cutmix-1", cutmix=1.0),
        _online("online-im-start-40", start_share=0.4),
        _online("online-im-longer", max_steps=2 * STEPS),
        _online("online-im-three", learners=3),
        _online("online-im-weight-2", teacher_weight=2.0),
    )
}
"""First what is compared, then levers."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path, nargs="?", help="folder of the downloads")
    parser.add_argument("--out", type=Path, default=Path(".bench/pays"))
    tried = [name for name in SETTINGS if not name.startswith(UNTOUCHED)]
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=tried)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY")
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--slice", type=int, nargs=2, default=(0, 1), metavar=("K", "N"))
    parser.add_argument("--publish", action="store_true", help="write the results beside this file")
    arguments = parser.parse_args()
    scores = arguments.out / "scores"
    scores.mkdir(parents=True, exist_ok=True)
    wanted = list(
        itertools.product(arguments.draws, arguments.seeds, arguments.settings, arguments.ways)
    )
    part, of = arguments.slice
    if of > 1:  # one core each
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[part % len(cores)]})
    for draw, seed, name, way in wanted[part::of] if arguments.raw else ():
        setting, done = SETTINGS[name], scores / f"{name}-{draw}-{seed}-{way}.json"
        if done.exists() or (setting.labels is None and WAYS[way].approach != "ldt"):
            continue
        data = data_for(setting, arguments.raw, arguments.out / "data", draw)
        found = score(WAYS[way], setting, data, seed, arguments.out / "runs" / done.stem)
        text = json.dumps({"setting": name, "draw": draw, "seed": seed, "way": way, **found})
        done.with_suffix(".part").write_text(text + "\n")
        done.with_suffix(".part").replace(done)
        print(f"{done.stem}: {found['plain']:.4f}, with flips {found['flips']:.4f}", flush=True)
    known = [json.loads(path.read_text()) for path in sorted(scores.glob("*.json"))]
    print(as_tables(known))
    if arguments.publish:
        short = [{k: v for k, v in one.items() if k != "each"} for one in known]
        RESULTS.write_text(json.dumps(short, indent=1) + "\n")


def data_for(setting: Setting, raw: Path, folder: Path, draw: int) -> DataSet:
    """Return the data of a setting: with fewer labels, a part of those of more."""
    dataset = data_of(SOURCES[setting.source], raw, folder, draw)
    whole = Path(dataset.name)
    known = hidden_masks(dataset, whole / "hidden/masks")
    unlabeled = dataset.unlabeled
    if setting.sees is LESIONS:
        held = set(range(0, len(known), HELD))
        own = dataset.test[: len(dataset.test) - len(known)]  # `data_of` adds all that are hidden
        tested = tuple(pair for number, pair in enumerate(known) if number in held)
        unlabeled = tuple(one for number, one in enumerate(unlabeled) if number not in held)
        known = tuple(pair for number, pair in enumerate(known) if number not in held)
        dataset = replace(dataset, test=own + tested, unlabeled=unlabeled)
    if setting.labels is None:
        return replace(dataset, labeled=dataset.labeled + known, unlabeled=())
    order = np.random.default_rng([2401, draw]).permutation(len(dataset.labeled))
    kept = sorted(order[: setting.labels].tolist())
    return replace(dataset, labeled=tuple(dataset.labeled[number] for number in kept))


def score(way: Way, setting: Setting, dataset: DataSet, seed: int, place: Path) -> dict[str, Any]:
    """Return the scores of a training and what it cost."""
    options = {"width": 0.5, "max_steps": STEPS, **setting.sees, **way.options}
    if way.at_cost:
        options["max_steps"] = round(way.at_cost * work_of_two(setting))
    learned = replace(dataset, labeled=dataset.labeled * way.repeated)
    began = time.process_time()
    run = fit(
        learned, approach=way.approach, out=place, seed=seed, networks=way.networks, workers=1,
        device="cpu", executor=Serial(), compile="off", epochs=options["max_steps"], **options,
    )  # fmt: skip
    cpu = time.process_time() - began
    trained = [run.trained(name) for name in run.network_names]
    metric = run.task.metric
    found: dict[str, Any] = {
        "validation": metric.merit(run.trained(run.summary["network"]).scores),
        "flops": sum(each.flops for each in trained),
        "seconds": cpu,
        "steps": [each.steps for each in trained],
        "doubts": _doubts(run),
    }
    for name, flips in (("plain", False), ("flips", True)):
        scores = run.evaluate(dataset, tta=flips, ensemble=way.networks)
        found |= {
            name: scores.per_image[metric.key],
            f"{name}, pixels": metric.pooled(scores.dataset),
        }
    found["each"] = [round(value, 5) for value in scores.each[metric.key]]
    shutil.rmtree(place / "cache", ignore_errors=True)
    return found


def work_of_two(setting: Setting) -> float:
    """Return the work of a step of two networks with unlabeled images, in steps of one without.

    A batch of labels has no label twice; windows of one image count as several.
    """
    labels = 32 if setting.labels is None or setting.sees is NUCLEI else min(32, setting.labels)
    mixed = min(16, labels) + 16
    return 2 * (mixed + 16 / 3) / labels


def _doubts(run: Run) -> list[str]:
    """Return what was said as warnings while it was trained."""
    lines = (run.path / "log.jsonl").read_text().splitlines()
    return [one["text"] for one in map(json.loads, lines) if one.get("warning")]


def as_tables(known: Sequence[Mapping[str, Any]]) -> str:
    """Return a table per setting; differences to labels alone are of the same draw and seed."""
    texts = []
    for name in SETTINGS:
        here = {
            (one["way"], one["draw"], one["seed"]): one for one in known if one["setting"] == name
        }
        rows = []
        for way in WAYS:
            mine = {key[1:]: one for key, one in here.items() if key[0] == way}
            if not mine:
                continue
            pairs = [
                (one["flips"], here["labels-alone", *key]["flips"])
                for key, one in sorted(mine.items())
                if ("labels-alone", *key) in here
            ]
            gained = [one - other for one, other in pairs]
            rows.append(
                [
                    way,
                    *(
                        f"{statistics.fmean(one[key] for one in mine.values()):.4f}"
                        for key in ("validation", "plain", "flips", "flips, pixels")
                    ),
                    f"{statistics.fmean(gained):+.4f}" if gained else "",
                    " ".join(f"{one:+.3f}" for one in gained),
                    f"{statistics.fmean(one['flops'] for one in mine.values()) / 1e12:.0f}",
                    f"{statistics.fmean(one['seconds'] for one in mine.values()) / 60:.1f}",
                ]
            )
        header = [
            *("way", "validation", "plain", "flips", "pixels, flips"),
            *("gained", "each", "TFLOP", "minutes"),
        ]
        if rows:
            texts.append(f"{name}\n{table(header, rows)}")
    return "\n\n".join(texts)


if __name__ == "__main__":
    main()
