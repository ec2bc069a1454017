"""Draw the pictures of the documentation: python docs/make_pictures.py WORK.

Everything in them is made by the program itself: the data is the embedded demo data, the networks
are trained here. WORK is a folder for data and runs; what is finished there is kept. The first time
takes about ten minutes on two idle cores.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

import imseg
from imseg.approaches.runs.run import Run
from imseg.components.consensus import Consensus
from imseg.data.folder.scan import read_folder
from imseg.data.images.decoding import to_channels
from imseg.data.images.image_files import draw_inconsistency, draw_overlay, list_images
from imseg.data.masks.io import load_target
from imseg.data.synthetic import CellScene, write_demo
from imseg.engine.inference.predictor import score_candidates
from imseg.engine.training.job import load_network, read_trained
from imseg.ops import augment
from imseg.ops.inconsistency import block_input, block_output
from imseg.ops.photometric import STRENGTH_SCHEDULES
from imseg.report.demo import QUICK, run_demo
from imseg.report.figures import contact_sheet
from imseg.report.html.make import make_report
from imseg.tasks.quality import quality_for
from imseg.types import Bytes, Image, LabeledImage

HERE = Path(__file__).parent / "pictures"
INK, PAPER = (30, 30, 30), (255, 255, 255)
GAP, CAPTION = 12, 30
SHOWN = (11, 26, 55)
"""Unlabeled images with a visible share of disagreement."""
Captioned = tuple[str, Bytes]


class Scene:
    """A finished run on the demo data, and what is to be seen in it."""

    def __init__(self, work: Path) -> None:
        scene = CellScene(difficulty=0.15, size=(96, 96))
        folder = work / "data"
        if not folder.is_dir():
            write_demo(folder, seed=0, labeled=20, unlabeled=180, scene=scene)
        self.run: Run = imseg.fit(
            folder,
            approach="im++",
            blocking="both",  # as in the paper, which the pictures explain
            out=work / "run",
            networks=3,
            generations=3,
            patience=0,
            epochs=400,
            max_steps=240,
            batch_size=16,
            image_size=(96, 96),
            width=0.5,
            workers=1,
            unlabeled_masks=folder / "hidden/masks",
        )
        self.test = read_folder(folder).test
        self.unlabeled = list_images(folder / "unlabeled")
        self.hidden = folder / "hidden/masks"
        stages = {stage["name"]: stage for stage in self.run.summary["stages"]}
        self.stages = {
            name: [each["name"] for each in stage["networks"]] for name, stage in stages.items()
        }

    def truth(self, image: Image) -> torch.Tensor:
        """Return the hidden truth of an unlabeled image, ``1 1 h w``."""
        pair = LabeledImage(image, self.hidden / image.name)
        return torch.from_numpy(load_target(pair, self.run.spec, None))[None]

    def votes(self, images: Sequence[Image]) -> tuple[list[Bytes], torch.Tensor]:
        """Return pixels, and what the two best start networks say (``v b 1 h w``)."""
        seen = [
            list(self.run.segment(images, networks=[name])) for name in self.stages["start"][:2]
        ]
        votes = [torch.cat([each.predict(self.run.task) for each in one]) for one in seen]
        return [each.pixels for each in seen[0]], torch.stack(votes)

    def overlay(self, pixels: Bytes, target: torch.Tensor) -> Bytes:
        return draw_overlay(pixels, target.numpy(), self.run.spec)


def method(scene: Scene) -> None:
    """Pictures 1 to 3: teachers, their disagreement, what the student gets."""
    images = [scene.unlabeled[number] for number in SHOWN]
    pixels, votes = scene.votes(images)
    agreed = Consensus()(scene.run.task, votes)
    teachers, disputes, students = [], [], []
    for number, (image, seen) in enumerate(zip(images, pixels, strict=True)):
        one, two = votes[0, number], votes[1, number]
        wrong = (one != scene.truth(image)[0])[0].numpy()
        mask = agreed.inconsistent[number, 0].numpy()
        batch = torch.from_numpy(seen.copy()).permute(2, 0, 1)[None]
        blocked = block_input(batch, agreed.inconsistent[number : number + 1])[0]
        label = block_output(agreed.labels, agreed.inconsistent)[number, 0].numpy()
        teachers.append(
            [
                ("an unlabeled image", to_channels(seen, 3)),
                ("teacher 1 says", scene.overlay(seen, one)),
                ("teacher 2 says", scene.overlay(seen, two)),
            ]
        )
        disputes.append(
            [
                ("an unlabeled image", to_channels(seen, 3)),
                (f"they disagree: {mask.mean():.0%}", draw_inconsistency(seen, mask)),
                (f"teacher 1 is wrong: {wrong.mean():.0%}", draw_inconsistency(seen, wrong)),
            ]
        )
        students.append(
            [
                ("an unlabeled image", to_channels(seen, 3)),
                ("what the student sees", to_channels(blocked.permute(1, 2, 0).numpy(), 3)),
                ("what it is told", np.repeat(label[..., None] * np.uint8(255), 3, axis=2)),
            ]
        )
    save("method-1-teachers.png", sheet(teachers))
    save("method-2-inconsistency.png", sheet(disputes))
    save("method-3-student.png", sheet(students))


def generations(scene: Scene) -> None:
    """Picture 4: three test images through the generations, one good, one middling, one bad."""
    run, pairs = scene.run, scene.test
    seen = {
        name: list(run.segment([pair.image for pair in pairs], networks=networks[:1]))
        for name, networks in scene.stages.items()
    }
    truths = [torch.from_numpy(load_target(pair, run.spec, None)) for pair in pairs]

    def iou(name: str, number: int) -> float:
        predicted = seen[name][number].predict(run.task)
        return float(run.task.image_scores(predicted, truths[number][None])["iou"])

    order = sorted(range(len(pairs)), key=lambda number: -iou("start", number))
    rows = []
    for number in (order[round(share * (len(order) - 1))] for share in (0.1, 0.5, 0.9)):
        pixels = seen["start"][number].pixels
        row: list[Captioned] = [("truth", scene.overlay(pixels, truths[number]))]
        for name in scene.stages:
            short = name.replace("generation-", "gen. ")
            predicted = seen[name][number].predict(run.task)[0]
            row.append((f"{short}: {iou(name, number):.2f}", scene.overlay(pixels, predicted)))
        rows.append(row)
    means = {
        name: np.mean([iou(name, number) for number in range(len(pairs))]) for name in scene.stages
    }
    print("test IoU of the best network of each stage:", means)
    save("method-4-generations.png", sheet(rows, scale=2))


def copies(scene: Scene) -> None:
    """Picture 5: augmented copies, and what mask scorers say about masks."""
    image = scene.unlabeled[SHOWN[0]]
    pixels, votes = scene.votes([image])
    agreed = Consensus()(scene.run.task, votes)
    batch = torch.from_numpy(pixels[0].copy()).permute(2, 0, 1)[None]
    blocked = block_input(batch, agreed.inconsistent)
    row: list[Captioned] = [("blocked image", to_channels(blocked[0].permute(1, 2, 0).numpy(), 3))]
    for level in (1, 3, 5):
        copy, _, _ = augment.augment(
            blocked,
            agreed.labels,
            agreed.inconsistent,
            seeds=[level * 5],
            strength=STRENGTH_SCHEDULES["default"][level - 1],
            rotate=True,
            black=True,
        )
        shown = to_channels(copy[0].permute(1, 2, 0).numpy(), 3)
        row.append((f"copy, generation {level}", shown))
    save("method-5-copies.png", sheet([row, scored(scene)], scale=2))


def scored(scene: Scene) -> list[Captioned]:
    """Return pseudo-labels from those that mask scorers like least to those that they like most."""
    run = scene.run
    pixels, votes = scene.votes(scene.unlabeled)
    agreed = Consensus()(run.task, votes)
    quality = quality_for(run.task)
    ranking = [each["name"] for each in run.summary["aside"][0]["networks"]][:2]
    scorers = _scorers(scene, ranking)
    labels = block_output(agreed.labels, agreed.inconsistent)
    batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    seen = block_input(batch, agreed.inconsistent).permute(0, 2, 3, 1).numpy()
    compute = run.compute("cpu")
    said = quality.score(
        score_candidates(scorers, seen, labels, quality, compute), amplification=True
    )
    truth = torch.cat([scene.truth(image) for image in scene.unlabeled])
    true = quality.of_consensus(agreed.labels, agreed.inconsistent, truth)[:, 0, 0]
    order = torch.argsort(said).tolist()
    row = []
    for share in (0.05, 0.35, 0.65, 0.95):
        number = order[round(share * (len(order) - 1))]
        text = f"scored {said[number]:.2f}, true {true[number]:.2f}"
        row.append((text, scene.overlay(pixels[number], labels[number])))
    return row


def _scorers(scene: Scene, names: Sequence[str]) -> list[torch.nn.Module]:
    """Return mask scorers of the run, which does not load them among those that make masks."""
    compute, networks = scene.run.compute("cpu"), []
    for name in names:
        weights = scene.run.path / f"{name}.safetensors"
        known = read_trained(weights)
        if known is None:
            raise ValueError(f"{weights} is not whole")
        networks.append(
            load_network(
                weights, known.network, compute, channels=known.channels, outputs=known.outputs
            )
        )
    return networks


def tour(work: Path) -> None:
    """The pictures of the tour, as its commands make them."""
    outcome = run_demo(work / "demo", QUICK, progress=lambda event: None)
    save("tour-demo.png", Pillow.open(outcome.pictures[0]))
    data = read_folder(outcome.data)
    save("tour-check.png", contact_sheet(data.labeled, data.spec, reading=data.reading, most=6))
    run = imseg.fit(data, approach="im", effort="quick", out=work / "tour")
    chosen = [pair.image for pair in data.test[:5]]
    row = [
        (
            Path(seen.image.name).name,
            draw_overlay(seen.pixels, seen.predict(run.task)[0].numpy(), run.spec),
        )
        for seen in run.segment(chosen)
    ]
    save("tour-overlays.png", sheet([row], scale=3))
    screenshot(make_report(run.path, data), work / "report.png")


def screenshot(page: Path, picture: Path) -> None:
    """Take a picture of the top of a report, where there is a browser."""
    browser = shutil.which("chromium")
    if browser is None:
        print("tour-report.png stays as it is: there is no chromium")
        return
    words = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1000,1250"]
    subprocess.run(
        [browser, *words, f"--screenshot={picture}", page.resolve().as_uri()], check=True
    )
    save("tour-report.png", Pillow.open(picture))


def sheet(rows: Sequence[Sequence[Captioned]], *, scale: int = 3) -> Pillow.Image:
    """Return pictures side by side, enlarged without smoothing, with captions that can be read."""
    font = ImageFont.load_default(20)
    height, width = (side * scale for side in rows[0][0][1].shape[:2])
    across, down = width + GAP, height + CAPTION + GAP
    page = Pillow.new("RGB", (len(rows[0]) * across - GAP, len(rows) * down - GAP), PAPER)
    pen = ImageDraw.Draw(page)
    for number, row in enumerate(rows):
        for place, (text, picture) in enumerate(row):
            left, top = place * across, number * down
            pen.text((left, top), text, INK, font)
            enlarged = Pillow.fromarray(np.ascontiguousarray(picture))
            page.paste(enlarged.resize((width, height), 0), (left, top + CAPTION))
    return page


def save(name: str, picture: Pillow.Image | Bytes) -> None:
    """Write a picture, and say how large it is."""
    image = picture if isinstance(picture, Pillow.Image) else Pillow.fromarray(picture)
    path = HERE / name
    image.convert("RGB").save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, {image.width}x{image.height} px")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    tour(place)
    scene = Scene(place / "method")
    method(scene)
    generations(scene)
    copies(scene)
