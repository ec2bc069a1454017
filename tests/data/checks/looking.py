"""Looks, facts and masks made up for tests of the doctor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from imseg.data.checks.fitness import SplitMask
from imseg.data.folder.config import FolderConfig
from imseg.data.folder.facts import ImageFacts
from imseg.data.folder.inspection import Scope, image_facts
from imseg.data.folder.mask_facts import mask_facts
from imseg.data.masks.io import MaskFile

SCOPE = Scope(config=FolderConfig(), regions=False)


def blobs(seed: int, size: tuple[int, int] = (64, 64), channels: int = 1) -> np.ndarray:
    """Return a picture of a few soft spots, different for each seed."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]] / np.array(size).reshape(2, 1, 1)
    plane = np.full(size, 60.0)
    for _ in range(8):
        row, column = generator.uniform(0, 1, 2).tolist()
        radius = generator.uniform(0.05, 0.2)
        spot = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / radius**2)
        plane += generator.uniform(-50, 120) * spot
    noisy = plane + generator.normal(0, 2, size)
    pixels = np.clip(noisy, 0, 255).astype(np.uint8)
    return np.repeat(pixels[..., None], channels, axis=2)


def facts_of(name: str, pixels: np.ndarray) -> ImageFacts:
    return image_facts(name, pixels, scope=SCOPE)


def mask_in(
    split: str, values: Any, *, name: str = "", form: str = "values", label: str | None = None
) -> SplitMask:
    """Return the facts about a mask of these values, one row if they are not ``h w``."""
    array = np.atleast_2d(np.asarray(values))
    file = MaskFile(array, form)  # type: ignore[arg-type]
    facts = mask_facts(name or f"{split}/masks/{array.sum()}.png", file, scope=SCOPE, label=label)
    return SplitMask(split, facts, label)


def masks_in(splits: Mapping[str, Sequence[Any]], *, form: str = "values") -> list[SplitMask]:
    """Return masks named by split and number."""
    return [
        mask_in(split, values, name=f"{split}/masks/{index}.png", form=form)
        for split, members in splits.items()
        for index, values in enumerate(members)
    ]
