"""What a network learns from: where images lie and which are used, and what one step sees."""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.training import seeds
from imseg.ops.inconsistency import BlockColor
from imseg.ops.photometric import Strength
from imseg.ops.tiling import Tiling
from imseg.tasks import Planes

LATER = ("window", "mosaic")
"""Fields that say nothing where they are None: sets of earlier versions stay what they were."""
FILES = ("images", "targets", "inconsistent", "qualities")
"""The fields of a sample set that name files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Augmented copies of a part's images, made when they are needed and never stored."""

    count: int
    """Copies of each image; 0: each image is augmented anew whenever it is looked at."""
    strength: Strength | None
    """How far an image may be pushed; None: copies are the image itself, which is augmented at
    every look by the recipe."""
    rotate: bool
    """Whether images are also turned and flipped upside down, not only left to right."""
    seed: int
    """Equal seeds, equal copies; not used where images are augmented anew."""
    plain: bool = True
    """Whether the images as they are belong to the samples too."""
    counts: tuple[int, ...] | None = None
    """Copies of each of the part's images in the order of its indices, where they differ; ``count``
    is then the largest of them."""
    fresh: bool = False
    """Whether each look at a copy draws it anew, for each network in its own way; there are as many
    samples as without."""
    reblock: bool | None = None
    """Whether blocked pixels get their color again after a copy was augmented; None: unless the
    augmentations are those of the reference."""

    def __post_init__(self) -> None:
        if self.counts is not None and (self.count < 1 or max(self.counts, default=0) > self.count):
            raise ValueError("count is the largest of the counts, and at least 1")

    @property
    def online(self) -> bool:
        """Whether each look at an image augments it anew."""
        return self.count == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mosaic:
    """How the rows of a stored array are tiles of images, image after image."""

    sizes: tuple[tuple[int, int], ...]
    """Height and width of each image."""
    tile: tuple[int, int]
    """Those of every tile."""
    step: tuple[int, int]
    """The most pixels between the corners of neighbors."""

    @property
    def tiling(self) -> Tiling:
        """How each image was cut."""
        return Tiling(self.tile, self.step)

    @property
    def rows(self) -> list[tuple[int, ...]]:
        """The rows of each image, counted from the first row of the first."""
        ends = list(itertools.accumulate(self.tiling.count(size) for size in self.sizes))
        return [tuple(range(*each)) for each in itertools.pairwise([0, *ends])]


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
    """Augmented copies of the images; None: the images as they are."""
    shows: tuple[int, ...] | None = None
    """The stored image that each target belongs to, where an image has several targets; None: the
    n-th target belongs to the n-th image."""
    qualities: Path | None = None
    """``n r k`` floats 0..1 that a mask scorer is to say about each target (.npy); None where no
    mask scorer is trained."""
    block_color: BlockColor = "black"
    """What blocked pixels of the image become."""
    window: tuple[int, int] | None = None
    """Height and width of the part of an image that is learned from, anywhere in it at each look;
    None: all of it."""
    mosaic: Mosaic | None = None
    """How rows are tiles of larger images; None: each is an image."""

    @property
    def samples(self) -> int:
        """Training samples in an epoch: images and their copies."""
        images = len(self.indices)
        if self.copies is None or self.copies.online:
            return images
        counts = self.copies.counts
        copies = images * self.copies.count if counts is None else sum(counts)
        return copies + images * self.copies.plain

    def reblocks(self, *, paper: bool, anew: bool = False) -> bool:
        """Return whether blocked pixels of augmented images get their color again.

        Args:
            paper: Whether the augmentations are those of the reference.
            anew: Whether all samples are augmented, not only copies.
        """
        if not self.blocks_input or (self.copies is None and not anew):
            return False
        asked = None if self.copies is None else self.copies.reblock
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
    window: tuple[int, int] | None = None
    """Height and width of the part of an image that both views show, anywhere in it at each look;
    None: all of it."""


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
    left_out = {*FILES, "weights", *(name for name in LATER if plain.get(name) is None)}
    return {name: value for name, value in plain.items() if name not in left_out}


@dataclass(frozen=True, slots=True)
class Batch:
    """Images and targets on the device."""

    images: Float[Tensor, "b c h w"]
    """0..1."""
    targets: Planes
    """Inside numbering."""
    weight: Float[Tensor, "b 1 h w"] | None
    """0 where the loss ignores a pixel; None if nothing is ignored."""
    qualities: Float[Tensor, "b r k"] | None = None
    """What a mask scorer is to say about the targets; None where none is trained."""

    def __len__(self) -> int:
        return int(self.images.shape[0])

    def split(self, sizes: Sequence[int]) -> "list[Batch]":
        """Return the samples in their order, in batches of these sizes: the same memory."""
        pieces = [
            [None] * len(sizes) if each is None else each.split(list(sizes))
            for each in (self.images, self.targets, self.weight, self.qualities)
        ]
        return [Batch(*each) for each in zip(*pieces, strict=True)]

    @classmethod
    def joined(cls, pieces: "Sequence[Batch]") -> "Batch":
        """Return the samples of pieces with the same fields one after another."""
        if len(pieces) == 1:
            return pieces[0]
        whole: dict[str, Any] = {}
        for name in (each.name for each in fields(cls)):
            column = [getattr(piece, name) for piece in pieces]
            whole[name] = None if column[0] is None else torch.cat(column)
        return cls(**whole)


