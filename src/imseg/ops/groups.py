"""Rows of a batch that are treated alike, treated together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor


def change_in_groups(
    batch: Tensor,
    treatments: Sequence[Hashable],
    change: Callable[[Tensor, list[int]], Tensor],
    *,
    at_once: int | None = None,
) -> Tensor:
    """Return a batch after a change of every row, those of equal treatment together.

    Args:
        batch: Rows without gaps in memory; not changed itself.
        treatments: One a row; rows with equal ones may be changed together.
        change: From some rows and their numbers, all of one treatment, to the changed rows; it must
            not write into what it gets.
        at_once: The most rows that are changed together; all when None.
    """
    rows_of: dict[Hashable, list[int]] = {}
    for row, treatment in enumerate(treatments):
        rows_of.setdefault(treatment, []).append(row)
    changed: list[Tensor] = []
    order: list[int] = []
    for rows in rows_of.values():
        most = at_once or len(rows)
        for first in range(0, len(rows), most):
            some = rows[first : first + most]
            changed.append(change(take(batch, some), some))
            order += some
    if not changed:
        return batch.clone()
    place_of = {row: place for place, row in enumerate(order)}
    back = [place_of[row] for row in range(len(order))]
    # Joined and then sorted: writing each group to its rows takes far longer on a CPU.
    return take(torch.cat(changed), back)


def take(batch: Tensor, rows: list[int]) -> Tensor:
    """Return these rows: a part of the same memory where they follow each other."""
    if rows == list(range(rows[0], rows[0] + len(rows))):
        return batch[rows[0] : rows[0] + len(rows)]
    return batch.index_select(0, torch.tensor(rows, device=batch.device))
