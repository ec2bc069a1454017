"""Large pictures are scored in bands as if they were looked at whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as Pillow
from torch import Tensor, nn

from imseg.data.masks.io import UnknownMaskValues, encode
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.inference import evaluator, large
from imseg.engine.inference.pictures import Predictor
from imseg.errors import ImsegError
from imseg.ops.tiling import TileScheme, Tiling
from imseg.tasks import multilabel, task_for
from imseg.types import OBJECT_PLANES, Image, LabeledImage, Reading, TargetSpec

SIZE = (230, 150)
COLORS = ((0, 0, 0), (255, 0, 0), (0, 0, 255))
NAMES = ("nothing", "one", "two")
SPECS = {
    "binary": TargetSpec(
        kind="binary", values=(0, 7), void=9, names=NAMES[:2], colors=COLORS[:2]
    ),
    "multiclass": TargetSpec(
        kind="multiclass", values=(0, 300, 5000), names=NAMES, colors=COLORS, void=1
    ),
    "colors": TargetSpec(
        kind="multiclass", coding="colors", values=(0, 255, 255 << 16), names=NAMES, colors=COLORS
    ),
    "planes": TargetSpec(
        kind="multilabel", coding="planes", names=("one", "two", "position"), colors=COLORS
    ),
    "objects": TargetSpec(
        kind="multilabel", coding="objects", names=OBJECT_PLANES, colors=COLORS, void=65535
    ),
    "numbers": TargetSpec(
        kind="regression", coding="numbers", names=("depth",), colors=COLORS[:1], low=2.0, high=9.0
    ),
}  # fmt: skip
FORMS = {
    "binary": "png", "multiclass": "tif", "colors": "tif", "planes": "png", "objects": "tif",
    "numbers": "tif",
}  # fmt: skip


class Copies(nn.Module):
    """Says of each pixel what its channels hold, as if a network had found it."""

    def forward(self, images: Tensor) -> Tensor:
        return (images - 0.5) * 8


def blobs(seed: int = 0) -> np.ndarray:
    """Return a label image of disks."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    labels = np.zeros(SIZE, np.uint16)
    for number in range(1, 60):
        row, column = random.uniform(0, SIZE[0]), random.uniform(0, SIZE[1])
        near = (rows - row) ** 2 + (columns - column) ** 2 < random.integers(9, 81)
        labels[near & (labels == 0)] = 1000 + number
    return labels


def mask_of(labels: np.ndarray, kind: str) -> np.ndarray:
    """Return what a mask file holds about numbered disks."""
    spec = SPECS[kind]
    if kind == "objects":
        return np.where(np.arange(SIZE[1]) > 130, 65535, labels).astype(np.uint16)
    if kind == "numbers":
        return np.where(labels > 1050, np.nan, 2 + labels % 7).astype(np.float32)
    if kind == "planes":
        rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
        position = np.zeros(SIZE, bool)
        for number in np.unique(labels[labels > 0]):
            row, column = np.argwhere(labels == number).mean(axis=0)
            position |= (rows - row) ** 2 + (columns - column) ** 2 <= 9
        planes = [labels % 2 > 0, (labels % 2 == 0) & (labels > 0), position]
        return np.stack(planes) * np.uint8(255)
    values = np.array(spec.values)[np.where(labels > 0, labels % (len(spec.values) - 1) + 1, 0)]
    values[spec.void is not None and slice(60, 90), :50] = spec.void or 0
    if kind == "colors":
        return np.stack([values >> 16, values >> 8 & 255, values & 255], -1).astype(np.uint8)
    return values.astype(np.uint8 if kind == "binary" else np.uint16)


def picture_of(mask: np.ndarray, spec: TargetSpec) -> np.ndarray:
    """Return an image in which ``Copies`` finds about what a mask says."""
    packed = mask.astype(np.int32) @ [65536, 256, 1] if spec.coding == "colors" else mask
    target = np.nan_to_num(encode(packed, spec).astype(float), nan=0.3)
    if spec.kind == "multiclass":
        target = (target == np.arange(spec.outputs)[:, None, None]).astype(float)
    target[target == 255] = 0
    noise = np.random.default_rng(5).normal(
        0, 0.06 if spec.coding == "objects" else 0.25, target.shape
    )
    seen = np.roll(target, 1, axis=1) * 0.8 + 0.1 + np.where(target.max() > 1, 0, noise)
    return (seen.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)


def write(path: Path, values: np.ndarray, form: str) -> Path:
    if form == "png":
        Pillow.fromarray(values).save(path.with_suffix(".png"))
    else:
        tifffile.imwrite(path.with_suffix(".tif"), values, tile=(48, 48), metadata=None)
    return path.with_suffix(f".{form}")


