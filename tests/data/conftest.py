"""A helper that writes tiny data folders, broken ones too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pillow

from imseg.data.folder.scan import read_folder
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

    def squares(self, number: int, dtype: Any = np.uint16) -> npt.NDArray[Any]:
        """Return a label image of so many squares of nine pixels."""
        labels = np.zeros((44, 44), dtype)
        for index in range(number):
            row, column = divmod(index, 11)
            labels[4 * row : 4 * row + 3, 4 * column : 4 * column + 3] = index + 1
        return labels

    def pairs_with(
        self, masks: Iterable[npt.NDArray[Any]], split: str = "labeled", *, suffix: str = ".png"
    ) -> None:
        """Write a picture of its size for each mask."""
        for index, mask in enumerate(masks):
            self.save(f"{split}/images/cell_{index:02}.png", self.picture(mask.shape[:2]))
            self.save(f"{split}/masks/cell_{index:02}{suffix}", mask)

    def planes(
        self,
        split: str = "labeled",
        count: int = 4,
        *,
        labels: tuple[str, ...] = ("alive", "dead", "position"),
    ) -> None:
        """Write pairs with a mask for each label; every label shows something else."""
        for index in range(count):
            self.save(f"{split}/images/cell_{index:02}.png", self.picture())
            for place, label in enumerate(labels):
                plane = np.zeros((24, 20), np.uint8)
                plane[4 * place : 4 * place + 3, 2:9] = 255
                self.save(f"{split}/masks/{label}/cell_{index:02}.png", plane)

    def objects(
        self, numbers: Iterable[int], split: str = "labeled", *, dtype: Any = np.uint16
    ) -> None:
        """Write pairs whose masks number so many squares of nine pixels."""
        self.pairs_with([self.squares(number, dtype) for number in numbers], split)

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
