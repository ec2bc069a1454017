"""The facts about a mask: what values it holds, and what they may mean."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imseg.data.checks.appearance import count_widths, sketch_mask
from imseg.data.folder.config import as_color, as_number
from imseg.data.folder.facts import Counts, MaskFacts
from imseg.data.masks.edges import count_on_edges, solid_colors
from imseg.data.masks.io import MaskFile, are_whole
from imseg.data.masks.labeled_regions import outside
from imseg.data.masks.regions import abruptness, count_regions
from imseg.types import POSITION, Color, Region

if TYPE_CHECKING:
    from imseg.data.folder.inspection import Scope

MAX_COUNTED = 512
"""Most values that are kept of a mask, unless they number objects."""

FEW_VALUES = 64
"""With more values than this, gaps do not speak against numbers of objects: crops have them."""

ABRUPT = 0.4
"""Least share of abrupt steps (see ``MaskFacts.abrupt``) in masks that number objects."""

SMALLEST_OBJECT = 4.0
"""Least mean area of objects in pixels; the values of noisy measurements have less."""

_CODES = (-1, -99, -999, -9999, -32768, -99999, np.finfo(np.float32).min)
"""Numbers that programs write where nothing was measured."""


def mask_facts(
    name: str,
    mask: MaskFile,
    *,
    scope: Scope,
    label: str | None = None,
    closely: bool = False,
    parts: Sequence[Region] | None = None,
) -> MaskFacts:
    """Return the facts about a mask.

    Args:
        name: What the user calls it.
        mask: What its file holds.
        scope: What to look for.
        label: The label that it is the mask of, where there is one per label.
        closely: Whether to keep enough to see if it fits, and count its regions by their width.
        parts: Boxes outside of which nothing counts; None: all of it does.
    """
    values = mask.values
    whole = mask.form == "values"
    if mask.form == "numbers" and are_whole(values):
        values, whole = values.astype(np.int32), True
    void = (as_color if mask.form == "colors" else as_number)(scope.config.void)
    facts = MaskFacts(
        name=name,
        size=(values.shape[0], values.shape[1]),
        form=mask.form,
        whole=whole,
        dtype=sys.intern(mask.values.dtype.name),
        digest=_digest(mask),
        inverting=mask.inverting,
        alpha=mask.alpha,
    )
    labeled, values = _in_parts(values, parts)
    if mask.form == "numbers" and not whole:
        return _with_fractions(facts, labeled, void)
    found, pixels = count_values(labeled)
    clear = found != void if void is not None else np.ones(len(found), bool)
    kept, known = found[clear], int(pixels[clear].sum())
    whole = whole and (not len(kept) or int(kept[0]) >= 0)
    above = kept[kept > 0]
    gapless = len(above) > 0 and int(above[-1]) == len(above) and int(kept[0]) >= 0
    may_number = len(above) > 1 and (gapless or len(above) > FEW_VALUES)
    clean = np.where(values == void, 0, values) if void else values
    regions = abrupt = None
    if label == POSITION:
        regions = count_regions(clean != 0)
    elif label is None and scope.regions and whole and may_number:
        regions, abrupt = count_regions(clean), abruptness(clean)
    marked = int(pixels[clear][kept > 0].sum())
    objects = regions is not None and regions <= 2 * len(above) and (abrupt or 0) >= ABRUPT
    shown: Any = slice(None)
    if len(found) > MAX_COUNTED and not (objects and marked >= SMALLEST_OBJECT * len(above)):
        shown = np.sort(np.argsort(-pixels, kind="stable")[:MAX_COUNTED])
    if len(found) > 2 and (mask.form == "colors" or (whole and found[-1] < 256)):
        edges = count_on_edges(values, found)
        counted = Counts(found[shown][edges[shown] > 0], edges[shown][edges[shown] > 0])
        facts = replace(facts, edges=counted, blurred=float((2 * edges > pixels).mean()))
    if mask.form == "colors" and len(found) > FEW_VALUES:
        facts = replace(facts, solid=solid_colors(values))
    return replace(
        facts,
        whole=whole,
        counts=Counts(found[shown], pixels[shown]),
        distinct=len(kept),
        gapless=gapless,
        regions=regions,
        abrupt=abrupt,
        least=float(kept[0]) if known else np.nan,
        greatest=float(kept[-1]) if known else np.nan,
        mean=float(kept.astype(np.float64) @ pixels[clear]) / known if known else np.nan,
        has_code=known > 0 and is_code(kept),
        known=known,
        palette=_shared(mask.palette[: int(found[-1]) + 1]) if mask.palette else None,
        sketch=sketch_mask(values, found) if closely else None,
        # Discs around cell centers are drawn anew at the working size.
        widths=count_widths(clean) if closely and label != POSITION else None,
    )


def _in_parts(
    values: npt.NDArray[Any], parts: Sequence[Region] | None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the values that are labeled, and all, with the least of those wherever none is."""
    if parts is None:
        return values, values
    height, width = values.shape
    unlabeled = outside(parts, (height, width), (height, width))
    labeled = values[~unlabeled]
    return labeled, np.where(unlabeled, labeled.min(initial=values.max(initial=0)), values)


def _with_fractions(facts: MaskFacts, values: npt.NDArray[Any], void: int | None) -> MaskFacts:
    """Return the facts with what is known of measurements."""
    clear = np.isfinite(values)
    numbers = values[clear if void is None else clear & (values != void)]
    if not numbers.size:
        return facts
    return replace(
        facts,
        least=float(numbers.min()),
        greatest=float(numbers.max()),
        has_code=is_code(numbers),
        mean=float(numbers.mean(dtype=np.float64)),
        known=numbers.size,
    )


def is_code(numbers: npt.NDArray[Any]) -> bool:
    """Return whether the only number below 0 is one that often stands for missing ones."""
    least = numbers.min()
    return bool(least < 0 and least in _CODES and (numbers[numbers != least] >= 0).all())


def count_values(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the different values, ascending, and how many pixels have each."""
    if values.dtype == np.uint8:
        histogram = np.bincount(values.ravel(), minlength=256)
        found = np.flatnonzero(histogram)
        return found, histogram[found]
    return np.unique(values, return_counts=True)


def _digest(mask: MaskFile) -> str:
    """Return a hash of the content, the same for values of 8 and of 16 bits."""
    values = mask.values
    if values.size and values.dtype.kind in "iu":
        lowest, highest = int(values.min()), int(values.max())
        values = values.astype(np.result_type(*map(np.min_scalar_type, (lowest, highest))))
    digest = hashlib.sha256(f"{mask.form} {values.dtype.kind} {values.shape}".encode())
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


@functools.lru_cache(maxsize=256)
def _shared(palette: tuple[Color, ...]) -> tuple[Color, ...]:
    """Return the palette: the same object for all files that have the same."""
    return palette
