"""The same from Python: folders, arrays, torch Datasets and networks of one's own."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import imseg

SETTINGS = {
    "networks": 2,
    "max_steps": 80,
    "epochs": 80,
    "image_size": (32, 32),
    "width": 0.5,
    "batch_size": 8,
    "workers": 1,
    "device": "cpu",
}


def squares(count: int, seed: int, classes: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Bright squares on dark noise; class k is brighter than class k - 1."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 40, (count, 32, 32), dtype=np.uint8)
    masks = np.zeros((count, 32, 32), dtype=np.uint8)
    for image, mask in zip(images, masks, strict=True):
        for index in range(1, classes + 1):
            top, left = generator.integers(0, 20, 2)
            image[top : top + 10, left : left + 10] = 60 + 180 * index // classes
            mask[top : top + 10, left : left + 10] = index
    return images, masks


class Pairs(Dataset):
    def __init__(self, images, masks):
        self.images, self.masks = images, masks

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = torch.from_numpy(self.images[index])[None].float() / 255
        return image, torch.from_numpy(self.masks[index])


def test_arrays_go_from_labels_to_masks(tmp_path, caplog):
    data = imseg.dataset_from_arrays(
        squares(12, 0), unlabeled=squares(16, 1)[0], val=squares(4, 2), test=squares(6, 3)
    )
    with caplog.at_level(logging.INFO, logger="imseg"):
        run = imseg.fit(data, approach="im", generations=1, out=tmp_path / "run", **SETTINGS)
    assert "generation-1" in caplog.text
    scores = run.evaluate(data)
    assert scores.per_image["iou"] > 0.8, "squares are easy"
    images, masks = squares(3, 9)
    assert all(each.inconsistent is None for each in run.predict(list(images))), "not asked for"
    found = list(run.predict(list(images), disagreement=True))
    assert [each.name for each in found] == ["image[0]", "image[1]", "image[2]"]
    assert (found[0].mask == masks[0]).mean() > 0.95
    assert found[0].inconsistent.dtype == bool and found[0].mask.dtype == np.uint8


def test_torch_datasets_give_the_same_bits_as_arrays(tmp_path):
    pairs, val = squares(8, 0), squares(4, 2)
    few = {**SETTINGS, "max_steps": 3}
    one = imseg.fit(
        imseg.dataset_from_arrays(pairs, val=val), approach="ldt", out=tmp_path / "a", **few
    )
    two = imseg.fit(
        imseg.dataset_from_torch(Pairs(*pairs), val=Pairs(*val)),
        approach="ldt", out=tmp_path / "b", **few,
    )  # fmt: skip
    for name in one.network_names:
        weights = f"{name}.safetensors"
        assert (one.path / weights).read_bytes() == (two.path / weights).read_bytes()


@pytest.mark.rest
def test_several_classes_keep_their_own_numbers_and_void_is_left_alone(tmp_path):
    images, masks = squares(14, 0, classes=2)
    coded = np.array([0, 128, 200], dtype=np.uint8)[masks]
    coded[:, 0] = 77
    data = imseg.dataset_from_arrays(
        (images[:10], coded[:10]),
        val=(images[10:], coded[10:]),
        void=77,
        class_names={0: "nothing", 128: "dim", 200: "bright"},
    )
    run = imseg.fit(data, approach="ldt", out=tmp_path / "run", **SETTINGS)
    scores = run.evaluate(data, "val")
    assert set(scores.dataset["iou_per_class"]) == {"nothing", "dim", "bright"}
    assert scores.per_image["iou"] > 0.6
    for prediction in run.predict(list(images[:3])):
        assert set(np.unique(prediction.mask)) <= {0, 128, 200}


class Tiny(nn.Sequential):
    """A network of the user's own."""

    def __init__(self, channels: int, outputs: int, width: float):
        super().__init__(
            nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, outputs, 3, padding=1)
        )


def test_a_network_of_ones_own_takes_the_unets_place(tmp_path):
    data = imseg.dataset_from_arrays(squares(8, 0), val=squares(4, 2))
    run = imseg.fit(data, approach="ldt", out=tmp_path / "run", network=Tiny, **SETTINGS)
    kinds = {type(network) for network in run.load(run.network_names)}
    assert kinds == {Tiny}
    again = imseg.load_run(run.path, network=Tiny)
    assert again.evaluate(data, "val").per_image == run.evaluate(data, "val").per_image
    known = imseg.load_run(run.path)  # the callable was given in this process
    assert known.evaluate(data, "val").per_image == run.evaluate(data, "val").per_image


def test_unknown_settings_are_refused_with_a_suggestion(tmp_path):
    data = imseg.dataset_from_arrays(squares(4, 0))
    with pytest.raises(imseg.ImsegError, match="max_step") as refused:
        imseg.fit(data, approach="ldt", max_step=3, out=tmp_path / "run")
    assert "max_steps" in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_the_public_names_are_few_and_all_there():
    assert len(imseg.__all__) <= 12
    for name in imseg.__all__:
        assert getattr(imseg, name).__doc__
