"""Scores of single mask pairs, against ``metrics``; of whole sets, against ``benchmarks``.

The reference makes its truth binary in two ways, which we do not: IoU counts every value above 0,
Dice every value from 128 up. Both are given here explicitly; our masks are made binary once, when
they are read. Our IoU of two empty masks is 1; ``empty=0`` is the reference's.

Left out on purpose:
- the share of a mask that an inconsistency mask covers (``confluence``), and detection of classes:
  they serve the learned mask scorer, which is not part of this package yet;
- HeLa scores: multilabel targets are not part of this package yet;
- class 0 of ``classwise_iou``: there it means "the mask has unlabeled pixels", not an IoU;
- files, colors and order of the PNGs that the reference writes while it scores.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imseg.ops import overlap

ROUNDED = 0.5e-4 + 1e-9
"""The reference rounds scores of images to four digits,"""
ROUNDED_MEAN = 0.5e-3 + 1e-9
"""and means over images to three."""


def flags(array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def class_scores(predicted, truth, classes: int):
    matrices = overlap.confusion_matrices(flags(predicted), flags(truth), classes=classes)
    by_class = overlap.iou_by_class(matrices)
    return by_class.numpy(), overlap.mean_over_present(by_class, matrices).numpy()


def test_binary_iou_is_the_reference_iou_of_truth_above_0_with_empty_masks_scored_0(golden) -> None:
    arrays = golden("metrics")
    score = overlap.iou(flags(arrays["bin_pred"] > 0), flags(arrays["bin_gt"] > 0), empty=0.0)
    np.testing.assert_allclose(score, arrays["iou_binary"], rtol=0, atol=1e-12)


def test_our_binary_iou_differs_only_where_both_masks_are_empty(golden) -> None:
    arrays = golden("metrics")
    predicted, truth = arrays["bin_pred"] > 0, arrays["bin_gt"] > 0
    empty = ~(predicted | truth).any(axis=(1, 2))
    score = overlap.iou(flags(predicted), flags(truth)).numpy()
    assert empty.any() and (score[empty] == 1).all() and (arrays["iou_binary"][empty] == 0).all()
    np.testing.assert_allclose(score[~empty], arrays["iou_binary"][~empty], rtol=0, atol=1e-12)


def test_dice_is_the_reference_dice_of_truth_from_128(golden) -> None:
    arrays = golden("metrics")
    score = overlap.dice(flags(arrays["bin_pred"] >= 128), flags(arrays["bin_gt"] >= 128))
    np.testing.assert_allclose(score, arrays["dice"], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("entry", "predicted", "truth"),
    [("iou_multi_unique", "mc_pred", "mc_gt"), ("iou_multi_unique_swapped", "mc_gt", "mc_pred")],
)
def test_mean_iou_is_that_over_the_classes_in_the_truth(golden, entry, predicted, truth) -> None:
    arrays = golden("metrics")
    classes = int(arrays["num_classes"])
    _, mean = class_scores(arrays[predicted], arrays[truth], classes)
    # The reference adds 1e-7 to unions; our confusion matrix needs no such help.
    np.testing.assert_allclose(mean, arrays[entry], rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("entry", "predicted", "truth"),
    [("classwise_iou", "mc_pred", "mc_gt"), ("classwise_iou_swapped", "mc_gt", "mc_pred")],
)
def test_iou_by_class_is_the_reference_for_the_user_classes(
    golden, entry, predicted, truth
) -> None:
    arrays = golden("metrics")
    by_class, _ = class_scores(arrays[predicted], arrays[truth], int(arrays["num_classes"]))
    np.testing.assert_allclose(
        np.nan_to_num(by_class)[:, 1:], arrays[entry][:, 1:], rtol=0, atol=ROUNDED
    )


def test_pixel_accuracy_is_the_reference(golden) -> None:
    arrays = golden("metrics")
    score = overlap.accuracy(flags(arrays["mc_pred"]), flags(arrays["mc_gt"]))
    np.testing.assert_allclose(score, arrays["pixel_accuracy"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", ["bs64", "bs3"])
def test_binary_scores_of_a_set_are_the_reference(golden, binary, batch) -> None:
    arrays = golden("benchmarks")
    probabilities = torch.from_numpy(arrays["isic_probs"]).permute(0, 3, 1, 2)
    task = binary(paper=True)
    predicted = task.discretize(probabilities)
    np.testing.assert_array_equal(predicted[:, 0] * 255, arrays["isic_pred_png"])
    iou = task.image_scores(predicted, flags(arrays["isic_gt"] > 0).byte().unsqueeze(1))["iou"]
    dice = task.image_scores(predicted, flags(arrays["isic_gt"] >= 128).byte().unsqueeze(1))["dice"]
    each = np.stack([iou, dice], axis=1)
    np.testing.assert_allclose(each, arrays[f"isic_per_image_{batch}"], rtol=0, atol=ROUNDED)
    np.testing.assert_allclose(
        each.mean(axis=0), arrays[f"isic_mean_{batch}"], rtol=0, atol=ROUNDED_MEAN
    )


@pytest.mark.parametrize("batch", ["bs64", "bs3"])
def test_class_scores_of_a_set_are_the_reference(golden, multiclass, batch) -> None:
    arrays = golden("benchmarks")
    task = multiclass(int(arrays["mc_num_classes"]) - 1, paper=True)
    predicted, truth = (flags(arrays[name]).unsqueeze(1) for name in ("mc_pred_labels", "mc_gt"))
    scores = task.image_scores(predicted, truth)
    each = np.stack([scores["accuracy"], scores["iou"]], axis=1)
    np.testing.assert_allclose(each, arrays[f"mc_per_image_PA_IoU_{batch}"], rtol=0, atol=ROUNDED)
    np.testing.assert_allclose(
        each.mean(axis=0), arrays[f"mc_mean_mPA_mIoU_{batch}"], rtol=0, atol=ROUNDED_MEAN
    )
