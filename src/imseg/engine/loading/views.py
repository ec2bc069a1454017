"""Two or more augmented views of each of some unlabeled images, moved alike."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from imseg.data.cache.store import gather, open_array
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.augmented_samples import SampleAugmenter, augment_views
from imseg.engine.loading.loader import warm_up
from imseg.engine.loading.rows import Placement, RowSet, cache_rows, placement_for, send
from imseg.engine.loading.samples import UnlabeledViews, as_input
from imseg.engine.training import seeds
from imseg.ops import augment, batched, photometric
from imseg.ops.limits import AugmentLimits


@dataclass(frozen=True, slots=True)
class Views:
    """Augmented views of the same images, moved alike, on the device."""

    each: tuple[Float[Tensor, "b c h w"], ...]
    """The views, 0..1."""
    inside: Bool[Tensor, "b 1 h w"] | None = None
    """Which pixels come from within their image, not from its reflection; None: all."""

    def __len__(self) -> int:
        return int(self.each[0].shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.each)

    def split(self, sizes: Sequence[int]) -> "list[Views]":
        """Return the samples in their order, in batches of these sizes: the same memory."""
        views = zip(*(view.split(list(sizes)) for view in self.each), strict=True)
        inside = [None] * len(sizes) if self.inside is None else self.inside.split(list(sizes))
        return [Views(*piece) for piece in zip(views, inside, strict=True)]


class ViewLoader:
    """Unlabeled images under running numbers, each augmented several times at every look.

    Args:
        unlabeled: Where they lie and how far they are pushed.
        compute: Device and memory format of the views.
        seed: Of the augmentations.
        paper: Augment as the reference does where it differs from us.
        placement: How views are made, which changes no number; by the device when None.
        limits: How far images are augmented, in place of the strengths: all views share one
            geometry, and each has values of its own. None: by the strengths.
        plain_first: Whether the first view is then only moved.
        count: Views of an image; those after the first are pushed as far as the second.
    """

    def __init__(
        self,
        unlabeled: UnlabeledViews,
        compute: ComputeConfig,
        *,
        seed: int,
        paper: bool = False,
        placement: Placement | None = None,
        limits: AugmentLimits | None = None,
        plain_first: bool = False,
        count: int = 2,
    ) -> None:
        self._unlabeled = unlabeled
        self._compute = compute
        self._seed = seed
        self._paper = paper
        self._placement = placement_for(compute.device) if placement is None else placement
        self._images = open_array(unlabeled.images)
        self._rows = torch.tensor(unlabeled.indices, dtype=torch.long)
        self._looks = torch.zeros(len(unlabeled.indices), dtype=torch.long)
        self._square = self._images.shape[1] == self._images.shape[2]
        self._count = count
        others = [unlabeled.other or unlabeled.strength] * (count - 1)
        self._strengths = (unlabeled.strength, *others)
        first, second = (
            batched.range_of(
                each, rotate=unlabeled.rotate, square=self._square, moves=unlabeled.moves
            )
            for each in self._strengths[:2]
        )
        self._extent = first | second
        self._plain_first = plain_first
        shape = self._images.shape[1:]
        self._window = None
        self._augmenter = None
        if limits is not None:
            self._augmenter = SampleAugmenter(limits, shape, unlabeled.window)
        elif unlabeled.window is not None:
            self._window = SampleAugmenter(None, shape, unlabeled.window)
        if self._placement.on_device:
            self._used = RowSet([(unlabeled.images, unlabeled.indices)])
            (self._row_cache,) = cache_rows([self._used], compute.device, self._placement)
            if self._augmenter is None:
                warm_up(self._extent, self._used.shape, compute.device)
            else:
                self._augmenter.warm_up(compute.device)

    def __len__(self) -> int:
        return len(self._rows)

    def feed(self, batches: Sequence[Int64[Tensor, "b"]]) -> Iterator[Views]:
        """Yield views of the images with these running numbers, batch after batch.

        They depend on the image and on how often it was taken before, never on its neighbors. On a
        device other than the CPU all that the host knows about all batches is sent ahead.

        Args:
            batches: Running numbers on the CPU, of a whole pass if possible.
        """
        calls = (self._call(numbers) for numbers in batches)
        if self._placement.on_device:
            yield from self._feed_on_device(list(calls))
        else:
            yield from (self._grouped(rows, looks) for rows, looks in calls)

    def skip(self, batches: Sequence[Int64[Tensor, "b"]]) -> None:
        """Count the looks of ``feed`` without making anything."""
        for numbers in batches:
            self._call(numbers)

    def take(self, numbers: Int64[Tensor, "b"]) -> Views:
        """Return views of the images with these running numbers: ``feed`` of one batch."""
        return next(self.feed([numbers]))

    def _call(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows behind running numbers and how often they were taken before."""
        rows, looks = self._rows[numbers], self._looks[numbers]
        self._looks[numbers] += 1
        return rows, looks

    def _seeds_of(self, rows: Tensor, looks: Tensor) -> list[list[int]]:
        """Return the seeds of each view of each image."""
        names = list(zip(rows.tolist(), looks.tolist(), strict=True))
        return [
            [seeds.derive(self._seed, "view", row, look, view) for row, look in names]
            for view in range(self._count)
        ]

    def _draw(self, rows: Tensor, looks: Tensor) -> list[augment.Draws]:
        """Return what happens to each image in its views."""
        first, *others = self._seeds_of(rows, looks)
        one, *further = self._strengths
        draws = augment.draw(first, one, rotate=self._unlabeled.rotate, square=self._square)
        if not self._unlabeled.moves:
            draws = replace(draws, flip=draws.flip & False, turns=draws.turns * 0)
        return [
            draws,
            *(
                replace(draws, values=photometric.draw(mine, strength))
                for mine, strength in zip(others, further, strict=True)
            ),
        ]

    def _grouped(self, rows: Tensor, looks: Tensor) -> Views:
        stored = torch.from_numpy(gather(self._images, rows.numpy())).to(self._compute.device)
        pixels = stored.permute(0, 3, 1, 2)
        if self._augmenter is not None:
            return self._within_limits(pixels, self._columns(rows, looks))
        if self._window is not None:
            pixels = self._windowed(pixels, self._window.columns(self._seeds_of(rows, looks)[0]))
        return Views(tuple(self._view(pixels, draws) for draws in self._draw(rows, looks)))

    def _view(
        self, pixels: UInt8[Tensor, "b c h w"], draws: augment.Draws
    ) -> Float[Tensor, "b c h w"]:
        augmented = augment.apply(pixels, draws, order="view", paper=self._paper)
        return as_input(augmented.images, self._compute)

    def _feed_on_device(self, calls: Sequence[tuple[Tensor, Tensor]]) -> Iterator[Views]:
        if not calls:
            return
        rows, looks = (torch.cat(columns) for columns in zip(*calls, strict=True))
        here = self._used.numbers(self._unlabeled.images, np.asarray(rows))
        columns = {"images": torch.from_numpy(here)}
        columns |= self._columns(rows, looks)
        there = send(columns, self._compute.device, pinned=self._placement.pinned)
        end = 0
        for mine, _ in calls:
            first, end = end, end + len(mine)
            part = {name: column[first:end] for name, column in there.items()}
            pixels = self._row_cache.fetch(here[first:end], part["images"]).permute(0, 3, 1, 2)
            if self._augmenter is not None:
                yield self._within_limits(pixels, part)
                continue
            pixels = self._windowed(pixels, part)
            names = batched.AugmentParams.__dataclass_fields__
            of_views = [
                batched.AugmentParams(**{name: part[f"{view} {name}"] for name in names})
                for view in range(self._count)
            ]
            moved = batched.move_batch(pixels, of_views[0], self._extent)
            yield Views(tuple(self._changed(moved, params) for params in of_views))

    def _columns(self, rows: Tensor, looks: Tensor) -> dict[str, Tensor]:
        """Return what happens to each image in its views, as columns on the CPU."""
        if self._augmenter is not None:
            drawn = self._seeds_of(rows, looks)
            return self._augmenter.view_columns(drawn, plain_first=self._plain_first)
        columns = (
            {} if self._window is None else self._window.columns(self._seeds_of(rows, looks)[0])
        )
        return columns | {
            f"{view} {name}": column
            for view, draws in enumerate(self._draw(rows, looks))
            for name, column in batched.params_of(draws).tensors().items()
        }

    def _windowed(
        self, pixels: UInt8[Tensor, "b c h w"], columns: Mapping[str, Tensor]
    ) -> UInt8[Tensor, "b c _ _"]:
        """Return the part of images that all views show, where no limits augment them."""
        window = None if self._window is None else self._window.window_in(columns)
        return pixels if window is None else window.of(pixels)

    def _within_limits(self, pixels: UInt8[Tensor, "b c h w"], columns: dict[str, Tensor]) -> Views:
        assert self._augmenter is not None
        window = self._augmenter.window_in(columns)
        found, inside = augment_views(pixels, columns, views=self._count, window=window)
        return Views(tuple(as_input(each, self._compute) for each in found), inside)

    def _changed(
        self, moved: UInt8[Tensor, "b c h w"], params: batched.AugmentParams
    ) -> Float[Tensor, "b c h w"]:
        changed = batched.change_values(
            moved, params, augment_range=self._extent, order="view", paper=self._paper
        )
        return as_input(changed, self._compute)
