"""Masks of known quality in files, as parts that a judge of masks is trained with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from imseg.data.store_arrays import NewArray, new_array
from imseg.data.whole_files import make_folder
from imseg.engine.part import Copies, Part
from imseg.tasks import Planes


class Samples(NamedTuple):
    """A batch of masks of known quality."""

    shows: list[int]
    """The stored image that each belongs to."""
    augmented: list[bool]
    """Which are disturbed."""
    labels: Planes
    """Not blocked."""
    inconsistent: Bool[Tensor, "b 1 h w"] | None
    """Where teachers disagree; None for the predictions of single networks."""
    qualities: Float[Tensor, "b r k"]
    """What a judge is to say about them."""


def store_samples(
    batches: Iterator[Samples], images: Part, *, folder: Path, samples: int, copies: Copies
) -> tuple[Part, ...]:
    """Write samples to files; return the plain and the disturbed ones as parts.

    Args:
        batches: All samples.
        images: The images they belong to.
        folder: Where ``labels.npy``, ``inconsistent.npy`` and ``qualities.npy`` go.
        samples: How many there are.
        copies: Of the disturbed ones.

    Returns:
        Parts that share the files; one without samples is left out.
    """
    make_folder(folder)
    files: dict[str, NewArray] = {}
    content = hashlib.sha256(images.digest.encode())
    shows: list[int] = []
    augmented: list[bool] = []
    with ExitStack() as whole:
        for batch in batches:
            for name in ("labels", "inconsistent", "qualities"):
                values = getattr(batch, name)
                if values is None:
                    continue
                values = values.to(torch.uint8) if values.dtype == torch.bool else values
                array = values.cpu().numpy()
                if name not in files:
                    shape = (samples, *array.shape[1:])
                    new = new_array(folder / f"{name}.npy", array.dtype, shape)
                    files[name] = whole.enter_context(new)
                content.update(files[name].put_all(len(shows), array).data)
            shows += batch.shows
            augmented += batch.augmented
    parts = []
    for disturbed in (False, True):
        chosen = tuple(i for i, each in enumerate(augmented) if each is disturbed)
        if chosen:
            parts.append(
                Part(
                    images=images.images,
                    targets=folder / "labels.npy",
                    digest=content.hexdigest(),
                    indices=chosen,
                    inconsistent=folder / "inconsistent.npy" if "inconsistent" in files else None,
                    copies=copies if disturbed else None,
                    shows=tuple(shows),
                    qualities=folder / "qualities.npy",
                )
            )
    return tuple(parts)
