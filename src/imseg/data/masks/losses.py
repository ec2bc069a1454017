"""What a mask shows, and what of it another version of the same mask has lost."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.images.decoding import turned
from imseg.data.masks import io
from imseg.data.masks.edges import count_on_edges, on_edges

_TURNS = range(1, 9)
_ON_EDGES = 0.2
_BLURRED = 0.5
_FEWEST_PIXELS = 6
_LARGE = 0.002
_NEAR = 24
_UNLIKE = 64
_AREA = 9


def shown_values(mask: npt.NDArray[Any], form: io.MaskForm) -> list[int]:
    """Return the values of a mask that are classes or objects, the most frequent first.

    They are all values with a pixel that is not on an edge between a lower and a higher one. Of a
    mask that is smeared, they are those on at least six such pixels off the border (beyond which
    there may be a lower one), which differ by more than 64 from those before them, or by 24 where
    they cover a five-hundredth of the mask.

    Args:
        mask: ``h w`` whole numbers or packed colors.
        form: Which of them.
    """
    found, pixels = np.unique(mask, return_counts=True)
    edges = count_on_edges(mask, found)
    own = pixels - edges
    order = np.argsort(-pixels, kind="stable")
    rest = order[2:]
    smeared = edges[rest].sum() > _ON_EDGES * pixels[rest].sum()
    if not smeared and (2 * edges > pixels).mean() <= _BLURRED:
        return [int(found[place]) for place in order if own[place]]
    solid = ~on_edges(mask)
    solid[[0, -1]] = solid[:, [0, -1]] = False
    own = np.bincount(np.searchsorted(found, mask[solid]), minlength=len(found))
    parts = io.unpack_colors(found) if form == "colors" else found[:, None]
    parts = parts.astype(np.int64)
    chosen: list[int] = []
    for place in order:
        if own[place] < _FEWEST_PIXELS or 2 * own[place] < pixels[place]:
            continue
        apart = min(
            (int(np.abs(parts[place] - parts[other]).max()) for other in chosen), default=999
        )
        if apart > _UNLIKE or (apart > _NEAR and own[place] >= _LARGE * mask.size):
            chosen.append(int(place))
    return [int(found[place]) for place in chosen]


def find_losses(before: io.MaskFile, after: io.MaskFile) -> list[str]:
    """Return what a mask shows that another version of it does not, in words.

    Values may be renumbered, and a mask may be turned or brought to another size, but two classes
    or objects must not become one, and none may vanish. Numbers with fractions must stay.
    """
    size, losses = after.values.shape, list[list[str]]()
    for turn in _TURNS:
        seen = turned(before.values, turn)
        if turn == 1 or seen.shape == size or before.values.shape != size:
            losses.append(_losses(seen, before.form, after))
            if not losses[-1]:
                return []
    return min(losses, key=len)


def _losses(seen: npt.NDArray[Any], form: io.MaskForm, after: io.MaskFile) -> list[str]:
    now, size = after.values, after.values.shape
    there = io.resize_mask(seen, size)
    if form == "numbers":
        same = np.array_equal(there, now, equal_nan=True)
        return [] if same else ["its numbers changed"]
    if form == "values" and after.form == "colors" and int(there.max(initial=0)) < 256:
        seen, there, form = io.as_packed_colors(seen), io.as_packed_colors(there), "colors"
    losses, owners = [], dict[int, str]()
    for value in shown_values(seen, form):
        text, became = io.value_text(value, form), now[there == value]
        if not became.size:
            losses.append(f"{text} is gone")
            continue
        found, pixels = np.unique(became, return_counts=True)
        new = int(found[pixels.argmax()])
        if new in owners:
            losses.append(f"{text} became {io.value_text(new, after.form)}, as {owners[new]} did")
        owners.setdefault(new, text)
    return losses


def vanished(mask: io.MaskFile, size: tuple[int, int], regions: Callable[..., Any] | None) -> str:
    """Return what a mask does not show any more at another size, in words; empty: nothing.

    Args:
        mask: What it holds.
        size: The height and width it is brought to, by nearest neighbor.
        regions: Numbers connected regions; None: only whole values are looked for.
    """
    if mask.form == "numbers":
        return ""
    gone = np.setdiff1d(mask.values, io.resize_mask(mask.values, size))
    told = [f"value {io.value_text(int(value), mask.form)} vanished" for value in gone]
    if regions is not None:
        numbered = regions(mask.values, background=0, connectivity=2)
        lost = np.setdiff1d(numbered, io.resize_mask(numbered, size))
        areas = len(lost)
        if areas:
            told.append(f"{areas} separate area{'s' * (areas > 1)} vanished")
    return ", ".join(told)


def faint_areas(
    before: npt.NDArray[Any], after: npt.NDArray[Any], regions: Callable[..., Any] | None
) -> str:
    """Return how many areas a mask loses that is cut at half, in words; empty: none.

    An area has at least nine connected pixels clearly above the lower value, none of which is among
    the higher ones after the cut.

    Args:
        before: The smeared mask, ``h w``.
        after: The same of two values.
        regions: Numbers connected regions; None: nothing is looked for.
    """
    if regions is None:
        return ""
    low, high = int(after.min()), int(after.max())
    numbered = regions(before.astype(np.int64) > low + _NEAR, background=0, connectivity=2)
    found, pixels = np.unique(numbered[numbered > 0], return_counts=True)
    kept = np.unique(numbered[after == high]) if high > low else found[:0]
    lost = int(np.isin(found[pixels >= _AREA], kept, invert=True).sum())
    return f"{lost} faint area{'s' * (lost > 1)} vanished" if lost else ""
