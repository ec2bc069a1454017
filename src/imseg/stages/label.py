"""Pseudo-label a whole set of unlabeled images and keep the result beside the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from imseg.data.store import open_array
from imseg.engine.device import Numerics
from imseg.engine.part import Part
from imseg.engine.predictor import BATCH, vote
from imseg.stages.pseudo_label import Consensus
from imseg.stages.select import Select
from imseg.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoLabels:
    """A training part made by teachers, and how much they disagreed."""

    part: Part
    """Images, labels, masks and which images are used."""
    images: int
    """Images looked at."""
    admitted: int
    """Images used."""
    inconsistent_share: float
    """Mean share of inconsistent pixels over all images looked at, 0..1."""
    shares: tuple[float, ...]
    """The same for each image."""

    def as_dict(self) -> dict[str, Any]:
        """Return what is kept in the run."""
        return {
            "images": self.images,
            "admitted": self.admitted,
            "inconsistent_share": self.inconsistent_share,
        }


def pseudo_label(
    images: Path,
    digest: str,
    teachers: Sequence[nn.Module],
    *,
    consensus: Consensus,
    select: Select,
    task: Task,
    numerics: Numerics,
    folder: Path,
    progress: Callable[[int, int], None],
) -> PseudoLabels:
    """Return pseudo-labels for stored images.

    Args:
        images: ``n h w c`` unsigned bytes (.npy).
        digest: Hash of their content.
        teachers: Networks in inference mode.
        consensus: How votes become labels.
        select: Which images are used.
        task: What a pixel is.
        numerics: How the teachers are computed.
        folder: Where labels and masks go.
        progress: Told about finished and all images.
    """
    pixels = open_array(images)
    count, (height, width) = len(pixels), pixels.shape[1:3]
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.lib.format.open_memmap(
        folder / "labels.npy", "w+", task.spec.dtype, (count, task.spec.planes, height, width)
    )
    masks = np.lib.format.open_memmap(
        folder / "inconsistent.npy", "w+", np.uint8, (count, 1, height, width)
    )
    used: list[int] = []
    content = hashlib.sha256(digest.encode())
    for start in range(0, len(pixels), BATCH):
        votes = vote(teachers, pixels[start : start + BATCH], task, numerics)
        agreement = consensus(task, votes)
        end = start + votes.shape[1]
        labels[start:end] = agreement.labels.cpu().numpy()
        masks[start:end] = agreement.inconsistent.cpu().numpy()
        content.update(labels[start:end].tobytes() + masks[start:end].tobytes())
        chosen = select(task, votes, agreement).cpu().nonzero().flatten().tolist()
        used.extend(start + index for index in chosen)
        progress(end, len(pixels))
    labels.flush()
    masks.flush()
    shares = masks.reshape(count, -1).mean(axis=1) if count else np.zeros(0)
    return PseudoLabels(
        part=Part(
            images=images,
            targets=folder / "labels.npy",
            inconsistent=folder / "inconsistent.npy",
            digest=content.hexdigest(),
            indices=tuple(used),
            blocks_input=consensus.block.input,
            blocks_output=consensus.block.output and task.zero_is_nothing,
            ignores=consensus.block.ignore or (consensus.block.output and not task.zero_is_nothing),
        ),
        images=len(pixels),
        admitted=len(used),
        inconsistent_share=float(shares.mean()) if len(shares) else 0.0,
        shares=tuple(float(share) for share in shares),
    )
