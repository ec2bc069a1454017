"""Labels of images by which a split is made even."""

from __future__ import annotations

from collections.abc import Sequence

GROUPS = 4
"""Groups into which images are sorted by how much they show."""


def quarters(amounts: Sequence[float]) -> list[frozenset[int]]:
    """Return for each image its quarter (0..3) by an amount of something; none where it is 0."""
    marked = sorted(
        (i for i, amount in enumerate(amounts) if amount > 0 or amount < 0),
        key=lambda i: amounts[i],
    )
    found = {index: rank * GROUPS // len(marked) for rank, index in enumerate(marked)}
    return [frozenset({found[i]}) if i in found else frozenset() for i in range(len(amounts))]
