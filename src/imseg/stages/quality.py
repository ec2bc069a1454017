"""Judges of masks: networks that say how good a mask is without seeing the truth (EvalNet)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

LEAST_LABELED = 8
"""Labeled images below which judges are not trained."""
LEAST_VALIDATION = 4
"""Validation images below which nobody could say whether they are any good."""

LearnsFrom = Literal["consensus", "predictions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """How judges are trained; once a run, before the first generation.

    Source: METHOD, "EvalNet".
    """

    learns_from: LearnsFrom = "consensus"
    """Blocked consensus of random start networks, or single unblocked predictions and the truth."""
    rounds: int = 10
    """How often each labeled image is used, if judges learn from consensus."""
    rounds_validation: int = 3
    """The same for validation images."""
    networks_validation: int = 3
    """Networks of each start whose predictions on validation images are judged, if judges learn
    from predictions."""
    epochs: int = 50
    """Passes over its samples, at most."""

    def __str__(self) -> str:
        sources = {
            "consensus": "what random start networks agree on",
            "predictions": "what single networks predict, and from the truth",
        }
        return f"judges of masks (EvalNet) that learn from {sources[self.learns_from]}"


def enough_for_judges(labeled: int, validation: int) -> bool:
    """Return whether there are enough images to train judges and to choose them by."""
    return labeled >= LEAST_LABELED and validation >= LEAST_VALIDATION


class Appraisal(Protocol):
    """How good the pseudo-labels of the admitted images are, by judges or by the truth."""

    @property
    def thresholds(self) -> tuple[float, float]:
        """The scores from which on a mask is good, and very good; 0..1."""

    def scores(self) -> Float[Tensor, "b"]:
        """Return the mean IoU of each label: what judges expect, or what it is; 0..1."""


LOW, HIGH = 0.5, 0.9
"""Quantiles of the scores of predictions for validation images: the thresholds of a user's own
data, for which there are no published ones."""


def thresholds_from(scores: Float[Tensor, "n"]) -> tuple[float, float]:
    """Return the scores above which a mask is good, and very good.

    Args:
        scores: Of predictions for validation images, at least one.
    """
    low, high = torch.quantile(scores.double(), torch.tensor([LOW, HIGH], dtype=torch.double))
    return float(low), float(high)
