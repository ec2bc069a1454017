"""Batches of stored images: gathered, augmented and blocked, in seeded order."""

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from imseg.data.cache.store import gather, open_array
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.augmented_samples import SampleAugmenter, augment_samples, seeds_of_looks
from imseg.engine.loading.rows import Placement, RowNumbers, RowSet, cache_rows, placement_for, send
from imseg.engine.loading.samples import FILES, Batch, SampleIndex, SampleRefs, SampleSet, as_input
from imseg.ops import augment, batched
from imseg.ops.inconsistency import COLORS, block_input, block_output, draw_color_keys, make_fill
from imseg.ops.limits import AugmentLimits
from imseg.tasks import Planes
from imseg.types import Bytes


class BatchLoader:
    """Training samples of several sample sets under one running number.

    Args:
        sample_sets: Where images and targets lie, and how they are augmented.
        compute: Device and memory format of the batches.
        seed: Seed of augmentations that are new at every look.
        paper: Augment as the reference does where it differs from us.
        placement: How batches are made, which changes no number; by the device when None.
        limits: How far every sample, copies included, is augmented anew at every look; None: not.

    Raises:
        ValueError: If only some sample sets have qualities, or windows differ, or there is not one
            count of copies per image.
    """

    def __init__(
        self,
        sample_sets: tuple[SampleSet, ...],
        compute: ComputeConfig,
        *,
        seed: int = 0,
        paper: bool = False,
        placement: Placement | None = None,
        limits: AugmentLimits | None = None,
    ) -> None:
        if len({each.qualities is None for each in sample_sets}) > 1:
            raise ValueError("either all sample sets have qualities or none")
        if len({each.window for each in sample_sets}) > 1:
            raise ValueError("all sample sets have windows of one size or none")
        self._samples = SampleIndex(sample_sets, seed=seed)
        placement = placement_for(compute.device) if placement is None else placement
        self._maker: CpuBatches | DeviceBatches
        if placement.on_device and len(self._samples):
            self._maker = DeviceBatches(
                self._samples, compute, placement=placement, paper=paper, limits=limits
            )
        else:
            self._maker = CpuBatches(self._samples, compute, paper=paper, limits=limits)

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def on_device(self) -> bool:
        """Whether batches are made on the device."""
        return isinstance(self._maker, DeviceBatches)

    def feed(self, batches: Sequence[Int64[Tensor, "b"]]) -> Iterator[Batch]:
        """Yield the samples with these running numbers, batch after batch, each set by set.

        What a sample looks like depends on how often it was taken before, never on its neighbors.
        On a device other than the CPU all that the host knows about all batches is sent ahead.

        Args:
            batches: Running numbers on the CPU, of a whole pass if possible.
        """
        return self._maker.feed(map(self._samples.refs, batches))

    def skip(self, batches: Sequence[Int64[Tensor, "b"]]) -> None:
        """Count the looks of ``feed`` without making anything."""
        for numbers in batches:
            self._samples.refs(numbers)

    def numbers_of(self, rows: Sequence[Bool[Tensor, "n"]]) -> Int64[Tensor, "m"]:
        """Return the running numbers of samples made of some rows of each sample set."""
        return self._samples.numbers_of(rows)

    def take(self, numbers: Int64[Tensor, "b"]) -> Batch:
        """Return the samples with these running numbers: ``feed`` of one batch."""
        return next(self.feed([numbers]))

    def forget_looks(self) -> None:
        """Make the next look at each sample its first."""
        self._samples.forget_looks()


def to_device(pixels: Bytes, compute: ComputeConfig) -> Float[Tensor, "b c h w"]:
    """Return ``n h w c`` unsigned bytes as images with values 0..1 on the device."""
    there = torch.from_numpy(np.array(pixels)).to(compute.device)
    return as_input(there.permute(0, 3, 1, 2), compute)


