"""EvalNet's output with the reference's weights: ``model_evalnet``, ``model_evalnet_miou``.

Left out: the division of images and masks by 255, which the reference's network does itself; ours
gets 0..1. Shapes and parameter counts are compared in ``test_networks``.
"""

from __future__ import annotations

import numpy as np
import torch

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.loader import to_device
from imseg.networks.evalnet import EvalNet
from imseg.tasks.multiclass import one_hot

ONE_PASS = 1e-4
"""Absolute difference that one forward pass may have."""
STEM = 16
"""Filters of the stem at width 1."""


def loaded(network: torch.nn.Module, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return network.eval()


def width_of(arrays) -> float:
    return arrays["w.conv2d.kernel"].shape[3] / STEM


def test_a_scorer_of_binary_masks_gives_the_reference_iou_with_its_weights(
    golden, keras_state
) -> None:
    arrays = golden("model_evalnet")
    network = EvalNet(channels=3, outputs=1, heads=1, width=width_of(arrays))
    network = loaded(network, keras_state(arrays, network))
    images, masks = (to_device(arrays[name], ComputeConfig()) for name in "ab")
    assert set(masks.unique().tolist()) == {0, 1}
    with torch.inference_mode():
        scored = torch.sigmoid(network(images, masks))
    assert scored.shape == (3, 1, 1)
    np.testing.assert_allclose(scored[:, 0], arrays["y"], rtol=0, atol=ONE_PASS)
    assert np.ptp(arrays["y"]) > 100 * ONE_PASS


def test_a_scorer_of_classes_gives_the_reference_iou_and_presence(golden, keras_state) -> None:
    arrays = golden("model_evalnet_miou")
    classes = arrays["iou"].shape[1]
    network = EvalNet(channels=3, outputs=classes, heads=2, width=width_of(arrays))
    named = {"heads.0": "iou", "heads.1": "detection"}
    network = loaded(network, keras_state(arrays, network, named=named))
    labels = torch.from_numpy(arrays["labels"]).unsqueeze(1)
    with torch.inference_mode():
        scored = torch.sigmoid(
            network(to_device(arrays["a"], ComputeConfig()), one_hot(labels, classes))
        )
    assert scored.shape == (3, 2, classes)
    np.testing.assert_allclose(scored[:, 0], arrays["iou"], rtol=0, atol=ONE_PASS)
    np.testing.assert_allclose(scored[:, 1], arrays["detection"], rtol=0, atol=ONE_PASS)
    assert np.ptp(arrays["iou"], axis=0).max() > 100 * ONE_PASS
