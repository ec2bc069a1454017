"""Consensus, inconsistency mask and their sizes, against ``im_core``; class dilation as well.

Left out: nothing. The reference writes 0 and 255 where we have 0 and 1.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imseg.ops.inconsistency import agree_on_class, agree_on_foreground, dilate_classes
from imseg.types import INCONSISTENT

BINARY = ("random", "agree", "disagree", "empty", "full")
CLASSES = ("random", "mostly", "agree", "disagree", "empty", "full")


@pytest.mark.parametrize("case", BINARY)
@pytest.mark.parametrize("teachers", [2, 3, 4])
def test_binary_votes_give_the_reference_consensus_and_mask(golden, teachers, case) -> None:
    arrays = golden("im_core")
    name = f"bin_n{teachers}_{case}"
    votes = torch.from_numpy(arrays[f"{name}_in"]).permute(0, 3, 1, 2).unsqueeze(1)
    consensus, inconsistent = agree_on_foreground(votes)
    np.testing.assert_array_equal(consensus[0, 0] * 255, arrays[f"{name}_pred"])
    np.testing.assert_array_equal(inconsistent[0, 0], arrays[f"{name}_im"] == 255)
    assert set(np.unique(arrays[f"{name}_im"])) <= {0, 255}
    assert inconsistent.sum() == arrays[f"{name}_imsize"]
    assert consensus.sum() == arrays[f"{name}_predsize"]


@pytest.mark.parametrize("case", CLASSES)
@pytest.mark.parametrize("teachers", [2, 3, 4])
def test_class_votes_give_the_reference_consensus_and_mask(golden, teachers, case) -> None:
    arrays = golden("im_core")
    name = f"mc_n{teachers}_{case}"
    votes = torch.from_numpy(arrays[f"{name}_in"]).unsqueeze(2)
    consensus, inconsistent = agree_on_class(votes)
    np.testing.assert_array_equal(consensus[0, 0], arrays[f"{name}_pred"])
    np.testing.assert_array_equal(inconsistent[0, 0], arrays[f"{name}_im"] == 255)
    assert inconsistent.sum() == arrays[f"{name}_imsize"]
    assert (consensus[inconsistent] == INCONSISTENT).all()


@pytest.mark.parametrize(("kernel", "entry"), [(3, "dilate_mask_out"), (5, "dilate_mask_k5_out")])
def test_classes_grow_one_over_the_other_as_in_the_reference(golden, kernel, entry) -> None:
    arrays = golden("im_core")
    labels = torch.from_numpy(arrays["dilate_mask_in"]).unsqueeze(1)
    grown = dilate_classes(labels, classes=int(labels.max()) + 1, kernel=kernel)
    np.testing.assert_array_equal(grown[:, 0], arrays[entry])


def test_every_golden_case_is_compared(golden) -> None:
    compared = {f"bin_n{n}_{case}" for n in (2, 3, 4) for case in BINARY}
    compared |= {f"mc_n{n}_{case}" for n in (2, 3, 4) for case in CLASSES}
    cases = {name.rpartition("_")[0] for name in golden("im_core")}
    assert cases - {"dilate_mask", "dilate_mask_k5"} == compared
