"""The learned mask scorer as a module: any size, any start, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from imseg.networks.evalnet import SMALLEST, EvalNet
from imseg.networks.registry import EvalNetConfig
from imseg.networks.unet import MOMENTUM, PAPER_MOMENTUM

WIDTH = 0.125


def an_image(height: int, width: int, *, planes: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(2, 3, height, width, generator=generator)
    return images, (torch.rand(2, planes, height, width, generator=generator) > 0.5).float()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (32, 90), (63, 64), (100, 65)])
def test_images_of_any_size_are_scored(height, width) -> None:
    images, masks = an_image(height, width, planes=4)
    network = EvalNet(channels=3, outputs=4, heads=2, width=WIDTH).eval()
    with torch.inference_mode():
        scored = network(images, masks)
    assert scored.shape == (2, 2, 4)
    assert scored.isfinite().all()


def test_small_images_are_scored_as_if_their_edges_went_on() -> None:
    images, masks = an_image(40, 50)
    network = EvalNet(channels=3, outputs=1, heads=1, width=WIDTH).eval()
    wider = [
        nn.functional.pad(planes, (0, SMALLEST - 50, 0, SMALLEST - 40), mode="replicate")
        for planes in (images, masks)
    ]
    with torch.inference_mode():
        torch.testing.assert_close(network(images, masks), network(*wider))


def test_both_the_image_and_the_mask_are_looked_at() -> None:
    images, masks = an_image(64, 64)
    torch.manual_seed(3)
    network = EvalNet(channels=3, outputs=1, heads=1).eval()
    with torch.inference_mode():
        scored = network(images, masks)
        assert not torch.equal(scored, network(images, 1 - masks))
        assert not torch.equal(scored, network(1 - images, masks))


def test_only_the_momentum_tells_ours_from_the_paper() -> None:
    for heads in (1, 2):
        torch.manual_seed(3)
        here = EvalNetConfig(heads=heads, width=WIDTH).make(channels=1, outputs=1)
        torch.manual_seed(3)
        there = EvalNetConfig(heads=heads, width=WIDTH, paper=True).make(channels=1, outputs=1)
        for name, value in here.state_dict().items():
            assert torch.equal(value, there.state_dict()[name])
        momenta = [
            {m.momentum for m in network.modules() if isinstance(m, nn.BatchNorm2d)}
            for network in (here, there)
        ]
        assert momenta == [{MOMENTUM}, {PAPER_MOMENTUM}]


def test_a_fresh_scorer_has_no_opinion_in_advance() -> None:
    network = EvalNet(channels=3, outputs=4, heads=2)
    for head in network.heads:
        bound = (6 / (256 + 4)) ** 0.5
        assert head.bias.abs().max() == 0
        assert 0.8 * bound < head.weight.abs().max() <= bound


def test_a_width_or_number_of_outputs_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 0\.0625"):
        EvalNet(channels=3, outputs=1, heads=1, width=0.05)
    with pytest.raises(ValueError, match="one output, not 2"):
        EvalNet(channels=3, outputs=2, heads=1)
