"""What labels that people made say: how frequent classes are, what is rare, a census."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from imseg.data.cache.store import gather, open_array
from imseg.engine.inference.predictor import BATCH
from imseg.engine.loading.samples import SampleSet
from imseg.tasks import Task, collapse
from imseg.tasks.mask_loss import MaskLoss, class_weights
from imseg.types import TargetSpec

if TYPE_CHECKING:
    from imseg.engine.training.job import TrainJob


def loss_of(job: TrainJob, task: Task) -> MaskLoss:
    """Return the loss of a job's recipe, with classes as frequent as people's labels show them."""
    recipe, weights = job.recipe, None
    if recipe.class_balance:
        pixels = torch.zeros(task.spec.outputs)
        for each in job.samples:
            if each.inconsistent is not None:
                continue
            targets = open_array(each.targets)
            for index in each.indices:
                target = torch.from_numpy(np.array(targets[index : index + 1]))
                pixels += task.true_areas(target, task.counted(target, None))[0]
        weights = class_weights(pixels, recipe.class_balance)
    return MaskLoss(task=task, name=recipe.loss, class_weights=weights)


RARE = 1 / 3
"""A class on fewer of the tiles than this share is rare."""


def rare_rows(job: TrainJob, task: Task) -> list[Bool[Tensor, "n"]] | None:
    """Return which targets of each sample set show a rare class; None where there is none.

    That is looked for where networks see windows, of tiles that may show nothing: in all other
    cases each image is looked at as often.
    """
    if not job.recipe.rare_share or any(each.window is None for each in job.samples):
        return None
    shown = []
    for each in job.samples:
        targets = open_array(each.targets)
        areas = torch.zeros(len(targets), task.spec.outputs, dtype=torch.bool)
        for index in each.indices:
            target = torch.from_numpy(np.array(targets[index : index + 1]))
            areas[index] = task.shown(target)[0]
        shown.append(areas)
    used = [areas[list(each.indices)] for areas, each in zip(shown, job.samples, strict=True)]
    shares = torch.cat(used).float().mean(dim=0)
    rare = (shares > 0) & (shares < RARE)
    return [areas[:, rare].any(dim=1) for areas in shown] if rare.any() else None


def census_of(part: SampleSet, spec: TargetSpec) -> Float[Tensor, "t n"]:
    """Return the census of the labels of a part; all their pixels count.

    Args:
        part: What people labeled.
        spec: What values mean.
    """
    targets, total = open_array(part.targets), torch.zeros(())
    for start in range(0, len(part.indices), BATCH):
        rows = np.array(part.indices[start : start + BATCH])
        planes = torch.from_numpy(gather(targets, rows))
        everywhere = torch.ones_like(planes[:, :1], dtype=torch.bool)
        total = total + collapse.census(spec, planes, everywhere)
    return total
