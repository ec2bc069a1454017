"""Numbers for pixels: scaling, unknown pixels, scores in the user's unit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imseg.components.consensus import Block, Consensus


def test_scores_are_in_the_users_unit(regression) -> None:
    task = regression(low=10.0, high=30.0)
    truth = torch.tensor([[[[0.0, 0.5], [1.0, float("nan")]]]])
    predicted = torch.tensor([[[[0.1, 0.5], [0.9, 0.3]]]])
    scores = task.image_scores(predicted, truth)
    assert scores["rmse"].item() == pytest.approx(np.sqrt((4 + 0 + 4) / 3))
    assert scores["mae"].item() == pytest.approx(4 / 3)
    # 12 against 10 is within 1.25, so are 20 against 20 and 28 against 30
    assert scores["delta_1.25"].item() == 1.0


def test_data_set_scores_pool_all_known_pixels(regression) -> None:
    task = regression(low=0.0, high=2.0)
    truth = torch.rand(3, 1, 5, 6)
    truth[0, 0, 0] = float("nan")
    predicted = torch.rand(3, 1, 5, 6)
    tally = sum(task.tally(predicted[i : i + 1], truth[i : i + 1]) for i in range(3))
    error = (2 * (predicted - truth))[truth.isfinite()]
    found = task.dataset_scores(tally)
    assert found["rmse"] == pytest.approx(error.double().square().mean().sqrt().item(), rel=1e-6)
    assert found["mae"] == pytest.approx(error.double().abs().mean().item(), rel=1e-6)


def test_an_image_without_a_known_pixel_has_no_score(regression) -> None:
    truth = torch.full((1, 1, 2, 2), float("nan"))
    scores = regression().image_scores(torch.rand(1, 1, 2, 2), truth)
    assert all(value.isnan().all() for value in scores.values())


def test_unknown_pixels_neither_teach_nor_spoil_the_loss(regression) -> None:
    task = regression()
    logits = torch.randn(2, 1, 4, 4, requires_grad=True)
    target = torch.rand(2, 1, 4, 4)
    target[0, 0, 0] = float("nan")
    task.loss(logits, target, None).backward()
    assert logits.grad.isfinite().all()
    assert (logits.grad[0, 0, 0] == 0).all()
    assert (logits.grad[1] != 0).all()


def test_the_best_epoch_is_the_one_with_the_least_error(regression) -> None:
    truth, close, far = torch.rand(2, 1, 4, 4), None, None
    close, far = truth + 0.01, truth + 0.2
    values = []
    for predicted in (close, far):
        meter = regression().meter()
        meter.update(predicted[:1], truth[:1])
        meter.update(predicted[1:], truth[1:])
        values.append(meter.value())
    assert values[0] > values[1]
    assert values[0] == pytest.approx(-0.01, rel=1e-3)


def test_the_metric_ranks_small_errors_first(regression) -> None:
    metric = regression().metric
    assert metric.merit({"rmse": 1.0}) > metric.merit({"rmse": 2.0})
    assert metric.text({"rmse": 1.23456}) == "RMSE 1.235 m"


def test_blocked_numbers_keep_their_value_in_the_consensus(regression) -> None:
    """0 is a number like any other, so blocking must not write it; weights do the blocking."""
    votes = torch.full((2, 1, 1, 4, 4), 0.5)
    votes[0, 0, 0, 0, 0] = 0.9
    agreement = Consensus(teachers=2, block=Block())(regression(), votes)
    assert agreement.inconsistent.sum() == 1
    assert agreement.labels[0, 0, 0, 0].item() == pytest.approx(0.7)
    assert not regression().zero_is_nothing
