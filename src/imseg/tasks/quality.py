"""How good a mask is: what a learned judge of masks sees, is taught and says.

Source: METHOD, "EvalNet".
"""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Bool, Float
from torch import Tensor

from imseg.errors import ImsegError
from imseg.tasks.base import Planes, Task
from imseg.tasks.quality_kinds import (
    IOU,
    PRESENCE,
    PRESENT,
    BinaryQuality,
    MulticlassQuality,
    MultilabelQuality,
)

__all__ = ["IOU", "PRESENCE", "PRESENT", "Quality", "quality_for"]


class Quality(Protocol):
    """A kind of target, as far as its masks are judged.

    Axes beside those of all signatures: ``n`` judges, ``m`` planes that a judge sees of a mask,
    ``r`` heads of a judge (IoU; presence), here with ``k`` for the classes of each head.
    """

    @property
    def outputs(self) -> int:
        """Numbers that each head gives: one a class or plane."""

    def factory(self, paper: bool) -> str:
        """Return the name of the judge's network, ``paper`` with the reference's momentum."""

    def as_input(self, labels: Planes) -> Float[Tensor, "b m h w"]:
        """Return masks as a judge sees them: 0 or 1; void is nothing."""

    def of_consensus(
        self, labels: Planes, inconsistent: Bool[Tensor, "b 1 h w"], truth: Planes
    ) -> Float[Tensor, "b r k"]:
        """Return what a judge is to say about the consensus of several teachers, 0..1.

        Args:
            labels: What they agree on; blocked here, if it is not yet.
            inconsistent: Where they disagree.
            truth: The mask that a person drew; void does not count.
        """

    def of_prediction(self, labels: Planes, truth: Planes) -> Float[Tensor, "b r k"]:
        """Return what a judge is to say about the prediction of one network, 0..1."""

    def loss(
        self, logits: Float[Tensor, "b r k"], wanted: Float[Tensor, "b r k"]
    ) -> Float[Tensor, ""]:
        """Return the squared error of IoU plus the cross-entropy of presence, means over all."""

    def probabilities(self, logits: Float[Tensor, "b r k"]) -> Float[Tensor, "b r k"]:
        """Return what a judge says, 0..1."""

    def score(self, judged: Float[Tensor, "n b r k"], *, amplification: bool) -> Float[Tensor, "b"]:
        """Return how good judges find masks on average: the mean IoU of the classes present.

        Args:
            judged: Probabilities.
            amplification: For the number of copies; the class "inconsistent" is left out.
        """

    def true_score(
        self, labels: Planes, inconsistent: Bool[Tensor, "b 1 h w"], truth: Planes
    ) -> Float[Tensor, "b"]:
        """Return the true mean IoU of a consensus, with the truth blanked where it is inconsistent.

        Classes that are not in what remains of the truth do not count; 0 if none is.
        """


def quality_for(task: Task) -> Quality:
    """Return how masks of a task are judged.

    Raises:
        ImsegError: If targets are numbers, of which there is no IoU.
    """
    match task.spec.kind:
        case "binary":
            return BinaryQuality(empty=0.0 if task.paper else 1.0)
        case "multiclass":
            return MulticlassQuality(outputs=task.spec.outputs)
        case "multilabel":
            return MultilabelQuality(spec=task.spec)
        case "regression":
            raise ImsegError(
                "Masks of numbers cannot be judged.",
                expected="binary, multiclass or multilabel masks: a judge learns their IoU.",
                got=f"the quantity {task.spec.names[0]!r}",
                hint="an approach without a judge, such as im+ or noisy-student.",
            )
