"""The brushes of the demo data: the dish, cells, debris, and what they are drawn with."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from imseg.data.files.atomic import new_folder
from imseg.errors import ImsegError
from imseg.types import Bytes

Plane = npt.NDArray[np.float32]
"""A gray picture while it is being drawn, in gray levels 0..255 but not yet clipped."""

Place = tuple[float, float]
"""Row and column in pixels, perhaps beyond the picture."""


def draw_dish(generator: np.random.Generator, size: tuple[int, int], *, hard: float) -> Plane:
    """Return the empty dish: uneven light, coarse stains and a fine grain."""
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, edge) for edge in size), indexing="ij")
    slope, bow = generator.normal(0, 8 + 8 * hard, 2), generator.uniform(0, 12 + 14 * hard)
    light = generator.uniform(110, 155) + slope[0] * rows + slope[1] * columns
    light -= bow * ((rows - slope[0] / 40) ** 2 + (columns - slope[1] / 40) ** 2)
    stains = (3 + 4 * hard) * _cloud(generator, size, 24)
    stains += (2 + 2 * hard) * _cloud(generator, size, 9)
    grain = (1.5 + 2 * hard) * _cloud(generator, size, 3)
    return np.asarray(light + stains + grain, dtype=np.float32)


def _cloud(generator: np.random.Generator, size: tuple[int, int], grain: float) -> Plane:
    """Return smooth noise of about unit scatter whose blobs are ``grain`` pixels wide."""
    rows, columns = (max(2, round(edge / grain) + 1) for edge in size)
    coarse = generator.standard_normal((rows, columns)).astype(np.float32)
    smooth = PillowImage.fromarray(coarse).resize(size[::-1], PillowImage.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float32) * np.float32(1.5)


def add_cell(
    generator: np.random.Generator,
    picture: Plane,
    mask: npt.NDArray[np.bool_],
    *,
    center: Place,
    radius: float,
    hard: float,
) -> None:
    """Draw a cell into the picture and the mask; what lies under it is mostly hidden."""
    window, rows, columns = _window(picture, center, reach=2.2 * radius + 6)
    if not rows.size:
        return
    angle, distance = np.arctan2(rows, columns), np.hypot(rows, columns)
    outside = distance - _outline(generator, angle, radius=radius)
    body = _rise(-outside, 0.7)
    contrast = (38 - 21 * hard) * generator.uniform(0.75, 1.3)
    # Light falls in from one side: a rim is strong there and all but lost on the other.
    lit = 0.5 + 0.5 * np.cos(angle - generator.uniform(0, 2 * np.pi))
    rim = 0.25 + 0.75 * lit
    round_cell = generator.random() < 0.2
    offset = generator.normal(0.0, 3.0) + (14.0 if round_cell else 0.0)
    shape = (rows.shape[0], rows.shape[1])
    inner = 0.20 * contrast * _cloud(generator, shape, 2.5)
    inner += 0.16 * contrast * _cloud(generator, shape, 6)
    inner += offset - _nucleus(generator, rows, columns, radius=radius, contrast=contrast)
    level = blurred(picture[window], 3.0)
    drawn = picture[window] * (1 - body) + (level + inner) * body
    drawn -= contrast * rim * np.exp(-(((outside + 1.2) / 1.1) ** 2))
    halo = 0.75 * (1.6 if round_cell else 1.0) * contrast * (1.15 - rim)
    drawn += halo * np.exp(-(((outside - 1.6) / 1.5) ** 2))
    picture[window] = drawn
    mask[window] |= outside < 0


def _outline(generator: np.random.Generator, angle: Plane, *, radius: float) -> Plane:
    """Return the distance of a deformed ellipse's edge from its center, in each direction."""
    stretch = generator.uniform(1.0, 1.75)
    turned = angle - generator.uniform(0, 2 * np.pi)
    edge = 1 / np.sqrt(np.cos(turned) ** 2 / stretch + np.sin(turned) ** 2 * stretch)
    for wave, depth in ((2, 0.06), (3, 0.07), (4, 0.04), (5, 0.03)):
        swing = depth * generator.normal()
        edge *= 1 + swing * np.cos(wave * angle + generator.uniform(0, 2 * np.pi))
    return np.asarray(radius * np.clip(edge, 0.45, 2.0), dtype=np.float32)


def _nucleus(
    generator: np.random.Generator, rows: Plane, columns: Plane, *, radius: float, contrast: float
) -> Plane:
    """Return how much darker a cell is for its nucleus; many cells show none."""
    if generator.random() < 0.4:
        return np.zeros_like(rows)
    row, column = generator.normal(0, 0.15 * radius, 2)
    inside = 0.38 * radius - np.hypot(rows - row, columns - column)
    ring = np.exp(-((inside / 1.3) ** 2))
    return np.asarray(contrast * (0.3 * ring - 0.1 * _rise(inside, 1.0)), dtype=np.float32)


def add_debris(generator: np.random.Generator, picture: Plane, *, hard: float) -> None:
    """Draw something that is not a cell."""
    height, width = picture.shape
    center = float(generator.uniform(0, height)), float(generator.uniform(0, width))
    contrast = float((38 - 16 * hard) * generator.uniform(0.5, 1.4))
    kind = generator.choice(4, p=(0.45, 0.2, 0.15, 0.2))
    draw = (_speck, _bubble, _fiber, _smear)[kind]
    draw(generator, picture, center, contrast)


