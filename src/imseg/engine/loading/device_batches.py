"""Batches made on the device: all that the host knows about a pass is sent once, ahead of it.

A step slices what was sent, gathers rows and disturbs the batch together; the host asks the device
nothing, so it runs ahead. The numbers are those of ``grouped``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.rows import Numbers, Placement, Rows, cache_rows, send_together
from imseg.engine.loading.samples import Batch, SampleRefs, Samples, as_input, joined
from imseg.engine.training.sample_set import SampleSet
from imseg.ops import augment, batched
from imseg.ops.batched import AugmentParams, AugmentRange, no_params, params_of, range_of
from imseg.ops.inconsistency import COLORS, block_input, block_output, draw_color_keys, make_fill


class DeviceBatches:
    """Makes batches of the samples of several parts.

    Args:
        parts: Where images and targets lie, and how they are disturbed; at least one.
        samples: What running numbers stand for.
        compute: Device and memory format of the batches.
        placement: How much of the device may be filled, and how it is sent what does not fit.
        paper: Disturb as the reference does where it differs from us.
    """

    def __init__(
        self,
        parts: tuple[SampleSet, ...],
        samples: Samples,
        compute: ComputeConfig,
        *,
        placement: Placement,
        paper: bool,
    ) -> None:
        self._parts = parts
        self._samples = samples
        self._compute = compute
        self._placement = placement
        self._paper = paper
        self._ignores = any(part.ignores for part in parts)
        masked = [part for part in parts if part.inconsistent is not None]
        self._blocks_input = any(part.blocks_input for part in masked)
        self._blocks_output = any(part.blocks_output for part in masked)
        self._reblocks = any(part.reblocks(paper=paper) for part in masked)
        self._colors = {part.block_color for part in masked if part.blocks_input}
        images = Rows((part.images, _image_rows(part, part.indices)) for part in parts)
        self._rows = {
            "images": images,
            "targets": Rows((part.targets, part.indices) for part in parts),
            "masks": Rows((part.inconsistent, part.indices) for part in parts) if masked else None,
            "qualities": None
            if parts[0].qualities is None
            else Rows(((part.qualities, part.indices) for part in parts), dtype=np.float32),
        }
        row_caches = cache_rows(list(self._rows.values()), compute.device, placement)
        self._row_caches = dict(zip(self._rows, row_caches, strict=True))
        height, width, self._channels = images.shape
        self._size = (height, width)
        copied = [
            range_of(each.strength, rotate=each.rotate, square=height == width)
            for each in (part.copies for part in parts)
            if each is not None
        ]
        self._extent = reduce(lambda one, other: one | other, copied) if copied else None
        if self._extent is not None:
            warm_up(self._extent, images.shape, compute.device)
        if self._colors - {"black"}:
            self._warm_up_colors(images.shape)

    def feed(self, calls: Sequence[SampleRefs]) -> Iterator[Batch]:
        """Yield a batch for each call."""
        if not calls:
            return
        called = joined(calls)
        here = self._numbers(called)
        columns = {name: torch.from_numpy(numbers) for name, numbers in here.items()}
        columns |= self._switches(called) | self._color_columns(called)
        if self._extent is not None:
            columns |= self._treatment(called).tensors()
        there = send_together(columns, self._compute.device, pinned=self._placement.pinned)
        end = 0
        for each in calls:
            first, end = end, end + len(each)
            yield self._make(
                {name: numbers[first:end] for name, numbers in here.items()},
                {name: column[first:end] for name, column in there.items()},
            )

    def _make(self, here: dict[str, Numbers], there: dict[str, Tensor]) -> Batch:
        """Return a batch from its numbers on the host and all that was sent about it."""
        fetched = {
            name: row_cache.fetch(here[name], there[name])
            for name, row_cache in self._row_caches.items()
            if row_cache is not None
        }
        pixels, targets = fetched["images"].permute(0, 3, 1, 2), fetched["targets"]
        mask = fetched["masks"].bool() if "masks" in fetched else None
        fill = None
        if mask is not None and self._blocks_input:
            if "color" in there:
                keys = there["color_keys"]
                fill = make_fill(pixels, there["color"], keys, among=self._colors)
            pixels = block_input(pixels, mask & batched.as_column(there["blocks_input"]), fill)
        if mask is not None and self._blocks_output:
            targets = block_output(targets, mask & batched.as_column(there["blocks_output"]))
        if self._extent is not None:
            names = AugmentParams.__dataclass_fields__
            augmented = batched.apply(
                pixels,
                AugmentParams(**{name: there[name] for name in names}),
                extent=self._extent,
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

    def _numbers(self, called: SampleRefs) -> dict[str, Numbers]:
        """Return where each sample's rows are on their shelves."""
        numbers = {
            name: np.zeros(len(called), dtype=np.int64)
            for name, rows in self._rows.items()
            if rows is not None
        }
        parts = called.part.numpy()
        for number, part in enumerate(self._parts):
            mine = parts == number
            rows = called.row.numpy()[mine]
            wanted = {
                "images": (part.images, _image_rows(part, rows)),
                "targets": (part.targets, rows),
                "masks": (part.inconsistent, rows),
                "qualities": (part.qualities, rows),
            }
            for name, found in numbers.items():
                row_cache = self._rows[name]
                assert row_cache is not None
                found[mine] = row_cache.numbers(*wanted[name])
        return numbers

    def _switches(self, called: SampleRefs) -> dict[str, Tensor]:
        """Return what is done to the inconsistent pixels of each sample."""
        of_parts = {
            name: [getattr(part, name) for part in self._parts]
            for name in ("blocks_input", "blocks_output", "ignores")
        }
        of_parts["reblocks"] = [part.reblocks(paper=self._paper) for part in self._parts]
        return {name: torch.tensor(each)[called.part] for name, each in of_parts.items()}

    def _color_columns(self, called: SampleRefs) -> dict[str, Tensor]:
        """Return what blocked pixels of each sample become; nothing where all are black."""
        if not self._colors - {"black"}:
            return {}
        numbers = torch.tensor([COLORS.index(part.block_color) for part in self._parts])
        rows = np.zeros(len(called), dtype=np.int64)
        if "noise" in self._colors:
            parts, of_targets = called.part.numpy(), called.row.numpy()
            for number, part in enumerate(self._parts):
                mine = parts == number
                rows[mine] = _image_rows(part, of_targets[mine])
        return {"color": numbers[called.part], "color_keys": draw_color_keys(rows)}

    def _warm_up_colors(self, shape: tuple[int, ...]) -> None:
        """Make what colors of images (``h w c``) need and keep on the device."""
        one = torch.zeros(1, dtype=torch.int64)
        columns = {"color": one, "color_keys": draw_color_keys([0])}
        there = send_together(columns, self._compute.device, pinned=False)
        black = torch.zeros((1, *shape), dtype=torch.uint8, device=self._compute.device)
        pixels = black.permute(0, 3, 1, 2)
        make_fill(pixels, there["color"], there["color_keys"], among=self._colors)

    def _treatment(self, called: SampleRefs) -> AugmentParams:
        """Return how each sample is disturbed."""
        treatment = no_params(len(called))
        for number, part in enumerate(self._parts):
            mine = (called.part == number).nonzero()[:, 0]
            names = self._samples.seeds_of(number, called.where(mine))
            seeds = [name for name in names if name is not None]
            if part.copies is None or not seeds:
                continue
            drawn = augment.draw(
                seeds,
                part.copies.strength,
                rotate=part.copies.rotate,
                square=self._size[0] == self._size[1],
            )
            chosen = torch.tensor([name is not None for name in names])
            treatment.put(mine[chosen], params_of(drawn))
        return treatment


def warm_up(extent: AugmentRange, shape: tuple[int, ...], device: str) -> None:
    """Make what disturbances of images (``h w c``) need and keep on a device, before an epoch."""
    columns = no_params(1).tensors()
    there = AugmentParams(**send_together(columns, device, pinned=False))
    black = torch.zeros((1, *shape), dtype=torch.uint8, device=device)
    batched.change_values(black.permute(0, 3, 1, 2), there, extent=extent)


def _image_rows(part: SampleSet, rows: Sequence[int] | Numbers) -> Numbers:
    indices = np.asarray(rows, dtype=np.int64)
    return indices if part.shows is None else np.asarray(part.shows, dtype=np.int64)[indices]
