"""From what the masks mean to the task that goes with it."""

from __future__ import annotations

from imseg.tasks.base import Task
from imseg.tasks.binary import Binary
from imseg.tasks.instances import Objects, tells_apart
from imseg.tasks.multiclass import Multiclass
from imseg.tasks.multilabel import Multilabel
from imseg.tasks.regression import Regression
from imseg.types import TargetSpec


def task_for(spec: TargetSpec, *, paper: bool = False, even: bool = False) -> Task:
    """Return the task for a target.

    Args:
        spec: What mask values mean.
        paper: Follow the reference where it differs (see REFERENCE, "Quirks").
        even: Let all planes of a multilabel target weigh the same in the loss.
    """
    match spec.kind:
        case "binary":
            return Binary(spec=spec, paper=paper)
        case "multiclass":
            return Multiclass(spec=spec, paper=paper)
        case "multilabel" if tells_apart(spec):
            return Objects(spec=spec, paper=paper, unweighted=even)
        case "multilabel":
            return Multilabel(spec=spec, paper=paper, unweighted=even)
        case "regression":
            return Regression(spec=spec, paper=paper)
