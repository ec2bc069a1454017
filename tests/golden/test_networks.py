"""The U-Net's output and training steps, and all networks' layers and parameter counts.

Files: ``model_unet``, ``model_unet_softmax``, ``train_unet``, ``model_shapes.json``.

Left out on purpose: mixed float16, in which the reference trains: the golden arrays are float32, as
is our exact mode. EvalNet's output is compared in ``test_evalnet``.

The four training steps are chaotic: an activation that nearly ties at a ReLU or in a max-pool
falls either way with the order of a sum, and Adam turns the sign of a gradient near 0 into a
whole step. So the same steps are made with several orders of summation; see
docs/decisions/0006-training-steps.md.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.loader import to_device
from imseg.engine.training.optimizer import KerasAdamW
from imseg.networks import unet
from imseg.networks.evalnet import EvalNet
from imseg.networks.unet import UNet

ONE_PASS = 1e-4
"""Absolute difference that one forward pass may have."""
FOUR_STEPS = 1e-3
"""Relative difference that losses, moving statistics, predictions and weights may have."""
ANOTHER_PATH = 0.1
"""The same where rounding decided a near-tie the other way; 3 to 6 % are measured."""
ROUNDINGS = [
    (last_bits, threads, library, last, wide)
    for last_bits in range(8)
    for threads in (2, 1)
    for library in (False, True)
    for last in (True, False)
    for wide in ((True, False) if last else (False,))
]
"""Noise in the last bits of the first weights (0: none), threads, oneDNN or plain kernels, memory
format, our normalization or torch's: the same formulas, other roundings. Which of them falls as
the reference did differs from processor to processor, so they are tried until one has."""

LAST_BIT = 2.4e-7
"""Twice the distance of float32 numbers, relative."""
FEWEST_ORDERS = 12
"""Those without noise: tried in any case."""

OUTPUTS = {"isic": 1, "hela": 3, "suim": 9, "cityscapes": 35}
CHANNELS = {"isic": 3, "hela": 1, "suim": 3, "cityscapes": 3}
WITH_LAYERS = ("0.5", "1", "1.5", "2")
"""Widths of which the file holds single layers; of the others it holds counts."""
EVALNET_ALPHAS = ("1", "2")
ALPHAS = ("0.5", "0.75", "1", "1.25", "1.5", "1.75", "2")


def test_the_network_gives_the_reference_sigmoid_with_its_weights(
    golden, keras_unet, binary
) -> None:
    arrays = golden("model_unet")
    network = keras_unet(arrays).eval()
    with torch.inference_mode():
        probabilities = binary().probabilities(network(to_device(arrays["x"], ComputeConfig())))
    for entry in ("y", "y_predict"):
        np.testing.assert_allclose(
            probabilities.permute(0, 2, 3, 1), arrays[entry], rtol=0, atol=ONE_PASS
        )
    assert arrays["y"].std() > 0.05


def test_the_network_gives_the_reference_softmax_on_a_rectangle(
    golden, keras_unet, multiclass
) -> None:
    arrays = golden("model_unet_softmax")
    network = keras_unet(arrays).eval()
    with torch.inference_mode():
        probabilities = multiclass(4).probabilities(
            network(to_device(arrays["x"], ComputeConfig()))
        )
    np.testing.assert_allclose(
        probabilities.permute(0, 2, 3, 1), arrays["y"], rtol=0, atol=ONE_PASS
    )


def test_four_training_steps_follow_the_reference(
    golden, keras_unet, keras_state, binary, monkeypatch
) -> None:
    arrays = golden("train_unet")
    furthest, wide_or_not = [], unet.grouped_pixels
    for last_bits, threads, library, last, wide in ROUNDINGS:
        monkeypatch.setattr(unet, "grouped_pixels", wide_or_not if wide else lambda _: 1)
        furthest.append(
            largest_difference(
                arrays, keras_unet, keras_state, binary(), last_bits, threads, library, last
            )
        )
        if len(furthest) >= FEWEST_ORDERS and min(furthest) < FOUR_STEPS:
            break
    assert min(furthest) < FOUR_STEPS, furthest
    assert max(furthest) < ANOTHER_PATH, furthest


def largest_difference(
    arrays, keras_unet, keras_state, task, last_bits: int, threads: int, library: bool, last: bool
) -> float:
    """Return the largest relative difference of losses, predictions, statistics and weights."""
    compute = ComputeConfig(threads=threads, channels_last=last)
    network = keras_unet(arrays, prefix="w0").to(memory_format=compute.memory_format)
    if last_bits:
        generator = torch.Generator().manual_seed(last_bits)
        with torch.no_grad():
            for weight in network.parameters():
                noise = torch.rand(weight.shape, generator=generator) - 0.5
                weight.mul_(1 + LAST_BIT * noise)
    optimizer = KerasAdamW(network, learning_rate=0.003, decay=1e-4)
    found = []
    for step in range(4):
        images = to_device(arrays["X"][step], compute)
        target = torch.from_numpy(arrays["Y"][step]).permute(0, 3, 1, 2)
        with compute.applied(), torch.backends.mkldnn.flags(enabled=library):
            loss = task.loss(network.train()(images), target, None)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            predicted = first_image(network, arrays, task, compute)
        found.append(abs(loss.item() / arrays["losses"][step] - 1))
        found.append(apart(predicted, torch.from_numpy(arrays["eval_after_step"][step])))
    reference = keras_state(arrays, network, prefix="w4")
    state = network.state_dict()
    found += [apart(state[name], reference[name]) for name in reference if "running" in name]
    weights = [name for name in reference if "running" not in name]
    ours, theirs = ([d[name].flatten() for name in weights] for d in (state, reference))
    return max([*found, apart(torch.cat(ours), torch.cat(theirs))])


def test_the_trained_network_predicts_as_the_reference(golden, keras_unet, binary) -> None:
    arrays = golden("train_unet")
    network = keras_unet(arrays, prefix="w4")
    predicted = first_image(network, arrays, binary(), ComputeConfig())
    np.testing.assert_allclose(predicted, arrays["eval_after_step"][3], rtol=0, atol=ONE_PASS)


def first_image(network: nn.Module, arrays, task, compute: ComputeConfig) -> torch.Tensor:
    """Return the probabilities of the first training image, in inference mode."""
    with torch.inference_mode(), compute.applied():
        images = to_device(arrays["X"][0][:1], compute)
        return task.probabilities(network.eval()(images))[0, 0]


def apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the length of the difference as a share of the reference's length."""
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("data", OUTPUTS)
def test_a_network_has_the_parameters_and_layers_of_the_reference(
    golden_folder, data, alpha
) -> None:
    described = json.loads((golden_folder / "model_shapes.json").read_text(encoding="utf-8"))
    expected = described[f"unet_{data}_alpha{alpha}"]
    channels = CHANNELS[data]
    network = UNet(channels=channels, outputs=OUTPUTS[data], width=float(alpha))
    assert parameters(network) == (expected["trainable"], expected["non_trainable"])
    if alpha not in WITH_LAYERS:
        return
    compare_layers(network, expected["layers"], (channels,))


