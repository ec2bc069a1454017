"""What a network can learn: to segment, to be steady under disturbance, to judge masks."""

from __future__ import annotations

from imseg.engine.training.job import Job
from imseg.engine.training.objectives.mask_quality import MaskQuality
from imseg.engine.training.objectives.objective import AnyStep, Forward, Objective
from imseg.engine.training.objectives.supervised import Segmentation
from imseg.engine.training.objectives.two_views import LabelsAndViews
from imseg.tasks import task_for
from imseg.tasks.quality import quality_for
from imseg.types import TargetSpec

__all__ = ["AnyStep", "Forward", "Lesson", "lesson_for"]


def lesson_for(job: Job) -> Objective:
    """Return the lesson that a job asks for by what it has: qualities, two views, or neither."""
    spec, paper = TargetSpec.from_dict(job.target), job.recipe.paper
    if job.parts[0].qualities is not None:
        return MaskQuality(job, quality_for(task_for(spec, paper=paper)))
    if job.two_views is not None:
        # Here the reference lets all planes weigh the same.
        return LabelsAndViews(job, task_for(spec, paper=paper, even=paper), job.two_views)
    return Segmentation(job, task_for(spec, paper=paper))
