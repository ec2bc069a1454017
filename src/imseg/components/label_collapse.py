"""Whether pseudo-labels still show what people's labels show."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from imseg.components.consensus import PseudoLabelBatch
from imseg.data.cache.store import gather, open_array
from imseg.engine.inference.predictor import BATCH
from imseg.engine.training.sample_set import SampleSet
from imseg.tasks.collapse import census, collapsed
from imseg.types import TargetSpec


class LabelCensus:
    """Counts what the pseudo-labels of one generation show, while they are made.

    Counted are the pixels that are learned from as they are: the consistent ones of admitted
    images.

    Args:
        spec: What values mean.
    """

    def __init__(self, spec: TargetSpec) -> None:
        self._spec = spec
        self._made: Float[Tensor, "t n"] | None = None

    def __call__(
        self, start: int, agreement: PseudoLabelBatch, admitted: Bool[Tensor, "b"]
    ) -> None:
        """Count the labels of a batch of images."""
        chosen = admitted.to(agreement.labels.device)
        found = census(self._spec, agreement.labels[chosen], ~agreement.inconsistent[chosen])
        self._made = found if self._made is None else self._made + found

    def lost(self, drawn: Float[Tensor, "t n"]) -> str:
        """Return in words what was lost of the variety of people's labels; empty if little.

        Args:
            drawn: The census of the labels that people made.
        """
        return "" if self._made is None else collapsed(self._spec, self._made, drawn)


def census_of(part: SampleSet, spec: TargetSpec) -> Float[Tensor, "t n"]:
    """Return the census of the labels of a part; all their pixels count.

    Args:
        part: What people labeled.
        spec: What values mean.
    """
    targets, total = open_array(part.targets), torch.zeros(())
    for start in range(0, len(part.indices), BATCH):
        rows = np.array(part.indices[start : start + BATCH])
        planes = torch.from_numpy(gather(targets, rows))
        everywhere = torch.ones_like(planes[:, :1], dtype=torch.bool)
        total = total + census(spec, planes, everywhere)
    return total
