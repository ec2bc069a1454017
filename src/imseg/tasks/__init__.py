"""What a pixel is: the only room that branches on the kind of target."""

from imseg.tasks.base import EpochMeter, Metric, Origin, Planes, Pool, Task, Votes
from imseg.tasks.binary import Binary
from imseg.tasks.choose import task_for
from imseg.tasks.multiclass import Multiclass
from imseg.tasks.multilabel import Multilabel
from imseg.tasks.regression import Regression
from imseg.tasks.scores import check_pool

__all__ = [
    "Binary",
    "EpochMeter",
    "Metric",
    "Multiclass",
    "Multilabel",
    "Origin",
    "Planes",
    "Pool",
    "Regression",
    "Task",
    "Votes",
    "check_pool",
    "task_for",
]
