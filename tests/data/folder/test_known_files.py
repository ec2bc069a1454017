"""What is known of files, by their fingerprints, and pixels that wait to be stored."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from imseg.data.cache.store import store_split
from imseg.data.folder.inspection import KnownFiles
from imseg.data.folder.scan import scan
from imseg.data.images import picture_file
from imseg.data.masks import io
from imseg.types import LabeledImage

SIZE = (16, 20)
KINDS = ("gray and color", "deep", "many channels", "colors", "planes", "objects", "fractions")


def write(root: Path, kind: str, *, seed: int = 0) -> Path:
    """Write a data folder with four pairs and two pictures alone."""
    numbers = np.random.Generator(np.random.PCG64(seed))

    def image(path: Path, number: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind in ("deep", "many channels"):
            shape = (31, 37) if kind == "deep" else (31, 37, 5)
            values = numbers.integers(0, 4000, shape, np.uint16)
            options: dict[str, Any] = {} if kind == "deep" else {"planarconfig": "contig"}
            tifffile.imwrite(path.with_suffix(".tif"), values, photometric="minisblack", **options)
            return
        shape = (31, 37, 3) if number % 2 else (31, 37)
        Pillow.fromarray(numbers.integers(0, 256, shape, np.uint8)).save(path)

    def mask(path: Path, name: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        areas = np.zeros((31, 37), np.uint8)
        for number in range(1, 7):
            row, column = 5 * number - 4, int(numbers.integers(0, 30))
            areas[row : row + 4, column : column + 5] = number
        if kind == "colors":
            areas = np.array([(0, 0, 0), (255, 0, 0), (0, 9, 255)], np.uint8)[areas % 3]
        elif kind == "planes":
            areas = (areas > 3 if name == "alive" else areas > 0).astype(np.uint8) * 255
        elif kind == "fractions":
            tifffile.imwrite(path.with_suffix(".tif"), np.where(areas, areas / 3, np.nan))
            return
        elif kind != "objects":
            areas = (areas > 0) * np.uint8(255)
        Pillow.fromarray(areas).save(path)

    for number in range(4):
        image(root / "labeled" / "images" / f"{number}.png", number)
        for name in ("alive", "position") if kind == "planes" else ("",):
            mask(root / "labeled" / "masks" / name / f"{number}.png", name)
    for number in range(2):
        image(root / "unlabeled" / f"u{number}.png", number)
    return root


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are decoded, as that happens."""
    seen: list[str] = []
    decode = picture_file.decode_planes

    def counted(path: Path, **options: Any) -> Any:
        seen.append(path.name)
        return decode(path, **options)

    monkeypatch.setattr(picture_file, "decode_planes", counted)
    monkeypatch.setattr(io, "decode_planes", counted)
    return seen


def keeping(room: int = 1 << 30) -> KnownFiles:
    return KnownFiles(working_size=lambda _: SIZE, room=room)


def plain(value: Any) -> Any:
    """Return facts as values that can be compared."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.tolist()
    if dataclasses.is_dataclass(value):
        names = [entry.name for entry in dataclasses.fields(value)]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    if hasattr(value, "items"):
        return {key: plain(each) for key, each in value.items()}
    return repr(value)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_known_is_what_was_found(tmp_path: Path, decoded: list[str], kind: str) -> None:
    root = write(tmp_path, kind)
    first, files = scan(root), keeping()
    decoded.clear()
    scan(root, files=files)
    assert sorted(decoded) == sorted(path.name for path in root.rglob("*.*"))
    decoded.clear()
    later = KnownFiles()
    later.learn(files.pack())
    again = scan(root, files=later)
    assert not decoded
    for name in ("survey", "spec", "reading"):
        assert plain(getattr(again, name)) == plain(getattr(first, name))


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_that_wait_are_stored_as_those_of_files(
    tmp_path: Path, decoded: list[str], kind: str
) -> None:
    files = keeping()
    found = scan(write(tmp_path / "data", kind), files=files)
    assert found.spec is not None and found.reading is not None
    digests = []
    for place, known in (("alone", None), ("handed", files)):
        decoded.clear()
        for split in (found.layout.labeled, found.layout.unlabeled):
            stored = store_split(
                split,
                tmp_path / place,
                "labeled" if isinstance(split[0], LabeledImage) else "unlabeled",
                spec=found.spec,
                reading=found.reading,
                size=SIZE,
                workers=2,
                files=known,
            )
            digests.append(stored.digest)
    assert digests[:2] == digests[2:]
    assert not decoded


def test_a_file_that_has_changed_since_is_not_taken(tmp_path: Path) -> None:
    files = keeping()
    root = write(tmp_path, "gray and color")
    scan(root, files=files)
    one, other = (root / "labeled" / "images" / f"{number}.png" for number in (0, 1))
    os.utime(one, ns=(1, 1))
    assert files.take(one) is None
    assert files.take(other) is not None
    assert files.take(other) is None, "it was taken already"


def test_what_has_changed_is_decoded_alone(tmp_path: Path, decoded: list[str]) -> None:
    root, files = write(tmp_path, "gray and color"), keeping()
    scan(root, files=files)
    path = root / "labeled" / "images" / "2.png"
    Pillow.fromarray(np.zeros((31, 37), np.uint8)).save(path)
    (root / "unlabeled" / "u1.png").rename(root / "unlabeled" / "renamed.png")
    later = KnownFiles()
    later.learn(files.pack())
    decoded.clear()
    found = scan(root, files=later)
    assert decoded == ["2.png"]
    assert [facts.name for facts in found.survey.unlabeled] == [
        "unlabeled/renamed.png",
        "unlabeled/u0.png",
    ]
    assert later.has_news


def test_no_more_is_kept_than_there_is_room_for(tmp_path: Path) -> None:
    root = write(tmp_path, "gray and color")
    files = keeping(room=SIZE[0] * SIZE[1] * 3)
    scan(root, files=files)
    taken = [files.take(path) for path in root.rglob("*.png")]
    kept = [each.values if isinstance(each, io.MaskFile) else each for each in taken]
    assert 0 < sum(each.nbytes for each in kept if each is not None) <= SIZE[0] * SIZE[1] * 3


@pytest.mark.parametrize("packed", ["", "x" * 40, 3, None, "0" * 5])
def test_what_is_no_knowledge_is_passed_over(packed: object) -> None:
    files = KnownFiles()
    files.learn(packed)
    assert files.pack() is not None


def test_files_in_a_folder_whose_name_is_no_text_are_known_again(
    tmp_path: Path, decoded: list[str]
) -> None:
    root, files = write(tmp_path / os.fsdecode(b"caf\xe9"), "gray and color"), keeping()
    scan(root, files=files)
    later = KnownFiles()
    later.learn(files.pack())
    decoded.clear()
    scan(root, files=later)
    assert not decoded
