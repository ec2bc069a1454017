"""The wide normalization is torch's, up to rounding, and torch's where it does not apply."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from imseg.networks.unet import WIDE, Norm, grouped_pixels

LAST = torch.channels_last


def pair(channels: int, seed: int) -> tuple[Norm, nn.BatchNorm2d]:
    """Return the same normalization in both ways, with weights that do something."""
    torch.manual_seed(seed)
    mine, its = Norm(channels, eps=1e-3, momentum=0.1), nn.BatchNorm2d(channels, eps=1e-3)
    for values in (mine.weight, mine.bias, mine.running_mean, mine.running_var):
        values.data.copy_(torch.rand(channels) + 0.5)
    its.load_state_dict(mine.state_dict())
    return mine, its


def features(shape: tuple[int, ...], seed: int, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = (
        torch.randn(shape, generator=generator) * 3 + torch.arange(shape[1]).view(1, -1, 1, 1) % 5
    )
    return values.to(dtype).contiguous(memory_format=LAST)


sizes = st.tuples(
    st.sampled_from([1, 2, 3, 8, 31]), st.sampled_from([1, 3, 8, 12, 16, 64, 200]),
    st.sampled_from([1, 2, 5, 16]), st.sampled_from([1, 3, 8]),
)  # fmt: skip


@given(shape=sizes, seed=st.integers(0, 2**31))
def test_a_step_is_that_of_torch(shape, seed) -> None:
    if shape[0] * shape[2] * shape[3] < 2:
        return  # torch refuses to normalize one value by itself
    mine, its = pair(shape[1], seed)
    values, pull = features(shape, seed), features(shape, seed + 1)
    found, wanted = (values.clone(memory_format=torch.preserve_format) for _ in range(2))
    for module, given_ in ((mine, found.requires_grad_()), (its, wanted.requires_grad_())):
        (module(given_) * pull).sum().backward()
    assert torch.allclose(mine(values), its(values), atol=2e-4)
    scale = wanted.grad.abs().max().clamp(min=1)
    assert torch.allclose(found.grad, wanted.grad, atol=2e-5 * scale.item())
    for name, value in its.state_dict().items():
        assert torch.allclose(mine.state_dict()[name].float(), value.float(), rtol=1e-4), name
    for one, other in zip(mine.parameters(), its.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("channels", [8, 16, 32])
def test_bfloat16_is_as_near_to_the_truth_as_torch_is(channels: int) -> None:
    mine, its = pair(channels, 5)
    exact = copy.deepcopy(its).double()
    shape = (8, channels, 32, 32)
    values, pull = features(shape, 1, torch.bfloat16), features(shape, 2, torch.bfloat16)
    gradients = []
    for module in (mine, its, exact):
        here = values.to(torch.float64 if module is exact else torch.bfloat16)
        here = here.clone(memory_format=torch.preserve_format).requires_grad_()
        out = module(here)
        (out.double() * pull.double()).sum().backward()
        gradients.append((out.detach().double(), here.grad.double(), module))
    true_out, true_gradient, _ = gradients[2]
    errors = [
        ((out - true_out).abs().mean().item(), (grad - true_gradient).abs().mean().item())
        for out, grad, _ in gradients[:2]
    ]
    assert errors[0][0] <= 1.02 * errors[1][0]
    assert errors[0][1] <= 2 * errors[1][1], "one rounding more"
    for mine_, true in zip(mine.parameters(), exact.parameters(), strict=True):
        assert torch.allclose(mine_.grad.double(), true.grad, rtol=1e-2, atol=1.0)
    assert torch.allclose(mine.running_var.double(), exact.running_var, rtol=1e-3)


@given(shape=sizes, seed=st.integers(0, 2**31))
def test_predictions_are_those_of_torch(shape, seed) -> None:
    mine, its = pair(shape[1], seed)
    values = features(shape, seed)
    with torch.no_grad():
        assert torch.allclose(mine.eval()(values), its.eval()(values), atol=1e-4)
    # With gradients, for whoever wants them of a network that only predicts.
    assert torch.equal(mine(values.requires_grad_()), its(values))


def test_layouts_and_types_that_it_is_not_for_are_left_to_torch() -> None:
    wide = features((2, 8, 16, 16), 0)
    assert grouped_pixels(wide) * 8 == WIDE
    assert grouped_pixels(wide.contiguous()) == 1
    assert grouped_pixels(wide.double()) == 1
    assert grouped_pixels(wide.to("meta")) == 1
    assert grouped_pixels(features((3, 8, 5, 5), 0)) == 1, "75 pixels cannot be paired"
    assert grouped_pixels(features((6, 8, 5, 5), 0)) == 2
    assert grouped_pixels(features((2, 128, 16, 16), 0)) == 1


def test_the_memory_format_stays() -> None:
    mine, _ = pair(8, 0)
    assert mine(features((2, 8, 16, 16), 0)).is_contiguous(memory_format=LAST)
    assert mine(features((2, 8, 16, 16), 0).contiguous()).is_contiguous()
