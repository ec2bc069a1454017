"""EvalNet's training samples, against ``evalnet_training_data``: masks, images and what it is told.

Left out: which networks and kernels are drawn, because our generators are others (the recorded
draws are taken instead), the augmented images (``test_augment`` compares augmentations; what is
told about them is compared here), and two quirks of files: HeLa's augmented samples are overwritten
by plain ones, and masks are 0/255 when mask scorers are trained, 0/1 when they are asked.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imseg.components.scorer_samples import Draw, sample_consensus
from imseg.ops.inconsistency import block_input, block_output
from imseg.tasks.quality import quality_for

IMAGES = 4
ROUNDED = 6e-5
"""The reference rounds to four digits, halves included."""


def tensor(array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


@pytest.fixture
def cases(golden, binary, multiclass, multilabel):
    """By name: task, hard predictions ``v b t h w``, truth ``b t h w``, images ``b c h w``."""
    arrays = golden("evalnet_training_data")
    tasks = {
        "bin": binary(paper=True),
        "mc": multiclass(4, paper=True),
        "hela": multilabel(paper=True),
    }
    probabilities = tensor(np.moveaxis(arrays["bin_preds"], -1, 2))
    hard_predictions = {
        "bin": torch.stack([tasks["bin"].hard_prediction(each) for each in probabilities]),
        "mc": tensor(arrays["mc_preds"]).unsqueeze(2),
        "hela": tensor(np.moveaxis(arrays["hela_preds"] > 10, -1, 2)).byte(),
    }
    truth = {
        "bin": tensor(arrays["bin_gt"] // 255).unsqueeze(1),
        "mc": tensor(arrays["mc_gt"]).unsqueeze(1),
        "hela": tensor(np.moveaxis(arrays["hela_gt"] // 255, -1, 1)),
    }
    images = {
        "bin": tensor(np.moveaxis(arrays["bin_images"], -1, 1)),
        "mc": tensor(np.moveaxis(arrays["mc_images"], -1, 1)),
        "hela": tensor(arrays["hela_images"]).unsqueeze(1),
    }
    return arrays, {
        name: (tasks[name], hard_predictions[name], truth[name], images[name]) for name in tasks
    }


def written(arrays, name: str, row: int):
    """Return the image (``c h w``) and the mask (``t h w``) that the reference writes."""
    if name == "hela":
        planes = [arrays[f"hela_out_{plane}"][row] for plane in ("alive", "dead", "mod_position")]
        return arrays["hela_out_brightfield"][row][None], np.stack(planes)
    masks = arrays[f"{name}_out_masks"][row][None]
    return np.moveaxis(arrays[f"{name}_out_images"][row], -1, 0), masks // (
        255 if name == "bin" else 1
    )


@pytest.mark.parametrize("name", ["bin", "mc", "hela"])
def test_samples_and_what_a_scorer_is_told_are_those_of_the_reference(cases, name) -> None:
    arrays, by_name = cases
    task, hard_predictions, truth, images = by_name[name]
    quality = quality_for(task)
    plain = 0
    for row, (count, *rest) in enumerate(arrays[f"{name}_choices"].tolist()):
        networks, (erode, dilate, augmented) = tuple(rest[:count]), rest[4:]
        image = slice(row % IMAGES, row % IMAGES + 1)
        draw = Draw(networks, erode, dilate, bool(augmented))
        labels, inconsistent = sample_consensus(task, hard_predictions[list(networks), image], draw)
        wanted = quality.of_consensus(labels, inconsistent, truth[image])
        np.testing.assert_allclose(
            wanted.flatten(), arrays[f"{name}_labels"][row], rtol=0, atol=ROUNDED
        )
        if augmented and name != "hela":
            continue
        plain += 1
        its_image, its_mask = written(arrays, name, row)
        np.testing.assert_array_equal(block_input(images[image], inconsistent)[0], its_image)
        np.testing.assert_array_equal(block_output(labels, inconsistent)[0], its_mask)
    assert plain >= 8


def test_the_arrays_ask_for_every_number_of_networks_and_every_kernel(golden) -> None:
    arrays = golden("evalnet_training_data")
    names = arrays["choice_cols"].tolist()
    assert names == ["n_models", "m0", "m1", "m2", "m3", "erode", "dilate", "augmented"]
    rows = np.concatenate([arrays[f"{name}_choices"] for name in ("bin", "mc", "hela")])
    assert set(rows[:, 0]) == {2, 3, 4}
    assert set(rows[:, 5]) == set(rows[:, 6]) == {0, 3, 5}
    assert set(rows[:, 7]) == {0, 1}


def test_ours_redraws_cell_centers_before_they_are_scored(cases, multilabel) -> None:
    """A difference: pseudo-labels are redrawn before mask scorers see and learn from them."""
    _, by_name = cases
    _, hard_predictions, _, _ = by_name["hela"]
    ours, draw = multilabel(), Draw((0, 2), 0, 0, False)
    labels, _ = sample_consensus(ours, hard_predictions[[0, 2], :1], draw)
    raw, _ = ours.vote(hard_predictions[[0, 2], :1])
    assert torch.equal(labels, ours.redraw(raw))
    assert not torch.equal(labels, raw)
