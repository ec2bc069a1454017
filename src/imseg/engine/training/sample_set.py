"""Pictures that a network learns from: where they lie, which are used, how they are disturbed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imseg.ops.inconsistency import BlockColor
from imseg.ops.photometric import Strength


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Disturbed copies of a part's images, made when they are needed and never stored."""

    count: int
    """Copies of each image; 0: each image is disturbed anew whenever it is looked at."""
    strength: Strength
    """How far an image may be pushed."""
    rotate: bool
    """Whether images are also turned and flipped upside down, not only left to right."""
    seed: int
    """Equal seeds, equal copies; not used where images are disturbed anew."""
    plain: bool = True
    """Whether the images as they are belong to the samples too."""
    counts: tuple[int, ...] | None = None
    """Copies of each of the part's images in the order of its indices, where they differ; ``count``
    is then the largest of them."""
    fresh: bool = False
    """Whether each look at a copy draws it anew, for each network in its own way; there are as many
    samples as without."""
    reblock: bool | None = None
    """Whether blocked pixels get their color again after a copy was disturbed; None: unless the
    disturbances are those of the reference."""

    def __post_init__(self) -> None:
        if self.counts is not None and (self.count < 1 or max(self.counts, default=0) > self.count):
            raise ValueError("count is the largest of the counts, and at least 1")

    @property
    def online(self) -> bool:
        """Whether each look at an image disturbs it anew."""
        return self.count == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSet:
    """Some images and their targets: the labeled ones, or the pseudo-labeled ones."""

    images: Path
    """``n h w c`` unsigned bytes (.npy)."""
    targets: Path
    """``n t h w`` bytes or floats (.npy)."""
    digest: str
    """Hash of the content of both, of ``inconsistent`` and of ``qualities``."""
    indices: tuple[int, ...]
    """Which of the n targets are used."""
    inconsistent: Path | None = None
    """``n 1 h w`` unsigned bytes, 1 where teachers disagreed (.npy); None for human labels."""
    blocks_input: bool = True
    """Whether inconsistent pixels are blocked in the image."""
    blocks_output: bool = True
    """Whether inconsistent pixels are 0 in the target."""
    ignores: bool = False
    """Whether inconsistent pixels have no weight in the loss."""
    copies: Copies | None = None
    """Disturbed copies of the images; None: the images as they are."""
    shows: tuple[int, ...] | None = None
    """The stored image that each target belongs to, where an image has several targets; None: the
    n-th target belongs to the n-th image."""
    qualities: Path | None = None
    """``n r k`` floats 0..1 that a mask scorer is to say about each target (.npy); None where no
    mask scorer is trained."""
    block_color: BlockColor = "black"
    """What blocked pixels of the image become."""

    @property
    def samples(self) -> int:
        """Training samples in an epoch: images and their copies."""
        images = len(self.indices)
        if self.copies is None or self.copies.online:
            return images
        counts = self.copies.counts
        copies = images * self.copies.count if counts is None else sum(counts)
        return copies + images * self.copies.plain

    def reblocks(self, *, paper: bool) -> bool:
        """Return whether blocked pixels of disturbed copies get their color again.

        Args:
            paper: Whether the disturbances are those of the reference.
        """
        if self.copies is None or not self.blocks_input:
            return False
        asked = self.copies.reblock
        return not paper if asked is None else asked

    def image_row(self, index: int) -> int:
        """Return the row of the stored image that a target belongs to."""
        return index if self.shows is None else self.shows[index]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlabeledViews:
    """Unlabeled images, and how far each of two augmented views of them may be pushed."""

    images: Path
    """``n h w c`` unsigned bytes (.npy)."""
    digest: str
    """Hash of their content."""
    indices: tuple[int, ...]
    """Which of the n are used."""
    strength: Strength
    """How far the first view may be pushed; both views share one move."""
    other: Strength | None = None
    """How far the second view may be pushed; None: as far as the first."""
    moves: bool
    """Whether views are flipped and rotated, both alike."""
    rotate: bool
    """Whether, if so, all eight moves are allowed, not only left to right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialWeights:
    """Weights that a network begins with."""

    weights: Path
    """A safetensors file."""
    digest: str
    """Digest of the job that trained them."""


def content_of(data: SampleSet | UnlabeledViews | InitialWeights) -> dict[str, Any]:
    """Return what decides a result, as plain values: content, not places."""
    plain = asdict(data)
    for place in ("images", "targets", "inconsistent", "qualities", "weights"):
        plain.pop(place, None)
    return plain
