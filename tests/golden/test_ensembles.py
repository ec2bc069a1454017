"""What several networks say together, against ``ensembles``.

Binary: all say so. Classes: ``mc_soft`` is the class of the greatest mean probability; ``mc_hard``,
which the reference does not use, is no majority vote but the class on which all agree, and 0 where
they do not: it is our consensus. Cells: the mean of each plane; centers are then drawn as discs.

Left out: nothing.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

TEACHERS = [2, 3, 4]
PARTS = ("bin_out", "mc_hard", "mc_soft", "hela_soft_alive", "hela_soft_dead", "hela_soft_pos")


@pytest.fixture
def arrays(golden):
    return golden("ensembles")


def said(arrays, name: str, teachers: int) -> torch.Tensor:
    """Return what the first networks say about the one image, ``v 1 k h w``."""
    return torch.from_numpy(np.moveaxis(arrays[name][:teachers], -1, -3).copy())


def test_every_array_is_compared(arrays) -> None:
    outputs = {
        part.replace("soft_", f"soft_n{n}_") if "hela" in part else f"{part}_n{n}"
        for part in PARTS
        for n in TEACHERS
    }
    assert set(arrays) == outputs | {"bin_probs", "mc_probs", "hela_probs"}


@pytest.mark.parametrize("teachers", TEACHERS)
def test_binary_networks_say_together_what_they_do_in_the_reference(
    arrays, binary, teachers
) -> None:
    probabilities = said(arrays, "bin_probs", teachers)
    pooled = binary(paper=True).pool(probabilities, how="paper", of="teachers")
    np.testing.assert_array_equal(pooled[0, 0] * 255, arrays[f"bin_out_n{teachers}"])
    at_the_edge = binary(paper=True).pool(probabilities, how="paper", of="views")
    assert not torch.equal(pooled, at_the_edge), "the knife edge is in the arrays"


@pytest.mark.parametrize("teachers", TEACHERS)
def test_the_mean_over_classes_is_that_of_the_reference(arrays, multiclass, teachers) -> None:
    probabilities = said(arrays, "mc_probs", teachers)
    expected = arrays[f"mc_soft_n{teachers}"]
    pooled = multiclass(4, paper=True).pool(probabilities, how="paper", of="teachers")
    np.testing.assert_array_equal(pooled[0, 0], expected)
    ours = multiclass(4).pool(probabilities, how="paper", of="teachers")[0, 0].numpy()
    assert (ours != 0).all()
    np.testing.assert_array_equal(ours[expected != 0], expected[expected != 0])
    assert (expected == 0).any()


@pytest.mark.parametrize("teachers", TEACHERS)
def test_the_hard_vote_of_the_reference_is_our_consensus(arrays, multiclass, teachers) -> None:
    task = multiclass(4, paper=True)
    probabilities = said(arrays, "mc_probs", teachers)
    votes = torch.stack([task.hard_prediction(each) for each in probabilities])
    expected = arrays[f"mc_hard_n{teachers}"]
    np.testing.assert_array_equal(task.vote(votes)[0][0, 0], expected)
    majority = task.pool(probabilities, how="majority", of="teachers")[0, 0].numpy()
    agreed = (votes == votes[:1]).all(dim=0)[0, 0].numpy()
    np.testing.assert_array_equal(majority[agreed], expected[agreed])
    assert (majority != expected).any(), "a majority is less than all"


@pytest.mark.parametrize("teachers", TEACHERS)
def test_cells_of_several_networks_are_those_of_the_reference(arrays, multilabel, teachers) -> None:
    task = multilabel(paper=True)
    pooled = task.pool(said(arrays, "hela_probs", teachers), how="paper", of="teachers")
    alive, dead, position = task.redraw(pooled)[0].numpy()
    prefix = f"hela_soft_n{teachers}_"
    np.testing.assert_array_equal(alive * 255, arrays[f"{prefix}alive"])
    np.testing.assert_array_equal(dead * 255, arrays[f"{prefix}dead"])
    in_color = np.repeat(position[..., None] * 255, 3, axis=-1)
    np.testing.assert_array_equal(in_color, arrays[f"{prefix}pos"])


def test_a_mean_of_exactly_one_half_is_nothing_in_the_reference(arrays, multilabel) -> None:
    probabilities = said(arrays, "hela_probs", 2)
    edge = (probabilities.mean(dim=0) == 0.5)[0]
    assert edge.any()
    pooled = multilabel(paper=True).pool(probabilities, how="paper", of="teachers")
    assert not pooled[0][edge].any()
