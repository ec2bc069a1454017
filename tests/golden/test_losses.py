"""Losses and the scores by which epochs are kept, against ``losses``.

Left out on purpose:
- Dice loss and the losses that ignore a class: no training here uses them;
- the losses of four-dimensional input that raise an error in the reference;
- HeLa's MSE as a loss: its target of 3 under a sigmoid is replaced by a plane weight of 3; a test
  shows that the number is the one we think it is, and that ours differs;
- a probability of exactly one half: Keras' running IoU calls it foreground, while votes and scores
  of the reference call it background; we do the latter everywhere. The golden pixels that are
  exactly one half are moved up by one float before they are compared.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from imseg.ops.overlap import squared_error, within_delta
from imseg.tasks.binary import PooledIoU
from imseg.tasks.multiclass import RunningSoftMeanIoU


def planes(array) -> torch.Tensor:
    return torch.from_numpy(array.copy()).permute(0, 3, 1, 2)


def test_the_binary_loss_is_keras_mean_squared_error(golden, binary) -> None:
    arrays = golden("losses")
    logits = torch.logit(planes(arrays["bin_pred"]).double()).float()
    loss = binary().loss(logits, planes(arrays["bin_true"]).byte(), None)
    assert loss.item() == pytest.approx(float(arrays["keras_mse"]), abs=1e-6)


def test_the_class_loss_is_keras_cross_entropy_over_all_outputs(golden, multiclass) -> None:
    arrays = golden("losses")
    target = planes(arrays["mc_onehot"]).argmax(dim=1, keepdim=True).byte()
    assert (target == 0).any()
    loss = multiclass(3).loss(planes(arrays["mc_pred"]).log(), target, None)
    assert loss.item() == pytest.approx(float(arrays["keras_cce"]), abs=1e-6)


def test_the_pooled_iou_of_growing_sets_is_keras_binary_iou(golden) -> None:
    arrays = golden("losses")
    half = np.float32(0.5)
    above_half = np.nextafter(half, np.float32(1))
    probabilities = np.where(arrays["bin_pred"] > 0.95, above_half, arrays["bin_pred"])
    meter = PooledIoU()
    for index, expected in enumerate(arrays["binary_iou_running"]):
        image = slice(index, index + 1)
        meter.update(planes(probabilities[image]), planes(arrays["bin_true"][image]).byte())
        assert meter.value() == pytest.approx(expected, abs=1e-8)


def test_exactly_one_half_is_background_for_us_and_foreground_for_keras(golden) -> None:
    arrays = golden("losses")
    probabilities = np.where(arrays["bin_pred"] > 0.95, np.float32(0.5), arrays["bin_pred"])
    assert (probabilities == 0.5).any()
    meter = PooledIoU()
    meter.update(planes(probabilities), planes(arrays["bin_true"]).byte())
    positive, truth = probabilities > 0.5, arrays["bin_true"] == 1
    expected = (positive & truth).sum() / (positive | truth).sum()
    assert meter.value() == pytest.approx(expected, abs=1e-8)
    assert meter.value() != pytest.approx(arrays["binary_iou_running"][-1], abs=1e-3)


def test_the_soft_iou_of_batches_is_the_reference_running_mean(golden) -> None:
    arrays = golden("losses")
    meter = RunningSoftMeanIoU()
    for (start, end), expected in zip(
        arrays["meaniou_batches"], arrays["meaniou_running"], strict=True
    ):
        target = planes(arrays["mc_onehot"][start:end]).argmax(dim=1, keepdim=True).byte()
        meter.update(planes(arrays["mc_pred"][start:end]), target)
        assert meter.value() == pytest.approx(expected, abs=1e-6)


def test_a_class_that_is_neither_true_nor_predicted_leaves_no_soft_iou(golden) -> None:
    arrays = golden("losses")
    truth, predicted = (image[None] for image in arrays["meaniou_absent_in"])
    meter = RunningSoftMeanIoU()
    meter.update(planes(predicted), planes(truth).argmax(dim=1, keepdim=True).byte())
    assert math.isnan(arrays["meaniou_absent"])
    assert math.isnan(meter.value())


def test_errors_of_depth_are_those_of_the_reference(golden) -> None:
    arrays = golden("losses")
    predicted, truth = (torch.from_numpy(arrays[f"dep_{n}"].copy()) for n in ("pred", "true"))
    close, positive = within_delta(predicted, truth)
    assert (close.sum() / positive.sum()).item() == pytest.approx(float(arrays["delta125"]))


def test_the_root_mean_squared_error_is_that_of_the_reference(golden) -> None:
    arrays = golden("losses")
    predicted, truth = (planes(arrays[f"bin_{name}"])[:, 0] for name in ("pred", "true"))
    total, pixels = squared_error(predicted, truth)
    assert (total.sum() / pixels.sum()).sqrt().item() == pytest.approx(float(arrays["rmse"]))


def test_the_target_of_three_is_replaced_by_a_weight_of_three(golden, multilabel) -> None:
    arrays = golden("losses")
    truth, predicted = planes(arrays["hela_true_pos3"]).float(), planes(arrays["hela_pred"])
    theirs = (truth - predicted).square().mean().item()
    assert theirs == pytest.approx(float(arrays["hela_mse"]), rel=1e-6)
    assert set(truth[:, 2].unique().tolist()) == {0.0, 3.0}
    binary_truth = (truth > 0).byte()
    ours = multilabel().error(predicted, binary_truth, None).item()
    error = (binary_truth.float() - predicted).square().mean(dim=(0, 2, 3))
    assert ours == pytest.approx(((error[0] + error[1] + 3 * error[2]) / 5).item(), rel=1e-6)
    assert ours != pytest.approx(theirs, rel=0.05)
