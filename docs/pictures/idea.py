"""Draw docs/pictures/idea.png from a finished demo: python docs/pictures/idea.py demo."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from imseg.approaches.runs.run import load_run
from imseg.components.consensus import Consensus
from imseg.data.images.decoding import to_channels
from imseg.data.images.image_files import draw_inconsistency, draw_overlay, list_images
from imseg.ops.inconsistency import block_input, block_output
from imseg.report.figures import image_grid, save


def main(demo: Path) -> None:
    run = load_run(next(demo.glob("runs-*-seed-0")) / "im")
    images = list_images(next(demo.glob("data-*-seed-0")) / "unlabeled")
    start = run.summary["stages"][0]["networks"]
    teachers = [network["name"] for network in start[:2]]
    seen = [list(run.segment(images, networks=[name])) for name in teachers]
    rows = []
    for one, two in zip(*seen, strict=True):
        votes = torch.stack([one.predict(run.task), two.predict(run.task)])
        agreed = Consensus()(run.task, votes)
        # Shown: images that are admitted, with a visible share of disagreement.
        if not run.task.exceeds_inconsistency(agreed.labels, agreed.inconsistent).item():
            continue
        if agreed.inconsistent.float().mean() < 0.02:
            continue
        picture = torch.from_numpy(one.pixels.copy()).permute(2, 0, 1)[None]
        blocked = block_input(picture, agreed.inconsistent)[0].permute(1, 2, 0).numpy()
        label = block_output(agreed.labels, agreed.inconsistent)[0, 0].numpy()
        mask = agreed.inconsistent[0, 0].numpy()
        rows.append(
            [
                ("an unlabeled image", to_channels(one.pixels, 3)),
                ("teacher 1 says", draw_overlay(one.pixels, votes[0, 0, 0].numpy(), run.spec)),
                ("teacher 2 says", draw_overlay(one.pixels, votes[1, 0, 0].numpy(), run.spec)),
                ("where they disagree", draw_inconsistency(one.pixels, mask)),
                ("what the student sees", to_channels(blocked, 3)),
                ("what it is told", np.repeat(label[..., None] * np.uint8(255), 3, axis=2)),
            ]
        )
    save(Path(__file__).with_name("idea.png"), image_grid(rows[:3], side=160))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
