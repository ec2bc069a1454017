"""The U-Net on squares of pixels: what its first and last layers do, sizes, operations, weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from imseg.errors import ImsegError
from imseg.networks.registry import UNetConfig, UNetPlusConfig, network_named
from imseg.networks.unet import MOMENTUM, UNetPlus
from imseg.networks.weights import read_weights


@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("size", [(1, 1), (32, 90), (63, 64)])
def test_images_of_any_size_and_channels_are_segmented(channels, size) -> None:
    network = UNetPlusConfig(width=0.0625).make(channels=channels, outputs=2).eval()
    with torch.inference_mode():
        logits = network(torch.rand(2, channels, *size))
    assert logits.shape == (2, 2, *size) and logits.isfinite().all()


def test_a_padded_image_is_the_image_with_its_edge_going_on() -> None:
    network = UNetPlusConfig(width=0.125).make(channels=3, outputs=1).eval()
    images = torch.rand(1, 3, 40, 50)
    padded = torch.from_numpy(np.pad(images.numpy(), ((0, 0), (0, 0), (0, 24), (0, 14)), "edge"))
    with torch.inference_mode():
        torch.testing.assert_close(network(images), network(padded)[..., :40, :50])


def test_squares_go_in_and_come_out_where_they_were() -> None:
    """By a formula of its own: a square of pixels is a vector, a place gives a square of logits."""
    network = UNetPlus(channels=2, outputs=3, width=0.125)
    images, features = torch.rand(1, 2, 6, 4), torch.rand(1, 4, 3, 2)
    into, out = network.stem[0], network.out
    with torch.inference_mode():
        found, logits = into(images).numpy(), out(features).numpy()
    weights, back = into.weight.detach().numpy(), out.weight.detach().numpy()
    for row in range(3):
        for column in range(2):
            square = images.numpy()[0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            np.testing.assert_allclose(
                found[0, :, row, column], (weights * square).sum(axis=(1, 2, 3)), rtol=1e-5
            )
            place = features.numpy()[0, :, row, column]
            wanted = (back * place[:, None, None, None]).sum(axis=0)
            np.testing.assert_allclose(
                logits[0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2], wanted, rtol=1e-5
            )


@pytest.mark.parametrize("width", [0.25, 0.5])
def test_it_has_as_many_operations_as_the_unet_of_its_width(width) -> None:
    counts = []
    for network in (UNetConfig(width=width), UNetPlusConfig(width=width)):
        with torch.device("meta"):
            made, images = network.make(channels=3, outputs=1), torch.rand(1, 3, 128, 128)
        with FlopCounterMode(display=False) as counter:
            made(images)
        counts.append(counter.get_total_flops())
    assert counts[1] == pytest.approx(counts[0], rel=0.02)


def test_fresh_logits_have_the_spread_of_the_unets() -> None:
    spreads = []
    for network in (UNetConfig(width=0.5), UNetPlusConfig(width=0.5)):
        torch.manual_seed(3)
        made, images = network.make(channels=3, outputs=4), torch.rand(4, 3, 64, 64)
        with torch.no_grad():
            spreads.append(made.train()(images).std().item())
    assert 0.5 < spreads[1] / spreads[0] < 2


def test_it_is_found_by_its_name_and_keeps_up_with_short_trainings() -> None:
    network = network_named("unet-plus").with_width(0.125)
    assert network == UNetPlusConfig(width=0.125) and str(network) == "unet-plus of width 0.125"
    made = network.make(channels=1, outputs=1)
    norms = [each for each in made.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    assert len(norms) > 10 and {each.momentum for each in norms} == {MOMENTUM}
    with pytest.raises(ValueError, match=r"at least 0\.0625"):
        UNetPlus(channels=1, outputs=1, width=0.03)


def test_weights_of_another_network_are_refused_with_the_one_they_fit(tmp_path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "plus.safetensors"
    state = UNetPlusConfig(width=0.125).make(channels=3, outputs=1).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    assert read_weights(path, UNetPlusConfig(width=0.125), channels=3, outputs=1)
    with pytest.raises(ImsegError, match=r"they fit --network unet-plus --width 0\.125\."):
        read_weights(path, UNetConfig(width=0.125), channels=3, outputs=1)
