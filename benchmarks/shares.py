"""Where the time of a whole aim++ run goes: trained as it is here, and trained the naive way.

    python benchmarks/shares.py RAW --out .bench/shares

RAW is the folder with the ISIC 2017 download. `aim++`, 64x64 px, 3 networks a stage, at most 150
steps, 2 generations, seed 0. The naive way trains in float32, ``n c h w``, with the allocator as it
is and one network after the other with all threads; teachers and mask scorers are asked as they are
here, but in float32. About 6 minutes.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from equal_scores import Naively

from imseg.approaches.planning.duration import ACTIVITIES
from imseg.approaches.running.experiment import fit
from imseg.cli.show import Bars
from imseg.data.datasets import prepare_data_set
from imseg.data.folder.scan import read_folder
from imseg.report.tables import table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path)
    parser.add_argument("--out", type=Path, default=Path(".bench/shares"))
    parser.add_argument("--approach", default="aim++")
    parser.add_argument("--steps", type=int, default=150)
    arguments = parser.parse_args()
    data = arguments.out / "data"
    if not data.exists():
        prepare_data_set("isic2018", arguments.raw, data, labeled=0.1, seed=0)
    dataset, found = read_folder(data), {}
    for way in ("fast", "naive"):
        run = arguments.out / way
        shutil.rmtree(run, ignore_errors=True)
        naive = way == "naive"
        with Bars() as bars:
            done = fit(
                dataset, approach=arguments.approach, out=run, image_size=(64, 64), networks=3,
                max_steps=arguments.steps, generations=2, device="cpu", progress=bars,
                precision="float32" if naive else "auto",
                executor=Naively() if naive else None,
            )  # fmt: skip
        found[way] = {
            "seconds": done.summary["seconds"], "each": done.summary["seconds_by_activity"],
        }  # fmt: skip
        (arguments.out / "shares.json").write_text(json.dumps(found, indent=1))
    rows = []
    for name in ACTIVITIES:
        row = [name]
        for one in found.values():
            seconds = one["each"][name]
            row.append(f"{seconds:.1f} s, {seconds / one['seconds']:.1%}")
        rows.append(row)
    rows.append(["in all", *(f"{one['seconds']:.1f} s" for one in found.values())])
    print(table(["activity", *found], rows))


if __name__ == "__main__":
    main()
