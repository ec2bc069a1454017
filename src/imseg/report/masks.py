"""Predictions as files: masks, overlays, inconsistency masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from imseg.approaches.run import Run
from imseg.data.image_io import write_png
from imseg.data.pictures import draw_overlay, list_images
from imseg.errors import ImsegError


def write_predictions(
    run: Run,
    images: Path,
    out: Path,
    *,
    overlay: bool = False,
    inconsistency: bool = False,
    networks: Sequence[str] | None = None,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, object]]:
    """Write a mask for each picture and return what was written.

    Args:
        run: A finished run.
        images: A picture or a folder of pictures.
        out: Masks go here under the pictures' names, as PNG; subfolders are kept.
        overlay: Also draw masks on pictures, in ``out/overlays``.
        inconsistency: Also write where the best networks disagree (255) or not (0), in
            ``out/inconsistency``.
        networks: Whose mean is predicted; None: the chosen one.
        device: Where to compute.
        progress: Told about finished and all pictures.

    Returns:
        For each picture: ``image``, ``mask`` and the share of inconsistent pixels (0..1).

    Raises:
        ImsegError: If a picture cannot be read or OUT lies where it would overwrite pictures.
    """
    _check_place(images, out)
    total = len(list_images(images))
    written: list[dict[str, object]] = []
    for number, found in enumerate(run.predict(images, networks=networks, device=device), 1):
        name = Path(found.name).with_suffix(".png")
        _write(out / name, found.mask)
        if overlay:
            _write(out / "overlays" / name, draw_overlay(found.pixels, found.target, run.spec))
        if inconsistency:
            _write(out / "inconsistency" / name, found.inconsistent.astype(np.uint8) * 255)
        written.append(
            {
                "image": found.name,
                "mask": str(out / name),
                "inconsistent": float(found.inconsistent.mean()),
            }
        )
        if progress is not None:
            progress(number, total)
    return written


def _write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, array)


def _check_place(images: Path, out: Path) -> None:
    source = (images if images.is_dir() else images.parent).resolve()
    if source == out.resolve() or (images.is_dir() and source in out.resolve().parents):
        raise ImsegError(
            f"Masks would be written among the pictures of {source}.",
            expected="--out outside the folder of pictures.",
            got=str(out),
            hint=f"--out {source.name}-masks",
        )
