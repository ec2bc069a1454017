"""What the paper uses on each of its data sets: one table.

Source: METHOD, "Disturbances", "EvalNet", "Networks" and "Data sets".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from imseg.engine.training.objectives.objective import Level
from imseg.ops.photometric import STRENGTH_SCHEDULES, Strength
from imseg.types import Kind

Published = Literal["isic2018", "hela", "suim", "cityscapes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperSettings:
    """The published settings for one data set."""

    kind: Kind
    """What its masks hold."""
    image_size: tuple[int, int]
    """Height and width in pixels at which networks work."""
    widths: tuple[float, float, float, float, float]
    """The paper's alpha in generations 1 to 5 where networks grow; the first is that of all other
    networks."""
    rotate: bool
    """Whether augmented images are turned and flipped upside down."""
    schedule: tuple[Strength, ...]
    """How strongly noisy copies are augmented in generations 1 to 5."""
    labeled_copies: Strength
    """How strongly copies of labeled images are augmented."""
    consistency: Mapping[Level, Strength]
    """How strongly the views of Consistency Loss are augmented."""
    views: Strength
    """How strongly the views of Input Ensemble are augmented."""
    scorer_samples: Strength
    """How strongly EvalNet's samples are augmented."""
    thresholds: tuple[float, float]
    """EvalNet scores above which a mask is good, and very good."""
    accepts: Literal["low", "high"] = "high"
    """The threshold from which on the EvalNet approach takes a mask."""
    scorers_ranked_by: Mapping[str, str] = field(default_factory=dict)
    """What approaches rank EvalNets by, if not by the error of the IoU."""
    least_share: Mapping[str, float] = field(default_factory=lambda: {"gt-im++": 1.0})
    """Share of the full training set's steps that an epoch of an approach has at least."""


_CONSISTENCY: Mapping[Level, Strength] = {
    "low": Strength(blur=1, noise=10, gain=0.15, offset=10),
    "mid": Strength(blur=2, noise=17, gain=0.3, offset=17),
    "high": Strength(blur=3, noise=25, gain=0.5, offset=25),
}
_SUIM = PaperSettings(
    kind="multiclass",
    image_size=(256, 256),
    widths=(1.0, 1.25, 1.5, 1.75, 2.0),
    rotate=False,
    schedule=STRENGTH_SCHEDULES["default"],
    labeled_copies=Strength(blur=3, noise=25, gain=0.5, offset=25),
    consistency=_CONSISTENCY,
    views=Strength(blur=1, noise=15, gain=0.3, offset=15),
    scorer_samples=Strength(blur=1, noise=10, gain=0.2, offset=10),
    thresholds=(0.43, 0.51),
    scorers_ranked_by=dict.fromkeys(("im++", "aim++"), "loss"),
    least_share={"gt-im++": 1.0, "evalnet": 1 / 3},
)

PAPER: Mapping[Published, PaperSettings] = {
    "isic2018": PaperSettings(
        kind="binary",
        image_size=(256, 256),
        widths=(0.5, 0.75, 1.0, 1.25, 1.5),
        rotate=True,
        schedule=STRENGTH_SCHEDULES["default"],
        labeled_copies=Strength(blur=3, noise=25, gain=0.5, offset=25),
        consistency=_CONSISTENCY,
        views=Strength(blur=3, noise=25, gain=0.5, offset=25),
        scorer_samples=Strength(blur=3, noise=20, gain=0.4, offset=20),
        thresholds=(0.72, 0.75),
    ),
    "hela": replace(
        _SUIM,
        kind="multilabel",
        rotate=True,
        schedule=STRENGTH_SCHEDULES["hela"],
        labeled_copies=Strength(blur=3, noise=25, gain=0.3, offset=15),
        thresholds=(0.59, 0.62),
        accepts="low",
        scorers_ranked_by={},
    ),
    "suim": _SUIM,
    "cityscapes": replace(
        _SUIM,
        image_size=(208, 416),
        schedule=STRENGTH_SCHEDULES["cityscapes"],
        labeled_copies=Strength(blur=1, noise=15, gain=0.4, offset=15),
        consistency={
            "low": Strength(blur=0, noise=3, gain=0.05, offset=3),
            "mid": Strength(blur=0, noise=9, gain=0.2, offset=9),
            "high": Strength(blur=1, noise=15, gain=0.4, offset=15),
        },
        thresholds=(0.372, 0.453),
    ),
}
"""What is not named is as for SUIM."""


def nearest_published(schedule: str, kind: Kind) -> Published:
    """Return the data set whose strengths are taken for a user's own images.

    Args:
        schedule: ``default``, or the name of a ladder that is that of one data set alone.
        kind: What the user's masks hold.
    """
    if schedule == "hela":
        return "hela"
    if schedule == "cityscapes":
        return "cityscapes"
    return "isic2018" if kind == "binary" else "suim"
