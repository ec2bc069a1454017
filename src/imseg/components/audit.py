"""How good pseudo-labels are where the truth is known: for people who assess a method, not for it.

Source: METHOD, "Scores"; the question whether the inconsistency mask covers the mistakes.
"""

from jaxtyping import Bool
from pydantic import FiniteFloat, NonNegativeInt
from torch import Tensor

from imseg.components.consensus import PseudoLabelBatch
from imseg.engine.storage.sealed import SealedFile, StrictModel
from imseg.tasks import Planes, Task

REGIONS = ("outside", "inside", "learned", "everywhere", "not_admitted")
"""Pixels that teachers agree on; those they do not; those that are not blocked; all; those of
images that were not admitted."""


class RegionScores(StrictModel):
    """How good labels are in a region, over all pixels together; None where nothing is there."""

    precision: FiniteFloat | None
    """How much of what labels say is true, 0..1."""
    score: FiniteFloat | None
    """The task's metric."""


class AuditResult(SealedFile):
    """What a comparison of a generation's pseudo-labels with the truth found: ``audit.json``."""

    images: NonNegativeInt
    """Images looked at."""
    admitted: NonNegativeInt
    """Images that are learned from."""
    coverage: FiniteFloat | None
    """Share of the admitted images' pixels on which teachers agree, 0..1; None without any."""
    metric: str
    """The name of the score."""
    outside: RegionScores
    """Labels, where teachers agree."""
    inside: RegionScores
    """The best teacher alone, where they do not."""
    learned: RegionScores
    """Labels, on all pixels that are not blocked."""
    everywhere: RegionScores
    """The best teacher alone, on all pixels."""
    not_admitted: RegionScores
    """The best teacher alone, on images that are not learned from."""


class Audit:
    """Compares pseudo-labels with the truth, batch after batch.

    Args:
        task: What a pixel is.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._tallies: dict[str, Tensor] = {}
        self._images = self._admitted = 0
        self._known = self._agreed = 0

    def add(self, agreement: PseudoLabelBatch, admitted: Bool[Tensor, "b"], truth: Planes) -> None:
        """Add a batch.

        Args:
            agreement: What a labeler made of it.
            admitted: Which of the images are learned from.
            truth: What the images show; void pixels do not count.
        """
        task = self._task
        truth, used = truth.to(agreement.labels.device), admitted.to(agreement.labels.device)
        self._images += len(used)
        self._admitted += int(used.sum())
        blocked = agreement.inconsistent[used]
        mask = blocked | agreement.disputed[used]
        labels, here = agreement.labels[used], truth[used]
        # What the best teacher alone would teach, so that labels are compared with labels.
        first = task.redraw(agreement.first)
        known = task.known(here)
        self._known += int(known.sum())
        self._agreed += int((known & ~mask).sum())
        regions = {
            "outside": (labels, task.blank(here, mask)),
            "inside": (first[used], task.blank(here, ~mask)),
            "learned": (labels, task.blank(here, blocked)),
            "everywhere": (first[used], here),
            "not_admitted": (first[~used], truth[~used]),
        }
        for region, (found, true) in regions.items():
            if len(found):
                self._tallies[region] = self._tallies.get(region, 0) + task.tally(found, true).cpu()

    def result(self) -> AuditResult:
        """Return what was found."""
        return AuditResult(
            images=self._images,
            admitted=self._admitted,
            coverage=self._agreed / self._known if self._known else None,
            metric=self._task.metric.key,
            **{region: self._scores(region) for region in REGIONS},
        )

    def _scores(self, region: str) -> RegionScores:
        tally = self._tallies.get(region)
        if tally is None:
            return RegionScores(precision=None, score=None)
        return RegionScores(
            precision=self._task.precision(tally),
            score=self._task.metric.pooled(self._task.dataset_scores(tally)),
        )
