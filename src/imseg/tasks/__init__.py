"""What a pixel is: the only room that branches on the kind of target."""

from imseg.tasks.base import EpochMeter, Task
from imseg.tasks.binary import Binary
from imseg.tasks.choose import task_for
from imseg.tasks.multiclass import Multiclass

__all__ = ["Binary", "EpochMeter", "Multiclass", "Task", "task_for"]
