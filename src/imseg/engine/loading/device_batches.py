"""Batches made on the device: all that the host knows about a pass is sent once, ahead of it.

A step slices what was sent, gathers rows and augments the whole batch; the host asks the device
nothing, so it runs ahead. The numbers are those of ``CpuBatches``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading import rows
from imseg.engine.loading.rows import Placement, RowNumbers
from imseg.engine.loading.samples import Batch, SampleIndex, SampleRefs, as_input, joined
from imseg.engine.training.sample_set import SampleSet
from imseg.ops import augment, batched
from imseg.ops.batched import AugmentParams, AugmentRange
from imseg.ops.inconsistency import COLORS, block_input, block_output, draw_color_keys, make_fill

_SWITCHES = ("blocks_input", "blocks_output", "ignores")


class DeviceBatches:
    """Makes batches of the samples of several sample sets.

    Args:
        sample_sets: Where images and targets lie, and how they are augmented; at least one.
        samples: What running numbers stand for.
        compute: Device and memory format of the batches.
        placement: How much of the device may be filled, and how it is sent what does not fit.
        paper: Augment as the reference does where it differs from us.
    """

    def __init__(
        self,
        sample_sets: tuple[SampleSet, ...],
        samples: SampleIndex,
        compute: ComputeConfig,
        *,
        placement: Placement,
        paper: bool,
    ) -> None:
        self._sample_sets = sample_sets
        self._samples = samples
        self._compute = compute
        self._placement = placement
        self._paper = paper
        self._ignores = any(each.ignores for each in sample_sets)
        masked = [each for each in sample_sets if each.inconsistent is not None]
        self._blocks_input = any(each.blocks_input for each in masked)
        self._blocks_output = any(each.blocks_output for each in masked)
        self._reblocks = any(each.reblocks(paper=paper) for each in masked)
        self._colors = {each.block_color for each in masked if each.blocks_input}
        used = [_rows_of(each, each.indices) for each in sample_sets]
        absent = {name for name in used[0] if all(each[name][0] is None for each in used)}
        self._stored = {
            name: rows.RowSet(
                (each[name] for each in used), dtype=np.float32 if name == "qualities" else None
            )
            for name in used[0]
            if name not in absent
        }
        caches = rows.cache_rows(list(self._stored.values()), compute.device, placement)
        self._caches = dict(zip(self._stored, caches, strict=True))
        shape = self._stored["images"].shape
        self._square = shape[0] == shape[1]
        ranges = [
            batched.range_of(copies.strength, rotate=copies.rotate, square=self._square)
            for each in sample_sets
            if (copies := each.copies) is not None
        ]
        self._range = reduce(lambda one, other: one | other, ranges) if ranges else None
        if self._range is not None:
            warm_up(self._range, shape, compute.device)
        if self._colors - {"black"}:
            self._warm_up_colors(shape)

    def feed(self, batches: Sequence[SampleRefs]) -> Iterator[Batch]:
        """Yield the samples of each batch."""
        if not batches:
            return
        refs = joined(batches)
        here = self._numbers(refs)
        columns = {name: torch.from_numpy(numbers) for name, numbers in here.items()}
        columns |= self._switches(refs) | self._color_columns(refs)
        if self._range is not None:
            columns |= self._params(refs).tensors()
        there = rows.send(columns, self._compute.device, pinned=self._placement.pinned)
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
            names = AugmentParams.__dataclass_fields__
            augmented = batched.apply(
                pixels,
                AugmentParams(**{name: there[name] for name in names}),
                augment_range=self._range,
                targets=targets,
                mask=mask,
                black=there["reblocks"] if self._reblocks else None,
                fill=fill,
                paper=self._paper,
            )
            assert augmented.targets is not None
            pixels, targets, mask = augmented.images, augmented.targets, augmented.mask
        weight = None
        if self._ignores and mask is not None:
            weight = (~(mask & batched.as_column(there["ignores"]))).float()
        elif self._ignores:
            weight = torch.ones_like(targets[:, :1], dtype=torch.float32)
        return Batch(
            images=as_input(pixels, self._compute),
            targets=targets,
            weight=weight,
            qualities=fetched.get("qualities"),
        )

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
        switches["reblocks"] = [each.reblocks(paper=self._paper) for each in self._sample_sets]
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
        there = rows.send(columns, self._compute.device, pinned=False)
        pixels = _black(shape, self._compute.device)
        make_fill(pixels, there["color"], there["color_keys"], among=self._colors)

    def _params(self, refs: SampleRefs) -> AugmentParams:
        """Return how each sample is augmented."""
        params = batched.no_params(len(refs))
        for number, each in enumerate(self._sample_sets):
            mine = (refs.sample_set == number).nonzero()[:, 0]
            names = self._samples.seeds_of(number, refs.where(mine))
            seeds = [name for name in names if name is not None]
            if each.copies is None or not seeds:
                continue
            strength, rotate = each.copies.strength, each.copies.rotate
            drawn = augment.draw(seeds, strength, rotate=rotate, square=self._square)
            chosen = torch.tensor([name is not None for name in names])
            params.put(mine[chosen], batched.params_of(drawn))
        return params


def warm_up(augment_range: AugmentRange, shape: tuple[int, ...], device: str) -> None:
    """Make what augmenting images (``h w c``) needs and keeps on a device, before an epoch."""
    there = rows.send(batched.no_params(1).tensors(), device, pinned=False)
    batched.change_values(
        _black(shape, device), AugmentParams(**there), augment_range=augment_range
    )


def _black(shape: tuple[int, ...], device: str) -> Tensor:
    """Return one black image (``1 c h w``) of a shape (``h w c``)."""
    return torch.zeros((1, *shape), dtype=torch.uint8, device=device).permute(0, 3, 1, 2)


def _rows_of(sample_set: SampleSet, of_targets: Sequence[int] | RowNumbers) -> rows.UsedRows:
    """Return the rows of each file that belong to some rows of the targets."""
    return {
        "images": (sample_set.images, _image_rows(sample_set, of_targets)),
        "targets": (sample_set.targets, of_targets),
        "inconsistent": (sample_set.inconsistent, of_targets),
        "qualities": (sample_set.qualities, of_targets),
    }


def _image_rows(sample_set: SampleSet, of_targets: Sequence[int] | RowNumbers) -> RowNumbers:
    indices = np.asarray(of_targets, dtype=np.int64)
    shows = sample_set.shows
    return indices if shows is None else np.asarray(shows, dtype=np.int64)[indices]
