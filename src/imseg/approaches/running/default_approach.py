"""Which approach is trained where none is named, once the data is known."""

from imseg.approaches.planning.settings import Settings, problems_of
from imseg.approaches.runs.run_files import Record
from imseg.progress import Note, Progress
from imseg.types import DataSet

NO_UNLABELED = "There are no unlabeled images: networks learn from labels alone (ldt)."
"""Said where a run begins."""
UNLABELED_NOW = (
    "There were no unlabeled images when this run was begun, so it learns from labels alone. --out"
    " with another folder (--reuse with this one keeps what is still valid) learns from them, too."
)
"""Said where such a run is continued and has some now."""


def with_approach(
    asked: Settings, dataset: DataSet, record: Record | None, progress: Progress
) -> Settings:
    """Return settings that train what the data is enough for, where no approach is named.

    A run that is continued stays what it is. Without unlabeled images there are labels alone,
    unless something is asked for that they have no use for.

    Args:
        asked: What was asked for.
        dataset: What there is to learn from.
        record: What an earlier call of the same command wrote down; None if the run is new.
        progress: Told why labels alone are trained.
    """
    if "approach" in asked.given:
        return asked
    if record is not None:
        name = record.plan.approach.name
        if name == "ldt" and asked.minutes is None and dataset.unlabeled:
            progress(Note(text=UNLABELED_NOW, warning=True))
        return asked.but(approach=name)
    alone = asked.but(approach="ldt")
    if dataset.unlabeled or problems_of(alone):
        return asked
    progress(Note(text=NO_UNLABELED))
    return alone
