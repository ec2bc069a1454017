"""The time of a run is all accounted for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imseg.approaches.planning.duration import (
    ACTIVITIES,
    OTHER,
    SCORERS,
    TRAINING,
    add_stage,
    as_summary,
)
from imseg.engine.training import monitor
from imseg.engine.training.job import Trained
from imseg.engine.training.monitor import Clock, with_rest
from imseg.networks.registry import UNetConfig
from imseg.report.tables import time_in_words

NETWORK = Trained(
    name="start/network-0", job="", seed=0, images=1, steps=1, epochs=1, best_epoch=1,
    epoch_scores=(0.0,), losses=(0.0,), scores={}, parameters=1, flops=1.0, seconds=10.0,
    network=UNetConfig(), channels=3, outputs=1,
)  # fmt: skip


def spent(**seconds: float) -> Trained:
    return replace(NETWORK, clock=seconds)


def test_a_stage_is_shared_out_as_its_networks_spent_their_time() -> None:
    run = Clock()
    pair = [spent(steps=6.0, batches=2.0, validation=1.0, other=1.0)] * 2
    add_stage(run, 10.0, pair)  # side by side: 20 seconds of networks in 10 of the stage
    assert run.seconds == pytest.approx(
        {"training": 6.0, "augmentation": 2.0, "validation": 1.0, "other": 1.0}
    )
    add_stage(run, 4.0, pair, whole=SCORERS)
    assert run.seconds[SCORERS] == 4.0 and run.seconds[TRAINING] == 6.0
    add_stage(run, 3.0, [])  # all were taken over
    assert run.seconds[OTHER] == 4.0


def test_what_nobody_counted_is_the_rest(monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr(monitor.time, "monotonic", lambda: now[0])
    run = Clock()
    with run.on(TRAINING):
        now[0] += 7.0
    now[0] += 3.0
    found = as_summary(run)
    assert tuple(found) == ACTIVITIES
    assert (found[TRAINING], found[OTHER], sum(found.values())) == (7.0, 3.0, 10.0)
    assert with_rest({"a": 4.0}, 3.0) == {"a": 4.0, "other": 0.0}, "no time is less than none"


def test_making_items_is_counted_and_using_them_is_not(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(monitor.time, "monotonic", lambda: now[0])
    run = Clock()

    def items():
        for number in range(3):
            now[0] += 2.0
            yield number

    for _ in run.each(items(), "batches"):
        now[0] += 5.0
    assert run.seconds == {"batches": 6.0}


def test_time_is_told_most_first_and_without_what_hardly_took_any() -> None:
    told = time_in_words({"seconds_by_activity": {"files": 10.0, "training": 189.0, "other": 1.0}})
    assert told == "3.3 min: training 94%, files 5%"
    assert time_in_words({}) is None
