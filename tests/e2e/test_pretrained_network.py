"""A pretrained encoder, from its name and file of weights to predictions that need no such file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.e2e.small_sets import Killed, Mortal, scenes, small_set, train, weights_of
from tests.networks.encoder_extra import need_encoders

import imseg
from imseg.approaches.runs.retraining import retrain
from imseg.approaches.runs.run import Run
from imseg.networks.encoders import INSIDE, PART
from imseg.networks.registry import EncoderUNetConfig

TINY = "test_resnet"
"""The smallest encoder of timm."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of an encoder, as timm names them."""
    need_encoders()
    import timm

    torch.manual_seed(1)
    state = timm.create_model(TINY).state_dict()
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


@pytest.fixture(scope="module")
def trained(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose encoders began with these weights and stayed as they were."""
    return fit(tmp_path_factory.mktemp("pretrained") / "run", file)


def fit(out: Path, file: Path, **options: object) -> Run:
    """Train two tiny decoders for two steps on labels alone."""
    given = {"network": f"unet:{TINY}", "weights": str(file), "encoder_learning_rate": 0.0}
    given |= {"max_steps": 2, "decoder_width": 0.0625, **options}
    return train(small_set("binary"), "ldt", out, leave_out=["width"], **given)


def test_networks_begin_with_the_same_encoder_and_their_own_decoders(trained, file) -> None:
    states = [load_file(trained.path / f"start/network-{number}.safetensors") for number in (0, 1)]
    given = {INSIDE + name: value for name, value in load_file(file).items()}
    given[INSIDE + "conv1.0.weight"] = given[INSIDE + "conv1.0.weight"].sum(dim=1, keepdim=True)
    known = [name for name in states[0] if name.startswith(PART)]
    assert len(known) > 20
    assert all(torch.equal(state[name], given[name]) for state in states for name in known)
    decoder = "unet.decoder.blocks.0.conv1.0.weight"
    assert not torch.equal(states[0][decoder], states[1][decoder])


def test_a_run_needs_no_file_of_weights_to_predict(trained, file, tmp_path) -> None:
    kept = shutil.move(file, tmp_path / "kept")
    try:
        again = imseg.load_run(trained.path)
        masks = [each.mask for each in again.predict(scenes(5, 2)[0])]
        with pytest.raises(imseg.ImsegError, match="cannot be loaded"):
            fit(tmp_path / "other", file)
    finally:
        shutil.move(kept, file)
    network = EncoderUNetConfig(encoder=TINY, weights=str(file), encoder_learning_rate=0)
    assert again.plan.network.with_width(1) == again.plan.network
    assert str(again.plan.network) == str(network)
    assert [mask.shape for mask in masks] == [(32, 32)] * 2


def test_a_repeated_command_continues_with_the_same_bits(trained, file, tmp_path) -> None:
    with pytest.raises(Killed):
        fit(tmp_path / "run", file, executor=Mortal(1))
    fit(tmp_path / "run", file)
    assert weights_of(tmp_path / "run") == weights_of(trained.path)


def test_every_command_knows_the_network(trained, cli) -> None:
    for command in ("status", "verify"):
        status, out, err = cli(command, trained.path)
        assert status == 0, out + err
    assert retrain(trained.path, "start/network-1", small_set("binary")).same


def test_an_encoder_that_is_not_frozen_learns(file, tmp_path) -> None:
    run = fit(tmp_path / "run", file, encoder_learning_rate=0.5)
    assert run.trained("start/network-0").network == EncoderUNetConfig(
        encoder=TINY, weights=str(file), encoder_learning_rate=0.5, decoder_width=0.0625
    )
    state = load_file(run.path / "start/network-0.safetensors")
    given = load_file(file)
    assert not torch.equal(state[INSIDE + "bn1.weight"], given["bn1.weight"])