class CpuBatches:
    """Makes batches set by set: rows gathered on the host, augmented in groups of equal parameters.

    The way for the CPU, where small groups stay in its cache.

    Args:
        samples: The samples of several sample sets.
        compute: Device and memory format of the batches.
        paper: Augment as the reference does where it differs from us.
        limits: How far every sample is augmented anew at every look; None: not.
    """

    def __init__(
        self,
        samples: SampleIndex,
        compute: ComputeConfig,
        *,
        paper: bool,
        limits: AugmentLimits | None = None,
    ) -> None:
        self._samples = samples
        self._compute = compute
        self._paper = paper
        self._limits = limits
        self._arrays = [
            {name: open_array(path) for name in FILES if (path := getattr(each, name)) is not None}
            for each in samples.sample_sets
        ]
        shown = [each.shows for each in samples.sample_sets]
        self._shows = [None if each is None else np.array(each) for each in shown]
        self._ignores = any(each.ignores for each in samples.sample_sets)

    def feed(self, batches: Iterable[SampleRefs]) -> Iterator[Batch]:
        """Yield the samples of each batch."""
        for refs in batches:
            yield Batch.joined(
                [
                    self._make_of(number, refs.where(refs.sample_set == number))
                    for number in refs.sample_set.unique().tolist()
                ]
            )

    def _make_of(self, number: int, refs: SampleRefs) -> Batch:
        sample_set, arrays = self._samples.sample_sets[number], self._arrays[number]
        rows, shows = refs.row.numpy(), self._shows[number]
        image_rows = rows if shows is None else shows[rows]

        def fetch(name: str, rows: npt.NDArray[np.int64] = rows) -> Tensor:
            return torch.from_numpy(gather(arrays[name], rows)).to(self._compute.device)

        pixels, targets = fetch("images", image_rows).permute(0, 3, 1, 2), fetch("targets")
        inconsistent = fill = None
        if "inconsistent" in arrays:
            inconsistent = fetch("inconsistent").bool()
            if sample_set.blocks_input:
                fill = _fill_of(sample_set, pixels, image_rows)
                pixels = block_input(pixels, inconsistent, fill)
            if sample_set.blocks_output:
                targets = block_output(targets, inconsistent)
        if sample_set.copies is not None:
            names = self._samples.seeds_of(number, refs)
            pixels, targets, inconsistent = self._augmented(
                sample_set, names, pixels, targets, inconsistent, fill=fill
            )
        inside = None
        if self._limits is not None or sample_set.window is not None:
            shape = arrays["images"].shape[1:]
            augmenter = SampleAugmenter(self._limits, shape, sample_set.window)
            columns = augmenter.columns(seeds_of_looks(self._samples.seed, refs))
            again = inconsistent is not None and sample_set.reblocks(paper=self._paper, anew=True)
            pixels, targets, inconsistent, inside = augment_samples(
                pixels,
                targets,
                inconsistent,
                columns,
                reblocks=torch.ones(len(refs), dtype=torch.bool) if again else None,
                fill=fill,
                window=augmenter.window_in(columns),
            )
        weight = None
        if self._ignores or inside is not None:
            ignored = inconsistent if sample_set.ignores else None
            weight = _weight_of(targets, ignored, inside)
        qualities = fetch("qualities").float() if "qualities" in arrays else None
        return Batch(as_input(pixels, self._compute), targets, weight, qualities)

    def _augmented(
        self,
        sample_set: SampleSet,
        names: list[int | None],
        pixels: UInt8[Tensor, "b c h w"],
        targets: Planes,
        inconsistent: Bool[Tensor, "b 1 h w"] | None,
        *,
        fill: UInt8[Tensor, "b c _ _"] | None,
    ) -> tuple[UInt8[Tensor, "b c h w"], Planes, Bool[Tensor, "b 1 h w"] | None]:
        """Return the samples with those augmented that have a seed."""
        chosen = [place for place, name in enumerate(names) if name is not None]
        if sample_set.copies is None or sample_set.copies.strength is None or not chosen:
            return pixels, targets, inconsistent
        augmented = augment.augment(
            pixels[chosen],
            targets[chosen],
            None if inconsistent is None else inconsistent[chosen],
            seeds=[name for name in names if name is not None],
            strength=sample_set.copies.strength,
            rotate=sample_set.copies.rotate,
            paper=self._paper,
            black=sample_set.reblocks(paper=self._paper),
            fill=None if fill is None else fill[chosen],
        )
        if len(chosen) == len(names):
            return augmented
        # Copies lie in memory as what they are copies of, on which the last bits of a step depend.
        pixels, targets = pixels.clone(), targets.clone()
        pixels[chosen], targets[chosen] = augmented[0], augmented[1]
        if inconsistent is not None and augmented[2] is not None:
            inconsistent = inconsistent.clone()
            inconsistent[chosen] = augmented[2]
        return pixels, targets, inconsistent


