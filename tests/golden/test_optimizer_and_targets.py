"""Six optimizer steps, and how mask files become targets, against ``optimizer_and_parse``.

Left out on purpose:
- HeLa's three mask files an image: multilabel targets are not part of this package yet;
- mask values between 0 and 255, which the reference takes for background: we refuse such masks, so
  they are made 0 before ours is compared;
- label values beyond the classes, which the reference turns into no class at all: we refuse them
  when the mask is read.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from imseg.data.folder.config import FolderConfig
from imseg.data.masks.classes import find_spec
from imseg.data.masks.io import encode
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.loader import to_device
from imseg.engine.training.optimizer import KerasAdamW
from imseg.tasks.multiclass import one_hot


class TwoArrays(nn.Module):
    def __init__(self, a, b) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.from_numpy(a.copy()))
        self.b = nn.Parameter(torch.from_numpy(b.copy()))


def test_six_steps_end_where_the_reference_optimizer_ends(golden) -> None:
    arrays = golden("optimizer_and_parse")
    network = TwoArrays(arrays["w0_a"], arrays["w0_b"])
    optimizer = KerasAdamW(network, learning_rate=float(arrays["lr"]), decay=float(arrays["wd"]))
    for step in range(6):
        network.a.grad = torch.from_numpy(arrays["grads_a"][step].copy())
        network.b.grad = torch.from_numpy(arrays["grads_b"][step].copy())
        optimizer.step()
        np.testing.assert_allclose(network.a.detach(), arrays["w_a"][step], rtol=0, atol=3e-7)
        np.testing.assert_allclose(network.b.detach(), arrays["w_b"][step], rtol=0, atol=3e-7)


def test_the_steps_are_small_enough_to_tell_the_two_kinds_of_epsilon_apart(golden) -> None:
    arrays = golden("optimizer_and_parse")
    moved = np.abs(arrays["w_a"] - np.stack([arrays["w0_a"], *arrays["w_a"][:-1]]))
    assert moved.max() > 1e-3


def test_images_reach_the_network_as_they_are_divided_by_255(golden) -> None:
    arrays = golden("optimizer_and_parse")
    images = to_device(arrays["parse_image"][None], ComputeConfig())
    expected = arrays["parse_isic_x"].astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(images[0].permute(1, 2, 0), expected)


def test_a_mask_of_0_and_255_becomes_the_reference_target(golden) -> None:
    arrays = golden("optimizer_and_parse")
    spec = find_spec({0: 1, 255: 1}, task=None, config=FolderConfig())
    mask = np.where(arrays["parse_mask"] == 255, 255, 0)
    np.testing.assert_array_equal(encode(mask, spec)[0], arrays["parse_isic_y"][..., 0])


def test_class_numbers_become_one_plane_an_output(golden) -> None:
    arrays = golden("optimizer_and_parse")
    target = torch.from_numpy(arrays["parse_labels"])[None, None]
    outputs = arrays["parse_mc_y"].shape[-1]
    np.testing.assert_array_equal(
        one_hot(target, outputs)[0].permute(1, 2, 0), arrays["parse_mc_y"]
    )
