"""Each picture and mask is decoded once, and never again while nothing changes."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.e2e.small_sets import SETTINGS, UNLABELED, Killed, Mortal, Told, pairs, scenes
from tests.sets import rest_but

from imseg.approaches.running.experiment import fit
from imseg.approaches.runs.run import Run
from imseg.data.images import picture_file
from imseg.data.masks import io
from imseg.engine.workers.executors import Serial
from imseg.errors import ImsegError

OLD = 10**18
"""A time long ago, in nanoseconds since 1970: files of now might change again unnoticed."""


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    os.utime(path, ns=(OLD, OLD))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder of the binary kind, with gray and colored pictures larger than the run's."""
    root = tmp_path / "data"
    for split, seed, count in (("labeled", 0, 8), ("val", 2, 4), ("test", 3, 2)):
        images, masks = pairs("binary", seed, count)
        for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
            large = image.repeat(3, axis=0).repeat(2, axis=1)
            if number % 2:
                large = np.stack([large, large, 255 - large], axis=2)
            save(root / split / "images" / f"{number}.png", large)
            save(root / split / "masks" / f"{number}.png", mask.repeat(3, 0).repeat(2, 1) * 255)
    for number, image in enumerate(scenes(1, UNLABELED)[0]):
        save(root / "unlabeled" / f"{number}.png", image)
    return root


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Counter[str]:
    """How often each file has been decoded."""
    seen: Counter[str] = Counter()
    decode = picture_file.decode_planes

    def counted(path: Path, **options: Any) -> Any:
        seen[str(path.relative_to(folder.parent))] += 1
        return decode(path, **options)

    monkeypatch.setattr(picture_file, "decode_planes", counted)
    monkeypatch.setattr(io, "decode_planes", counted)
    return seen


def every_file(root: Path) -> Counter[str]:
    return Counter(str(path.relative_to(root.parent)) for path in root.rglob("*.png"))


QUICK: dict[str, Any] = {"approach": "ldt", "networks": 1, "max_steps": 1, "image_size": (48, 32)}
QUICK["executor"] = Serial()  # what a worker process decoded would not be counted
STUDENTS = {"approach": "im", "networks": 2, "patience": 0}


def train(folder: Path, out: Path, **options: Any) -> Run:
    return fit(folder, out=out, **{**SETTINGS, "progress": Told(), **QUICK, **options})


def test_a_training_decodes_each_file_once(folder, decoded, tmp_path) -> None:
    train(folder, tmp_path / "run", **STUDENTS)
    assert decoded == every_file(folder)


@pytest.mark.rest
def test_pixels_for_which_there_is_no_room_are_decoded_again_to_the_same_bits(
    folder, decoded, tmp_path, monkeypatch
) -> None:
    first = train(folder, tmp_path / "first")
    decoded.clear()
    monkeypatch.setattr("imseg.approaches.running.preparation.MOST_KEPT", 20_000)
    second = train(folder, tmp_path / "second")
    assert decoded.total() > len(every_file(folder)) == len(decoded)
    records = [run.path / "experiment.toml" for run in (first, second)]
    assert records[0].read_text().split("digests")[1] == records[1].read_text().split("digests")[1]
    weights = [sorted(run.path.rglob("*.safetensors")) for run in (first, second)]
    for one, other in zip(*weights, strict=True):
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("keeps_cache", rest_but([True, False], lambda keeps: keeps))
def test_a_training_that_continues_decodes_no_more_than_it_lost(
    folder, decoded, tmp_path, keeps_cache
) -> None:
    with pytest.raises(Killed):
        train(folder, tmp_path / "run", executor=Mortal(1), **STUDENTS)
    decoded.clear()
    if not keeps_cache:
        shutil.rmtree(tmp_path / "run" / "cache")
    train(folder, tmp_path / "run", **STUDENTS)
    stored = {name for name in every_file(folder) if "/test/" not in name}
    assert decoded == Counter(() if keeps_cache else stored)


def test_a_finished_training_that_is_repeated_decodes_nothing(folder, decoded, tmp_path) -> None:
    run = train(folder, tmp_path / "run")
    decoded.clear()
    told = Told()
    again = train(folder, tmp_path / "run", progress=told)
    assert told.said("already finished")
    assert again.summary == run.summary
    assert not decoded
    assert not (run.path / "cache").exists()


def test_a_finished_training_with_hidden_masks_decodes_nothing_again(
    folder, decoded, tmp_path
) -> None:
    for number, mask in enumerate(pairs("binary", 1, UNLABELED)[1]):
        save(tmp_path / "hidden" / f"{number}.png", mask * 255)
    options = {"approach": "fdt", "unlabeled_masks": tmp_path / "hidden"}
    train(folder, tmp_path / "run", **options)
    assert decoded == every_file(folder) + every_file(tmp_path / "hidden")
    decoded.clear()
    train(folder, tmp_path / "run", **options)
    assert not decoded
    save(tmp_path / "hidden" / "0.png", pairs("binary", 1, UNLABELED)[1][1] * 255)
    with pytest.raises(ImsegError, match="The data has changed") as caught:
        train(folder, tmp_path / "run", **options)
    assert "hidden" in str(caught.value)


def test_a_finished_training_notices_what_has_changed(folder, decoded, tmp_path) -> None:
    train(folder, tmp_path / "run", **STUDENTS)
    for part in ("labeled/images", "labeled/masks", "val/masks", "unlabeled"):
        path = folder / part / "0.png"
        before = path.read_bytes()
        save(path, np.ascontiguousarray(np.asarray(Image.open(path))[::-1]))
        decoded.clear()
        with pytest.raises(ImsegError, match="The data has changed"):
            train(folder, tmp_path / "run", **STUDENTS)
        assert decoded[str(path.relative_to(folder.parent))] > 0
        path.write_bytes(before)
    assert train(folder, tmp_path / "run", **STUDENTS)


@pytest.mark.rest
def test_times_that_change_alone_change_nothing(folder, decoded, tmp_path) -> None:
    train(folder, tmp_path / "run")
    decoded.clear()
    for path in folder.rglob("*.png"):
        path.touch()
    train(folder, tmp_path / "run")
    assert not decoded


@pytest.mark.parametrize(
    "content", rest_but(["", "{}", '{"files": 3}', '{"files": "0000"}'], lambda text: text == "{}")
)
def test_facts_that_cannot_be_understood_are_found_out_again(
    folder, decoded, tmp_path, content
) -> None:
    run = train(folder, tmp_path / "run")
    whole = (run.path / "facts.json").read_bytes()
    decoded.clear()
    (run.path / "facts.json").write_text(content)
    train(folder, tmp_path / "run")
    assert set(decoded) == set(every_file(folder))
    assert len((run.path / "facts.json").read_bytes()) == pytest.approx(len(whole), rel=0.02)