def as_input(pixels: UInt8[Tensor, "b c h w"], compute: ComputeConfig) -> Float[Tensor, "b c h w"]:
    """Return bytes as images with values 0..1 in the memory format of the network."""
    return pixels.float().div_(255).contiguous(memory_format=compute.memory_format)


PLAIN = -1
"""Stands for the image as it is where copies are numbered from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRefs:
    """Which samples are wanted, one row per sample."""

    sample_set: Int64[Tensor, "b"]
    """Number of its sample set."""
    row: Int64[Tensor, "b"]
    """Its row among the targets of the sample set."""
    copy: Int64[Tensor, "b"]
    """Number of the copy, or ``PLAIN``."""
    look: Int64[Tensor, "b"]
    """How often it was taken before."""

    def __len__(self) -> int:
        return int(self.row.shape[0])

    def where(self, chosen: Bool[Tensor, "b"] | Int64[Tensor, "n"]) -> "SampleRefs":
        """Return some of the samples."""
        return SampleRefs(**{each.name: getattr(self, each.name)[chosen] for each in fields(self)})

    @classmethod
    def joined(cls, batches: "Sequence[SampleRefs]") -> "SampleRefs":
        """Return the samples of at least one batch one after another."""
        names = [each.name for each in fields(cls)]
        return cls(**{name: torch.cat([getattr(refs, name) for refs in batches]) for name in names})


class SampleIndex:
    """The samples of several sample sets under one running number.

    Args:
        sample_sets: What samples are made of.
        seed: Seed of augmentations that are new at every look.
    """

    def __init__(self, sample_sets: tuple[SampleSet, ...], *, seed: int) -> None:
        self.sample_sets = sample_sets
        """What samples are made of."""
        self.seed = seed
        """Seed of augmentations that are new at every look."""
        places = [_places_of(number, each) for number, each in enumerate(sample_sets)]
        self._places = torch.cat([torch.empty((0, 3), dtype=torch.long), *places])
        self._looks = torch.zeros(len(self._places), dtype=torch.long)

    def __len__(self) -> int:
        return int(self._places.shape[0])

    def refs(self, numbers: Int64[Tensor, "b"]) -> SampleRefs:
        """Return what running numbers stand for, set after set, and count the look."""
        places = self._places[numbers]
        order = places[:, 0].argsort(stable=True)
        sample_set, row, copy = places[order].unbind(dim=1)
        looks = (self._looks[numbers] + _seen_before(numbers))[order]
        self._looks.index_add_(0, numbers, torch.ones_like(numbers))
        return SampleRefs(sample_set=sample_set, row=row, copy=copy, look=looks)

    def numbers_of(self, rows: Sequence[Bool[Tensor, "n"]]) -> Int64[Tensor, "m"]:
        """Return the running numbers of samples made of some rows.

        Args:
            rows: Which of the targets of each sample set.
        """
        sample_set, row, _ = self._places.unbind(dim=1)
        wanted = torch.zeros(len(self), dtype=torch.bool)
        for number, chosen in enumerate(rows):
            own = sample_set == number
            wanted[own] = chosen[row[own]]
        return wanted.nonzero()[:, 0]

    def forget_looks(self) -> None:
        """Make the next look at each sample its first."""
        self._looks.zero_()

    def seeds_of(self, number: int, refs: SampleRefs) -> list[int | None]:
        """Return a seed for each sample of a sample set; None for an image as it is."""
        copies = self.sample_sets[number].copies
        if copies is None or copies.strength is None:
            return [None] * len(refs)
        columns = (each.tolist() for each in (refs.row, refs.copy, refs.look))
        places = zip(*columns, strict=True)
        if copies.online:
            return [seeds.derive(self.seed, "look", number, row, look) for row, _, look in places]
        return [
            None
            if copy == PLAIN
            else seeds.derive(
                copies.seed, "copy", row, copy, *((self.seed, look) if copies.fresh else ())
            )
            for row, copy, look in places
        ]


def _seen_before(numbers: Int64[Tensor, "b"]) -> Int64[Tensor, "b"]:
    """Return how often each number came before in the same batch."""
    order = numbers.argsort(stable=True)
    ordered = numbers[order]
    first = torch.searchsorted(ordered, ordered)
    before = torch.empty_like(numbers)
    before[order] = torch.arange(len(numbers)) - first
    return before


def _places_of(number: int, sample_set: SampleSet) -> Int64[Tensor, "n 3"]:
    """Return set, row and copy of its samples: all plain images, then all first copies, and so on.

    Tensors all along: tuples would take a hundred bytes per sample for a moment.
    """
    rows, copies = torch.tensor(sample_set.indices, dtype=torch.long), sample_set.copies
    if copies is None or copies.online:
        return _columns(number, rows, PLAIN)
    counts = torch.tensor(copies.counts or (copies.count,) * len(rows), dtype=torch.long)
    if len(counts) != len(rows):
        raise ValueError(f"{len(counts)} counts of copies for {len(rows)} images")
    most = int(counts.max()) if len(counts) else 0
    plain = [_columns(number, rows, PLAIN)] if copies.plain else []
    augmented = [_columns(number, rows[counts > copy], copy) for copy in range(most)]
    return torch.cat([torch.empty((0, 3), dtype=torch.long), *plain, *augmented])


def _columns(number: int, rows: Int64[Tensor, "n"], copy: int) -> Int64[Tensor, "n 3"]:
    return torch.stack([torch.full_like(rows, number), rows, torch.full_like(rows, copy)], dim=1)
