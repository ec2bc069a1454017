"""In which orientations a run's networks see images: as they are, flipped, turned."""

from dataclasses import dataclass

from imseg.ops.augment import Move

SECONDS_PER_IMAGE = 1.0
"""Seconds that an image may take in all orientations for them to be used unasked."""


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