def _weight_of(
    targets: Planes, ignored: Bool[Tensor, "b 1 h w"] | None, inside: Bool[Tensor, "b 1 h w"] | None
) -> Float[Tensor, "b 1 h w"]:
    """Return the weight of each pixel in the loss: 0 where it is ignored or not inside, else 1."""
    if inside is None:
        weight = torch.ones_like(targets[:, :1], dtype=torch.float32)
    else:
        weight = inside.float()
    return weight if ignored is None else weight.masked_fill(ignored, 0.0)


def _fill_of(
    sample_set: SampleSet, pixels: UInt8[Tensor, "b c h w"], image_rows: npt.NDArray[np.int64]
) -> UInt8[Tensor, "b c _ _"] | None:
    """Return what blocked pixels of stored images become; None: black."""
    color = sample_set.block_color
    if color == "black":
        return None
    numbers = torch.full((len(pixels),), COLORS.index(color), device=pixels.device)
    keys = draw_color_keys(image_rows).to(pixels.device)
    return make_fill(pixels, numbers, keys, among={color})


_SWITCHES = ("blocks_input", "blocks_output", "ignores")


class DeviceBatches:
    """Makes batches on the device: all that the host knows about a pass is sent once, ahead of it.

    A step slices what was sent, gathers rows and augments the whole batch; the host asks the device
    nothing, so it runs ahead. The numbers are those of ``CpuBatches``.

    Args:
        samples: The samples of at least one sample set.
        compute: Device and memory format of the batches.
        placement: How much of the device may be filled, and how it is sent what does not fit.
        paper: Augment as the reference does where it differs from us.
        limits: How far every sample is augmented anew at every look; None: not.
    """

    def __init__(
        self,
        samples: SampleIndex,
        compute: ComputeConfig,
        *,
        placement: Placement,
        paper: bool,
        limits: AugmentLimits | None = None,
    ) -> None:
        sample_sets = self._sample_sets = samples.sample_sets
        self._samples = samples
        self._compute = compute
        self._placement = placement
        self._paper = paper
        self._ignores = any(each.ignores for each in sample_sets)
        masked = [each for each in sample_sets if each.inconsistent is not None]
        self._blocks_input = any(each.blocks_input for each in masked)
        self._blocks_output = any(each.blocks_output for each in masked)
        self._reblocks = any(each.reblocks(paper=paper) for each in masked)
        self._reblocks_anew = any(each.reblocks(paper=paper, anew=True) for each in masked)
        self._colors = {each.block_color for each in masked if each.blocks_input}
        used = [_rows_of(each, each.indices) for each in sample_sets]
        self._stored = {
            name: RowSet(
                (each[name] for each in used), dtype=np.float32 if name == "qualities" else None
            )
            for name in FILES
            if any(each[name][0] is not None for each in used)
        }
        caches = cache_rows(list(self._stored.values()), compute.device, placement)
        self._caches = dict(zip(self._stored, caches, strict=True))
        shape = self._stored["images"].shape
        self._square = shape[0] == shape[1]
        ranges = [
            batched.range_of(copies.strength, rotate=copies.rotate, square=self._square)
            for each in sample_sets
            if (copies := each.copies) is not None and copies.strength is not None
        ]
        self._range = reduce(lambda one, other: one | other, ranges) if ranges else None
        if self._range is not None:
            warm_up(self._range, shape, compute.device)
        if self._colors - {"black"}:
            self._warm_up_colors(shape)
        window, self._augmenter = sample_sets[0].window, None
        if limits is not None or window is not None:
            self._augmenter = SampleAugmenter(limits, shape, window)
            self._augmenter.warm_up(compute.device)

    def feed(self, batches: Iterable[SampleRefs]) -> Iterator[Batch]:
        """Yield the samples of each batch."""
        batches = list(batches)
        if not batches:
            return
        refs = SampleRefs.joined(batches)
        here = self._numbers(refs)
        columns = {name: torch.from_numpy(numbers) for name, numbers in here.items()}
        columns |= self._switches(refs) | self._color_columns(refs)
        if self._range is not None:
            columns |= self._params(refs).tensors()
        if self._augmenter is not None:
            columns |= self._augmenter.columns(seeds_of_looks(self._samples.seed, refs))
        there = send(columns, self._compute.device, pinned=self._placement.pinned)
        end = 0
        for each in batches:
            first, end = end, end + len(each)
            yield self._make(
                {name: numbers[first:end] for name, numbers in here.items()},
                {name: column[first:end] for name, column in there.items()},
            )

    def _make(self, here: dict[str, RowNumbers], there: dict[str, Tensor]) -> Batch:
        """Return a batch from its row numbers on the host and all that was sent about it."""
        fetched = {
            name: cache.fetch(here[name], there[name]) for name, cache in self._caches.items()
        }
        pixels, targets = fetched["images"].permute(0, 3, 1, 2), fetched["targets"]
        mask = fetched["inconsistent"].bool() if "inconsistent" in fetched else None
        fill = None
        if mask is not None and self._blocks_input:
            if "color" in there:
                keys = there["color_keys"]
                fill = make_fill(pixels, there["color"], keys, among=self._colors)
            pixels = block_input(pixels, mask & batched.as_column(there["blocks_input"]), fill)
        if mask is not None and self._blocks_output:
            targets = block_output(targets, mask & batched.as_column(there["blocks_output"]))
        if self._range is not None:
            names = batched.AugmentParams.__dataclass_fields__
            augmented = batched.apply(
                pixels,
                batched.AugmentParams(**{name: there[name] for name in names}),
                augment_range=self._range,
                targets=targets,
                mask=mask,
                black=there["reblocks"] if self._reblocks else None,
                fill=fill,
                paper=self._paper,
            )
            assert augmented.targets is not None
            pixels, targets, mask = augmented.images, augmented.targets, augmented.mask
        weight = inside = None
        if self._augmenter is not None:
            again = there["reblocks_anew"] if self._reblocks_anew else None
            pixels, targets, mask, inside = augment_samples(
                pixels,
                targets,
                mask,
                there,
                reblocks=again,
                fill=fill,
                window=self._augmenter.window_in(there),
            )
        if self._ignores or inside is not None:
            ignored = None if mask is None else mask & batched.as_column(there["ignores"])
            weight = _weight_of(targets, ignored, inside)
        return Batch(as_input(pixels, self._compute), targets, weight, fetched.get("qualities"))

    def _numbers(self, refs: SampleRefs) -> dict[str, RowNumbers]:
        """Return where each sample's rows are in their caches."""
        numbers = {name: np.zeros(len(refs), dtype=np.int64) for name in self._stored}
        for number, each in enumerate(self._sample_sets):
            mine = refs.sample_set.numpy() == number
            wanted = _rows_of(each, refs.row.numpy()[mine])
            for name, stored in self._stored.items():
                numbers[name][mine] = stored.numbers(*wanted[name])
        return numbers

    def _switches(self, refs: SampleRefs) -> dict[str, Tensor]:
        """Return what is done to the inconsistent pixels of each sample."""
        switches = {name: [getattr(each, name) for each in self._sample_sets] for name in _SWITCHES}
        for name, anew in (("reblocks", False), ("reblocks_anew", True)):
            switches[name] = [
                each.reblocks(paper=self._paper, anew=anew) for each in self._sample_sets
            ]
        return {name: torch.tensor(each)[refs.sample_set] for name, each in switches.items()}

    def _color_columns(self, refs: SampleRefs) -> dict[str, Tensor]:
        """Return what blocked pixels of each sample become; nothing where all are black."""
        if not self._colors - {"black"}:
            return {}
        colors = torch.tensor([COLORS.index(each.block_color) for each in self._sample_sets])
        image_rows = np.zeros(len(refs), dtype=np.int64)
        if "noise" in self._colors:
            for number, each in enumerate(self._sample_sets):
                mine = refs.sample_set.numpy() == number
                image_rows[mine] = _image_rows(each, refs.row.numpy()[mine])
        return {"color": colors[refs.sample_set], "color_keys": draw_color_keys(image_rows)}

    def _warm_up_colors(self, shape: tuple[int, ...]) -> None:
        """Make what colors of images (``h w c``) need and keep on the device."""
        one = torch.zeros(1, dtype=torch.int64)
        columns = {"color": one, "color_keys": draw_color_keys([0])}
        there = send(columns, self._compute.device, pinned=False)
        pixels = _black(shape, self._compute.device)
        make_fill(pixels, there["color"], there["color_keys"], among=self._colors)

    def _params(self, refs: SampleRefs) -> batched.AugmentParams:
        """Return how each sample is augmented."""
        params = batched.no_params(len(refs))
        for number, each in enumerate(self._sample_sets):
            mine = (refs.sample_set == number).nonzero()[:, 0]
            names = self._samples.seeds_of(number, refs.where(mine))
            seeds = [name for name in names if name is not None]
            if each.copies is None or each.copies.strength is None or not seeds:
                continue
            strength, rotate = each.copies.strength, each.copies.rotate
            drawn = augment.draw(seeds, strength, rotate=rotate, square=self._square)
            chosen = torch.tensor([name is not None for name in names])
            params.put(mine[chosen], batched.params_of(drawn))
        return params


