"""Folder trees at random: a good data folder with up to three faults in it, or mere noise."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tests.e2e.small_sets import PLANES, SIDE, mask_of, scenes
from tests.faults import odd_pictures, odd_texts
from tests.faults.odd_pictures import Array, as_tiff, encoded

FORMS = ("binary", "gray", "color", "palette", "multilabel", "instances", "regression")
"""What masks may be: every task, multiclass in three ways."""
STYLES = ("gray", "color", "deep", "floats", "five")
"""What pictures may be."""
_PAINTS = np.array([[0, 0, 0], [230, 159, 0], [86, 180, 233], [0, 158, 115]], np.uint8)
_BEYOND_REPAIR, _CIRCLE = "damaged at its start", "two links in a circle"
_PIPE, _SOCKET = "a pipe", "a socket"
_PARTS = (
    "labeled", "labeled/images", "labeled/masks", "unlabeled", "val", "val/images", "val/masks",
    "test", "test/images", "test/masks", "unlabeled/images", "hidden", "imseg.toml",
    "labelled/images",
)  # fmt: skip


@dataclass
class Tree:
    """A folder on disk and what was done to it."""

    root: Path
    """The folder; all of it lies below the folder of the case."""
    faults: list[str] = field(default_factory=list)
    """What was planted, in words."""
    culprit: str | None = None
    """The name of the file that the only fault is about, where errors must name it."""


def picture(rng: random.Random, style: str, gray: Array) -> tuple[str, bytes]:
    """Return suffix and content of a picture in a style, from ``h w`` bytes."""
    if style == "color":
        kind = rng.choice(("png", "bmp", "png"))
        return f".{kind}", encoded(np.stack([gray, gray // 2, 255 - gray], axis=2), kind.upper())
    if style == "deep":
        return ".png", encoded(gray.astype(np.uint16) * 201)
    if style == "floats":
        return ".tif", as_tiff(gray.astype(np.float32) / 7)
    if style == "five":
        return ".tif", as_tiff(np.stack([gray] * 5), planarconfig="separate")
    return ".png", encoded(gray)


def write_mask(folder: Path, stem: str, labels: Array, form: str, size: tuple[int, int]) -> None:
    """Write the mask (or the masks) of numbered disks, as far as the picture reaches."""
    seen = (..., slice(size[0]), slice(size[1]))
    mask = mask_of(labels, form)[seen]
    if form == "multilabel":
        for name, plane in zip(PLANES, mask, strict=True):
            _write(folder / name / f"{stem}.png", encoded(plane.astype(np.uint8) * 255))
    elif form == "regression":
        _write(folder / f"{stem}.tif", as_tiff(mask))
    elif form == "palette":
        indexed = odd_pictures.Image.fromarray(mask)
        indexed.putpalette(_PAINTS.ravel().tolist())
        folder.mkdir(parents=True, exist_ok=True)
        indexed.save(folder / f"{stem}.png")
    elif form == "color":
        _write(folder / f"{stem}.png", encoded(_PAINTS[mask]))
    else:
        _write(folder / f"{stem}.png", encoded(mask))


def good_tree(rng: random.Random, root: Path) -> Tree:
    """Write a data folder that can be trained on."""
    form, style = rng.choice(FORMS), rng.choice(("gray", "color", *STYLES))
    sizes = {"labeled": rng.randint(2, 5), "unlabeled": rng.randint(0, 4)}
    sizes |= {"val": rng.randint(0, 2), "test": rng.randint(0, 2)}
    seed = rng.getrandbits(32)
    grays, labels = scenes(seed, sum(sizes.values()))
    entries = iter(zip(grays, labels, strict=True))
    for split, count in sizes.items():
        for number in range(count):
            gray, numbered = next(entries)
            height, width = (SIDE, SIDE) if rng.random() < 0.9 else rng.choice(((20, 32), (32, 17)))
            suffix, content = picture(rng, style, gray[:height, :width])
            folder = root / split if split == "unlabeled" else root / split / "images"
            _write(folder / f"{split}_{number}{suffix}", content)
            if split != "unlabeled":
                place = root / split / "masks"
                write_mask(place, f"{split}_{number}", numbered, form, (height, width))
    root.mkdir(exist_ok=True)
    return Tree(root, [f"{form} masks, {style} pictures"])


def noise_tree(rng: random.Random, root: Path) -> Tree:
    """Write files and folders of any kind in any place."""
    root.mkdir()
    for _ in range(rng.randint(0, 12)):
        place = root / rng.choice(_PARTS)
        if rng.random() < 0.3:
            place = place / odd_texts.odd_name(rng)
        suffix, content = rng.choice((odd_pictures.odd_picture, odd_pictures.odd_mask))(rng)
        try:
            if rng.random() < 0.1:
                _write(place, content)
            else:
                _write(place / f"{rng.choice('abc')}{suffix}", content)
        except OSError:
            continue  # a file lies where a folder was wanted
    return Tree(root, ["noise"])


def pictures_tree(rng: random.Random, root: Path) -> Tree:
    """Write a folder of gray pictures, as they are predicted."""
    grays, _ = scenes(rng.getrandbits(32), rng.randint(1, 4))
    for number, gray in enumerate(grays):
        height = SIDE if rng.random() < 0.8 else rng.choice((17, 1, 300))
        gray = np.resize(gray, (height, SIDE))
        suffix = rng.choice((".png", ".bmp", ".jpg", ".tif"))
        kind = {".png": "PNG", ".bmp": "BMP", ".jpg": "JPEG", ".tif": "TIFF"}[suffix]
        _write(root / f"new_{number}{suffix}", encoded(gray, kind))
    return Tree(root, ["pictures"])


def _damage(rng: random.Random, tree: Tree, file: Path) -> str:
    content = file.read_bytes()
    hurt = odd_pictures.damaged(rng, content)
    file.write_bytes(hurt)
    return _BEYOND_REPAIR if hurt[:2] != content[:2] else "damaged"


def _other_picture(rng: random.Random, tree: Tree, file: Path) -> str:
    suffix, content = odd_pictures.odd_picture(rng)
    file.unlink()
    file.with_suffix(suffix).write_bytes(content)
    return f"an odd picture ({suffix})"


def _other_mask(rng: random.Random, tree: Tree, file: Path) -> str:
    masks = [path for path in _files(tree.root) if "masks" in path.parts] or [file]
    chosen = rng.sample(masks, 1 if rng.random() < 0.6 else len(masks))
    state = rng.getrandbits(32)
    for path in chosen:
        suffix, content = odd_pictures.odd_mask(random.Random(state))
        path.unlink()
        path.with_suffix(suffix).write_bytes(content)
    return f"{len(chosen)} odd masks"


def _rename(rng: random.Random, tree: Tree, file: Path) -> str:
    name = odd_texts.odd_name(rng)
    same = [path for path in _files(tree.root) if path.stem == file.stem and rng.random() < 0.8]
    for path in same:
        path.rename(path.with_name(_fitting(name, path.suffix)))
    return f"renamed to {name!a}"


def _rename_folder(rng: random.Random, tree: Tree, file: Path) -> str:
    folder = rng.choice([each for each in _folders(tree.root) if each != tree.root] or [file])
    folder.rename(folder.with_name(odd_texts.odd_name(rng)))
    return "a folder renamed"


def _suffix(rng: random.Random, tree: Tree, file: Path) -> str:
    suffix = rng.choice((".gif", ".txt", "", ".PNG", ".jpeg", ".tif", ".png.bak", ".npy", "." * 3))
    file.rename(file.with_name(file.stem + suffix))
    return f"suffix {suffix!r}"


def _remove(rng: random.Random, tree: Tree, file: Path) -> str:
    file.unlink()
    return "removed"


def _empty_folder(rng: random.Random, tree: Tree, file: Path) -> str:
    for path in _files(file.parent):
        path.unlink()
    return "its folder emptied"


def _folder_for_file(rng: random.Random, tree: Tree, file: Path) -> str:
    content = file.read_bytes()
    file.unlink()
    file.mkdir()
    if rng.random() < 0.5:
        (file / file.name).write_bytes(content)
    return "a folder in its place"


def _file_for_folder(rng: random.Random, tree: Tree, file: Path) -> str:
    folder = rng.choice([each for each in _folders(tree.root) if each != tree.root] or [tree.root])
    kept = folder.with_name(".kept" + rng.choice("abcd"))
    folder.rename(kept)
    folder.write_bytes(b"" if rng.random() < 0.5 else b"a file")
    return f"a file in the place of {folder.name}/"


def _link(rng: random.Random, tree: Tree, file: Path) -> str:
    outside = str(_outside(tree) / "beyond.png")
    target = rng.choice((file.name, "nowhere.png", "..", "/dev/zero", outside, ".", "\n"))
    file.unlink()
    file.symlink_to(target)
    return f"a link to {target!r}"


def _link_circle(rng: random.Random, tree: Tree, file: Path) -> str:
    other = file.with_name("circle" + file.suffix)
    file.unlink()
    file.symlink_to(other.name)
    other.symlink_to(file.name)
    return _CIRCLE


def _link_folder(rng: random.Random, tree: Tree, file: Path) -> str:
    inside = [each for each in _folders(tree.root) if each != tree.root]
    folder = rng.choice(inside or [tree.root])
    # The tree itself never becomes a link to what is real.
    targets = (folder.name, "nowhere", ".", "..", str(_outside(tree)), "/dev")
    target = rng.choice(targets if inside else targets[:2])
    folder.rename(folder.with_name(".kept" + rng.choice("abcd")))
    folder.symlink_to(target)
    return f"{folder.name}/ is a link to {target}"


def _copy(rng: random.Random, tree: Tree, file: Path) -> str:
    # Never through a link: that could lead to what is real.
    folder = rng.choice([each for each in _folders(tree.root) if not each.is_symlink()])
    name = rng.choice((file.name, file.stem + rng.choice((".tif", ".PNG")), "copy" + file.suffix))
    target = folder / name
    if not target.exists() and not target.is_symlink():
        target.write_bytes(file.read_bytes())
    return "copied to another folder"


def _nest(rng: random.Random, tree: Tree, file: Path) -> str:
    inner = file.parent / odd_texts.odd_name(rng)
    inner.mkdir(exist_ok=True)
    file.rename(inner / file.name)
    return "moved into a folder of its own"


def _special(rng: random.Random, tree: Tree, file: Path) -> str:
    file.unlink()
    if rng.random() < 0.6:
        os.mkfifo(file)
        return _PIPE
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as bound:
        os.chdir(file.parent)
        try:
            bound.bind("s")
            Path("s").rename(file)
        finally:
            os.chdir(here)
    return _SOCKET


def _config(rng: random.Random, tree: Tree, file: Path) -> str:
    place = tree.root / "imseg.toml"
    content = odd_texts.odd_folder_config(rng)
    if place.is_symlink() or (place.exists() and not place.is_file()):
        raise FileExistsError(place)
    way = rng.random()
    if way < 0.9:
        place.write_bytes(content)
    elif way < 0.93:
        place.mkdir()
    elif way < 0.96:
        place.symlink_to("imseg.toml")
    else:
        os.mkfifo(place)
    return f"imseg.toml {content[:60]!r}"


def _closed(rng: random.Random, tree: Tree, file: Path) -> str:
    # Without a meaning for root, who may read everything.
    rng.choice((file, file.parent)).chmod(0)
    return "not to be read"


Fault = Callable[[random.Random, Tree, Path], str]
FAULTS: tuple[Fault, ...] = (
    _damage, _damage, _damage, _damage, _other_picture, _other_picture, _other_picture, _other_mask,
    _other_mask, _other_mask, _rename, _rename, _rename_folder, _suffix, _remove, _empty_folder,
    _folder_for_file, _file_for_folder, _link, _link_circle, _link_folder, _copy, _nest, _special,
    _config, _config, _config, _config, _closed,
)  # fmt: skip
_ABOUT_ONE = (_BEYOND_REPAIR, _CIRCLE, _PIPE, _SOCKET)
"""What is wrong with a file, which must be named if its folder is refused."""


def spoil(rng: random.Random, tree: Tree) -> None:
    """Plant one to three faults."""
    planted = 0
    for _ in range(rng.choice((1, 1, 2, 3))):
        files = _files(tree.root)
        if not files:
            return
        fault, file = rng.choice(FAULTS), rng.choice(files)
        try:
            done = fault(rng, tree, file)
        except OSError:
            continue  # the place is taken, or the name is too long
        planted += 1
        tree.faults.append(f"{file.relative_to(tree.root).as_posix()!a}: {done}")
        about_it = planted == 1 and done in _ABOUT_ONE and tree.faults[0] != "noise"
        tree.culprit = file.name if about_it else None


def _outside(tree: Tree) -> Path:
    """Return a folder beside the tree, with a picture in it."""
    place = tree.root.parent / "outside"
    _write(place / "beyond.png", encoded(np.zeros((SIDE, SIDE), np.uint8)))
    return place


def _files(root: Path) -> list[Path]:
    """Return the files that may be spoiled: none that a link leads to."""
    if root.is_symlink():
        return []
    found = [Path(at) / name for at, _, names in os.walk(root) for name in names]
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def _folders(root: Path) -> list[Path]:
    """Return the folders that may be spoiled, links among them, but nothing behind a link."""
    if root.is_symlink():
        return [root]
    return sorted([root, *(Path(at) / name for at, inner, _ in os.walk(root) for name in inner)])


def _fitting(stem: str, suffix: str) -> str:
    while len((stem + suffix).encode(errors="surrogateescape")) > odd_texts.LONGEST:
        stem = stem[:-1]
    return stem + suffix


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
