"""What each of several networks says about stored images, kept to be looked at more than once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from imseg.data.store import open_array
from imseg.data.store_arrays import new_array
from imseg.data.whole_files import make_folder
from imseg.engine.device import Numerics
from imseg.engine.predictor import BATCH, vote
from imseg.tasks import Task


def store_ballots(
    networks: Sequence[nn.Module],
    images: Path,
    rows: Sequence[int],
    *,
    task: Task,
    numerics: Numerics,
    path: Path,
    progress: Callable[[int, int], None],
) -> Path:
    """Write the ballots of networks (``v n t h w``, .npy) and return where they are.

    Args:
        networks: In inference mode.
        images: ``n h w c`` unsigned bytes (.npy).
        rows: Images that are looked at; the ballots of all others are 0.
        task: What a pixel is.
        numerics: How the networks are computed.
        path: Where the ballots go.
        progress: Told about finished and all images.
    """
    pixels = open_array(images)
    count, (height, width) = len(pixels), pixels.shape[1:3]
    make_folder(path.parent)
    shape = (len(networks), count, task.spec.planes, height, width)
    with new_array(path, task.spec.dtype, shape, counting=2) as ballots:
        for start in range(0, len(rows), BATCH):
            chosen = list(rows[start : start + BATCH])
            with torch.inference_mode():
                votes = vote(networks, pixels[chosen], task, numerics).cpu().numpy()
            votes = votes.astype(task.spec.dtype, copy=False)
            for voter, cast in enumerate(votes):
                for row, ballot in zip(chosen, cast, strict=True):
                    ballots.put(voter * count + row, ballot)
            progress(min(start + BATCH, len(rows)), len(rows))
    return path
