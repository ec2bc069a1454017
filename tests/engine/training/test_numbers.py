"""Device, precision and intervals: settled once, and the same every time."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imseg.engine.hardware import device
from imseg.engine.hardware.device import ComputeConfig, resolve_device, resolve_precision
from imseg.engine.inference.evaluator import interval_of_mean, intervals_of, resample_counts
from imseg.errors import ImsegError

scores = st.lists(st.floats(0, 1), min_size=1, max_size=40).map(np.array)


@pytest.mark.parametrize("name", ["nonsense", "cuda:99", "cpu:x", ""])
def test_a_device_that_is_not_there_is_the_users_to_mend(name: str) -> None:
    with pytest.raises(ImsegError, match="cannot be used") as caught:
        resolve_device(name)
    assert "--device auto" in str(caught.value)


def test_a_device_that_is_there_is_taken() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(("able", "expected"), [(False, "float32"), (True, "bfloat16")])
def test_auto_is_bfloat16_only_where_the_processor_multiplies_in_it(
    monkeypatch, able: bool, expected: str
) -> None:
    monkeypatch.setattr(device, "cpu_multiplies_bfloat16", lambda: able)
    assert resolve_precision("auto", "cpu") == expected


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_precision_that_is_asked_for_is_kept(name: str) -> None:
    assert resolve_precision(name, "cpu") == name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_numerics_are_applied_inside_a_block_only(precision) -> None:
    before = torch.get_num_threads()
    one = torch.ones(4, 4)
    with pytest.raises(RuntimeError), ComputeConfig(precision=precision, threads=1).applied():
        assert torch.get_num_threads() == 1
        assert (one @ one).dtype == getattr(torch, precision)
        raise RuntimeError
    assert torch.get_num_threads() == before
    assert (one @ one).dtype == torch.float32


@given(values=scores)
def test_an_interval_is_the_same_every_time_and_contains_the_mean(values) -> None:
    low, high = interval_of_mean(values, resample_counts(len(values)))
    assert (low, high) == interval_of_mean(values, resample_counts(len(values)))
    assert values.min() - 1e-9 <= low <= high <= values.max() + 1e-9
    if len(values) > 9:
        middle = np.median(resample_counts(len(values)) @ values / len(values))
        assert low - 1e-9 <= middle <= high + 1e-9


def test_an_interval_of_many_scores_contains_the_mean_and_has_the_right_width() -> None:
    values = np.random.Generator(np.random.PCG64(3)).normal(0.6, 0.1, 400)
    low, high = interval_of_mean(values, resample_counts(400))
    assert low < values.mean() < high
    expected = 2 * 1.96 * values.std() / 20
    assert high - low == pytest.approx(expected, rel=0.1)


def test_every_resample_draws_as_many_images_as_there_are() -> None:
    counts = resample_counts(7)
    assert (counts.sum(axis=1) == 7).all()
    assert counts.shape == (2000, 7)
    np.testing.assert_array_equal(counts, resample_counts(7))


def test_intervals_of_summed_matrices_contain_their_scores() -> None:
    generator = np.random.Generator(np.random.PCG64(5))
    matrices = generator.integers(1, 50, (20, 2, 2))

    def scores(matrix) -> dict[str, float]:
        right = np.diag(matrix)
        return {
            "accuracy": float(right.sum() / matrix.sum()),
            "iou": float(right[1] / (matrix.sum() - right[0])),
        }

    found = intervals_of(matrices, resample_counts(20), scores)
    assert found == intervals_of(matrices, resample_counts(20), scores)
    assert set(found) == {"accuracy", "iou"}
    for name, value in scores(matrices.sum(axis=0)).items():
        assert found[name][0] < value < found[name][1]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpu_keeps_its_convolution_library(precision) -> None:
    """torch's own context manager switches cuDNN off unless it is told not to."""
    assert torch.backends.cudnn.enabled
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there may be no CUDA to cast on
        with ComputeConfig(device="cuda", precision=precision).applied():
            assert torch.backends.cudnn.enabled
            assert torch.backends.cudnn.allow_tf32 == (precision == "bfloat16")
            assert torch.backends.cudnn.benchmark == (precision == "bfloat16")
    assert torch.backends.cudnn.enabled