def pair_of(kind: str, folder: Path, **fields: Any) -> LabeledImage:
    """Return a picture and a mask that fits it about."""
    spec, mask = SPECS[kind], mask_of(blobs(), kind)
    found = picture_of(mask_of(blobs(), kind) if kind != "objects" else blobs(), spec)
    image = Image("large", found)
    source: Any
    if kind == "planes":
        source = {
            name: write(folder / name, plane, FORMS[kind])
            for name, plane in zip(spec.names, mask, strict=True)
        }
    else:
        source = write(folder / "mask", mask, FORMS[kind])
    return LabeledImage(image, source, **fields)


def predictor(kind: str) -> Predictor:
    spec = SPECS[kind]
    scheme = TileScheme(1.0, Tiling((48, 48), (32, 32)))
    return Predictor(
        networks=[Copies()],
        task=task_for(spec),
        reading=Reading(channels=spec.outputs),
        size=lambda _, __: scheme,
        compute=ComputeConfig(channels_last=False),
    )


@pytest.fixture
def low_limits(monkeypatch) -> None:
    monkeypatch.setattr(large, "VALUES", 20_000)
    monkeypatch.setattr(large, "LEAST_ROWS", 40)
    monkeypatch.setattr(large, "LEAST_AROUND", 16)
    monkeypatch.setattr(large, "MOST_AROUND", 32)
    monkeypatch.setattr(multilabel, "AROUND", 24)


@pytest.mark.parametrize("regions", [None, ((10, 20, 90, 75), (40, 130, 60, 60))])
@pytest.mark.parametrize("kind", SPECS)
def test_bands_score_what_one_look_scores(kind, regions, tmp_path, request, monkeypatch) -> None:
    looking, pair = predictor(kind), pair_of(kind, tmp_path, regions=regions)
    whole = evaluator.evaluate([pair], looking)
    assert all(value == value for value in whole.per_image.values()), "everything is scored"
    request.getfixturevalue("low_limits")
    monkeypatch.setattr(evaluator, "score_whole", None)
    bands = evaluator.evaluate([pair], looking)
    assert whole.per_image.keys() == bands.per_image.keys()
    for found in ("per_image", "dataset"):
        one, other = getattr(whole, found), getattr(bands, found)
        for name in one:
            assert other[name] == pytest.approx(one[name], rel=2e-3, abs=1e-6), (found, name)
    if kind == "objects":
        assert bands.per_image["object_f1"] == whole.per_image["object_f1"] > 0.5


@pytest.mark.parametrize("kind", SPECS)
def test_sums_over_rows_are_those_of_the_image(kind, tmp_path) -> None:
    spec, task = SPECS[kind], task_for(SPECS[kind])
    mask = mask_of(blobs(), kind)
    packed = mask.astype(np.int32) @ [65536, 256, 1] if kind == "colors" else mask
    target = torch.from_numpy(encode(packed, spec))[None]
    predicted = target.roll(2, 2).nan_to_num(0.4)
    predicted[predicted == 255] = 1 if kind != "multiclass" else 2
    reach, height = task.reach(SIZE), SIZE[0]
    parts = []
    for top in range(0, height, 70):
        stop = min(top + 70, height)
        first, last = max(0, top - reach), min(height, stop + reach)
        seen = [each[:, :, first:last] for each in (predicted, target)]
        parts.append(task.sums(*seen, rows=slice(top - first, stop - first), size=SIZE))
    whole = task.sums(predicted, target)
    for one, *others in zip(whole, *parts, strict=True):
        torch.testing.assert_close(sum(others), one, rtol=1e-9, atol=0)


def test_a_mask_of_another_size_is_told_before_anything_is_computed(tmp_path, low_limits) -> None:
    pair = pair_of("binary", tmp_path)
    Pillow.fromarray(mask_of(blobs(), "binary")[:-1]).save(pair.mask)
    looking = predictor("binary")
    looking.networks[0].register_forward_pre_hook(lambda *_: pytest.fail("it was computed"))
    with pytest.raises(ImsegError, match=r"mask\.png does not fit its image") as caught:
        evaluator.evaluate([pair], looking)
    assert "150x230 px, as large has." in str(caught.value)
    assert "150x229 px." in str(caught.value)


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_truncated_mask_is_told_before_anything_is_computed(tmp_path, low_limits, kept) -> None:
    pair = pair_of("objects", tmp_path)
    content = pair.mask.read_bytes()
    pair.mask.write_bytes(content[: int(len(content) * kept)])
    looking = predictor("objects")
    looking.networks[0].register_forward_pre_hook(lambda *_: pytest.fail("it was computed"))
    with pytest.raises(ImsegError, match=r"mask\.tif"):
        evaluator.evaluate([pair], looking)


def test_values_that_are_no_class_are_told_with_the_file(tmp_path, low_limits) -> None:
    pair = pair_of("multiclass", tmp_path)
    mask = mask_of(blobs(), "multiclass")
    mask[200, 10] = 77
    tifffile.imwrite(pair.mask, mask, tile=(48, 48), metadata=None)
    with pytest.raises(UnknownMaskValues, match=r"mask\.tif holds unknown values"):
        evaluator.evaluate([pair], predictor("multiclass"))
