"""Pseudo-labels compared with hidden masks: for people, not for the approach.

What is found goes into files and notes. Nothing here returns to who trains: a run with an audit and
one without have the same networks, bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from imseg.approaches.planning.plan import Plan
from imseg.approaches.running.pseudo_labeling import Watch
from imseg.approaches.running.run_data import limited
from imseg.components.audit import Audit
from imseg.components.consensus import PseudoLabelBatch
from imseg.components.labeling import Observer
from imseg.data.cache.store import Stored, gather, open_array, store_split
from imseg.data.folder.inspection import KnownFiles
from imseg.engine.hardware.device import usable_cores
from imseg.engine.storage.run_folder import RunFolder
from imseg.progress import Progress, Working
from imseg.tasks import Task, task_for
from imseg.types import DataSet, LabeledImage


class Auditor:
    """Looks at the pseudo-labels of one generation and writes down how good they are.

    Args:
        truth: ``n t h w`` hidden targets (.npy), row by row as the unlabeled images.
        task: What a pixel is.
        path: Where the findings go, once all images were looked at.
    """

    def __init__(self, truth: Path, *, task: Task, path: Path) -> None:
        self._truth = open_array(truth)
        self._audit = Audit(task)
        self._path = path

    def __call__(
        self, start: int, agreement: PseudoLabelBatch, admitted: Bool[Tensor, "b"]
    ) -> None:
        """Look at the labels of the images from row ``start`` on."""
        end = start + len(admitted)
        truth = gather(self._truth, np.arange(start, end))
        self._audit.add(agreement, admitted, torch.from_numpy(truth))
        if end == len(self._truth):
            self._audit.result().write(self._path)


def audited(
    data: DataSet,
    plan: Plan,
    hidden: Sequence[LabeledImage] | None,
    *,
    folder: RunFolder,
    progress: Progress,
    reuse: Sequence[Path],
    files: KnownFiles | None = None,
) -> Watch | None:
    """Return who compares pseudo-labels with hidden masks; None where there is nothing to compare.

    Args:
        data: What masks mean and how pictures are read.
        plan: Working size, limits and approach.
        hidden: The unlabeled images with their masks.
        folder: The run.
        progress: Told about decoded pictures.
        reuse: Folders of stored arrays from which known pictures are taken.
        files: Where pixels wait that were decoded for the checks.
    """
    if hidden is None or plan.approach.pseudo_label is None:
        return None
    stored: Stored = store_split(
        limited(tuple(hidden), plan),
        folder.cache,
        "hidden",
        spec=data.spec,
        reading=data.reading,
        size=plan.image_size,
        workers=usable_cores(),
        reuse=reuse,
        files=files,
        progress=lambda done, total: progress(
            Working(what="reading hidden masks for the audit", done=done, total=total)
        ),
    )
    truth = stored.targets
    if truth is None:
        raise ValueError("an audit needs masks")
    task = task_for(data.spec, paper=plan.paper)

    def watch(stage: str) -> Observer:
        return Auditor(truth, task=task, path=folder.audit(stage))

    return watch
