"""What the tests of preparations share: pictures to write, archives to pack, folders to check."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from imseg.data.folder.scan import read_folder
from imseg.errors import ImsegError
from imseg.types import TargetSpec

SPLITS = ("labeled", "unlabeled", "val", "test")


def save(path: Path, array: npt.NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def load(path: Path) -> npt.NDArray[Any]:
    return np.asarray(Image.open(path))


def noise(seed: int, *shape: int) -> npt.NDArray[np.uint8]:
    """Return a picture of its own for each seed."""
    return np.random.Generator(np.random.PCG64(seed)).integers(0, 256, shape, np.uint8)


def stems(folder: Path) -> set[str]:
    return {path.stem for path in folder.iterdir() if path.is_file()}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def record(out: Path) -> dict[str, Any]:
    return json.loads((out / "splits.json").read_text())


def fingerprint(out: Path) -> str:
    """Return a short hash of the record of the splits, which no machine may change."""
    return hashlib.sha256((out / "splits.json").read_bytes()).hexdigest()[:16]


def config(out: Path) -> dict[str, Any]:
    return tomllib.loads((out / "imseg.toml").read_text())


def spec_of(out: Path) -> TargetSpec:
    """Return what the masks of a data folder mean to whoever trains on it."""
    return read_folder(out).spec


def pack(folder: Path, archive: Path, *, top: str = "") -> Path:
    """Write all files of a folder to a zip or tar file, below ``top`` if there is one."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    named = [
        (path, (Path(top) / path.relative_to(folder)).as_posix())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for path, name in named:
                zipped.write(path, name)
    else:
        with tarfile.open(archive, "w:gz") as tar:
            for path, name in named:
                tar.add(path, name)
    return archive


def check_folder(out: Path, *, planes: tuple[str, ...] = ()) -> dict[str, set[str]]:
    """Check that each image is in one split, with its truth at its place; return the splits."""
    splits: dict[str, set[str]] = {}
    for split in SPLITS:
        names = stems(out / split / "images")
        truth = out / ("hidden" if split == "unlabeled" else split) / "masks"
        assert names, f"{split} is empty"
        for folder in [truth / plane for plane in planes] or [truth]:
            assert stems(folder) == names
        for path in (out / split / "images").iterdir():
            assert not path.is_symlink()
        splits[split] = names
    assert not (out / "unlabeled/masks").exists()
    assert {path.name for path in out.iterdir()} == {
        *SPLITS,
        *("hidden", "imseg.toml", "splits.json"),
    }
    assert {split: set(names) for split, names in record(out)["splits"].items()} == splits
    assert all(names == sorted(names) for names in record(out)["splits"].values())
    return splits


def check_disjoint(splits: dict[str, set[str]]) -> None:
    """Check that no name is in two splits."""
    assert sum(map(len, splits.values())) == len(set().union(*splits.values()))


def refusal(prepare: Callable[..., Any], raw: Path, out: Path, **options: Any) -> str:
    """Return the text of the error, after checking that nothing was left behind."""
    with pytest.raises(ImsegError) as caught:
        prepare(raw, out, **options)
    assert not out.exists()
    assert not out.parent.exists() or not list(out.parent.glob(".*.part"))
    return str(caught.value)


def real_data(name: str) -> Path:
    """Return a folder of real data, or skip."""
    named = os.environ.get("IMSEG_DATA")
    if not named:
        pytest.skip(f"IMSEG_DATA is not set: it names a folder that holds {name}/")
    raw = Path(named) / name
    assert raw.is_dir(), f"IMSEG_DATA is set, but there is no {raw}"
    return raw
