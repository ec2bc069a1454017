"""A helper that writes tiny data folders, broken ones too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pillow

from imseg.data.folder import read_folder
from imseg.errors import ImsegError


class FolderMaker:
    """Writes a data folder; every picture differs from every other, the same in each test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.generator = np.random.Generator(np.random.PCG64(7))

    def picture(self, size: tuple[int, int] = (24, 20), channels: int = 1) -> npt.NDArray[np.uint8]:
        shape = size if channels == 1 else (*size, channels)
        return self.generator.integers(0, 256, shape, np.uint8)

    def mask(
        self, values: tuple[int, ...] = (0, 255), size: tuple[int, int] = (24, 20)
    ) -> npt.NDArray[np.uint8]:
        """Return stripes that show each value."""
        rows = np.arange(size[0]) * len(values) // size[0]
        stripes = np.asarray(values, np.uint8 if max(values) < 256 else np.uint16)[rows]
        return np.repeat(stripes[:, None], size[1], axis=1)

    def save(self, name: str, array: npt.NDArray[Any], **options: Any) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(array).save(path, **options)
        return path

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def pairs(
        self, split: str = "labeled", count: int = 4, *, values: tuple[int, ...] = (0, 255)
    ) -> None:
        for index in range(count):
            self.save(f"{split}/images/cell_{index:02}.png", self.picture())
            self.save(f"{split}/masks/cell_{index:02}.png", self.mask(values))

    def pictures(self, count: int = 3) -> None:
        for index in range(count):
            self.save(f"unlabeled/cell_u{index}.png", self.picture())


@pytest.fixture
def maker(tmp_path: Path) -> FolderMaker:
    """An empty data folder to write to."""
    maker = FolderMaker(tmp_path / "my-data")
    maker.root.mkdir()
    return maker


@pytest.fixture
def good(maker: FolderMaker) -> FolderMaker:
    """A data folder without a problem: four labeled pairs, three unlabeled, two val, two test."""
    maker.pairs()
    maker.pictures()
    maker.pairs("val", 2)
    maker.pairs("test", 2)
    return maker


@pytest.fixture
def complaint(maker: FolderMaker) -> Callable[[], str]:
    """A function that reads the folder, which must fail, and returns the error's text."""

    def read() -> str:
        with pytest.raises(ImsegError) as caught:
            read_folder(maker.root)
        return str(caught.value)

    return read
