"""Labels made while networks learn: who labels, what is trusted, boxes, the start, collapse."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from imseg.engine.training.monitor import Listener
from imseg.engine.training.objectives import online_batch, online_labels
from imseg.engine.training.objectives.objective import Amounts, Learners, ViewStrengths
from imseg.engine.training.objectives.online_labels import OnlineLabels, OnlineLabelsAtWork
from imseg.engine.training.recipe import Recipe
from imseg.engine.training.trainer import train, train_and_save
from imseg.errors import ImsegError
from imseg.networks.registry import CustomConfig, UNetConfig, UNetPlusConfig
from imseg.ops.photometric import STRENGTH_SCHEDULES
from imseg.tasks import task_for
from imseg.types import TargetSpec

REAL = online_batch.labels_of
STRENGTHS = ViewStrengths(levels={}, strongest=STRENGTH_SCHEDULES["default"][-1])
RECIPE = Recipe(epochs=5, batch_size=6, average=0.9, keep="last")
BLACK = ((0, 0, 0),) * 3

SPECS = {
    "binary": TargetSpec(kind="binary", values=(0, 1), names=("no", "yes"), colors=BLACK[:2]),
    "multiclass": TargetSpec(
        kind="multiclass", values=(0, 1, 2), names=("a", "b", "c"), colors=BLACK
    ),
    "multilabel": TargetSpec(
        kind="multilabel", coding="planes", values=(0, 1), names=("a", "b", "c"), colors=BLACK
    ),
}


@pytest.fixture
def make_online(make_job, unlabeled):
    """A function that returns a job with two networks that label for each other."""

    def make(**changes: object):
        value = changes.pop("objective", OnlineLabels(learners=2))
        views = value.unlabeled_views(unlabeled, STRENGTHS)
        fields = {"objective": value, "unlabeled": views, "recipe": RECIPE}
        return make_job(1, **{**fields, "network": UNetConfig(width=0.25), **changes})

    return make


def labels_of(task, probabilities, value: OnlineLabels) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what networks are to learn by an objective, and where."""
    how = {name: getattr(value, name) for name in ("filter", "confidence", "exchange")}
    return online_batch.labels_of(task, probabilities, **how)


def said(kind: str, networks: int = 2, seed: int = 0) -> tuple:
    task = task_for(SPECS[kind])
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(networks, 4, task.spec.outputs, 6, 5, generator=generator) * 3
    return task, torch.stack([task.probabilities(each) for each in logits])


@pytest.mark.parametrize("kind", SPECS)
def test_pixels_on_which_networks_disagree_do_not_count_and_others_have_their_label(kind) -> None:
    task, probabilities = said(kind)
    labels, weight = labels_of(task, probabilities, OnlineLabels(learners=2))
    one, other = (task.discretize(each) for each in probabilities)
    agreed = one == other
    assert 0 < agreed.float().mean() < 1
    for number in range(2):
        assert torch.equal(weight[:, number] > 0, agreed)
        assert torch.equal(labels[:, number][agreed], one[agreed])


@pytest.mark.parametrize("kind", SPECS)
def test_confidence_is_the_probability_of_what_is_said(kind) -> None:
    task, probabilities = said(kind)
    value = OnlineLabels(learners=2, filter="confidence", confidence=0.8)
    labels, weight = labels_of(task, probabilities, value)
    mean = probabilities.mean(dim=0).numpy()
    if kind == "multiclass":
        first = task.spec.first_index  # what is before it is never predicted
        wanted = mean[:, first:].argmax(1)[:, None] + first
        sure = mean[:, first:].max(1)[:, None] >= 0.8
    else:
        wanted, sure = mean > 0.5, np.maximum(mean, 1 - mean) >= 0.8
    assert 0 < sure.mean() < 1
    for number in range(2):
        np.testing.assert_array_equal(labels[:, number].numpy(), wanted)
        np.testing.assert_array_equal(weight[:, number].numpy() > 0, sure)


