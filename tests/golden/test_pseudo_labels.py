"""Whole pseudo-labeling of a set, against ``pseudo_isic`` and ``pseudo_multiclass``.

Every row of settings: erosion, dilation, blocking, selection, two to four teachers.

Left out: nothing. Two quirks of the reference are in the arrays and are reproduced: an erosion also
dilates class labels (an option, on under ``paper``), and the mean mask size counts disputed pixels
before clean-up. Images that it does not write are all zeros there and are not compared.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imseg.components.consensus import (
    Block,
    Consensus,
    Everything,
    ForegroundExceedsInconsistency,
    PseudoLabelBatch,
    SameClasses,
)
from imseg.ops.inconsistency import block_input, block_output

ROWS = range(24)
BLOCKING = {(1, 1): "both", (1, 0): "input", (0, 1): "output", (0, 0): "none"}
"""By whether the image and the label are blocked."""


def blocked(arrays, agreement: PseudoLabelBatch, block: Block):
    """Return images (n h w c) and labels (n h w) as a student sees them."""
    images = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2)
    if block.input:
        images = block_input(images, agreement.inconsistent)
    labels = agreement.labels
    if block.output:
        labels = block_output(labels, agreement.inconsistent)
    return images.permute(0, 2, 3, 1).numpy(), labels[:, 0].numpy()


def consensus_of(row) -> Consensus:
    teachers, erode, dilate, block_image, block_label, _ = (int(value) for value in row)
    return Consensus(
        teachers=teachers,
        erode=erode,
        dilate=dilate,
        grow_labels=erode > 0,
        block=Block(blocking=BLOCKING[block_image, block_label]),
    )


def compare(
    arrays, config: int, agreement: PseudoLabelBatch, used, block: Block, foreground: int
) -> None:
    name = f"c{config}"
    images, labels = blocked(arrays, agreement, block)
    written = arrays[f"{name}_written"]
    np.testing.assert_array_equal(used.numpy(), written)
    np.testing.assert_array_equal(images[written], arrays[f"{name}_images"][written])
    np.testing.assert_array_equal(labels[written] * foreground, arrays[f"{name}_masks"][written])
    np.testing.assert_array_equal(agreement.inconsistent[:, 0], arrays[f"{name}_im"] == 255)
    sizes = agreement.disputed.sum(dim=(1, 2, 3)).double()
    assert round(sizes.mean().item()) == arrays[f"{name}_mean_im_size"]


@pytest.mark.parametrize("config", ROWS)
def test_binary_images_are_labeled_blocked_and_selected_as_in_the_reference(
    golden, binary, config
) -> None:
    arrays = golden("pseudo_isic")
    row = arrays["configs"][config]
    task, consensus = binary(paper=True), consensus_of(row)
    probabilities = torch.from_numpy(arrays["probs"][: consensus.teachers]).permute(0, 1, 4, 2, 3)
    votes = task.discretize(probabilities)
    agreement = consensus(task, votes)
    select = ForegroundExceedsInconsistency() if row[5] else Everything()
    used = select(task, votes, agreement)
    compare(arrays, config, agreement, used, consensus.block, 255)


@pytest.mark.parametrize("config", ROWS)
def test_class_images_are_labeled_blocked_and_selected_as_in_the_reference(
    golden, multiclass, config
) -> None:
    arrays = golden("pseudo_multiclass")
    row = arrays["configs"][config]
    task, consensus = multiclass(4, paper=True), consensus_of(row)
    votes = task.discretize(class_probabilities(arrays)[: consensus.teachers].flatten(0, 1))
    votes = votes.unflatten(0, (consensus.teachers, -1))
    agreement = consensus(task, votes)
    select = SameClasses() if row[5] else Everything()
    used = select(task, votes, agreement)
    compare(arrays, config, agreement, used, consensus.block, 1)


def class_probabilities(arrays) -> torch.Tensor:
    """Return ``v b k h w`` as the golden file's note says they were: two classes tie in one row."""
    labels = torch.from_numpy(arrays["labels"]).long()
    chosen = torch.nn.functional.one_hot(labels, 5).permute(0, 1, 4, 2, 3).bool()
    probabilities = torch.where(chosen, 1 - 4 / 64, 1 / 64)
    probabilities[:, 0, :, 0] = 0
    probabilities[:, 0, 1, 0] = probabilities[:, 0, 3, 0] = 0.5
    return probabilities


@pytest.mark.parametrize("name", ["pseudo_isic", "pseudo_multiclass"])
def test_every_row_of_settings_is_compared(golden, name) -> None:
    arrays = golden(name)
    assert len(arrays["configs"]) == len(ROWS)
    columns = ("n_models", "erode", "dilate", "block_input", "block_output")
    assert tuple(arrays["config_cols"][:5]) == columns
    assert {bool(written) for c in ROWS for written in arrays[f"c{c}_written"]} == {True, False}


def test_the_arrays_contain_the_quirk_that_erosion_grows_labels(golden, multiclass) -> None:
    arrays = golden("pseudo_multiclass")
    config = next(c for c in ROWS if arrays["configs"][c].tolist() == [2, 3, 5, 1, 0, 0])
    task = multiclass(4)
    votes = torch.from_numpy(arrays["labels"][:2]).unsqueeze(2)
    ours = Consensus(teachers=2, erode=3, dilate=5)(task, votes).labels[:, 0]
    assert (ours.numpy() != arrays[f"c{config}_masks"]).any()
