"""Consistency: a pass over labeled images, a pass over two views of unlabeled ones, and again."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.sets import rest_but
from torch import nn

from imseg.data.cache.store import open_array
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.loader import BatchLoader
from imseg.engine.loading.samples import UnlabeledViews
from imseg.engine.loading.views import ViewLoader
from imseg.engine.training import seeds
from imseg.engine.training.job import TrainJob, build
from imseg.engine.training.monitor import Listener
from imseg.engine.training.objectives.objective import Amounts
from imseg.engine.training.objectives.supervised import Supervised
from imseg.engine.training.objectives.two_views import TwoViews
from imseg.engine.training.recipe import Recipe
from imseg.engine.training.trainer import train
from imseg.networks.registry import UNetConfig
from imseg.ops.augment import MOVES, move
from imseg.ops.photometric import STRENGTH_SCHEDULES, Strength
from imseg.tasks import Multilabel
from imseg.types import TargetSpec

NUMERICS = ComputeConfig(threads=1)
STRONG = STRENGTH_SCHEDULES["default"][-1]
STILL = Strength()

ignore = Listener()


def pictures(unlabeled: UnlabeledViews) -> torch.Tensor:
    return torch.from_numpy(open_array(unlabeled.images)[list(unlabeled.indices)]).permute(
        0, 3, 1, 2
    )


def look(pairs: ViewLoader, count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    one, other = pairs.take(torch.arange(count))
    return one, other


def test_both_views_are_moved_alike(unlabeled) -> None:
    """Without photometry two views are the same image, moved in one of eight ways."""
    still = replace(unlabeled, strength=STILL)
    pairs = ViewLoader(still, NUMERICS, seed=1)
    originals = pictures(still).float() / 255
    seen = set()
    for _ in range(12):
        one, other = look(pairs)
        assert torch.equal(one, other)
        for view, original in zip(one, originals, strict=True):
            fitting = [n for n, by in enumerate(MOVES) if torch.equal(view, move(original, by))]
            assert len(fitting) == 1
            seen.update(fitting)
    assert seen == set(range(8))


def test_without_rotation_only_left_and_right_are_exchanged(unlabeled) -> None:
    pairs = ViewLoader(replace(unlabeled, strength=STILL, rotate=False), NUMERICS, seed=1)
    originals = pictures(unlabeled).float() / 255
    flips = []
    for _ in range(8):
        for view, original in zip(look(pairs)[0], originals, strict=True):
            flips.append(not torch.equal(view, original))
            assert torch.equal(view.flip(-1) if flips[-1] else view, original)
    assert 4 < sum(flips) < 28


def test_without_moves_images_stay_where_they_are(unlabeled) -> None:
    pairs = ViewLoader(replace(unlabeled, strength=STILL, moves=False), NUMERICS, seed=1)
    for _ in range(3):
        assert torch.equal(look(pairs)[0], pictures(unlabeled).float() / 255)


def test_views_are_augmented_independently_and_anew_at_each_look(unlabeled) -> None:
    noisy = replace(unlabeled, strength=Strength(noise=20), moves=False)
    pairs = ViewLoader(noisy, NUMERICS, seed=1)
    views = torch.stack([view for _ in range(3) for view in look(pairs)])
    residues = (views - pictures(noisy).float() / 255).flatten(2)
    assert (residues.abs() <= 20 / 255 + 1e-6).all()
    for image in range(4):
        correlation = torch.corrcoef(residues[:, image])
        assert (correlation - torch.eye(6)).abs().max() < 0.25


def test_a_view_depends_on_seed_image_and_look_alone(unlabeled) -> None:
    pairs, twin = ViewLoader(unlabeled, NUMERICS, seed=1), ViewLoader(unlabeled, NUMERICS, seed=1)
    first, second = pairs.take(torch.tensor([2, 0]))
    alone, alone_other = twin.take(torch.tensor([0]))
    assert torch.equal(first[1], alone[0]) and torch.equal(second[1], alone_other[0])
    again, _ = pairs.take(torch.tensor([0, 1]))
    assert torch.equal(again[0], twin.take(torch.tensor([3, 0])).each[0][1])
    reordered = ViewLoader(replace(unlabeled, indices=(0, 6)), NUMERICS, seed=1)
    assert torch.equal(reordered.take(torch.tensor([1])).each[0][0], alone[0])
    other = ViewLoader(unlabeled, NUMERICS, seed=2)
    assert not torch.equal(other.take(torch.tensor([0])).each[0][0], alone[0])


def test_gain_and_offset_come_last_in_a_view(unlabeled, tmp_path) -> None:
    """Noise that is scaled afterwards leaves gaps between gray levels."""
    np.save(tmp_path / "gray.npy", np.full((7, 32, 32, 1), 60, np.uint8))
    noisy = replace(unlabeled, images=tmp_path / "gray.npy", strength=Strength(noise=4, gain=1.0))
    pairs = ViewLoader(noisy, NUMERICS, seed=1)
    levels = [
        set((view * 255).round().int().flatten().tolist())
        for _ in range(6)
        for view in torch.cat(look(pairs))
    ]
    assert all(len(each) <= 8 for each in levels)
    assert any(max(each) - min(each) > 8 for each in levels)


def test_images_that_are_not_square_keep_their_shape(unlabeled, tmp_path) -> None:
    np.save(tmp_path / "wide.npy", open_array(unlabeled.images)[:, :20])
    pairs = ViewLoader(replace(unlabeled, images=tmp_path / "wide.npy"), NUMERICS, seed=1)
    for _ in range(4):
        assert [view.shape for view in look(pairs)] == [(4, 1, 20, 32)] * 2


class Recorder(nn.Module):
    """A network that keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: list[tuple[bool, torch.Tensor]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append((self.training, images))
        return images * self.weight


def test_labeled_and_unlabeled_passes_take_turns_in_orders_of_their_own(make_two) -> None:
    job = make_two(recipe=Recipe(epochs=3, batch_size=2))
    objective, network = job.objective.open(job), Recorder().train()
    sizes = []
    for steps in objective.passes():
        losses = [step(network) for step in steps]
        sizes.append(len(losses))
    assert sizes == [3, 2, 3, 2, 3, 2] and sum(sizes) == job.steps
    forwards = iter(images for _, images in network.seen)
    labeled, pairs = (
        BatchLoader(job.samples, NUMERICS),
        ViewLoader(job.unlabeled, NUMERICS, seed=job.seed),
    )
    order = seeds.generator(job.seed, "order")
    unlabeled_order = seeds.generator(job.seed, "unlabeled order")
    for _ in range(3):
        for numbers in torch.randperm(6, generator=order).split(2):
            assert torch.equal(next(forwards), labeled.take(numbers).images)
        for numbers in torch.randperm(4, generator=unlabeled_order).split(2):
            for view in pairs.take(numbers):
                assert torch.equal(next(forwards), view)
    assert next(forwards, None) is None


def test_the_second_pass_is_the_squared_difference_and_both_views_are_taught(make_two) -> None:
    job = make_two(recipe=Recipe(epochs=1, batch_size=4))
    objective, network = job.objective.open(job), Recorder()
    _, steps = objective.passes()
    loss = next(steps)(network)
    (_, one), (_, other) = network.seen
    difference = (torch.sigmoid(one) - torch.sigmoid(other)).square().mean()
    assert loss.item() == pytest.approx(difference.item(), rel=1e-5)
    loss.backward()
    slopes = [torch.sigmoid(x) * (1 - torch.sigmoid(x)) * x for x in (one, other)]
    error = torch.sigmoid(one) - torch.sigmoid(other)
    expected = (2 * error * (slopes[0] - slopes[1])).mean()
    assert network.weight.grad.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("ramp", "expected"), [(0, [0.6] * 5), (1, [0.6] * 5), (3, [0.2, 0.4, 0.6, 0.6, 0.6])]
)
def test_the_weight_rises_to_what_it_is(make_two, ramp: int, expected) -> None:
    def losses(**change: object) -> list[float]:
        job = make_two(objective=TwoViews(**change), recipe=Recipe(epochs=5, batch_size=4))
        passes, network = job.objective.open(job).passes(), Recorder()
        return [
            sum(step(network).item() for step in steps)
            for number, steps in enumerate(passes)
            if number % 2
        ]

    weighted, plain = losses(weight=0.6, ramp=ramp), losses()
    found = [one / other for one, other in zip(weighted, plain, strict=True)]
    assert found == pytest.approx(expected, rel=1e-5)


