"""Small downloads in each published layout, made of scenes that networks can learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from tests.e2e.small_sets import mask_of, scenes

TRAINING, VALIDATION, TEST = 20, 4, 4
Array = npt.NDArray[Any]


def save(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def enlarged(array: Array, times: int) -> Array:
    return array.repeat(times, axis=0).repeat(times, axis=1)


def isic2018(root: Path) -> Path:
    for seed, (part, count) in enumerate(
        (("Training", TRAINING), ("Validation", VALIDATION), ("Test", TEST))
    ):
        for number, (image, labels) in enumerate(zip(*scenes(seed, count), strict=True)):
            stem = f"ISIC_{1000 * seed + number:07d}"
            picture = np.stack([image, image // 2, image // 3], axis=2)
            save(root / f"ISIC2018_Task1-2_{part}_Input/{stem}.jpg", picture)
            mask = mask_of(labels, "binary") * np.uint8(255)
            save(root / f"ISIC2018_Task1_{part}_GroundTruth/{stem}_segmentation.png", mask)
    return root


def hela(root: Path) -> Path:
    for seed, (part, count) in enumerate(
        (("train", TRAINING), ("val", VALIDATION), ("test", TEST))
    ):
        for number, (image, labels) in enumerate(zip(*scenes(seed, count), strict=True)):
            save(root / f"{part}/brightfield/w{number}.png", enlarged(image, 8))
            planes = mask_of(labels, "multilabel")
            for name, plane in zip(("alive", "dead", "mod_position"), planes, strict=True):
                mask = enlarged(plane.astype(np.uint8) * np.uint8(255), 8)
                save(root / f"{part}/{name}/w{number}.png", mask)
    return root


def suim(root: Path) -> Path:
    for seed, (part, count) in enumerate((("train_val", TRAINING), ("TEST", TEST))):
        for number, (image, labels) in enumerate(zip(*scenes(seed, count), strict=True)):
            picture = enlarged(np.stack([image, image // 2, image // 3], axis=2), 9)
            save(root / f"{part}/images/{part[0]}{number}.jpg", picture)
            bits = np.stack([labels >> 2 & 1, labels >> 1 & 1, labels & 1], axis=2)
            save(root / f"{part}/masks/{part[0]}{number}.bmp", enlarged(bits * np.uint8(255), 9))
    return root


def cityscapes(root: Path) -> Path:
    cities = (("train", "aachen", TRAINING), ("val", "lindau", 5), ("val", "frankfurt", 5))
    for seed, (part, city, count) in enumerate(cities):
        for number, (image, labels) in enumerate(zip(*scenes(seed, count), strict=True)):
            stem = f"{city}_{number:06}_000019"
            wide = np.concatenate([image, image], axis=1)
            picture = enlarged(np.stack([wide, wide // 2, wide // 3], axis=2), 8)
            save(root / f"leftImg8bit/{part}/{city}/{stem}_leftImg8bit.png", picture)
            ids = enlarged(np.concatenate([labels, labels], axis=1) + np.uint8(7), 8)
            save(root / f"gtFine/{part}/{city}/{stem}_gtFine_labelIds.png", ids)
    return root


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "isic2018": isic2018,
    "hela": hela,
    "suim": suim,
    "cityscapes": cityscapes,
}
"""What writes a download of each data set."""
