"""Samples that are augmented anew at every look, as a recipe asks for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from imseg.engine.loading.rows import send
from imseg.engine.loading.samples import SampleRefs
from imseg.engine.training.seeds import derive
from imseg.ops import intensity, warp
from imseg.ops.inconsistency import paint
from imseg.ops.limits import AugmentLimits
from imseg.ops.memory_layout import Fill, Images, PixelMask, layout_of
from imseg.tasks import Planes

_WARP, _VALUES = "warp ", "values "
_WINDOW = "window"


class AugmentedSamples(NamedTuple):
    """What came of a batch."""

    images: Images
    """In the memory format of what was given."""
    targets: Planes
    """From the nearest pixel."""
    mask: PixelMask | None
    """Of inconsistent pixels, from the nearest pixel; None if there was none."""
    inside: PixelMask | None
    """Which pixels come from within their image; None: all."""


@dataclass(frozen=True, slots=True)
class SampleAugmenter:
    """Augments samples of one shape within limits, and takes a window of each."""

    limits: AugmentLimits | None
    """How far samples may be changed; None: they are not."""
    shape: tuple[int, ...]
    """Height, width and channels of the images."""
    window: tuple[int, int] | None = None
    """Height and width of the part of each sample that is wanted, anywhere in it; None: all."""

    def columns(self, seeds: Sequence[int]) -> dict[str, Tensor]:
        """Return what happens to samples: one row per sample in every column, on the CPU.

        Args:
            seeds: One per sample.
        """
        return self._geometry(seeds) | self._values(seeds, _VALUES)

    def view_columns(
        self, seeds: Sequence[Sequence[int]], *, plain_first: bool
    ) -> dict[str, Tensor]:
        """Return what happens to several views of images, on the CPU; see ``augment_views``.

        Args:
            seeds: For each view those of its values; those of the first are of the geometry of all.
            plain_first: Whether the first view is only moved.
        """
        found = self._geometry(seeds[0])
        for number, mine in enumerate(seeds):
            if number or not plain_first:
                found |= self._values(mine, _values_of(number))
        return found

    def _geometry(self, seeds: Sequence[int]) -> dict[str, Tensor]:
        height, width, _ = self.shape
        found = {}
        if self.window is not None:
            found[_WINDOW] = warp.draw_window(seeds, (height, width), self.window)
        if self.limits is None or not self.limits.moves:
            return found
        drawn = warp.draw(seeds, self.limits, square=height == width).tensors()
        return found | {_WARP + name: column for name, column in drawn.items()}

    def window_in(self, columns: Mapping[str, Tensor]) -> warp.Crops | None:
        """Return the windows in columns; None: all of each sample is wanted."""
        return None if self.window is None else warp.Crops(columns[_WINDOW], self.window)

    def _values(self, seeds: Sequence[int], prefix: str) -> dict[str, Tensor]:
        if self.limits is None or not self.limits.changes_values:
            return {}
        drawn = intensity.draw(seeds, self.limits, channels=self.shape[2]).tensors()
        return {prefix + name: column for name, column in drawn.items()}

    def warm_up(self, device: str) -> None:
        """Make what is needed and kept on a device, before an epoch."""
        there = send(self.columns([0]), device, pinned=False)
        black = torch.zeros((1, *self.shape), dtype=torch.uint8, device=device)
        window = self.window_in(there)
        augment_samples(
            black.permute(0, 3, 1, 2), black[:, None, :, :, 0], None, there, window=window
        )


def seeds_of_looks(seed: int, refs: SampleRefs) -> list[int]:
    """Return a seed for each look at a sample.

    Args:
        seed: Of the batch loader.
        refs: The samples.
    """
    columns = (each.tolist() for each in (refs.sample_set, refs.row, refs.copy, refs.look))
    return [derive(seed, "augment", *place) for place in zip(*columns, strict=True)]


def augment_samples(
    images: Images,
    targets: Planes,
    mask: PixelMask | None,
    columns: Mapping[str, Tensor],
    *,
    reblocks: Bool[Tensor, "b"] | None = None,
    fill: Fill | None = None,
    window: warp.Crops | None = None,
) -> AugmentedSamples:
    """Return samples after what columns say; without columns they are as they were.

    Args:
        images: In any memory format.
        targets: Belonging to them.
        mask: Of inconsistent pixels.
        columns: From ``SampleAugmenter.columns``, on the device of the images.
        reblocks: In which images inconsistent pixels get their fill in the end; None: in none.
        fill: What they become; None: black.
        window: The part of each sample that is wanted; None: all of it.
    """
    layout, inside = layout_of(images), None
    moved = _warp_params(columns)
    if moved is not None:
        planes = [targets] if mask is None else [targets, mask]
        found = warp.apply(images, moved, planes=planes, window=window)
        images, inside, targets = found.images, found.inside, found.planes[0]
        mask = None if mask is None else found.planes[1]
    elif window is not None:
        images, targets = layout.unpack(layout.pack(window.of(images))), window.of(targets)
        mask = None if mask is None else window.of(mask)
    if window is not None and fill is not None and fill.shape[-1] > 1:
        fill = window.of(fill)
    images = layout.unpack(layout.pack(_change_values(images, columns, _VALUES)))
    if mask is not None and reblocks is not None:
        images = paint(images, mask & reblocks.reshape(-1, 1, 1, 1), fill)
    return AugmentedSamples(images, targets, mask, inside)


def augment_views(
    images: Images,
    columns: Mapping[str, Tensor],
    *,
    views: int = 2,
    window: warp.Crops | None = None,
) -> tuple[list[Images], PixelMask | None]:
    """Return several views of images and which pixels come from within them (None: all).

    Args:
        images: In any memory format; the views are in the same.
        columns: From ``SampleAugmenter.view_columns``, on the device of the images.
        views: How many.
        window: The part of each image that is wanted; None: all of it.
    """
    layout, inside = layout_of(images), None
    moved = _warp_params(columns)
    if moved is not None:
        images, _, inside = warp.apply(images, moved, window=window)
    elif window is not None:
        images = window.of(images)
    found = [
        layout.unpack(layout.pack(_change_values(images, columns, _values_of(number))))
        for number in range(views)
    ]
    return found, inside


def _values_of(view: int) -> str:
    """Return how the names of the columns of a view begin."""
    return f"view {view} {_VALUES}"


def _warp_params(columns: Mapping[str, Tensor]) -> warp.WarpParams | None:
    """Return the geometry in columns; None: nothing is moved."""
    names = warp.WarpParams.__dataclass_fields__
    if _WARP + next(iter(names)) not in columns:
        return None
    return warp.WarpParams(**{name: columns[_WARP + name] for name in names})


def _change_values(images: Images, columns: Mapping[str, Tensor], prefix: str) -> Images:
    """Return images with their values changed as columns of this prefix say."""
    names = intensity.IntensityParams.__dataclass_fields__
    if prefix + next(iter(names)) not in columns:
        return images
    params = intensity.IntensityParams(**{name: columns[prefix + name] for name in names})
    return intensity.apply(images, params)
