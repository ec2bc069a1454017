"""Disturbed copies as a training makes them on its device, for measurements of what they cost."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from imseg.engine.placement import placement_for, send_together
from imseg.engine.question import Question
from imseg.ops import disturb, together
from imseg.ops.treatment import Treatment, extent_of, treatment_of


def disturb_as_trained(
    pixels: Tensor, targets: Tensor, mask: Tensor, names: Sequence[int], *, asked: Question
) -> None:
    """Disturb a batch in the way of its device: in groups, or together.

    Args:
        pixels: ``b c h w`` bytes.
        targets: ``b t h w``.
        mask: ``b 1 h w``, of pixels that stay black.
        names: A seed for each image.
        asked: How far, and where.
    """
    placement = placement_for(asked.numerics.device)
    strength, square = asked.strength, asked.size[0] == asked.size[1]
    if not placement.together:
        disturb.disturb(
            pixels,
            targets,
            mask,
            seeds=names,
            strength=strength,
            rotate=True,
            paper=asked.paper,
            black=not asked.paper,
        )
        return
    drawn = disturb.draw(names, strength, rotate=True, square=square)
    columns = {**treatment_of(drawn).tensors(), "black": torch.ones(len(names)).bool()}
    there = send_together(columns, asked.numerics.device, pinned=placement.pinned)
    black = there.pop("black")
    together.apply(
        pixels,
        Treatment(**there),
        extent=extent_of(strength, rotate=True, square=square),
        targets=targets,
        mask=mask,
        black=None if asked.paper else black,
        paper=asked.paper,
    )
