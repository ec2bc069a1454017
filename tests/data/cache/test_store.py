"""Decoded pictures on disk."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imseg.data.cache.store import Stored, gather, open_array, store_split
from imseg.data.images.decoding import resize_image
from imseg.data.masks.io import resize_mask
from imseg.errors import ImsegError
from imseg.types import Image, LabeledImage, Reading, TargetSpec

BINARY = TargetSpec(
    kind="binary", values=(0, 255), names=("background", "cell"), colors=((0, 0, 0), (255, 0, 0))
)


def pairs(maker: Any, count: int = 4) -> list[LabeledImage]:
    found = []
    for index in range(count):
        image = maker.save(f"images/cell_{index}.png", maker.picture())
        mask = maker.save(f"masks/cell_{index}.png", maker.mask())
        found.append(LabeledImage(Image(f"images/cell_{index}.png", image), mask))
    return found


def stored(
    entries: Sequence[Image | LabeledImage], folder: Path, *, channels: int = 1, **changes: Any
) -> Stored:
    options = {"spec": BINARY, "reading": Reading(channels=channels), "size": (16, 18)}
    return store_split(entries, folder, "part", **{**options, "workers": 2, **changes})


def test_pictures_and_targets_are_stored_in_order(maker, tmp_path) -> None:
    entries = pairs(maker)
    pictures = [maker.picture() for _ in entries]
    for entry, pixels in zip(entries, pictures, strict=True):
        maker.save(entry.name, pixels)
    maker.save("masks/cell_2.png", maker.mask((255, 0)))
    result = stored(entries, tmp_path / "store")
    images, targets = open_array(result.images), open_array(result.targets)
    assert (images.dtype, images.shape) == (np.uint8, (4, 16, 18, 1))
    assert (targets.dtype, targets.shape) == (np.uint8, (4, 1, 16, 18))
    assert set(np.unique(targets).tolist()) == {0, 1}
    assert targets[:, 0, 0, 0].tolist() == [0, 0, 1, 0]
    for image, pixels in zip(images, pictures, strict=True):
        assert np.array_equal(image, resize_image(pixels[..., None], (16, 18)))
    assert result.names == tuple(pair.name for pair in entries)
    assert (result.decoded, result.reused) == (4, 0)
    names = sorted(path.name for path in (tmp_path / "store").iterdir())
    assert names == ["part-images.npy", "part-targets.npy", "part.json"]


def test_stored_arrays_cannot_be_changed(maker, tmp_path) -> None:
    images = open_array(stored(pairs(maker), tmp_path).images)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_pictures_alone_have_no_targets(maker, tmp_path) -> None:
    result = stored([pair.image for pair in pairs(maker)], tmp_path, channels=3)
    assert result.targets is None
    assert open_array(result.images).shape == (4, 16, 18, 3)
    assert not (tmp_path / "part-targets.npy").exists()


def test_an_empty_split_has_empty_arrays(tmp_path) -> None:
    for decoded_before in (0, 0):
        result = stored((), tmp_path)
        assert open_array(result.images).shape == (0, 16, 18, 1)
        assert open_array(result.targets).shape == (0, 1, 16, 18)
        assert (result.decoded, result.reused) == (decoded_before, 0)


def test_numbers_are_stored_as_floats(tmp_path) -> None:
    spec = TargetSpec(
        kind="regression", coding="numbers", names=("depth",), colors=((0, 0, 0),),
        low=10.0, high=20.0, stored="float32",
    )  # fmt: skip
    numbers = np.array([[10, 15], [20, np.nan]], np.float32)
    entry = LabeledImage(Image("labeled[0]", np.zeros((2, 2, 1), np.uint8)), numbers)
    result = stored([entry], tmp_path, spec=spec, size=(2, 2))
    targets = open_array(result.targets)
    assert (targets.dtype, targets.shape) == (np.float32, (1, 1, 2, 2))
    np.testing.assert_array_equal(targets[0, 0], [[0, 0.5], [1, np.nan]])
    assert stored([entry], tmp_path, spec=spec, size=(2, 2)).decoded == 0


def test_each_label_is_a_plane(maker, tmp_path) -> None:
    names = ("nucleus", "cell")
    spec = TargetSpec(kind="multilabel", coding="planes", names=names, colors=((0, 0, 0),) * 2)
    masks = {"cell": maker.mask((0, 255)), "nucleus": maker.mask((255, 0))}
    files = {name: maker.save(f"masks/{name}/a.png", mask) for name, mask in masks.items()}
    entry = LabeledImage(Image("a.png", maker.save("images/a.png", maker.picture())), files)
    targets = open_array(stored([entry], tmp_path, spec=spec).targets)
    assert targets.shape == (1, 2, 16, 18)
    for plane, name in zip(targets[0], names, strict=True):
        assert np.array_equal(plane, resize_mask(masks[name], (16, 18)) // 255)


def test_the_digest_depends_on_the_content_alone(maker, tmp_path) -> None:
    entries = pairs(maker)
    one = stored(entries, tmp_path / "a", workers=1)
    other = stored(entries, tmp_path / "b", workers=3)
    fewer = stored(entries[1:], tmp_path / "c")
    turned = stored(entries[::-1], tmp_path / "d")
    smaller = stored(entries, tmp_path / "e", size=(18, 16))
    assert one.digest == other.digest
    assert len({one.digest, fewer.digest, turned.digest, smaller.digest}) == 4


def test_arrays_in_memory_are_stored_too(tmp_path) -> None:
    pixels = np.full((40, 30, 3), 9, np.uint8)
    entry = LabeledImage(Image("labeled[0]", pixels), np.full((40, 30), 255))
    result = stored((entry,), tmp_path)
    assert (open_array(result.images) == 9).all()
    assert (open_array(result.targets) == 1).all()


def test_unknown_values_name_the_mask_and_leave_nothing_behind(maker, tmp_path) -> None:
    entries = pairs(maker)
    maker.save("masks/cell_2.png", maker.mask((0, 7)))
    with pytest.raises(ImsegError, match=r"masks/cell_2\.png holds unknown values(.*\n)*.*7"):
        stored(entries, tmp_path / "store")
    assert not list((tmp_path / "store").iterdir())


def test_a_missing_picture_is_named(maker, tmp_path) -> None:
    entries = pairs(maker)
    (maker.root / "images/cell_1.png").unlink()
    with pytest.raises(ImsegError, match=r"images/cell_1\.png does not exist"):
        stored(entries, tmp_path / "store")


def test_a_folder_that_cannot_be_made_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ImsegError, match="file/store cannot be written to"):
        stored((), tmp_path / "file" / "store")


@pytest.mark.parametrize("limit", [200, 5000], ids=["at once", "half-way"])
def test_a_full_disk_is_said_and_leaves_what_was_there(maker, tmp_path, limit) -> None:
    entries = pairs(maker, 8)
    before = stored(entries[:2], tmp_path / "store", channels=3)
    content = {path: path.read_bytes() for path in (tmp_path / "store").iterdir()}
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, usual[1]))
    try:
        named = r"store/part-images\.npy cannot be written to(.*\n)*.*make room"
        with pytest.raises(ImsegError, match=named):
            stored(entries, tmp_path / "store", channels=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert {path: path.read_bytes() for path in (tmp_path / "store").iterdir()} == content
    assert stored(entries[:2], tmp_path / "store", channels=3).digest == before.digest


def test_nothing_is_written_into_a_data_folder(maker, tmp_path) -> None:
    entries = pairs(maker)

    def tree() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in [maker.root, *maker.root.rglob("*")]}

    before = tree()
    for path in before:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert stored(entries, tmp_path / "store").decoded == 4
        assert stored(entries, tmp_path / "store").decoded == 0
        assert tree() == before
    finally:
        for path in before:
            path.chmod(0o755)


def test_a_mixed_split_is_a_programming_error(maker, tmp_path) -> None:
    entries = pairs(maker)
    with pytest.raises(ValueError, match="all of its pictures or for none"):
        stored((entries[0], entries[1].image), tmp_path)


def test_a_row_of_another_shape_is_a_programming_error(maker, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        "imseg.data.cache.store.load_target", lambda *_, **__: np.zeros((1, 16, 18), np.float32)
    )
    with pytest.raises(ValueError, match=r"float32 \(1, 16, 18\) is not a row of uint8"):
        stored(pairs(maker), tmp_path)
    assert not list(tmp_path.glob("*part*"))


def test_progress_counts_to_the_end(maker, tmp_path) -> None:
    entries = pairs(maker)
    seen: list[tuple[int, int]] = []
    for _ in range(2):
        stored(entries, tmp_path, progress=lambda *step: seen.append(step))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4), (4, 4)]


def test_the_index_is_plain_json(maker, tmp_path) -> None:
    result = stored(pairs(maker), tmp_path)
    plain = json.loads(result.index.read_text())
    assert plain["names"] == list(result.names)
    assert plain["arrays"]["images"]["made_with"]["reading"]["channels"] == 1
    assert str(maker.root / "images/cell_0.png") in result.index.read_text()


@given(rows=st.lists(st.integers(0, 6), max_size=9), kind=st.sampled_from(["u1", "<f4"]))
def test_rows_are_gathered_in_the_order_asked_for(rows, kind) -> None:
    array = np.arange(7 * 6).reshape(7, 2, 3).astype(kind)
    array.setflags(write=False)
    expected = np.array([array[row] for row in rows], kind).reshape(-1, 2, 3)
    out = np.empty_like(expected)
    found = gather(array, np.array(rows, np.int64))
    assert np.array_equal(found, expected)
    assert found.dtype == array.dtype
    assert found.flags.writeable
    assert gather(array, np.array(rows, np.int64), out) is out
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("row", [-1, 7])
def test_a_row_that_does_not_exist_is_an_error(row) -> None:
    with pytest.raises(IndexError, match="of 7"):
        gather(np.zeros((7, 2)), np.array([0, row]))


def test_a_name_that_is_no_text_is_stored_and_known_again(maker, tmp_path) -> None:
    name = os.fsdecode(b"images/caf\xe9.png")
    try:
        path = maker.save(name, maker.picture(), format="PNG")
    except (OSError, UnicodeError):
        pytest.skip("this file system takes names in UTF-8 only")
    for decoded in (1, 0):
        assert stored([Image(name, path)], tmp_path / "store").decoded == decoded
