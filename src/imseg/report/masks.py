"""Predictions as files: masks, overlays, inconsistency masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imseg.approaches.run import Run
from imseg.data.image_io import write_png
from imseg.data.pictures import draw_overlay, list_images
from imseg.errors import ImsegError, and_more
from imseg.types import Image


@dataclass(frozen=True, slots=True)
class Written:
    """What was written for a picture."""

    image: str
    """The picture's name."""
    mask: str
    """The path of its mask."""
    inconsistent: float
    """Share of pixels on which the best networks disagree, 0..1."""


def write_predictions(
    run: Run,
    images: Path,
    out: Path,
    *,
    overlay: bool = False,
    inconsistency: bool = False,
    networks: Sequence[str] | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Written]:
    """Write a mask for each picture and return what was written.

    Args:
        run: A finished run.
        images: A picture or a folder of pictures.
        out: Masks go here under the pictures' names, as PNG; subfolders are kept.
        overlay: Also draw masks on pictures, in ``out/overlays``.
        inconsistency: Also write where the best networks disagree (255) or not (0), in
            ``out/inconsistency``, and the share of such pixels in ``out/inconsistency.csv``.
        networks: Whose mean is predicted; None: the chosen one.
        device: Where to compute.
        overwrite: Replace files that are there already.
        progress: Told about finished and all pictures.

    Returns:
        What was written for each picture, the most inconsistent first.

    Raises:
        ImsegError: If a picture cannot be read or OUT lies where it would overwrite pictures.
    """
    _check_place(images, out)
    entries = list_images(images)
    if not overwrite:
        _check_free(entries, out)
    total = len(entries)
    written: list[Written] = []
    for number, found in enumerate(run.predict(images, networks=networks, device=device), 1):
        name = Path(found.name).with_suffix(".png")
        _write(out / name, found.mask)
        if overlay:
            _write(out / "overlays" / name, draw_overlay(found.pixels, found.target, run.spec))
        if inconsistency:
            _write(out / "inconsistency" / name, found.inconsistent.astype(np.uint8) * 255)
        share = float(found.inconsistent.mean())
        written.append(Written(found.name, str(out / name), share))
        if progress is not None:
            progress(number, total)
    written.sort(key=lambda entry: -entry.inconsistent)
    if inconsistency:
        rows = [f"{entry.inconsistent:.6f},{entry.image}" for entry in written]
        text = "\n".join(["share_of_inconsistent_pixels,image", *rows]) + "\n"
        (out / "inconsistency.csv").write_text(text, encoding="utf-8")
    return written


def _write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, array)


def _check_free(entries: Sequence[Image], out: Path) -> None:
    """Check that no file is there already: it may be a mask that a person drew."""
    names = [Path(entry.name).with_suffix(".png") for entry in entries]
    taken = [str(out / name) for name in names if (out / name).exists()]
    if taken:
        raise ImsegError(
            f"{len(taken)} files would be overwritten in {out}.",
            expected="a folder without masks of these names.",
            got=and_more(taken),
            hint="--out with another folder, or --overwrite.",
        )


def _check_place(images: Path, out: Path) -> None:
    source = (images if images.is_dir() else images.parent).resolve()
    if source == out.resolve() or (images.is_dir() and source in out.resolve().parents):
        raise ImsegError(
            f"Masks would be written among the pictures of {source}.",
            expected="--out outside the folder of pictures.",
            got=str(out),
            hint=f"--out {source.name}-masks",
        )
