"""The loss of a batch is the sum over its pieces, each by its share of the mass."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imseg.types import VOID


def drawn_case(kind: str, tasks: dict, seed: int, *, weighted: bool):
    """Return a task with random logits, targets (some void) and weights of five images."""
    generator = torch.Generator().manual_seed(seed)
    task, outputs, planes, values = tasks[kind]
    logits = torch.randn(5, outputs, 6, 4, generator=generator)
    target = torch.randint(values[0], values[1], (5, planes, 6, 4), generator=generator)
    target = target.to(torch.uint8)
    if task.spec.void is not None:
        target[torch.rand(target.shape, generator=generator) < 0.3] = VOID
    if kind == "regression":
        target = torch.rand(5, 1, 6, 4, generator=generator)
        target[target < 0.2] = torch.nan
    weight = None
    if weighted:
        weight = (torch.rand(5, 1, 6, 4, generator=generator) < 0.6).float()
        weight[1] = 0  # an image that counts for nothing
    return task, logits, target, weight


@pytest.fixture(scope="module")
def tasks(binary, multiclass, multilabel, regression):
    return {
        "binary": (binary(), 1, 1, (0, 2)),
        "binary with void": (binary(void=True), 1, 1, (0, 2)),
        "multiclass": (multiclass(3, void=True), 4, 1, (0, 4)),
        "multilabel": (multilabel(void=True), 3, 3, (0, 2)),
        "regression": (regression(), 1, 1, (0, 2)),
    }


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "kind", ["binary", "binary with void", "multiclass", "multilabel", "regression"]
)
@given(seed=st.integers(0, 2**31), cut=st.integers(1, 4))
def test_losses_of_pieces_add_up_to_that_of_the_batch(tasks, kind, weighted, seed, cut) -> None:
    task, logits, target, weight = drawn_case(kind, tasks, seed, weighted=weighted)
    logits.requires_grad_()
    whole = task.loss(logits, target, weight)
    (wanted,) = torch.autograd.grad(whole, logits)
    mass, total = task.mass(target, weight), torch.zeros(())
    for piece in (slice(0, cut), slice(cut, 5)):
        mine = None if weight is None else weight[piece]
        share = task.mass(target[piece], mine) / mass.clamp(min=1.0)
        total = total + task.loss(logits[piece], target[piece], mine) * share
    (found,) = torch.autograd.grad(total, logits)
    assert torch.allclose(total, whole, atol=1e-6)
    assert torch.allclose(found, wanted, atol=1e-7)
