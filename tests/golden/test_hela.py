"""Multilabel targets of cells: pseudo-labels, averaged votes and scores of the reference.

Compared: all of ``pseudo_hela``; of ``benchmarks`` what begins with ``hela``; of ``ensembles`` the
HeLa predictions. Left out: ``hela_single_image`` and the means are rounded to three digits plane by
plane there, so ours are rounded in the same way before they are compared; ``hela_no_modpos`` scores
centers that were not redrawn, which nothing here does.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imseg.components.consensus import Block, Consensus
from imseg.ops.inconsistency import block_input, block_output

ROWS = range(18)
BLOCKING = {(1, 1): "both", (1, 0): "input", (0, 1): "output", (0, 0): "none"}
"""By whether the image and the label are blocked."""
PLANES = ("alive", "dead", "mod_position")


def probabilities_of(array: np.ndarray) -> torch.Tensor:
    """Return ``... h w t`` as ``... t h w``."""
    return torch.from_numpy(np.moveaxis(array.astype(np.float32), -1, -3).copy())


@pytest.mark.parametrize("config", ROWS)
def test_cell_images_are_labeled_and_blocked_as_in_the_reference(
    golden, multilabel, config
) -> None:
    arrays = golden("pseudo_hela")
    teachers, erode, dilate, block_image, block_label = arrays["configs"][config].tolist()
    task = multilabel(paper=True)
    consensus = Consensus(
        teachers=teachers,
        erode=erode,
        dilate=dilate,
        grow_labels=erode > 0,
        block=Block(blocking=BLOCKING[block_image, block_label]),
    )
    probabilities = probabilities_of(arrays["probs_u6"][:teachers]) / 64
    assert (probabilities == 0.5).any(), "the knife edge is in the arrays"
    votes = task.hard_prediction(probabilities.flatten(0, 1)).unflatten(0, (teachers, -1))
    agreement = consensus(task, votes)
    images = torch.from_numpy(arrays["images"])[:, None]
    labels = agreement.labels
    if consensus.block.input:
        images = block_input(images, agreement.inconsistent)
    if consensus.block.output:
        labels = block_output(labels, agreement.inconsistent)
    prefix = f"c{config}_"
    np.testing.assert_array_equal(images[:, 0], arrays[prefix + "brightfield"])
    np.testing.assert_array_equal(agreement.inconsistent[:, 0] * 255, arrays[prefix + "im"])
    for plane, name in enumerate(PLANES):
        np.testing.assert_array_equal(labels[:, plane], arrays[prefix + name] > 0)
    disputed = task.vote(votes)[1].sum(dim=(1, 2, 3)).double()
    assert round(disputed.mean().item()) == arrays[prefix + "mean_im_size"]


def test_every_row_of_settings_is_compared(golden) -> None:
    arrays = golden("pseudo_hela")
    assert len(arrays["configs"]) == len(ROWS)
    columns = ["n_models", "erode", "dilate", "block_input", "block_output"]
    assert arrays["config_cols"].tolist() == columns


@pytest.mark.parametrize("teachers", [2, 3, 4])
def test_the_mean_of_several_networks_is_made_discrete_as_in_the_reference(
    golden, multilabel, teachers
) -> None:
    arrays = golden("ensembles")
    task = multilabel(paper=True)
    mean = probabilities_of(arrays["hela_probs"][:teachers]).mean(dim=0)
    drawn = task.redraw((mean > 0.5).byte())[0]
    prefix = f"hela_soft_n{teachers}_"
    np.testing.assert_array_equal(drawn[0], arrays[prefix + "alive"] > 0)
    np.testing.assert_array_equal(drawn[1], arrays[prefix + "dead"] > 0)
    for channel in range(3):
        np.testing.assert_array_equal(drawn[2], arrays[prefix + "pos"][..., channel] > 0)


def test_predictions_are_drawn_and_scored_as_in_the_reference(golden, multilabel) -> None:
    arrays = golden("benchmarks")
    task = multilabel(paper=True)
    predicted = task.discretize(probabilities_of(arrays["hela_probs"]))
    np.testing.assert_array_equal(
        predicted.permute(0, 2, 3, 1).numpy(), arrays["hela_pred_png"] > 0
    )
    truth = (torch.from_numpy(arrays["hela_gt"]) > 0).byte().permute(0, 3, 1, 2)
    scores = {name: value.numpy() for name, value in task.image_scores(predicted, truth).items()}
    planes = np.stack([np.round(scores[f"iou_{name}"], 3) for name in task.spec.names])
    every, areas = planes.mean(axis=0), planes[:2].mean(axis=0)
    found = np.stack([every, areas, scores["cell_count_error"]], axis=1)
    np.testing.assert_allclose(found, arrays["hela_single_image"], atol=5.1e-4)
    np.testing.assert_allclose(found.mean(axis=0), arrays["hela_mean_mIoU_ad_mcce_bs64"], atol=5e-4)


def test_empty_planes_score_nothing_in_the_reference_and_one_here(golden, multilabel) -> None:
    arrays = golden("benchmarks")
    truth = (torch.from_numpy(arrays["hela_gt"]) > 0).byte().permute(0, 3, 1, 2)
    empty = (truth.sum(dim=(2, 3)) == 0)[:, :2]
    assert empty.any(), "the arrays hold an image without a kind of cell"
    nothing = torch.zeros_like(truth)
    theirs = multilabel(paper=True).image_scores(nothing, truth)
    ours = multilabel().image_scores(nothing, truth)
    for plane, name in enumerate(("alive", "dead")):
        rows = empty[:, plane]
        assert (theirs[f"iou_{name}"][rows] == 0).all()
        assert (ours[f"iou_{name}"][rows] == 1).all()
