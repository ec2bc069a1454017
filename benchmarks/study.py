"""All approaches under one protocol on ISIC 2017, and the most telling ones on CamVid and nuclei.

    python benchmarks/study.py isic RAW --out .bench/study --seeds 0 1
    python benchmarks/study.py camvid RAW --out .bench/study
    python benchmarks/study.py nuclei RAW --out .bench/study

RAW is the download. The protocol: 96x96 px, half the paper's width, 3 networks a stage, at most 250
steps a network, 2 generations, at most 400 unlabeled images. It is `imseg compare` under these
settings: matched baselines come by themselves, and repeating the command continues.

Of ISIC's 1,412 training images without labels, 400 stay unlabeled and 400 others, which nobody
learns from, join the 100 test images: with 100 alone, single scores are off by .05. They come from
the same cameras as the training images, so scores are higher than on the official images.
"""

from __future__ import annotations

import argparse
import random
import shutil
from pathlib import Path
from typing import Any

import imseg
from imseg.approaches.methods.catalog import APPROACHES
from imseg.cli.show import Bars
from imseg.data.datasets import prepare_data_set
from imseg.report.comparison_tables import comparison_table, verdicts, write_tables
from imseg.report.html.make import make_report

PROTOCOL: dict[str, Any] = {
    "image_size": (96, 96),
    "width": 0.5,
    "networks": 3,
    "max_steps": 250,
    "generations": 2,
    "limit_unlabeled": 400,
}
NAMES = {"isic": "isic2018", "camvid": "camvid", "nuclei": "nuclei"}
TELLING = ["ldt", "aldt", "ldt-online", "fdt", "im", "aim++"]
ALL = [name for name, each in APPROACHES.items() if not each.matched]
MORE_TEST = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(NAMES))
    parser.add_argument("raw", type=Path)
    parser.add_argument("--out", type=Path, default=Path(".bench/study"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--approaches", nargs="+", default=None)
    arguments = parser.parse_args()
    data = prepared(arguments.name, arguments.raw, arguments.out / "data" / arguments.name)
    folder = arguments.out / "compared" / arguments.name
    with Bars() as bars:
        found = imseg.compare(
            data,
            approaches=arguments.approaches or (ALL if arguments.name == "isic" else TELLING),
            seeds=arguments.seeds,
            out=folder,
            progress=bars,
            unlabeled_masks=data / "hidden" / "masks",
            **PROTOCOL,
        )
        make_report(folder, data, progress=bars)
    write_tables(found, folder)
    print(comparison_table(found))
    print("\n".join(verdicts(found)))


def prepared(name: str, raw: Path, folder: Path) -> Path:
    """Return the data folder, made now or earlier."""
    if not folder.exists():
        made = folder.with_name(f"{name}.part")
        shutil.rmtree(made, ignore_errors=True)
        prepare_data_set(NAMES[name], raw, made)
        if name == "isic":
            hold_out(made)
        made.rename(folder)
    return folder


def hold_out(folder: Path) -> None:
    """Move unlabeled images that the protocol has no use for to the test images."""
    names = sorted(path.name for path in (folder / "unlabeled/images").iterdir())
    generator = random.Random(2017)
    drawn = [name for _, name in sorted((generator.random(), name) for name in names)]
    limit = PROTOCOL["limit_unlabeled"]
    for place, name in enumerate(drawn[limit:]):
        image = folder / "unlabeled/images" / name
        mask = folder / "hidden/masks" / f"{image.stem}.png"
        if place < MORE_TEST:
            shutil.move(image, folder / "test/images" / name)
            shutil.move(mask, folder / "test/masks" / mask.name)
        else:
            image.unlink()
            mask.unlink()


if __name__ == "__main__":
    main()
