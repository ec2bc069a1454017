"""One network: what is kept, what is retried, what is left alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from imseg.data.cache.store import open_array
from imseg.engine.inference.predictor import predict_mean, vote
from imseg.engine.loading.loader import BatchLoader
from imseg.engine.loading.samples import InitialWeights
from imseg.engine.training import trainer
from imseg.engine.training.job import Trained, build, load_network
from imseg.engine.training.monitor import Listener
from imseg.engine.training.objectives.supervised import SupervisedAtWork
from imseg.engine.training.recipe import Recipe
from imseg.engine.training.trainer import train, train_and_save
from imseg.engine.workers.executors import Serial
from imseg.errors import ImsegError, TrainingFailed
from imseg.networks.registry import CustomConfig, UNetConfig

ignore = Listener()


@pytest.fixture
def poisoned(monkeypatch):
    """A function that makes the losses of the first so many trainings not a number.

    Returns the jobs that were tried.
    """
    tried = []

    def poison(trainings: int) -> list:
        real = trainer.first_network

        def first_network(job):
            network = real(job)
            tried.append(job)
            if len(tried) <= trainings:
                with torch.no_grad():
                    next(network.parameters()).fill_(math.nan)
            return network

        monkeypatch.setattr(trainer, "first_network", first_network)
        return tried

    return poison


def test_a_loss_that_is_no_number_is_answered_once_with_another_seed(make_job, poisoned) -> None:
    job = make_job()
    tried = poisoned(1)
    trained = train_and_save(job, ignore)
    assert tried == [job, job.second_try()]
    assert trained.retried
    assert trained.seed == job.second_try().seed
    assert trained.job == job.digest(), "so that a continued run finds the network"
    assert all(math.isfinite(loss) for loss in trained.losses)
    assert Trained.from_json(job.output.with_suffix(".json").read_bytes()) == trained


def test_a_second_loss_that_is_no_number_is_a_failure_that_writes_nothing(
    make_job, poisoned
) -> None:
    job = make_job()
    poisoned(2)
    with pytest.raises(TrainingFailed, match="start/network-0: the loss stopped being a number"):
        train_and_save(job, ignore)
    assert not job.output.exists()
    assert not job.output.with_suffix(".json").exists()


def test_a_network_that_fails_twice_is_left_out_and_the_next_is_trained(make_job, poisoned) -> None:
    poisoned(2)
    ended = {}
    Serial().run(
        [make_job(0), make_job(1)],
        stepped=lambda *_: None,
        noted=lambda *_: None,
        done=lambda job, trained, why: ended.update({job.name: (trained, why)}),
    )
    trained, why = ended["start/network-0"]
    assert trained is None and "stopped being a number" in why
    assert ended["start/network-1"][0] is not None


def test_the_weights_of_the_best_epoch_are_kept(make_job, monkeypatch) -> None:
    scores = iter([0.1, 0.5, 0.3, 0.5, 0.2])
    seen = []

    def validate(_objective, network) -> float:
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return next(scores)

    monkeypatch.setattr(SupervisedAtWork, "score", validate)
    trained, state = train(make_job(recipe=Recipe(epochs=5, batch_size=3)), ignore)
    assert trained.epoch_scores == (0.1, 0.5, 0.3, 0.5, 0.2)
    assert trained.best_epoch == 4
    assert all(torch.equal(state[name], seen[3][name]) for name in state)
    assert not torch.equal(state["out.weight"], seen[4]["out.weight"])


def test_the_same_seed_trains_the_same_bits_and_another_seed_does_not(make_job) -> None:
    (one, first), (two, second) = (train(make_job(), ignore) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (one.losses, one.scores) == (two.losses, two.scores)
    _, other = train(make_job(1), ignore)
    assert not torch.equal(first["out.weight"], other["out.weight"])


def test_training_learns_something(make_job) -> None:
    wider = UNetConfig(width=0.25)
    trained, _ = train(make_job(network=wider, recipe=Recipe(epochs=25, batch_size=3)), ignore)
    assert trained.losses[-1] < trained.losses[0] / 2
    assert trained.scores["iou"] > 0.5


def test_inconsistent_pixels_are_black_0_or_without_weight_as_asked(make_job, tmp_path) -> None:
    part = make_job().samples[0]
    mask = np.zeros((6, 1, 32, 32), np.uint8)
    mask[:, :, :16] = 1
    np.save(tmp_path / "mask.npy", mask)
    images, targets = open_array(part.images), open_array(part.targets)
    assert targets[:, :, :16].any() and images[:, :16].any()
    for blocks_input in (False, True):
        for blocks_output in (False, True):
            for ignores in (False, True):
                blocked = replace(
                    part,
                    inconsistent=tmp_path / "mask.npy",
                    blocks_input=blocks_input,
                    blocks_output=blocks_output,
                    ignores=ignores,
                )
                batch = BatchLoader((blocked,), make_job().compute).take(torch.arange(6))
                upper, lower = batch.images[:, 0, :16], batch.images[:, 0, 16:]
                assert upper.any().item() != blocks_input
                np.testing.assert_allclose(lower * 255, images[:, 16:, :, 0], atol=1e-4)
                assert batch.targets[:, :, :16].any().item() != blocks_output
                np.testing.assert_array_equal(batch.targets[:, :, 16:], targets[:, :, 16:])
                assert (batch.weight is not None) == ignores
                if batch.weight is not None:
                    np.testing.assert_array_equal(batch.weight, 1 - mask)


def test_a_batch_of_several_parts_keeps_image_and_target_together(make_job) -> None:
    job = make_job()
    source = BatchLoader((job.samples[0], job.validation), job.compute)
    assert len(source) == 9
    batch = source.take(torch.tensor([8, 0, 3, 6]))
    for image, target in zip(batch.images[:, 0], batch.targets[:, 0], strict=True):
        assert image[target == 1].min() > image[target == 0].max()


def test_building_a_network_leaves_the_global_generator_alone(make_job) -> None:
    job = make_job()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    build(job.network, job.compute, channels=1, outputs=1, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_seed_alone_decides_the_initial_weights(make_job) -> None:
    job = make_job()
    torch.manual_seed(1)
    one = build(job.network, job.compute, channels=1, outputs=1, seed=7).state_dict()
    torch.manual_seed(2)
    two = build(job.network, job.compute, channels=1, outputs=1, seed=7).state_dict()
    three = build(job.network, job.compute, channels=1, outputs=1, seed=8).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["out.weight"], three["out.weight"])


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "other width", "text"])
def test_damaged_weights_are_the_users_to_mend(make_job, damage: str) -> None:
    job = make_job()
    train_and_save(job, ignore)
    content = job.output.read_bytes()
    if damage == "gone":
        job.output.unlink()
    elif damage != "other width":
        damaged = {"cut": content[: len(content) // 2], "empty": b"", "text": b"not weights" * 9}
        job.output.write_bytes(damaged[damage])
    network = replace(job.network, width=0.125) if damage == "other width" else job.network
    with pytest.raises(ImsegError, match=r"network-0\.safetensors cannot be loaded"):
        load_network(job.output, network, job.compute, channels=1, outputs=1)


def test_a_foreign_network_is_not_imported_by_name(make_job) -> None:
    network = CustomConfig(callable="os:system")
    with pytest.raises(ImsegError, match="not part of imseg"):
        build(network, make_job().compute, channels=1, outputs=1)


def test_saved_weights_predict_like_the_trained_network(make_job) -> None:
    job = make_job()
    trained = train_and_save(job, ignore)
    network = load_network(job.output, job.network, job.compute, channels=1, outputs=1)
    assert not network.training
    assert job.objective.open(job).validate(network).scores == trained.scores
    assert set(load_file(job.output)) == set(network.state_dict())


def test_predictions_do_not_depend_on_the_batch_size(make_job, binary) -> None:
    job, task = make_job(network=UNetConfig(width=0.25)), binary()
    network = build(job.network, job.compute, channels=1, outputs=1, seed=1).eval()
    images = open_array(job.samples[0].images)
    assert len(images) == 6

    def predicted(some: np.ndarray) -> torch.Tensor:
        return predict_mean([network], some, task=task, compute=job.compute)[0]

    whole, single = (
        torch.cat([predicted(images[i : i + batch]) for i in range(0, 6, batch)])
        for batch in (6, 1)
    )
    torch.testing.assert_close(whole, single, rtol=0, atol=1e-5)
    assert whole.std() > 1e-3


def test_a_mean_and_votes_are_those_of_the_single_networks(make_job, binary) -> None:
    job, task = make_job(network=UNetConfig(width=0.25)), binary()
    networks = [
        build(job.network, job.compute, channels=1, outputs=1, seed=seed).eval()
        for seed in (1, 2, 3)
    ]
    images = open_array(job.samples[0].images)
    each = torch.stack(
        [predict_mean([one], images, task=task, compute=job.compute)[0] for one in networks]
    )
    mean, votes = predict_mean(networks, images, task=task, compute=job.compute, teachers=networks)
    torch.testing.assert_close(mean, each.mean(dim=0), rtol=0, atol=1e-6)
    assert votes is not None and torch.equal(votes, (each > 0.5).byte())
    assert torch.equal(vote(networks, images, task, job.compute), votes)


def test_a_network_that_predicts_and_votes_makes_one_pass(make_job, binary) -> None:
    job, task, passes = (make_job(network=UNetConfig(width=0.25)), binary(), [])
    networks = [
        build(job.network, job.compute, channels=1, outputs=1, seed=seed).eval() for seed in (1, 2)
    ]
    for number, network in enumerate(networks):
        network.register_forward_hook(lambda *_, number=number: passes.append(number))
    images = open_array(job.samples[0].images)
    alone, none = predict_mean(networks[:1], images, task=task, compute=job.compute)
    assert none is None and passes == [0], "disagreement was not asked for"
    mean, votes = predict_mean(
        networks[:1], images, task=task, compute=job.compute, teachers=networks
    )
    assert passes == [0, 0, 1] and votes is not None and len(votes) == 2
    assert torch.equal(mean, alone)


def test_a_score_that_is_no_number_is_lower_than_any(make_job, monkeypatch) -> None:
    scores = iter([0.1, math.nan, -5.0])
    monkeypatch.setattr(SupervisedAtWork, "score", lambda _objective, _network: next(scores))
    trained, _ = train(make_job(recipe=Recipe(epochs=3, batch_size=3)), ignore)
    assert trained.best_epoch == 1
    assert trained.epoch_scores[1] < trained.epoch_scores[2]


def test_training_goes_on_from_the_weights_it_is_given(make_job) -> None:
    first = make_job()
    train_and_save(first, ignore)
    initial = InitialWeights(weights=first.output, digest=first.digest())
    still = Recipe(epochs=1, batch_size=6, learning_rate=1e-12, weight_decay=0.0)
    _, state = train(make_job(1, recipe=still, initial=initial), ignore)
    given = load_file(first.output)
    for name in (name for name in given if name.endswith(("weight", "bias"))):
        torch.testing.assert_close(state[name], given[name], rtol=0, atol=1e-9)


def test_weights_of_another_network_are_refused_as_a_initial(make_job) -> None:
    first = make_job()
    train_and_save(first, ignore)
    initial = InitialWeights(weights=first.output, digest=first.digest())
    wider = UNetConfig(width=0.25)
    with pytest.raises(ImsegError, match="cannot be loaded"):
        train(make_job(1, network=wider, initial=initial), ignore)
