"""How a run's networks see images: as they are, flipped, turned; whole or at a scale."""

from collections.abc import Iterable
from dataclasses import dataclass

from imseg.approaches.planning.plan import Plan
from imseg.data.files.listing import counted, subject
from imseg.data.images.pixel_size import ALIKE
from imseg.errors import ImsegError, and_more
from imseg.ops.augment import Move
from imseg.types import Image

SECONDS_PER_IMAGE = 1.0
"""Seconds that an image may take in all orientations for them to be used unasked."""

LEAST_SCALE, MOST_SCALE = 0.01, 8.0
"""The scales at which images may be seen."""

LEAST_BY_PIXELS, MOST_BY_PIXELS = 1 / 64, 4.0
"""The scales at which images may be seen by the sizes of their pixels."""


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


def check_pixel_sizes(plan: Plan, images: Iterable[Image]) -> None:
    """Check that no image is seen at a scale beyond reason because of the size of its pixels.

    Args:
        plan: Of the run.
        images: What will be seen as in training.

    Raises:
        ImsegError: If one is.
    """
    if plan.tiles is None or plan.tiles.pixel_size is None:
        return
    odd = []
    for image in images:
        scale = plan.tiles.at(image.pixel_size).scale
        if image.pixel_size is not None and not LEAST_BY_PIXELS <= scale <= MOST_BY_PIXELS:
            odd.append(f"{image.name} (pixels of {image.pixel_size:.3g} um: scale {scale:.2g})")
    if odd:
        unit = plan.tiles.pixel_size / plan.tiles.scale
        raise ImsegError(
            f"{subject(len(odd), 'image')} out of scale by the size of pixels.",
            expected=f"scales from 1/64 to {MOST_BY_PIXELS:g}: pixels of"
            f" {LEAST_BY_PIXELS * unit:.3g} to {MOST_BY_PIXELS * unit:.3g} um here.",
            got=f"{and_more(odd)}.",
            hint="if a size is wrong, say the right one: pixel_size in imseg.toml, or --pixel-size"
            " of imseg predict. Else leave such images out.",
        )


def pixel_size_notes(plan: Plan, images: Iterable[Image]) -> list[str]:
    """Return what there is to say about images that are seen at other scales than most in training.

    Args:
        plan: Of the run.
        images: What will be seen as in training.
    """
    tiles, known = plan.tiles, plan.pixel_sizes
    if tiles is None or known is None:
        return []
    every = [image.pixel_size for image in images]
    ratios = sorted(size / known.reference for size in every if size is not None)
    other = [ratio for ratio in ratios if not 1 / ALIKE <= ratio <= ALIKE]
    unknown, notes = every.count(None), []
    usual = (
        f"{known.least:.3g} to {known.greatest:.3g}" if known.differ else f"{known.reference:.3g}"
    )
    if other:
        low, high = (known.reference * ratio for ratio in (other[0], other[-1]))
        sizes = f"{low:.3g}" + f" to {high:.3g}" * (high > ALIKE * low)
        times = f"{other[0]:.2g}" + f" to {other[-1]:.2g}" * (high > ALIKE * low)
        notes.append(
            f"{counted(len(other), 'picture has', 'pictures have')} pixels of {sizes} um, those for"
            f" training had {usual}: seen at {times} times the scale {tiles.scale:.2g}, which is"
            f" for {known.reference:.3g} um. --pixel-size says it where files are wrong."
        )
    if unknown and known.differ:
        notes.append(
            f"{counted(unknown, 'picture does', 'pictures do')} not say how large pixels are, those"
            f" for training had {usual} um: seen as if of {known.reference:.3g} um. --pixel-size"
            " says it."
        )
    return notes


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
