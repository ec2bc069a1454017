"""The embedded demo data: pictures like those of cells in a brightfield microscope, made by code.

Cells are deformed ellipses, hardly brighter or darker than the background they lie on; what gives
them away is a broken rim, a halo and a finer texture. Debris (specks, bubbles, fibers, smears) has
rims, halos and texture too, and is background. Nothing was tuned on any network's scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from imseg.data.new_folder import new_folder
from imseg.data.synthetic_parts import add_cell, add_debris, blurred, draw_dish
from imseg.errors import ImsegError
from imseg.types import Bytes

_SPLITS = {"labeled": 0, "unlabeled": 1, "val": 2, "test": 3}
"""The number of each split in the seed of its pictures; never renumber."""

_TOML = """\
task = "binary"

[classes]
0 = "background"
255 = "cell"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellScene:
    """What a picture shows."""

    difficulty: float = 0.5
    """From 0 (clear cells, clean dish) to 1 (faint cells, much debris, noise and uneven light)."""
    size: tuple[int, int] = (96, 96)
    """Height and width in pixels."""
    cells: tuple[int, int] = (4, 9)
    """Fewest and most cells on 96 x 96 pixels; larger pictures hold more in proportion."""
    radius: tuple[float, float] = (7.0, 13.0)
    """Smallest and largest mean radius of a cell in pixels."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ImsegError: If a value is out of its range.
        """
        low, high = self.cells
        small, large = self.radius
        for field, right, expected in (
            ("difficulty", 0.0 <= self.difficulty <= 1.0, "a number from 0 to 1."),
            ("size", min(self.size) >= 16, "a height and width of at least 16 pixels."),
            ("cells", 1 <= low <= high, "at least 1, and the fewest first."),
            ("radius", 2.0 <= small <= large, "at least 2 pixels, and the smallest first."),
        ):
            if not right:
                raise ImsegError(
                    f"The {field} of a scene of cells is out of range.",
                    expected=expected,
                    got=f"{getattr(self, field)}.",
                )


def draw_cells(generator: np.random.Generator, scene: CellScene) -> tuple[Bytes, Bytes]:
    """Draw one picture and its truth.

    Args:
        generator: All randomness comes from here; the same state gives the same picture.
        scene: What to draw.

    Returns:
        The ``h w`` gray picture and the ``h w`` mask: 255 where a cell is, otherwise 0.
    """
    hard = scene.difficulty
    area = scene.size[0] * scene.size[1] / (96 * 96)
    picture = draw_dish(generator, scene.size, hard=hard)
    mask = np.zeros(scene.size, dtype=bool)
    count = max(1, round(area * int(generator.integers(scene.cells[0], scene.cells[1] + 1))))
    debris = round(area * generator.uniform(0.7, 1.3) * (2 + 12 * hard))
    below = int(generator.integers(0, debris + 1))
    for _ in range(below):
        add_debris(generator, picture, hard=hard)
    centers: list[tuple[float, float]] = []
    for _ in range(count):
        radius = float(generator.uniform(*scene.radius))
        center = _place(generator, scene.size, centers, radius=radius)
        centers.append(center)
        add_cell(generator, picture, mask, center=center, radius=radius, hard=hard)
    for _ in range(debris - below):
        add_debris(generator, picture, hard=hard)
    picture = blurred(picture, float(generator.uniform(0.45, 0.6 + 0.5 * hard)))
    picture += generator.normal(0.0, 1.5 + 3.0 * hard, scene.size).astype(np.float32)
    levels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return levels, mask.astype(np.uint8) * np.uint8(255)


def write_demo(
    folder: Path,
    *,
    seed: int,
    labeled: int = 20,
    unlabeled: int = 180,
    val: int = 20,
    test: int = 60,
    scene: CellScene | None = None,
) -> Path:
    """Write a demo data folder, in the layout that users bring.

    Every picture has its own seed, made of ``seed``, its split and its number: asking for more or
    fewer pictures changes none of the others.

    Args:
        folder: Must not exist yet, or be empty.
        seed: 0 or more.
        labeled: Pictures with masks to learn from.
        unlabeled: Pictures without masks; their masks go to ``hidden/masks``.
        val: Pictures with masks to choose by.
        test: Pictures with masks for the final score.
        scene: What the pictures show.

    Returns:
        The folder.

    Raises:
        ImsegError: If the folder holds something or cannot be written, or a number is negative.
    """
    scene = scene or CellScene()
    counts = {"labeled": labeled, "unlabeled": unlabeled, "val": val, "test": test}
    for name, number in {"seed": seed, **counts}.items():
        if number < 0:
            raise ImsegError(
                f"The {name} of the demo data is negative.",
                expected="0 or more.",
                got=f"{number}.",
            )
    with new_folder(folder) as part:
        for split, count in counts.items():
            images = part / split if split == "unlabeled" else part / split / "images"
            masks = part / "hidden/masks" if split == "unlabeled" else part / split / "masks"
            images.mkdir(parents=True)
            masks.mkdir(parents=True)
            for index in range(count):
                generator = np.random.default_rng([seed, _SPLITS[split], index])
                picture, mask = draw_cells(generator, scene)
                name = f"{split}_{index:03d}.png"
                PillowImage.fromarray(picture).save(images / name)
                PillowImage.fromarray(mask).save(masks / name)
        (part / "imseg.toml").write_text(_TOML, encoding="utf-8")
    return Path(folder)


def _place(
    generator: np.random.Generator,
    size: tuple[int, int],
    centers: list[tuple[float, float]],
    *,
    radius: float,
) -> tuple[float, float]:
    """Return where the next cell goes: half of them beside another one, touching it."""
    if centers and generator.random() < 0.5:
        row, column = centers[int(generator.integers(len(centers)))]
        angle, reach = generator.uniform(0, 2 * np.pi), radius * generator.uniform(1.5, 2.1)
        row, column = row + reach * np.sin(angle), column + reach * np.cos(angle)
        if -2 < row < size[0] + 2 and -2 < column < size[1] + 2:
            return float(row), float(column)
    return float(generator.uniform(0, size[0])), float(generator.uniform(0, size[1]))
