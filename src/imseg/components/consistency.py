"""Learning from two disturbed views of an unlabeled image without giving it a label."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

Level = Literal["low", "mid", "high"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consistency:
    """The best start network learns on: labels, and the same output for two views of an image.

    Source: METHOD, "Consistency Loss".
    """

    weight: float = field(default=1.0, metadata={"option": "consistency_weight"})
    """How much the difference of the views counts, beside 1 for labeled images."""
    ramp: int = field(default=0, metadata={"option": "consistency_ramp"})
    """Epochs in which the weight rises to what it is; 0: it is that at once."""
    level: Level = field(default="mid", metadata={"option": "consistency_level"})
    """How strongly views are disturbed."""
    epochs_times: int = 2
    """Epochs, as a multiple of those of the start: 100 in the paper, where the start has 50."""

    def __post_init__(self) -> None:
        if self.weight < 0 or self.ramp < 0 or self.level not in get_args(Level):
            raise ValueError("weight and ramp cannot be negative; the level is low, mid or high")

    def __str__(self) -> str:
        rising = f", rising over {self.ramp} epochs" if self.ramp else ""
        return (
            f"two views of an unlabeled image ({self.level} disturbance) are to give the same"
            f" output, with weight {self.weight:g}{rising}"
        )
