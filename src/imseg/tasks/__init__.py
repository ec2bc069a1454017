"""What a pixel is: the only room that branches on the kind of target."""

from imseg.tasks.base import Metric, Planes, Pool, Task, Votes, check_pool
from imseg.tasks.binary import Binary
from imseg.tasks.multiclass import Multiclass
from imseg.tasks.multilabel import Multilabel, Objects, tells_apart
from imseg.tasks.regression import Regression
from imseg.types import TargetSpec

__all__ = [
    "Binary",
    "Metric",
    "Multiclass",
    "Multilabel",
    "Planes",
    "Pool",
    "Regression",
    "Task",
    "Votes",
    "check_pool",
    "task_for",
]


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
        case "multilabel":
            planes = Objects if tells_apart(spec) else Multilabel
            return planes(spec=spec, paper=paper, unweighted=even)
        case "regression":
            return Regression(spec=spec, paper=paper)