@pytest.mark.parametrize("kind", SPECS)
def test_both_filters_are_the_product_of_either(kind) -> None:
    task, probabilities = said(kind)
    found = {
        name: labels_of(task, probabilities, OnlineLabels(learners=2, filter=name, confidence=0.8))
        for name in ("agreement", "confidence", "both")
    }
    both = found["agreement"][1] * found["confidence"][1]
    assert torch.equal(found["both"][1], both)
    assert both.mean() < found["agreement"][1].mean()


@pytest.mark.parametrize("kind", SPECS)
def test_in_an_exchange_each_network_learns_what_the_other_says(kind) -> None:
    task, probabilities = said(kind)
    value = OnlineLabels(learners=2, exchange=True, filter="none")
    labels, weight = labels_of(task, probabilities, value)
    assert torch.equal(labels[:, 0], task.discretize(probabilities[1]))
    assert torch.equal(labels[:, 1], task.discretize(probabilities[0]))
    assert torch.equal(weight, torch.ones_like(weight))


def test_the_control_leaves_out_as_much_in_other_places() -> None:
    task, probabilities = said("binary")
    named = {
        name: labels_of(task, probabilities, OnlineLabels(learners=2, filter=name))[1]
        for name in ("agreement", "random")
    }
    assert named["agreement"].sum() == named["random"].sum()
    assert not torch.equal(named["agreement"], named["random"])
    assert torch.equal(named["random"], named["agreement"].roll(1, 0))


def test_numbers_count_where_networks_differ_no_more_than_usual() -> None:
    spec = TargetSpec(
        kind="regression", coding="numbers", names=("depth",), colors=BLACK[:1], low=0.0, high=2.0
    )
    task = task_for(spec)
    probabilities = torch.full((2, 3, 1, 8, 8), 0.5)
    probabilities[1] += 0.01
    probabilities[1, :, :, 2, 2] += 0.4
    labels, weight = labels_of(task, probabilities, OnlineLabels(learners=2))
    assert (weight[:, :, :, 2, 2] == 0).all() and weight.mean() > 0.9
    assert torch.allclose(labels[:, 0], probabilities.mean(dim=0))
    with pytest.raises(ImsegError, match="--filter confidence says nothing about"):
        OnlineLabels(filter="confidence").check(task, UNetConfig())
    OnlineLabels(learners=2).check(task, UNetConfig())


@pytest.mark.parametrize(
    "wrong",
    [
        {"filter": "agreement"},
        {"filter": "both"},
        {"filter": "none", "exchange": True},
        {"learners": 2, "exchange": True},
    ],
)
def test_what_one_network_cannot_do_or_changes_nothing_is_refused(wrong: dict) -> None:
    with pytest.raises(ImsegError) as refused:
        OnlineLabels(**wrong)
    assert refused.value.expected and refused.value.hint


def passes_of(job):
    work = job.objective.open(job)
    work.begin(UNetConfig(width=0.25).make(channels=1, outputs=1))
    return [list(steps) for steps in work.passes()]


def test_the_start_is_on_labels_alone_in_whole_batches(make_online) -> None:
    job = make_online(objective=OnlineLabels(learners=2, start=0.3))
    steps = [step for each in passes_of(job) for step in each]
    assert len(steps) == job.steps == 10
    mixed = [hasattr(step.batch, "labeled") for step in steps]
    assert mixed == [False] * 3 + [True] * 7
    assert [len(step.batch) for step in steps[:3]] == [6, 6, 6]
    assert all(len(step.batch.labeled) == 3 for step in steps[3:])
    none = passes_of(make_online(objective=OnlineLabels(learners=2, start=0.0)))
    assert all(hasattr(step.batch, "labeled") for each in none for step in each)


def test_the_weight_is_nothing_at_the_start_and_rises_then() -> None:
    value = OnlineLabels(learners=2, weight=2.0, start=0.2, ramp=0.4)
    assert value.weight_at(0.19) == 0.0
    assert value.weight_at(0.2) == pytest.approx(2 * math.exp(-5))
    assert value.weight_at(0.4) == pytest.approx(2 * math.exp(-5 / 4))
    assert value.weight_at(0.6) == value.weight_at(1.0) == 2.0
    assert value.settled().weight_at(0.0) == 2.0


