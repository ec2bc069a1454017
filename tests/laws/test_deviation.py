"""Errors of numbers, against naive formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imseg.ops.inconsistency import spread_out
from imseg.ops.overlap import absolute_error, squared_error, within_delta

seeds = st.integers(0, 2**16)


def maps(seed: int, *, unknown: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Return predictions and truths; some truths are not known, some are 0 or negative."""
    generator = np.random.Generator(np.random.PCG64(seed))
    predicted = generator.normal(1, 1, (3, 4, 5)).astype(np.float32)
    truth = np.round(generator.normal(1, 1, (3, 4, 5)), 1).astype(np.float32)
    truth[generator.random(truth.shape) < unknown] = np.nan
    return torch.from_numpy(predicted), torch.from_numpy(truth)


@given(seed=seeds)
def test_errors_are_those_of_a_loop_over_known_pixels(seed: int) -> None:
    predicted, truth = maps(seed)
    squares, known = squared_error(predicted, truth)
    errors, _ = absolute_error(predicted, truth)
    close, positive = within_delta(predicted, truth)
    for i in range(3):
        pairs = list(zip(predicted[i].flatten().tolist(), truth[i].flatten().tolist(), strict=True))
        pairs = [(p, t) for p, t in pairs if not math.isnan(t)]
        assert known[i] == len(pairs)
        assert squares[i].item() == pytest.approx(sum((p - t) ** 2 for p, t in pairs), rel=1e-5)
        assert errors[i].item() == pytest.approx(sum(abs(p - t) for p, t in pairs), rel=1e-5)
        positives = [(p, t) for p, t in pairs if t > 0]
        assert positive[i] == len(positives)
        assert close[i] == sum(p > 0 and max(p / t, t / p) < 1.25 for p, t in positives)


@given(seed=seeds, scale=st.floats(0.1, 100))
def test_agreement_within_delta_does_not_depend_on_the_unit(seed: int, scale: float) -> None:
    predicted, truth = (each.double() for each in maps(seed))
    assert torch.equal(
        within_delta(predicted, truth)[0], within_delta(predicted * scale, truth * scale)[0]
    )


@given(seed=seeds, teachers=st.integers(2, 4))
def test_scatter_is_the_population_deviation_against_the_mean_of_the_image(
    seed: int, teachers: int
) -> None:
    votes = torch.rand(teachers, 2, 1, 4, 5, generator=torch.Generator().manual_seed(seed)).double()
    array = votes.numpy()
    for i in range(2):
        scatter = np.sqrt(((array[:, i] - array[:, i].mean(axis=0)) ** 2).mean(axis=0))
        naive = scatter > 2 * scatter.mean()
        assert np.array_equal(spread_out(votes)[i].numpy(), naive)


def test_teachers_that_agree_exactly_have_no_inconsistent_pixel() -> None:
    votes = torch.rand(1, 2, 1, 8, 8).expand(3, -1, -1, -1, -1)
    assert not spread_out(votes).any()


def test_one_wild_pixel_is_inconsistent_and_nothing_else() -> None:
    votes = torch.zeros(2, 1, 1, 8, 8)
    votes[1, 0, 0, 3, 4] = 1
    found = spread_out(votes)
    assert found.sum() == 1
    assert found[0, 0, 3, 4]


@given(seed=seeds, shift=st.floats(-5, 5), scale=st.floats(0.1, 10))
def test_scatter_does_not_depend_on_the_unit(seed: int, shift: float, scale: float) -> None:
    votes = torch.rand(3, 1, 1, 6, 6, generator=torch.Generator().manual_seed(seed)).double()
    assert torch.equal(spread_out(votes), spread_out(votes * scale + shift))


def test_one_teacher_cannot_scatter() -> None:
    with pytest.raises(ValueError, match="two teachers"):
        spread_out(torch.zeros(1, 1, 1, 4, 4))
