"""How a run's networks see images: as they are, flipped, turned; whole or at a scale."""

from dataclasses import dataclass

from imseg.approaches.planning.plan import Plan
from imseg.errors import ImsegError
from imseg.ops.augment import Move

SECONDS_PER_IMAGE = 1.0
"""Seconds that an image may take in all orientations for them to be used unasked."""

LEAST_SCALE, MOST_SCALE = 0.01, 8.0
"""The scales at which images may be seen."""


def check_scale(plan: Plan, scale: float | None) -> None:
    """Check that the networks of a run can see images at a scale.

    Args:
        plan: Of the run.
        scale: 0 for whole images; None for what the run does by itself.

    Raises:
        ImsegError: If they cannot.
    """
    if scale is None:
        return
    if scale != 0 and not LEAST_SCALE <= scale <= MOST_SCALE:
        raise ImsegError(
            "--scale is out of range.",
            expected=f"0 (each picture is seen whole), or {LEAST_SCALE:g} to {MOST_SCALE:g}.",
            got=f"{scale:g}.",
            hint="--scale 0.5 shows networks pictures at half their size.",
        )
    if scale == 0 and plan.tiles is not None:
        raise ImsegError(
            "This run never saw a picture whole.",
            expected="a scale: its networks learned from windows of pictures at scale"
            f" {plan.tiles.scale:.2g}.",
            got="--scale 0.",
            hint="leave it out.",
        )
    if scale > 0 and plan.scheme is None:
        raise ImsegError(
            "This run does not know at which scale it learned.",
            expected="a run of this version, which writes down how large its images were.",
            got=f"--scale {scale:g}.",
            hint="leave it out, or train again.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Orientations:
    """In which orientations images are predicted, and what was measured to decide that."""

    moves: tuple[Move, ...]
    """The mean over these is predicted; the one that changes nothing alone: no mean is made."""
    too_slow: float | None = None
    """Seconds that an image would take here in all orientations, where they are left out because of
    that; else None."""

    @property
    def tta(self) -> bool:
        """Whether predictions are averaged over orientations."""
        return len(self.moves) > 1

    @property
    def text(self) -> str:
        """What there is to say about it; empty where images are seen as they are."""
        count = len(self.moves)
        if self.too_slow is not None:
            return (
                "each image is seen as it is; flipped and turned too, it would take"
                f" {self.too_slow:.1f} s here (--tta does that: often a little better)"
            )
        if not self.tta:
            return ""
        return (
            f"each image is seen in {count} orientations; --no-tta is about {count} times as fast"
        )