def test_several_networks_are_told_as_that_much_work() -> None:
    two, one = (
        OnlineLabels(learners=count, filter="none").workload(RECIPE, Amounts(samples=6))
        for count in (2, 1)
    )
    assert two.passes == 2 * one.passes and two.steps == one.steps


@pytest.mark.parametrize(
    "value",
    [
        OnlineLabels(learners=2, start=0.3),
        OnlineLabels(filter="confidence", start=0.0, strong_views=2, feature_dropout=0.5),
    ],
)
def test_operations_are_those_of_the_steps_that_were_made(make_online, value) -> None:
    job = make_online(objective=value)
    job = replace(job, unlabeled=replace(job.unlabeled, indices=(0, 1, 2)))  # a batch
    work = job.objective.open(job)
    learning = work.begin(UNetConfig(width=0.25).make(channels=1, outputs=1))
    seen = 0.0
    for step in (step for each in work.passes() for step in each):
        weak = getattr(step.batch, "views", ())
        seen += len(step.batch) + (len(weak[0]) / value.strong_views / 3 if weak else 0)
    assert work.flops(learning) == pytest.approx(seen * work.flops_of_sample(learning))
    assert seen * value.learners == pytest.approx(
        job.workload.images * job.workload.passes * job.steps
    ), "as was planned"
    state = work.state()
    work.restore({**state, "stopped": torch.tensor([5, 0])})
    alone = 3 * 6 * (value.start > 0)
    unlabeled = (5 - 3 * (value.start > 0)) * 3 * (value.views + 1 / 3)
    known = (10 - 3 * (value.start > 0)) * 3
    assert work.flops(learning) == pytest.approx(
        (alone + known + unlabeled) * work.flops_of_sample(learning)
    ), "nothing unlabeled was learned from after step 5"


def test_networks_begin_differently_and_the_first_one_is_kept(make_online) -> None:
    job = make_online()
    work = job.objective.open(job)
    network = UNetConfig(width=0.25).make(channels=1, outputs=1)
    learning = work.begin(network)
    assert isinstance(learning, Learners)
    first, second = (list(each.parameters()) for each in learning.networks)
    assert learning.networks[0] is network
    assert any(not torch.equal(a, b) for a, b in zip(first, second, strict=True))
    again = list(job.companion(1).parameters())
    assert all(torch.equal(a, b) for a, b in zip(second, again, strict=True))
    assert work.average is not None
    assert work.kept(learning) is work.average.network.networks[0]


class Plain(torch.nn.Conv2d):
    """A network that normalizes nothing by the batch; its features are what it puts out."""

    feature_channels = (1,)

    def forward(self, images, kept=None):
        found = super().forward(images)
        return found if kept is None else found * kept[:, :, None, None]


@pytest.mark.parametrize("most", [2, 3, 5])
@pytest.mark.parametrize("further", [{}, {"strong_views": 2, "feature_dropout": 0.4}])
def test_pieces_add_up_to_the_whole_step(make_online, further, most: int) -> None:
    plain = Plain(1, 1, 3, padding=1)
    job = make_online(objective=OnlineLabels(filter="none", start=0.0, ramp=0.0, **further))
    work = job.objective.open(job)
    work.begin(plain)
    step = next(next(iter(work.passes())))
    pieces = step.split(most)
    masses = torch.stack([piece.mass() for piece in pieces])
    shares = masses / masses.sum(0)
    total = sum(piece(plain) * share for piece, share in zip(pieces, shares, strict=True))
    assert torch.allclose(total, step(plain), atol=1e-6)
    assert max(len(piece.batch) for piece in pieces) <= most


def test_of_few_trusted_pixels_each_counts_no_more(make_online, monkeypatch) -> None:
    job = make_online(objective=OnlineLabels(learners=2, start=0.0, ramp=0.0, cutmix=0.0))
    found = {}
    for share in (1.0, 0.25):

        def labels_with(task, probabilities, share=share, **how):
            labels, weight = REAL(task, probabilities, **how)
            weight = torch.zeros_like(weight)
            weight[..., : int(share * weight.shape[-1])] = 1.0
            return torch.zeros_like(labels), weight

        monkeypatch.setattr(online_batch, "labels_of", labels_with)
        work = job.objective.open(job)
        learning = work.begin(job.companion(9))
        step = next(next(iter(work.passes())))
        found[share] = step(learning).detach()
        assert step.loss.keywords["weights"] == [pytest.approx(share)]
    assert found[0.25][1] < found[1.0][1]