def warm_up(augment_range: batched.AugmentRange, shape: tuple[int, ...], device: str) -> None:
    """Make what augmenting images (``h w c``) needs and keeps on a device, before an epoch."""
    there = send(batched.no_params(1).tensors(), device, pinned=False)
    batched.change_values(
        _black(shape, device), batched.AugmentParams(**there), augment_range=augment_range
    )


def _black(shape: tuple[int, ...], device: str) -> Tensor:
    """Return one black image (``1 c h w``) of a shape (``h w c``)."""
    return torch.zeros((1, *shape), dtype=torch.uint8, device=device).permute(0, 3, 1, 2)


def _rows_of(
    sample_set: SampleSet, of_targets: Sequence[int] | RowNumbers
) -> dict[str, tuple[Path | None, Sequence[int] | RowNumbers]]:
    """Return each file, and its rows that belong to some rows of the targets."""
    images = _image_rows(sample_set, of_targets)
    rows = {name: images if name == "images" else of_targets for name in FILES}
    return {name: (getattr(sample_set, name), rows[name]) for name in FILES}


def _image_rows(sample_set: SampleSet, of_targets: Sequence[int] | RowNumbers) -> RowNumbers:
    indices = np.asarray(of_targets, dtype=np.int64)
    shows = sample_set.shows
    return indices if shows is None else np.asarray(shows, dtype=np.int64)[indices]
