"""Gain and offset, blur, noise and whole noisy copies against ``augment``; all exact.

The reference draws from the standard library and from NumPy's old generator. The tests draw the
same numbers in its order and hand them to our ``apply``.

Left out: ``blur2_gray``, a box of 2x2 pixels. No augmentation is that: it is how the reference
trims the discs of the position plane.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor

from imseg.ops import augment, photometric
from imseg.ops.photometric import blur, scale_values

RECORDED = range(12)
LEFT_OUT = {"blur2_gray"}
COMPARED = {
    *("image", "csa_alpha_beta", "csa_out", "blur3", "blur5", "blur7"),
    *("gray", "gray_blur3", "gray_blur5", "gray_blur7", "mask", "sq", "sq_mask", "seeds"),
    *("aug_image", "aug_mask", "noise25", "aug_gray_and_3masks_norot"),
}


@pytest.fixture
def arrays(golden):
    return golden("augment")


def planes(array) -> Tensor:
    """Return ``h w c`` or ``h w`` as a batch of one."""
    array = np.atleast_3d(array)
    return torch.from_numpy(array.copy()).permute(2, 0, 1).unsqueeze(0)


def replay(seed: int, *, channels: int, rotate: bool) -> augment.Draws:
    """Return what the reference draws for a copy of 16x16 pixels, at the strength of ALDT."""
    standard, old = random.Random(seed), np.random.RandomState(seed)
    upside_down = standard.randint(0, 1) if rotate else 0
    mirrored = standard.randint(0, 1)
    quarters = standard.randint(0, 3) if rotate else 0
    gain, offset = old.uniform(0.5, 1.5), old.uniform(-25, 25)
    coin, radius = standard.randint(0, 1), standard.randint(0, 3)
    shape = (16, 16, channels) if channels > 1 else (16, 16)
    return augment.Draws(
        # Upside down is mirrored and a half turn; the reference turns with the clock.
        flip=torch.tensor([bool(mirrored) != bool(upside_down)]),
        turns=torch.tensor([(2 * upside_down - quarters) % 4]),
        values=given(
            scaled=coin == 1, gain=gain, offset=offset, radius=radius,
            noise=planes(old.randint(-25, 25, shape).astype(np.int16)),
        ),
    )  # fmt: skip


def given(
    *, noise: Tensor, scaled: bool = False, gain: float = 1.0, offset: float = 0.0, radius: int = 0
) -> photometric.ValueDraws:
    return photometric.ValueDraws(
        scaled=torch.tensor([scaled]),
        gain=torch.tensor([gain]),
        offset=torch.tensor([offset]),
        radius=torch.tensor([radius]),
        reach=torch.zeros(1, dtype=torch.int32),
        noise_keys=torch.zeros(1, 2, dtype=torch.int32),
        noise=noise,
    )


def test_every_array_is_compared_or_left_out_by_name(arrays) -> None:
    assert set(arrays) == COMPARED | LEFT_OUT


def test_gain_and_offset_are_those_of_the_reference(arrays) -> None:
    gain, offset = torch.from_numpy(arrays["csa_alpha_beta"].astype(np.float32)).unbind(dim=1)
    images = planes(arrays["image"]).expand(len(gain), -1, -1, -1)
    found = scale_values(images, gain=gain, offset=offset, absolute=True)
    np.testing.assert_array_equal(found.permute(0, 2, 3, 1), arrays["csa_out"])


@pytest.mark.parametrize("radius", [1, 2, 3])
@pytest.mark.parametrize(("source", "prefix"), [("image", ""), ("gray", "gray_")])
def test_blur_is_that_of_the_reference(arrays, source, prefix, radius) -> None:
    found = blur(planes(arrays[source]), radius)
    expected = planes(arrays[f"{prefix}blur{2 * radius + 1}"])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("index", RECORDED)
def test_noise_is_that_of_the_reference(arrays, index) -> None:
    drawn = np.random.RandomState(int(arrays["seeds"][index])).randint(-25, 25, (16, 16, 3))
    draws = given(noise=planes(drawn.astype(np.int16)))
    found = photometric.apply(planes(arrays["sq"]), draws)
    np.testing.assert_array_equal(found, planes(arrays["noise25"][index]))


@pytest.mark.parametrize("index", RECORDED)
def test_a_copy_and_its_mask_are_those_of_the_reference(arrays, index) -> None:
    draws = replay(int(arrays["seeds"][index]), channels=3, rotate=True)
    image, target = planes(arrays["sq"]), planes(arrays["sq_mask"])
    found = augment.apply(image, draws, targets=target, mask=target > 0, paper=True)
    np.testing.assert_array_equal(found.images, planes(arrays["aug_image"][index]))
    np.testing.assert_array_equal(found.targets, planes(arrays["aug_mask"][index]))
    np.testing.assert_array_equal(found.mask, planes(arrays["aug_mask"][index]) > 0)


@pytest.mark.parametrize("index", RECORDED)
def test_a_gray_copy_with_three_planes_is_that_of_the_reference(arrays, index) -> None:
    draws = replay(int(arrays["seeds"][index]), channels=1, rotate=False)
    # What went in was not recorded: the first channel, the mask, its opposite and half of it.
    gray, mask = planes(arrays["sq"])[:, :1], planes(arrays["sq_mask"])
    targets = torch.cat([mask, 255 - mask, mask // 2], dim=1)
    found = augment.apply(gray, draws, targets=targets, paper=True)
    expected = torch.from_numpy(arrays["aug_gray_and_3masks_norot"][index])
    np.testing.assert_array_equal(found.images[0, 0], expected[0])
    np.testing.assert_array_equal(found.targets[0], expected[1:])


def test_without_paper_only_what_fell_below_0_differs(arrays) -> None:
    gain, offset = torch.from_numpy(arrays["csa_alpha_beta"].astype(np.float32)).unbind(dim=1)
    images = planes(arrays["image"]).expand(len(gain), -1, -1, -1)
    found = scale_values(images, gain=gain, offset=offset).permute(0, 2, 3, 1)
    below = images * gain.reshape(-1, 1, 1, 1) + offset.reshape(-1, 1, 1, 1) < 0
    expected = np.where(below.permute(0, 2, 3, 1), 0, arrays["csa_out"])
    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(expected, arrays["csa_out"])