def test_until_the_first_unlabeled_pass_it_is_fine_tuning_on_labels(make_two) -> None:
    recipe = Recipe(epochs=4, batch_size=3, max_steps=2)
    _, both = train(make_two(recipe=recipe), ignore)
    _, labels = train(make_two(recipe=recipe, objective=Supervised(), unlabeled=None), ignore)
    assert all(torch.equal(both[name], labels[name]) for name in labels)


@pytest.mark.rest
def test_with_weight_0_unlabeled_images_teach_nothing(make_two, unlabeled, stored) -> None:
    """Only the moving statistics of normalization have seen them."""
    recipe = Recipe(epochs=2, batch_size=3)

    other = replace(unlabeled, images=stored("other pictures", 7).images)
    silent, silent_other, heard = (
        trained_parameters(make_two(objective=objective, unlabeled=views, recipe=recipe))
        for objective, views in (
            (TwoViews(weight=0.0), unlabeled),
            (TwoViews(weight=0.0), other),
            (TwoViews(), unlabeled),
        )
    )
    assert all(torch.equal(silent[name], silent_other[name]) for name in silent)
    assert not torch.equal(heard["out.weight"], silent["out.weight"])


def trained_parameters(job: TrainJob) -> dict[str, torch.Tensor]:
    """Return the trainable numbers after the last pass, whichever pass was kept."""
    network = build(job.network, job.compute, channels=1, outputs=job.outputs, seed=1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.train()
    for steps in job.objective.open(job).passes():
        for step in steps:
            optimizer.zero_grad()
            step(network).backward()
            optimizer.step()
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def test_the_network_is_checked_after_either_pass_and_the_least_loss_is_kept(make_two) -> None:
    job = make_two(recipe=Recipe(epochs=3, batch_size=3))
    trained, state = train(job, ignore)
    assert trained.epochs == len(trained.epoch_scores) == len(trained.losses) == 6
    assert trained.steps == job.steps == 3 * (2 + 1)
    network = build(job.network, job.compute, channels=1, outputs=1)
    network.load_state_dict(state)
    score = job.objective.open(job).score(network)
    assert score == trained.epoch_scores[trained.best_epoch - 1] == max(trained.epoch_scores)
    assert {"iou", "dice"} <= set(trained.scores)


def test_the_score_is_minus_the_mean_squared_error_of_validation(make_two) -> None:
    job = make_two()
    network = Recorder().train()
    score = job.objective.open(job).score(network)
    images = open_array(job.validation.images)[..., 0] / 255
    truth = open_array(job.validation.targets)[:, 0]
    error = np.mean((1 / (1 + np.exp(-images)) - truth) ** 2)
    assert score == pytest.approx(-error, rel=1e-5)
    assert [training for training, _ in network.seen] == [False]


@pytest.mark.parametrize("most", rest_but([1, 3, 5, 6, 11, 100], lambda most: most < 11))
def test_no_more_steps_are_made_than_allowed(make_two, most: int) -> None:
    job = make_two(recipe=Recipe(epochs=3, batch_size=2, max_steps=most))
    reported = []
    listener = Listener()
    listener.stepped = lambda steps, _loss: reported.append(steps)
    trained, _ = train(job, listener)
    assert sum(reported) == trained.steps == job.steps == min(most, 15)
    assert trained.epochs == {1: 1, 3: 1, 5: 2, 6: 3, 11: 5, 100: 6}[most]


def test_operations_of_both_passes_are_counted(make_two) -> None:
    """Six labeled images once and four unlabeled ones twice an epoch, at one price."""
    job = make_two(recipe=Recipe(epochs=2, batch_size=2))
    both, _ = train(job, ignore)
    labels, _ = train(replace(job, objective=Supervised(), unlabeled=None), ignore)
    assert both.flops / labels.flops == pytest.approx((6 + 2 * 4) / 6)
    half, _ = train(replace(job, recipe=Recipe(epochs=2, batch_size=2, max_steps=4)), ignore)
    assert half.flops / labels.flops == pytest.approx((6 + 2 * 2) / 12)


def test_it_trains_the_same_bits_again(make_two) -> None:
    (one, first), (two, second) = (train(make_two(), ignore) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (one.losses, one.epoch_scores) == (two.losses, two.epoch_scores)


def test_views_come_to_agree(make_two) -> None:
    job = make_two(
        initial=None, objective=TwoViews(weight=3.0), recipe=Recipe(epochs=25, batch_size=3)
    )
    trained, _ = train(job, ignore)
    labeled, unlabeled_losses = trained.losses[::2], trained.losses[1::2]
    assert labeled[-1] < labeled[0] / 2
    assert trained.scores["iou"] > 0.5
    assert all(math.isfinite(loss) for loss in unlabeled_losses)


@pytest.mark.parametrize("paper", [True, False])
def test_planes_weigh_the_same_in_the_reference_alone(
    make_job, unlabeled, tmp_path: Path, paper: bool
) -> None:
    spec = TargetSpec(
        kind="multilabel",
        names=("alive", "dead", "position"),
        colors=((1, 0, 0), (2, 0, 0), (3, 0, 0)),
    )
    part = make_job().samples[0]
    planes = np.zeros((6, 3, 32, 32), np.uint8)
    planes[:, 2] = 1
    np.save(tmp_path / "planes.npy", planes)
    part = replace(part, targets=tmp_path / "planes.npy")
    job = make_job(
        samples=(part,),
        validation=part,
        target=spec.as_dict(),
        unlabeled=unlabeled,
        network=UNetConfig(width=0.25),
        outputs=3,
        objective=TwoViews(),
        recipe=Recipe(epochs=1, batch_size=3, paper=paper),
    )
    network = build(job.network, job.compute, channels=1, outputs=job.outputs, seed=1).eval()
    with torch.no_grad():
        batch = BatchLoader((part,), NUMERICS).take(torch.arange(6))
        error = (torch.sigmoid(network(batch.images)) - batch.targets).square().mean(dim=(0, 2, 3))
    weights = torch.tensor([1.0, 1.0, 1.0 if paper else 3.0])
    expected = (error * weights).sum() / weights.sum()
    assert abs(error.mean() - (error * weights).sum() / weights.sum()) > 1e-3 or paper
    assert job.objective.open(job).score(network) == pytest.approx(-expected.item(), rel=1e-5)
    assert isinstance(job.objective.open(job)._task, Multilabel)


def test_without_unlabeled_images_the_workload_is_that_of_the_labeled_ones() -> None:
    work = TwoViews().workload(Recipe(epochs=5, batch_size=4), Amounts(samples=8, unlabeled=0))
    assert (work.steps, work.images, work.passes) == (10, 4, 1)
