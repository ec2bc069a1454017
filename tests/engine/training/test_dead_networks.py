"""Networks that say the same whatever they see are tried again, and left out if that is no help."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.workers.outcomes import train_all

from imseg.engine.training.monitor import Listener
from imseg.engine.training.objectives.objective import DEAD, OutputRange, death
from imseg.engine.training.recipe import Recipe
from imseg.engine.training.trainer import train, train_and_save
from imseg.engine.workers.executors import Processes, Serial
from imseg.errors import TrainingFailed
from imseg.networks.registry import CustomConfig, UNetConfig, provide

THIN = UNetConfig(width=0.0625)
"""One filter, whose only unit never fires for most seeds."""
SAME = "the network says the same whatever it sees"


class Heard(Listener):
    """Keeps notes."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, bool]] = []

    def note(self, text: str, *, warning: bool = False) -> None:
        self.notes.append((text, warning))


def offset_by(bias: float, slope: float) -> CustomConfig:
    """Return a user's own network: a line through the gray values, which hardly learns."""

    class Line(torch.nn.Module):
        def __init__(self, **_: object) -> None:
            super().__init__()
            self.bias = torch.nn.Parameter(torch.tensor(bias))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return slope * images[:, :1] + self.bias

    return provide(Line, "mine:network")


@given(seed=st.integers(0, 2**31), cuts=st.lists(st.integers(1, 7), max_size=3), axes=st.booleans())
def test_a_range_is_that_of_all_batches_together(seed, cuts, axes) -> None:
    generator = np.random.Generator(np.random.PCG64(seed))
    values = generator.normal(size=(8, 3, 4, 2) if axes else (8, 3)).astype(np.float32)
    known = generator.random(values.shape) < 0.8
    found, of_known = OutputRange(), OutputRange()
    for batch in np.split(np.arange(8), sorted(set(cuts))):
        rows = torch.from_numpy(values[batch])
        found.add(rows)
        of_known.add(rows, torch.from_numpy(known[batch]))
    planes = np.moveaxis(values, 1, 0).reshape(3, -1)
    counted = np.moveaxis(known, 1, 0).reshape(3, -1)
    low, high = (end.numpy() for end in found.ends)
    assert (low == planes.min(axis=1)).all() and (high == planes.max(axis=1)).all()
    assert found.widest == pytest.approx((planes.max(axis=1) - planes.min(axis=1)).max())
    for plane, inside, least, greatest in zip(planes, counted, *of_known.ends, strict=True):
        if inside.any():
            assert (least, greatest) == (plane[inside].min(), plane[inside].max())
        else:
            assert greatest < least, "of nothing there is no width"


@pytest.mark.parametrize(
    ("width", "wanted", "words"),
    [
        (0.0, 1.0, SAME),
        (0.9 * DEAD, 1.0, SAME),
        (1.1 * DEAD, 1.0, ""),
        (0.0, 0.0, ""),
        (float("nan"), 1.0, "no numbers"),
    ],
)
def test_dead_is_who_says_the_same_where_the_truth_differs(width, wanted, words) -> None:
    said, true = OutputRange(), OutputRange()
    said.add(torch.tensor([[0.3, 0.5], [0.3, 0.5 + width]]))
    true.add(torch.tensor([[0.0], [wanted]]))
    found = death(said, true)
    assert words in found and bool(words) == bool(found)


@pytest.mark.parametrize("make_executor", [Serial, lambda: Processes(1)], ids=["serial", "one"])
def test_a_network_that_is_dead_twice_is_left_out_and_the_next_is_trained(
    make_executor, make_job
) -> None:
    dead, alive = make_job(0, network=THIN), make_job(1)
    outcome = train_all(make_executor(), [dead, alive])
    assert [trained is None for trained in outcome.ended.values()] == [True, False]
    (why,) = outcome.reasons
    assert why.startswith(f"start/network-0: {SAME} (its outputs differ by at most 0 over")
    assert not dead.output.exists() and alive.output.exists()
    again = "; trained again with another seed and half the learning rate"
    ((name, text, warning),) = (note for note in outcome.notes if note[0] == dead.name)
    assert name == dead.name and warning and text.startswith(SAME) and text.endswith(again)


def test_a_network_that_is_dead_once_is_trained_from_another_seed(make_job) -> None:
    job, heard = make_job(3, network=THIN), Heard()
    elsewhere = replace(job, output=job.output.with_name("elsewhere.safetensors"))
    with pytest.raises(TrainingFailed, match=SAME):
        train(elsewhere, Listener())  # a slow one leaves a checkpoint behind
    trained = train_and_save(job, heard)
    assert trained.retried and trained.seed == job.second_try().seed
    assert json.loads(job.output.with_suffix(".json").read_text())["retried"]
    assert heard.notes[0][0].startswith(SAME)


@pytest.mark.parametrize(
    ("rate", "words"), [(1e10, "the loss stopped being a number"), (1e6, "number")]
)
def test_a_learning_rate_that_is_too_high_fails_both_tries(make_job, rate, words) -> None:
    heard = Heard()
    recipe = Recipe(epochs=2, batch_size=3, learning_rate=rate)
    with pytest.raises(TrainingFailed):
        train_and_save(make_job(recipe=recipe), heard)
    assert words in heard.notes[0][0]


def test_a_users_own_network_that_does_not_look_is_left_out(make_job) -> None:
    network = offset_by(-2.0, 0.0)
    jobs = [make_job(number, network=network) for number in range(2)]
    outcome = train_all(Serial(), jobs)
    assert list(outcome.ended.values()) == [None, None]
    assert all(SAME in why for why in outcome.reasons)


@pytest.mark.parametrize(("bias", "thing"), [(-3.0, "background"), (3.0, "disk")])
def test_one_class_everywhere_is_said_but_no_death(make_job, bias, thing) -> None:
    heard = Heard()
    trained = train_and_save(make_job(network=offset_by(bias, 0.01)), heard)
    assert not trained.retried
    assert heard.notes == [(f"predicts nothing but {thing} on all validation images", True)]


def test_nothing_is_said_where_validation_masks_are_all_the_same(make_job, tmp_path) -> None:
    job, heard = make_job(network=offset_by(-3.0, 0.0)), Heard()
    np.save(tmp_path / "empty.npy", np.zeros((3, 1, 32, 32), np.uint8))
    empty = replace(job.validation, targets=tmp_path / "empty.npy")
    trained = train_and_save(replace(job, validation=empty), heard)
    assert heard.notes == [] and not trained.retried