def _speck(generator: np.random.Generator, picture: Plane, center: Place, contrast: float) -> None:
    """Add a small dark or bright grain with a halo of the other sign."""
    radius = generator.uniform(0.8, 2.6)
    window, rows, columns = _window(picture, center, reach=12)
    squash = generator.uniform(0.6, 1.6)
    distance = np.hypot(rows * squash, columns / squash)
    sign = generator.choice((-1.3, 1.0))
    picture[window] += sign * contrast * np.exp(-((distance / radius) ** 2))
    picture[window] -= 0.5 * sign * contrast * np.exp(-(((distance - 2 * radius) / 1.2) ** 2))


def _bubble(generator: np.random.Generator, picture: Plane, center: Place, contrast: float) -> None:
    """Add a circle as large as a small cell, with an even, closed rim and a bright middle."""
    radius = generator.uniform(3.0, 9.0)
    window, rows, columns = _window(picture, center, reach=radius + 8)
    outside = np.hypot(rows, columns) - radius
    picture[window] -= 0.9 * contrast * np.exp(-(((outside + 0.6) / 1.0) ** 2))
    picture[window] += 0.6 * contrast * np.exp(-(((outside - 1.4) / 1.3) ** 2))
    picture[window] += 0.35 * contrast * np.exp(-(((outside + radius) / (0.5 * radius)) ** 2))


def _fiber(generator: np.random.Generator, picture: Plane, center: Place, contrast: float) -> None:
    """Add a bent thread, dark on one side and bright on the other, that fades at its ends."""
    length, bend = generator.uniform(8, 34), generator.normal(0, 0.012)
    window, rows, columns = _window(picture, center, reach=length + 6)
    turn = generator.uniform(0, np.pi)
    along = columns * np.cos(turn) + rows * np.sin(turn)
    across = rows * np.cos(turn) - columns * np.sin(turn) - bend * along**2
    fade = _rise(length - np.abs(along), 2.0)
    thickness = generator.uniform(0.7, 1.5)
    picture[window] -= 0.8 * contrast * fade * np.exp(-((across / thickness) ** 2))
    picture[window] += 0.5 * contrast * fade * np.exp(-(((across - 2.0) / 1.2) ** 2))


def _smear(generator: np.random.Generator, picture: Plane, center: Place, contrast: float) -> None:
    """Add a patch with the texture of a cell and no rim."""
    radius = generator.uniform(5.0, 13.0)
    window, rows, columns = _window(picture, center, reach=1.8 * radius)
    if not rows.size:
        return
    edge = _outline(generator, np.arctan2(rows, columns), radius=radius)
    patch = _rise(edge - np.hypot(rows, columns), 2.5)
    grain = _cloud(generator, (rows.shape[0], rows.shape[1]), 2.5)
    picture[window] += patch * (0.22 * contrast * grain + generator.normal(0, 4.0))


def _window(
    picture: Plane, center: Place, *, reach: float
) -> tuple[tuple[slice, slice], Plane, Plane]:
    """Return the part of a picture around ``center`` and its pixels' offsets from there."""
    slices, offsets = [], []
    for middle, edge in zip(center, picture.shape, strict=True):
        start, stop = max(0, int(middle - reach)), min(edge, int(middle + reach) + 1)
        slices.append(slice(start, max(start, stop)))
        offsets.append(np.arange(start, max(start, stop), dtype=np.float32) - np.float32(middle))
    rows, columns = np.meshgrid(*offsets, indexing="ij")
    return (slices[0], slices[1]), rows, columns


def _rise(depth: Plane, softness: float) -> Plane:
    """Return a step from 0 to 1 at depth 0 that is about ``softness`` pixels wide."""
    return np.asarray(0.5 + 0.5 * np.tanh(depth / softness), dtype=np.float32)


def blurred(picture: Plane, sigma: float) -> Plane:
    """Return the picture blurred by a Gaussian of ``sigma`` pixels; edge pixels are repeated."""
    reach = max(1, round(2.5 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(np.float32)
    weights /= weights.sum()
    for _ in range(2):
        height = picture.shape[0]
        padded = np.pad(picture, ((reach, reach), (0, 0)), mode="edge")
        picture = sum(w * padded[i : i + height] for i, w in enumerate(weights)).T
    return picture


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
    centers: list[Place] = []
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
                f"The {name} of the demo data is negative.", expected="0 or more.", got=f"{number}."
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
    generator: np.random.Generator, size: tuple[int, int], centers: list[Place], *, radius: float
) -> Place:
    """Return where the next cell goes: half of them beside another one, touching it."""
    if centers and generator.random() < 0.5:
        row, column = centers[int(generator.integers(len(centers)))]
        angle, reach = generator.uniform(0, 2 * np.pi), radius * generator.uniform(1.5, 2.1)
        row, column = row + reach * np.sin(angle), column + reach * np.cos(angle)
        if -2 < row < size[0] + 2 and -2 < column < size[1] + 2:
            return float(row), float(column)
    return float(generator.uniform(0, size[0])), float(generator.uniform(0, size[1]))