def test_what_has_collapsed_is_taught_no_longer_and_the_run_says_so(
    make_online, monkeypatch
) -> None:
    monkeypatch.setattr(online_labels, "WATCHED", 3)

    def nothing(task, probabilities, **how):
        labels, weight = REAL(task, probabilities, **how)
        return torch.zeros_like(labels), torch.ones_like(weight)

    seen, real = [], OnlineLabelsAtWork._terms

    def terms(self, network, batch, *, weights):
        seen.extend(weights)
        return real(self, network, batch, weights=weights)

    monkeypatch.setattr(OnlineLabelsAtWork, "_terms", terms)
    job = make_online(objective=OnlineLabels(learners=2, start=0.0, ramp=0.0))

    class Hearing(Listener):
        def note(self, text, *, warning=False):
            notes.append((text, warning))

    notes: list[tuple[str, bool]] = []
    train(job, Hearing())
    assert all(seen) and not notes, "as long as something is taught, it goes on"
    seen.clear()
    monkeypatch.setattr(online_batch, "labels_of", nothing)
    train(replace(job, seed=1), Hearing())
    assert len(seen) == 3 and all(seen)
    (text, warning), *_ = [each for each in notes if "labels alone" in each[0]]
    assert warning and "from step 3 on" in text and "background" in text
    work = job.objective.open(job)
    learning = work.begin(job.companion(1))
    assert sum(hasattr(step.batch, "views") for each in work.passes() for step in each) == 3
    resumed = job.objective.open(job)
    resumed.begin(job.companion(1))
    resumed.restore(work.state())
    told = [resumed.validate(learning.networks[0]).doubt, text]
    assert len({each[each.index("learned from labels alone") :] for each in told}) == 1


def test_networks_that_label_for_each_other_learn_something(make_online) -> None:
    recipe = Recipe(epochs=40, batch_size=6, average=0.9)
    trained = train_and_save(make_online(recipe=recipe), Listener())
    assert trained.scores["iou"] > 0.5


def test_unlabeled_images_change_what_is_learned(make_online) -> None:
    taught = train(make_online(), Listener())[1]
    without = make_online(objective=OnlineLabels(learners=2, weight=0.0))
    alone = train(without, Listener())[1]
    assert any(not torch.equal(taught[key], alone[key]) for key in alone)


def test_without_unlabeled_images_nothing_can_be_taught(make_online) -> None:
    with pytest.raises(ValueError, match="needs unlabeled images"):
        train(replace(make_online(), unlabeled=None), Listener())


@pytest.mark.parametrize("start", [0.0, 0.1, 0.3])
def test_labels_are_judged_by_as_many_steps_wherever_they_begin(
    make_online, monkeypatch, start: float
) -> None:
    monkeypatch.setattr(online_labels, "WATCHED", 4)
    looked: list[int] = []
    real = OnlineLabelsAtWork._watch

    def watch(self, number):
        before = self._steps
        real(self, number)
        if self._steps < before:
            looked.append(before)

    monkeypatch.setattr(OnlineLabelsAtWork, "_watch", watch)
    train(make_online(objective=OnlineLabels(learners=2, start=start, ramp=0.0)), Listener())
    assert looked and set(looked) == {4}


def test_weights_that_are_not_to_be_averaged_are_kept_as_they_are(make_online) -> None:
    job = make_online(recipe=replace(RECIPE, average=0.0))
    work = job.objective.open(job)
    learning = work.begin(job.companion(3))
    assert work.average is not None, "for those who label"
    assert work.kept(learning) is learning.networks[0]


UNIMATCH = OnlineLabels(
    filter="none", averaged=False, start=0.0, ramp=0.0, cutmix=0.0,
    strong_views=2, feature_dropout=0.5,
)  # fmt: skip


