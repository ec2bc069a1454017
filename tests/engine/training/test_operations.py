"""Floating point operations are counted as torch's own counter does."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.training.operations import flops_of
from imseg.networks.registry import UNetConfig, UNetPlusConfig


class Attention(nn.Module):
    """What torch makes of several operations, and a product of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(8, 8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = self.inside(images.flatten(1).reshape(len(images), -1, 8))
        seen = functional.scaled_dot_product_attention(rows, rows, rows)
        return torch.einsum("bij,bkj->bik", seen, rows)


@pytest.mark.parametrize(
    "network",
    [
        UNetConfig(width=0.25).make(channels=3, outputs=2),
        UNetPlusConfig(width=0.25).make(channels=3, outputs=2),
        Attention(),
    ],
    ids=["unet", "unet-plus", "attention"],
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_operations_are_those_that_torch_counts(network: nn.Module, precision: str) -> None:
    images = torch.rand(2, 3, 32, 32)
    compute = ComputeConfig(threads=1, precision=precision)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    counted = flops_of(lambda each: each(images), network, compute)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())
    with FlopCounterMode(display=False) as counter, compute.applied():
        network(images).sum().backward()
    assert counted == counter.get_total_flops() > 0
    network.zero_grad(set_to_none=True)
