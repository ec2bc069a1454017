"""Folders whose labels are all known, and which of them a repaired copy has lost."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tests.data.checks.test_doctor_masks import jpeg, smooth
from tests.data.checks.test_spared_classes import dots, patches, rimmed, strokes
from tests.faults import trees
from tests.faults.odd_pictures import Array, encoded

from imseg.data.checks.repair import repair_folder
from imseg.data.masks.io import read_mask
from imseg.errors import ImsegError

PAINTS = (
    np.random.default_rng(7)
    .permutation(np.stack(np.meshgrid(*[(0, 60, 130, 190, 255)] * 3), -1).reshape(-1, 3))
    .astype(np.uint8)
)
"""Colors far from each other."""
NAMES = (
    ("{}", "{}"), ("{}", "{}"), ("{}", "{}_mask"), ("{}", "{}-gt"), ("img_{}", "mask_{}"),
    ("{}_0000", "{}"), ("{}_leftImg8bit", "{}_gtFine_labelIds"), ("{}", "label {}"),
)  # fmt: skip
"""How images and masks are called."""
FORMS = ("numbers", "void", "levels", "colors", "rare", "close", "binary", "ones", "planes", "deep")
"""What masks hold."""
HARMS = ("", "", "jpeg", "smooth", "half", "turned", "copies", "alone", "broken", "torn")
"""What is wrong with some of them."""


@dataclass
class Fixed:
    """What became of a folder."""

    number: int
    """Which folder."""
    planted: list[str]
    """What it was like, in words."""
    fixes: int = 0
    """How many changes were made."""
    labels: int = 0
    """How many labels of masks there were: classes and objects, over all masks."""
    reported: int = 0
    """How many of them are in files that the list of changes says were left out."""
    lost: list[str] = field(default_factory=list)
    """Labels that are gone without a word."""
    refused: str = ""
    """Why no copy was written; empty if one was."""


def shown(mask: Array) -> dict[int, Array]:
    """Return where each value of a mask is."""
    return {int(value): mask == value for value in np.unique(mask)}


def mend(number: int, folder: Path) -> Fixed:
    """Make a folder by its number, mend it, and count what is lost."""
    rng = random.Random(f"fix {number}")
    root, out = folder / "data", folder / "fixed"
    if rng.random() < 0.5:
        tree = trees.good_tree(rng, root)
        trees.spoil(rng, tree)
        known, planted = _seen(root), tree.faults
    else:
        known, planted = _known(rng, root)
    fixed = Fixed(number, planted, labels=sum(map(len, known.values())))
    try:
        repair_folder(root, out)
    except ImsegError as error:
        fixed.refused = str(error)
        return fixed
    _count(fixed, known, out)
    return fixed


def _seen(root: Path) -> dict[str, dict[int, Array]]:
    """Return what the masks of a folder show: values that fill nine pixels somewhere."""
    known = {}
    for path in sorted(root.glob("*/masks/**/*")):
        inside = path.is_file() and path.resolve().is_relative_to(root.resolve())
        name = path.relative_to(root).as_posix()
        if not inside or path.parent.is_symlink() or "/." in f"/{name}":
            continue
        try:
            mask = read_mask(path)
        except ImsegError:
            continue
        if mask.form != "numbers":
            here = shown(mask.values) if min(mask.values.shape) > 2 else {}
            wide = {value: at for value, at in here.items() if _is_wide(at)}
            known[name] = wide
    return known


def _known(rng: random.Random, root: Path) -> tuple[dict[str, dict[int, Array]], list[str]]:
    """Write a folder of one form, names and harm; return what each mask shows."""
    form, (image, mask), harm = rng.choice(FORMS), rng.choice(NAMES), rng.choice(HARMS)
    if harm in ("jpeg", "smooth") and form not in ("binary", "colors"):
        harm = ""
    classes, size = rng.randint(1, 12), rng.choice((48, 64, 96))
    draw = rng.choice((patches, patches, strokes, dots))
    draw = patches if harm else draw
    known: dict[str, dict[int, Array]] = {}
    for split, count in (("labeled", 6), ("val", rng.choice((0, 3))), ("test", rng.choice((0, 2)))):
        for place in range(count):
            stem, seed = f"n{10 * place + 1}", rng.getrandbits(30)
            numbers = [n for n in range(1, classes + 1) if rng.random() < 0.7] or [1]
            truth = draw(seed, tuple([0, *numbers] if draw is patches else numbers), size)
            gray = np.random.default_rng(seed).integers(0, 99, truth.shape).astype(np.uint8)
            gray += np.where(truth > 0, 20 * (truth % 8), 0).astype(np.uint8)
            trees._write(root / split / "images" / f"{image.format(stem)}.png", encoded(gray))
            masks = root / split / "masks"
            name = mask.format(stem)
            harmed = harm and (place + len(known)) % 2 == 0
            for label, values in _painted(form, truth, place).items():
                path = masks / label / f"{name}.png"
                here = _write_mask(rng, path, values, harm if harmed else "")
                if here is not None:
                    known[path.relative_to(root).as_posix()] = here
    if harm == "alone":
        trees._write(root / "labeled/images/alone.png", encoded(gray))
    if harm == "copies":
        for kind in ("images", "masks"):
            for path in sorted((root / "labeled" / kind).glob("*n1*.png")):
                (path.parent / path.name.replace("n1", "n999", 1)).write_bytes(path.read_bytes())
                twin = path.relative_to(root).as_posix()
                if twin in known:
                    known[twin.replace("n1", "n999", 1)] = known[twin]
    return known, [form, f"{image} with {mask}", harm, draw.__name__, f"{classes} classes"]


def _painted(form: str, truth: Array, place: int) -> dict[str, Array]:
    """Return the masks of a scene by label, with values or packed colors."""
    if form == "planes":
        values = [value for value in (1, 2, 3) if (truth == value).any() or value == 1]
        return {f"label{value}": 255 * (truth == value).astype(np.uint8) for value in values}
    if form == "void":
        return {"": rimmed(truth, 255)}
    if form == "levels":
        return {"": truth * 20}
    if form in ("colors", "rare"):
        colors = PAINTS.astype(np.int64) @ (65536, 256, 1)
        painted = colors[truth]
        if form == "rare" and place == 0:
            painted[2, 3:10] = 0x6496C8
        return {"": painted}
    if form == "close":
        return {"": truth.astype(np.int64) << 16}
    if form in ("binary", "ones"):
        return {"": (truth > 0).astype(np.uint8) * (1 if form == "ones" and place % 2 else 255)}
    return {"": truth.astype(np.uint16) * 300 if form == "deep" else truth}


def _write_mask(
    rng: random.Random, path: Path, values: Array, harm: str
) -> dict[int, Array] | None:
    """Write a mask and return what it shows; None: it is not there."""
    packed = values.dtype == np.int64
    if harm == "half":
        values = values[::2, ::2]
    elif harm == "turned":
        values = np.rot90(values)
    labels = shown(values)
    stored = np.stack([values >> at & 255 for at in (16, 8, 0)], -1) if packed else values
    stored = np.ascontiguousarray(stored.astype(np.uint8) if packed else stored)
    if harm in ("jpeg", "smooth"):
        stored = jpeg(stored, rng.choice((60, 75, 90))) if harm == "jpeg" else smooth(stored, 0.7)
        # What is smaller may be gone before the folder is mended.
        labels = {value: at for value, at in labels.items() if at.sum() >= 100 and _is_wide(at)}
    if harm == "torn":
        return None
    content = encoded(stored)
    trees._write(path, content[: len(content) // 2] if harm == "broken" else content)
    return labels


def _is_wide(at: Array, width: int = 3) -> bool:
    """Return whether an area holds a square of so many pixels a side."""
    windows = np.lib.stride_tricks.sliding_window_view(at, (width, width))
    return bool(windows.all(axis=(2, 3)).any())


def _count(fixed: Fixed, known: dict[str, dict[int, Array]], out: Path) -> None:
    """Count the labels that a copy does not show, and those that it says it does not."""
    repairs = json.loads((out / "repairs.json").read_text())["repairs"]
    fixed.fixes = len(repairs)
    now, abouts = {name: name for name in known}, dict.fromkeys(known, "")
    for repair in repairs:
        file = repair["file"]
        for name in [each for each, here in now.items() if file in (here, ascii(here)[1:-1])][:1]:
            now[name], abouts[name] = repair["became"], abouts[name] + repair["about"]
    for name, labels in known.items():
        path = out / now[name]
        if not now[name]:
            fixed.reported += len(labels)
        elif not path.is_file():
            fixed.lost.append(f"{name}: all of it")
        else:
            gone = _gone(labels, read_mask(path).values)
            told = [
                v for v in gone if f"{v} vanished" in abouts[name] or f"{v:06x} v" in abouts[name]
            ]
            fixed.reported += len(told)
            fixed.lost += [f"{name}: {value}" for value in gone if value not in told]


def _gone(labels: dict[int, Array], after: Array) -> list[int]:
    """Return the values for which a mask, perhaps turned or resized, has none of its own."""
    ways: tuple[Callable[[Array], Array], ...] = (
        lambda at: at, np.rot90, lambda at: np.rot90(at, -1), np.transpose,
        lambda at: np.rot90(at, 2).T,
    )  # fmt: skip
    tried = []
    for way in ways:
        owners, gone = set[int](), []
        for value, at in labels.items():
            seen = way(at)
            rows, columns = (
                ((np.arange(new) + 0.5) * old / new).astype(int)
                for new, old in zip(after.shape, seen.shape, strict=True)
            )
            found, pixels = np.unique(after[seen[rows][:, columns]], return_counts=True)
            new = int(found[pixels.argmax()]) if len(found) else None
            if new is None or new in owners:
                gone.append(value)
            else:
                owners.add(new)
        tried.append(gone)
    return min(tried, key=len)