def first_step(job, network):
    work = job.objective.open(job)
    learning = work.begin(network)
    return next(next(iter(work.passes()))), learning


def test_two_strong_views_and_a_weak_one_without_some_features_learn_one_label(make_online) -> None:
    job = make_online(objective=UNIMATCH)
    step, network = first_step(job, job.companion(1))
    strong, weak = step.batch.views
    one, other = strong.images.chunk(2)
    assert not torch.equal(one, other) and len(one) == len(weak)
    for labels in strong.labels.chunk(2):
        assert torch.equal(labels, weak.labels)
    said = network.eval()(weak.images)
    assert torch.equal(weak.labels[:, 0], job.task.discretize(job.task.probabilities(said)))
    assert strong.kept is None and set(weak.kept.unique().tolist()) == {0.0, 2.0}
    assert 0.3 < (weak.kept > 0).float().mean() < 0.7
    assert step.loss.keywords["weights"] == [0.5, 0.5]
    assert len(step.batch) == 3 + 3 * len(weak)
    assert job.workload.images == job.objective.batch(job.recipe) == 12


def test_the_loss_is_that_of_labels_and_half_of_strong_and_of_lacking_views(make_online) -> None:
    job = make_online(objective=UNIMATCH)
    step, network = first_step(job, Plain(1, 1, 3, padding=1))
    known, (strong, weak), loss = (
        step.batch.labeled,
        step.batch.views,
        job.objective.open(job)._loss,
    )
    terms = [
        loss.terms(network(known.images), known.targets, known.weight),
        loss.terms(network(strong.images), strong.labels[:, 0], None) / 2,
        loss.terms(network(weak.images, weak.kept), weak.labels[:, 0], None) / 2,
    ]
    assert torch.allclose(step(network), torch.stack(terms).reshape(-1), atol=1e-6)


def test_what_is_dropped_depends_on_the_seed_and_the_step_alone(make_online) -> None:
    job = make_online(objective=UNIMATCH)
    network = job.companion(1)
    kept = [first_step(job, network)[0].batch.views[1].kept for _ in range(2)]
    assert torch.equal(*kept)
    other = first_step(replace(job, seed=job.seed + 1), network)[0].batch.views[1].kept
    assert not torch.equal(kept[0], other)
    work = job.objective.open(job)
    work.begin(network)
    steps = [step for each in work.passes() for step in each]
    assert not torch.equal(steps[0].batch.views[1].kept, steps[1].batch.views[1].kept)


@pytest.mark.parametrize("made", [UNetConfig(width=0.25), UNetPlusConfig(width=0.25)])
def test_features_of_networks_are_multiplied_channel_by_channel(made) -> None:
    network = made.make(channels=1, outputs=2).eval()
    images = torch.rand(2, 1, 40, 24)
    with torch.no_grad():
        plain = network(images)
        count = sum(network.feature_channels)
        ones = torch.ones(2, count)
        assert torch.equal(network(images, ones), plain)
        nothing = network(images, torch.zeros(2, count))
        assert (nothing[0] - nothing[1]).abs().max() < 1e-6, "what it sees no longer matters"
        for place, size in enumerate(network.feature_channels):
            begin = sum(network.feature_channels[:place])
            kept = ones.clone()
            kept[0, begin : begin + size] = 0.0
            changed = network(images, kept)
            assert not torch.equal(changed[0], plain[0]) and torch.equal(changed[1], plain[1])


def test_features_of_a_network_of_ones_own_are_not_known() -> None:
    task = task_for(SPECS["binary"])
    own = CustomConfig(callable="somewhere:network")
    with pytest.raises(ImsegError, match="--feature-dropout does not know the features of some"):
        UNIMATCH.check(task, own)
    replace(UNIMATCH, feature_dropout=0.0).check(task, own)


def test_memory_is_needed_for_all_views_and_networks() -> None:
    assert UNIMATCH.images_at_once(RECIPE) == 12
    assert replace(UNIMATCH, learners=2).images_at_once(RECIPE) == 24
    assert OnlineLabels(learners=2).images_at_once(RECIPE) == 12
