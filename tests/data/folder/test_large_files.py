"""Test pictures that are too large to be decoded whole are checked row by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from imseg.data.folder import inspection
from imseg.data.folder.config import FolderConfig
from imseg.data.folder.facts import ImageFacts
from imseg.data.folder.scan import read_folder
from imseg.errors import ImsegError
from imseg.types import Image, LabeledImage

SIZE = (90, 70)


def masks() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    coarse = np.kron(random.integers(0, 4, (9, 7)), np.ones((10, 10), int))
    colors = np.array([[0, 0, 0], [255, 0, 0], [9, 9, 9], [0, 7, 255]], np.uint8)[coarse]
    return {
        "classes": coarse.astype(np.uint8),
        "deep": (coarse * 1000).astype(np.uint16),
        "colors": colors,
        "gray": np.repeat(coarse[..., None], 3, 2).astype(np.uint8),
        "whole": coarse.astype(np.float32),
        "numbers": np.where(coarse == 3, np.nan, coarse + 0.5).astype(np.float32),
    }


def pictures() -> dict[str, np.ndarray]:
    random = np.random.default_rng(2)
    color = random.integers(0, 256, (*SIZE, 3), np.uint8)
    return {
        "gray": color[..., 0],
        "color": color,
        "gray as color": np.repeat(color[..., :1], 3, 2),
        "deep": random.integers(0, 9000, SIZE, np.uint16),
    }


def look(folder: Path, image: np.ndarray, mask: np.ndarray, **fields) -> ImageFacts:
    paths = folder / "image.tif", folder / "mask.tif"
    for path, values in zip(paths, (image, mask), strict=True):
        tifffile.imwrite(path, values, rowsperstrip=7, compression="zlib", metadata=None)
    entry = LabeledImage(Image("image", paths[0]), paths[1], **fields)
    scope = inspection.Scope(config=FolderConfig(void=2))
    found = inspection.inspect(entry, folder, scope, keep=False)
    assert isinstance(found, ImageFacts), found
    return found


@pytest.mark.parametrize("regions", [None, ((5, 20, 30, 40),)])
@pytest.mark.parametrize("kind", masks())
def test_masks_hold_what_they_hold_when_decoded_whole(kind, regions, tmp_path, monkeypatch) -> None:
    image, mask = pictures()["gray"], masks()[kind]
    whole = look(tmp_path, image, mask, regions=regions).mask
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 6000)
    rows = look(tmp_path, image, mask, regions=regions).mask
    assert rows.digest != whole.digest and rows.regions is None
    for name in ("name", "size", "form", "whole", "distinct", "has_code"):
        assert getattr(rows, name) == getattr(whole, name), name
    assert dict(rows.counts) == dict(whole.counts)
    exact = {} if kind != "numbers" else {"rel": 0.05}
    for name in ("least", "greatest"):
        assert getattr(rows, name) == getattr(whole, name), name
    for name in ("mean", "known"):
        assert getattr(rows, name) == pytest.approx(getattr(whole, name), **exact), name


@pytest.mark.parametrize("kind", pictures())
def test_pictures_are_what_they_are_when_decoded_whole(kind, tmp_path, monkeypatch) -> None:
    image, mask = pictures()[kind], masks()["classes"]
    whole = look(tmp_path, image, mask)
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 6000)
    rows = look(tmp_path, image, mask)
    for name in ("size", "channels", "depth", "digest", "look"):
        assert getattr(rows, name) == getattr(whole, name), name
    assert (rows.sample is None) == (whole.sample is None)


def folder_of(root: Path, *, mask: np.ndarray | None = None) -> Path:
    small = np.kron(np.eye(6, dtype=np.uint8), np.ones((5, 5), np.uint8))
    test = masks()["classes"] > 1 if mask is None else mask
    for place, image, drawn in (
        ("labeled/{}/a.tif", small * 90, small),
        ("labeled/{}/b.tif", small[::-1] * 80, small[::-1]),
        ("test/{}/a.tif", pictures()["gray"], test.astype(np.uint8)),
    ):
        for part, values in (("images", image), ("masks", drawn)):
            path = root / place.format(part)
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, values, rowsperstrip=7, metadata=None, compression="zlib")
    return root


def test_test_pictures_may_be_larger_than_what_is_decoded_whole(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 6000)
    data = read_folder(folder_of(tmp_path / "data"))
    assert len(data.test) == 1
    for split in ("images", "masks"):
        (tmp_path / "data/labeled" / split / "a.tif").write_bytes(
            (tmp_path / "data/test" / split / "a.tif").read_bytes()
        )
    with pytest.raises(ImsegError, match="claims 70 x 90 pixels"):
        read_folder(tmp_path / "data")


def test_what_is_wrong_with_large_test_masks_is_told(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 5500)
    mask = masks()["classes"] > 1
    with pytest.raises(ImsegError, match=r"test/masks/a\.tif"):
        read_folder(folder_of(tmp_path / "size", mask=mask[:-3]))
    with pytest.raises(ImsegError, match="values that no labeled mask has"):
        read_folder(folder_of(tmp_path / "values", mask=mask * 7 + 1))
    path = folder_of(tmp_path / "cut") / "test/masks/a.tif"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ImsegError, match=r"a\.tif"):
        read_folder(tmp_path / "cut")
