"""Objects told apart band by band are those of the whole picture."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from imseg.ops.same_objects import JoinedObjects


def blobs(seed: int, height: int = 120, width: int = 40) -> np.ndarray:
    """Return a label image of blobs of very different length."""
    generator = np.random.default_rng(seed)
    found = np.zeros((height, width), np.int64)
    for _ in range(generator.integers(1, 25)):
        row, column = generator.integers(0, height), generator.integers(0, width)
        long, wide = generator.integers(1, 50), generator.integers(1, 6)
        found[row : row + long, column : column + wide] = 1
    labels, _ = ndimage.label(found)
    return labels


def joined(labels: np.ndarray, step: int, around: int) -> tuple[np.ndarray, list[set[int]]]:
    """Cut a label image into bands, number each anew, and join them again."""
    join, parts, open_ones = JoinedObjects(), [], []
    for top in range(0, len(labels), step):
        stop = min(top + step, len(labels))
        first, last = max(0, top - around), min(len(labels), stop + around)
        seen = labels[first:last]
        shown = np.unique(seen[seen > 0])
        numbers = np.zeros(labels.max() + 1, int)
        numbers[shown] = np.random.default_rng(top).permutation(len(shown)) + 1
        following = stop if stop == len(labels) else max(0, stop - around)
        part, going_on = join.join(
            numbers[seen], first=first, top=top, stop=stop, next_first=following
        )
        parts.append(part)
        open_ones.append(going_on)
    return np.concatenate(parts), open_ones


@given(st.integers(0, 10**6), st.integers(5, 50), st.integers(1, 60))
def test_what_bands_see_alike_is_joined(seed: int, step: int, around: int) -> None:
    labels = blobs(seed)
    found, open_ones = joined(labels, step, around)
    pairs = {(a, b) for a, b in zip(labels.ravel().tolist(), found.ravel().tolist(), strict=True)}
    objects = len(np.unique(labels[labels > 0]))
    assert len(pairs - {(0, 0)}) == objects, "one number for one object, and none for two"
    assert sorted(set(np.unique(found).tolist()) - {0}) == list(range(1, objects + 1))
    rows = {n: np.flatnonzero((found == n).any(1)) for n in range(1, objects + 1)}
    for band, going_on in enumerate(open_ones):
        stop = (band + 1) * step
        crossing = {n for n, at in rows.items() if at[0] < stop <= at[-1]}
        assert crossing <= going_on and (stop < len(labels) or not going_on)


def test_objects_that_bands_see_otherwise_are_not_joined() -> None:
    join = JoinedObjects()
    above, below = np.zeros((12, 6), int), np.zeros((12, 6), int)
    above[2:12, :2] = 1  # rows 2..11; the band below sees two objects there
    below[0:4, :2], below[4:12, :2] = 1, 2  # rows 4..7 and 8..15
    first, _ = join.join(above, first=0, top=0, stop=8, next_first=4)
    second, _ = join.join(below, first=4, top=8, stop=16, next_first=16)
    assert set(np.unique(first)) == {0, 1} and set(np.unique(second)) == {0, 2}
