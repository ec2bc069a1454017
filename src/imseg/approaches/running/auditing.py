"""Pseudo-labels compared with hidden masks: for people, not for the approach.

What is found goes into files and notes. Nothing here returns to who trains: a run with an audit and
one without have the same networks, bit by bit.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from imseg.approaches.running.generations import Watch
from imseg.approaches.running.run_data import PictureStore, limited
from imseg.components import consensus, labeling
from imseg.components.audit import Audit
from imseg.data.cache.store import gather, open_array
from imseg.engine.storage.run_folder import RunFolder
from imseg.tasks import task_for
from imseg.types import LabeledImage


def audited(
    store: PictureStore, *, hidden: Sequence[LabeledImage] | None, folder: RunFolder
) -> Watch | None:
    """Return who compares pseudo-labels with hidden masks; None where there is nothing to compare.

    What was found about a generation is written down once all its images were looked at.

    Args:
        store: Where decoded pictures go.
        hidden: The unlabeled images with their masks.
        folder: The run.
    """
    plan = store.plan
    if hidden is None or plan.approach.pseudo_label is None:
        return None
    what = "reading hidden masks for the audit"
    stored = store.split(limited(tuple(hidden), plan), "hidden", what)
    if stored.targets is None:
        raise ValueError("an audit needs masks")
    targets, task = open_array(stored.targets), task_for(store.data.spec, paper=plan.paper)

    def watch(stage: str) -> labeling.Observer:
        audit = Audit(task)

        def look(
            start: int, agreement: consensus.PseudoLabelBatch, admitted: Bool[Tensor, "b"]
        ) -> None:
            end = start + len(admitted)
            truth = gather(targets, np.arange(start, end))
            audit.add(agreement, admitted, torch.from_numpy(truth))
            if end == len(targets):
                audit.result().write(folder.audit(stage))

        return look

    return watch
