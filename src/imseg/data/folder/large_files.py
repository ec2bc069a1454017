"""The facts about test pictures and masks that are too large to be decoded whole: row by row."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.folder import config, facts, mask_facts
from imseg.data.images import by_rows, decoding, pixel_size
from imseg.data.masks import io, labeled_regions
from imseg.data.masks.mask_rows import file_rows
from imseg.types import Pages, Pixels, Region

LOOKED_AT = 1024
"""Pixels a side at most of what is looked at of a large picture."""


def shrunk(path: Path, *, pages: Pages) -> tuple[dict[str, Any], Pixels]:
    """Return size and digest of a large picture, and every so manyth row and column of it.

    Args:
        path: A picture whose rows can be read.
        pages: What several pages in the file are.

    Returns:
        Fields of ``ImageFacts``; ``h w c`` pixels in the type of the file.

    Raises:
        ImsegError: If it cannot be read.
    """
    info = by_rows.probe(path, pages=pages)
    step = -(-max(info.size) // LOOKED_AT)
    hashes = [hashlib.sha256(repr((*info.size, deep)).encode()) for deep in (info.channels, 1)]
    gray, top, kept = info.channels == 3, 0, []
    for rows in by_rows.pixel_rows(path, pages=pages):
        gray = gray and decoding.is_gray(rows)
        for digest, pixels in zip(hashes, (rows, rows[..., :1]), strict=True):
            digest.update(np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).data)
        kept.append(rows[-top % step :: step, ::step].copy())
        top += len(rows)
    found = {"size": info.size, "digest": hashes[gray].hexdigest()}
    return {**found, "pixel_size": pixel_size.read_pixel_size(path)}, np.concatenate(kept)


def large_mask_facts(
    path: Path, folder: config.FolderConfig, *, parts: Sequence[Region] | None
) -> facts.MaskFacts:
    """Return the facts about a large mask: which values it holds, but nothing about their shapes.

    Of fractions some are counted, among them the least and the greatest of every few rows.

    Args:
        path: A mask whose rows can be read.
        folder: What the user says about the masks.
        parts: Boxes outside of which nothing counts; None: all of it does.

    Raises:
        ImsegError: If it cannot be read.
    """
    info, digest = by_rows.probe(path, pages=folder.pages), hashlib.sha256()
    forms, dtypes = set(), set()
    parted: list[tuple[npt.NDArray[Any], ...]] = []
    top, whole = 0, True
    for mask in _rows(path, folder.pages):
        values = mask.values
        forms.add(mask.form)
        dtypes.add(values.dtype.name)
        if info.channels == 3 and mask.form == "values":
            values = io.as_packed_colors(values)
        digest.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data)
        whole &= mask.form != "numbers" or io.are_whole(values)
        if parts is not None:
            rows = slice(top, top + len(values))
            values = values[~labeled_regions.outside(parts, info.size, info.size, among=rows)]
        top += len(mask.values)
        parted.append(mask_facts.count_values(values) if whole else _some_of(values))
    form: io.MaskForm = next((each for each in ("numbers", "colors") if each in forms), "values")
    void = (config.as_color if form == "colors" else config.as_number)(folder.void)
    found, pixels = _counted(parted, gray=info.channels == 3 and form == "values")
    clear = np.isfinite(found) if void is None else np.isfinite(found) & (found != void)
    kept, counts = found[clear], pixels[clear]
    known = int(counts.sum())
    most = np.sort(np.argsort(-pixels, kind="stable")[: mask_facts.MAX_COUNTED * whole])
    return facts.MaskFacts(
        name=str(path),
        size=info.size,
        form=form,
        whole=whole and form != "colors" and (not len(kept) or kept[0] >= 0),
        dtype=min(dtypes),
        digest=f"rows {form} {digest.hexdigest()}",
        counts=facts.Counts(found[most], pixels[most])
        if whole
        else facts.Counts(found[:0], pixels[:0]),
        distinct=len(kept) if whole else 0,
        least=float(kept[0]) if known else np.nan,
        greatest=float(kept[-1]) if known else np.nan,
        mean=float(kept.astype(np.float64) @ counts) / known if known else np.nan,
        has_code=known > 0 and mask_facts.is_code(kept),
        known=known,
    )


def _rows(path: Path, pages: Pages) -> Iterator[io.MaskFile]:
    """Yield what the rows of a mask hold; those that cannot be had by rows are an error."""
    return file_rows(path, pages=pages) or iter([io.read_mask(path, pages=pages)])


def _some_of(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Return some of many fractions, ascending, and how many pixels each stands for."""
    known = np.sort(values[np.isfinite(values)])
    step = -(-max(1, known.size) // LOOKED_AT)
    some = np.concatenate([known[::step], known[-1:]])
    return some, np.full(len(some), step, np.int64)


def _counted(
    parted: Sequence[tuple[npt.NDArray[Any], ...]], *, gray: bool
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Return the values of several parts, ascending, and how many pixels have each.

    Args:
        parted: Values and pixels.
        gray: Whether values are gray levels as packed colors, wanted as levels.
    """
    values = np.concatenate([each[0] for each in parted])
    found, which = np.unique(values & 255 if gray else values, return_inverse=True)
    pixels = np.bincount(which, np.concatenate([each[1] for each in parted]), len(found))
    return found, pixels.astype(np.int64)
