"""Rows of a large picture are let go when nothing needs them any more."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imseg.data.images.by_rows import PictureRows
from imseg.data.images.decoding import resize_image
from imseg.engine.inference.large import Rows, ahead, is_large, scaled_rows


def chunks_of(values: np.ndarray, heights: list[int]) -> Iterator[np.ndarray]:
    at = 0
    while at < len(values):
        for height in heights:
            if at < len(values):
                yield values[at : at + height].copy()
                at += height


@given(
    heights=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    steps=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 12)), min_size=1, max_size=9),
    axis=st.sampled_from([0, 1]),
)
def test_any_rows_can_be_had_from_top_to_bottom(heights, steps, axis) -> None:
    values = np.arange(60 * 2).reshape(60, 2)
    chunks = (each if axis == 0 else each[None] for each in chunks_of(values, heights))
    rows, start = Rows(chunks, axis=axis), 0
    for ahead_by, count in steps:
        start = min(start + ahead_by, 47)
        found = rows.get(start, start + count)
        np.testing.assert_array_equal(found if axis == 0 else found[0], values[start:][:count])
    with pytest.raises(ValueError, match="60 rows, not 61"):
        rows.get(start, 61)


def test_rows_before_those_that_were_asked_for_are_let_go() -> None:
    made: list[weakref.ref[np.ndarray]] = []

    def chunks() -> Iterator[np.ndarray]:
        for number in range(100):
            chunk = np.full((10, 4), number)
            made.append(weakref.ref(chunk))
            yield chunk
            del chunk

    rows = Rows(chunks(), axis=0)
    for start in range(0, 960, 8):  # never at the edge of a chunk alone
        assert rows.get(start, start + 40)[0, 0] == start // 10
        assert sum(each() is not None for each in made) <= 6
    with pytest.raises(ValueError, match="row 3 was given away"):
        rows.get(3, 970)


@pytest.mark.parametrize("size", [(50, 30), (7, 90), (150, 64), (203, 31), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_picture_is_scaled_as_if_it_were_whole(size, channels, monkeypatch) -> None:
    monkeypatch.setattr("imseg.engine.inference.large.VALUES", 20_000)
    values = np.random.default_rng(1).integers(0, 256, (203, 64, channels), dtype=np.uint8)
    picture = PictureRows((203, 64), chunks_of(values, [16]))
    parts = list(scaled_rows(picture, size))
    assert len(parts) > 1 or size[0] < 10 or size == (203, 64)
    found, whole = np.concatenate(parts), resize_image(values, size)
    assert found.shape == whole.shape
    assert np.abs(found.astype(int) - whole).max() <= 1, "but for rounding"


def test_what_is_made_ahead_ends_and_fails_alike() -> None:
    assert [int(each[0]) for each in ahead(iter([np.array([n]) for n in range(5)]))] == [*range(5)]

    def failing() -> Iterator[np.ndarray]:
        yield np.zeros(1)
        raise OSError("gone")

    made = ahead(failing())
    next(made)
    with pytest.raises(OSError, match="gone"):
        next(made)


def test_pictures_are_large_by_what_they_hold() -> None:
    assert not is_large((4000, 4000), 3) and is_large((4001, 4001), 3)
    assert is_large((2048, 2048), 12)