def parameters(network: nn.Module) -> tuple[int, int]:
    """Return how many numbers are trained and how many follow the batches."""
    trainable = sum(p.numel() for p in network.parameters())
    moving = sum(
        b.numel() for name, b in network.named_buffers() if not name.endswith("batches_tracked")
    )
    return trainable, moving


def compare_layers(network: nn.Module, described, inputs: tuple[int, ...]) -> None:
    """Compare size of output and parameters of each convolution, in the order of their numbers."""
    _, height, width, _ = described[0][2][0]
    layers = sorted((entry for entry in described if entry[1] == "Conv2D"), key=number_of)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [sum(p.numel() for p in m.parameters()) for m in convolutions] == [
        count for *_, count in layers
    ]
    assert seen_shapes(network, inputs, height, width) == [
        tuple(shape[1:]) for _, _, shape, _ in layers
    ]


def number_of(entry) -> int:
    """Return the running number in a layer's name; the last layer has none."""
    name = entry[0]
    return 1000 if name == "out" else int(name.removeprefix("conv2d").removeprefix("_") or 0)


def seen_shapes(network: nn.Module, inputs: tuple[int, ...], height: int, width: int):
    """Return height, width and filters of every convolution's output."""
    seen: list[tuple[int, ...]] = []

    def note(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        seen.append((*output.shape[-2:], output.shape[1]))

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    with torch.inference_mode():
        network.to("meta").eval()(
            *(torch.empty(1, channels, height, width, device="meta") for channels in inputs)
        )
    return seen


def test_every_reference_unet_is_compared(golden_folder) -> None:
    described = json.loads((golden_folder / "model_shapes.json").read_text(encoding="utf-8"))
    compared = {f"unet_{data}_alpha{alpha}" for data in OUTPUTS for alpha in ALPHAS}
    detailed = {name for name in compared if "layers" in described[name]}
    assert detailed == {f"unet_{data}_alpha{alpha}" for data in OUTPUTS for alpha in WITH_LAYERS}
    assert {name for name in described if name.startswith("unet_")} == compared


@pytest.mark.parametrize("alpha", EVALNET_ALPHAS)
@pytest.mark.parametrize("data", OUTPUTS)
def test_a_scorer_has_the_parameters_and_layers_of_the_reference(
    golden_folder, data, alpha
) -> None:
    described = json.loads((golden_folder / "model_shapes.json").read_text(encoding="utf-8"))
    expected = described[evalnet_name(data, alpha)]
    channels, outputs = CHANNELS[data], OUTPUTS[data]
    heads = 1 if data == "isic" else 2
    network = EvalNet(channels=channels, outputs=outputs, heads=heads, width=float(alpha))
    assert parameters(network) == (expected["trainable"], expected["non_trainable"])
    dense = [entry for entry in expected["layers"] if entry[1] == "Dense"]
    ours = [m for m in network.modules() if isinstance(m, nn.Linear)]
    assert [(m.out_features, sum(p.numel() for p in m.parameters())) for m in ours] == [
        (shape[1], count) for _, _, shape, count in dense
    ]
    compare_layers(network, expected["layers"], (channels, outputs))


def evalnet_name(data: str, alpha: str) -> str:
    return f"evalnet_{'' if data == 'isic' else 'miou_'}{data}_alpha{alpha}"


def test_every_reference_scorer_is_compared(golden_folder) -> None:
    described = json.loads((golden_folder / "model_shapes.json").read_text(encoding="utf-8"))
    compared = {evalnet_name(data, alpha) for data in OUTPUTS for alpha in EVALNET_ALPHAS}
    assert {name for name in described if not name.startswith("unet_")} == compared
