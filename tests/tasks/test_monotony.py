"""Predictions and labels that are the same almost everywhere, for every kind of target."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imseg.tasks.collapse import LEFT, census, collapsed, sole_value
from imseg.types import VOID

KINDS = ("binary", "multiclass", "multilabel", "regression")
seeds = st.integers(0, 2**31)


@pytest.fixture(scope="module")
def specs(binary, multiclass, multilabel, regression):
    return {
        "binary": binary(void=True).spec,
        "multiclass": multiclass(4, void=True).spec,
        "multilabel": multilabel("alive", "dead", void=True).spec,
        "regression": regression(2.0, 6.0).spec,
    }


def drawn(kind: str, seed: int, images: int = 4) -> torch.Tensor:
    """Return random targets, some void; classes are not equally frequent."""
    generator = np.random.Generator(np.random.PCG64(seed))
    shape = (images, 2 if kind == "multilabel" else 1, 6, 5)
    gone = generator.random(shape) < 0.2
    if kind == "regression":
        values = generator.random(shape).astype(np.float32)
        values[gone] = np.nan
        return torch.from_numpy(values)
    first, end = (1, 5) if kind == "multiclass" else (0, 2)
    values = generator.integers(first, end, shape).astype(np.uint8)
    values[gone] = VOID
    return torch.from_numpy(values)


def counted(seed: int, images: int = 4) -> torch.Tensor:
    generator = np.random.Generator(np.random.PCG64(seed + 1))
    return torch.from_numpy(generator.random((images, 1, 6, 5)) < 0.7)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=seeds, cut=st.integers(1, 3))
def test_a_census_adds_up_over_images_and_counts_every_pixel_once(specs, kind, seed, cut) -> None:
    planes, where = drawn(kind, seed), counted(seed)
    whole = census(specs[kind], planes, where)
    parts = [census(specs[kind], planes[p], where[p]) for p in (slice(0, cut), slice(cut, 4))]
    torch.testing.assert_close(sum(parts), whole)
    for plane, counts in enumerate(whole):
        there = planes[:, plane][where[:, 0]].numpy()
        if kind == "regression":
            numbers = there[np.isfinite(there)].astype(float)
            wanted = [len(numbers), numbers.sum(), (numbers**2).sum()]
            np.testing.assert_allclose(counts, wanted, rtol=1e-9)
        else:
            wanted = [(there == value).sum() for value in range(len(counts))]
            np.testing.assert_array_equal(counts, wanted)
            assert counts.sum() == (there != VOID).sum()


@pytest.mark.parametrize("kind", KINDS)
@given(seed=seeds)
def test_labels_like_those_of_people_have_not_collapsed(specs, kind, seed) -> None:
    spec, everywhere = specs[kind], torch.ones(4, 1, 6, 5, dtype=torch.bool)
    theirs = census(spec, drawn(kind, seed), everywhere)
    assert collapsed(spec, theirs, theirs) == ""
    assert collapsed(spec, census(spec, drawn(kind, seed + 1), everywhere), theirs) == ""


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("binary", 0, "100.00% of their pixels are background, of people's "),
        ("binary", 1, "100.00% of their pixels are cell"),
        ("multiclass", 3, "pixels are class 2"),
        ("multiclass", 0, "pixels are inconsistent"),
        ("multilabel", 0, "without alive"),
        ("multilabel", 1, "with dead"),
        ("regression", 0.25, "standard deviation 0 against "),
    ],
)
@given(seed=seeds)
def test_labels_of_one_value_have_collapsed(specs, kind, value, words, seed) -> None:
    spec, everywhere = specs[kind], torch.ones(4, 1, 6, 5, dtype=torch.bool)
    theirs = census(spec, drawn(kind, seed), everywhere)
    alike = torch.full_like(drawn(kind, seed), value)
    assert words in collapsed(spec, census(spec, alike, everywhere), theirs)
    # Where people drew nothing else either, that is no wonder.
    assert collapsed(spec, census(spec, alike, everywhere), census(spec, alike, everywhere)) == ""
    nothing = torch.zeros_like(everywhere)
    assert collapsed(spec, census(spec, alike, nothing), theirs) == "", "no pixel, no opinion"
    assert collapsed(spec, theirs, census(spec, alike, nothing)) == ""


@given(share=st.floats(0.001, 0.5), part=st.floats(0.0, 3.0))
def test_a_share_of_the_foreground_decides_and_not_its_amount(specs, share, part) -> None:
    theirs = torch.tensor([[1 - share, share]]).double() * 1e6
    made = torch.tensor([[1 - part * share, part * share]]).double() * 300
    if abs(part - LEFT) > 1e-6 and part * share < 0.5:
        assert bool(collapsed(specs["binary"], made, theirs)) == (part < LEFT)


def test_of_several_labels_all_that_people_use_have_to_collapse(specs) -> None:
    theirs = torch.tensor([[80.0, 20.0], [95.0, 5.0]])
    one = torch.tensor([[100.0, 0.0], [96.0, 4.0]])
    both = torch.tensor([[100.0, 0.0], [100.0, 0.0]])
    assert collapsed(specs["multilabel"], one, theirs) == ""
    found = collapsed(specs["multilabel"], both, theirs)
    assert "without alive, of people's 80.00%; " in found and "without dead" in found
    unused = torch.tensor([[80.0, 20.0], [100.0, 0.0]])
    assert "without alive" in collapsed(specs["multilabel"], both, unused)
    assert "dead" not in collapsed(specs["multilabel"], both, unused)


def test_numbers_collapse_in_their_own_unit(specs) -> None:
    """Of 1000 numbers with mean 0.5 and standard deviations 0.2 and 0.001; a range of 4 m."""

    def moments(deviation: float) -> torch.Tensor:
        return torch.tensor([[1000.0, 500.0, 1000 * (0.25 + deviation**2)]]).double()

    found = collapsed(specs["regression"], moments(0.001), moments(0.2))
    assert (
        found
        == "they hardly vary (standard deviation 0.004 against 0.8 m of labels that people made)"
    )
    assert collapsed(specs["regression"], moments(0.005), moments(0.2)) == ""


@pytest.mark.parametrize(
    ("kind", "least", "greatest", "words"),
    [
        ("binary", [0], [0], "nothing but background"),
        ("binary", [1], [1], "nothing but cell"),
        ("binary", [0], [1], ""),
        ("multiclass", [1], [1], "nothing but class 0"),
        ("multiclass", [0], [0], "nothing but inconsistent"),
        ("multiclass", [2], [4], ""),
        ("multilabel", [0, 0], [0, 0], "no label at all"),
        ("multilabel", [0, 1], [0, 1], "everywhere dead"),
        ("multilabel", [1, 1], [1, 1], "everywhere alive and dead"),
        ("multilabel", [0, 0], [0, 1], ""),
        ("regression", [0.5], [0.5], ""),
    ],
)
def test_what_is_predicted_everywhere_has_the_users_name(specs, kind, least, greatest, words):
    ends = (torch.tensor(each, dtype=torch.float32) for each in (least, greatest))
    assert sole_value(specs[kind], *ends) == words


def test_marks_that_are_redrawn_say_nothing_about_collapse(multilabel) -> None:
    spec = multilabel("alive", "dead", "position").spec
    theirs = torch.tensor([[80.0, 20.0], [95.0, 5.0], [97.0, 3.0]])
    made = torch.tensor([[100.0, 0.0], [100.0, 0.0], [70.0, 30.0]])
    assert "without dead" in collapsed(spec, made, theirs)
