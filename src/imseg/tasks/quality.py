"""How good a mask is: what a learned scorer of masks sees, is taught and says.

Source: METHOD, "EvalNet".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from imseg.errors import ImsegError
from imseg.ops import overlap
from imseg.ops.inconsistency import block_output
from imseg.tasks.base import Planes, Task
from imseg.tasks.multiclass import one_hot
from imseg.types import INCONSISTENT, VOID, Kind, TargetSpec


class Quality(Protocol):
    """A kind of target, as far as its masks are scored.

    Axes beside those of all signatures: ``n`` mask scorers, ``m`` planes of a mask that they see,
    ``r`` heads of a mask scorer (IoU; presence), here with ``k`` for the classes of each head.
    """

    @property
    def outputs(self) -> int:
        """Numbers that each head gives: one a class or plane."""

    def as_input(self, labels: Planes) -> Float[Tensor, "b m h w"]:
        """Return masks as a mask scorer sees them: 0 or 1; void is nothing."""

    def of_consensus(
        self, labels: Planes, inconsistent: Bool[Tensor, "b 1 h w"], truth: Planes
    ) -> Float[Tensor, "b r k"]:
        """Return what a mask scorer is to say about the consensus of several teachers, 0..1.

        Args:
            labels: What they agree on; blocked here, if it is not yet.
            inconsistent: Where they disagree.
            truth: The mask that a person drew; void does not count.
        """

    def of_prediction(self, labels: Planes, truth: Planes) -> Float[Tensor, "b r k"]:
        """Return what a mask scorer is to say about the prediction of one network, 0..1."""

    def loss(
        self, logits: Float[Tensor, "b r k"], wanted: Float[Tensor, "b r k"]
    ) -> Float[Tensor, ""]:
        """Return the squared error of IoU plus the cross-entropy of presence, means over all."""

    def probabilities(self, logits: Float[Tensor, "b r k"]) -> Float[Tensor, "b r k"]:
        """Return what a mask scorer says, 0..1."""

    def score(self, scored: Float[Tensor, "n b r k"], *, amplification: bool) -> Float[Tensor, "b"]:
        """Return how good mask scorers find masks on average: the mean IoU of the classes present.

        Args:
            scored: Probabilities.
            amplification: For the number of copies; the class "inconsistent" is left out.
        """

    def true_score(
        self, labels: Planes, inconsistent: Bool[Tensor, "b 1 h w"], truth: Planes
    ) -> Float[Tensor, "b"]:
        """Return the true mean IoU of a consensus, with the truth blanked where it is inconsistent.

        Classes that are not in what remains of the truth do not count; 0 if none is.
        """


def heads_for(kind: Kind) -> int:
    """Return the heads of a mask scorer for a kind of target: IoU, and presence of classes."""
    return 1 if kind == "binary" else 2


def quality_for(task: Task) -> Quality:
    """Return how masks of a task are scored.

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
                "Masks of numbers cannot be scored.",
                expected="binary, multiclass or multilabel masks: a mask scorer learns their IoU.",
                got=f"the quantity {task.spec.names[0]!r}",
                hint="an approach without a mask scorer, such as im+ or noisy-student.",
            )


PRESENT = 0.5
"""A class is present if the mask scorers say so with this probability or a higher one."""
IOU, PRESENCE = 0, 1
"""The heads of a mask scorer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryQuality:
    """One number: the IoU of the foreground."""

    empty: float = 1.0
    """The IoU of an empty mask of an image that shows nothing; 0 in the reference."""

    @property
    def outputs(self) -> int:
        """One."""
        return 1

    def as_input(self, labels: UInt8[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Return the foreground."""
        return (labels == 1).float()

    def of_consensus(
        self,
        labels: UInt8[Tensor, "b 1 h w"],
        inconsistent: Bool[Tensor, "b 1 h w"],
        truth: UInt8[Tensor, "b 1 h w"],
    ) -> Float[Tensor, "b 1 1"]:
        """Return the IoU of what remains of the consensus with the whole truth."""
        return self.of_prediction(block_output(labels, inconsistent), truth)

    def of_prediction(
        self, labels: UInt8[Tensor, "b 1 h w"], truth: UInt8[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "b 1 1"]:
        """Return the IoU."""
        return plane_ious(labels, truth, empty=self.empty).unsqueeze(1).float()

    def loss(
        self, logits: Float[Tensor, "b 1 1"], wanted: Float[Tensor, "b 1 1"]
    ) -> Float[Tensor, ""]:
        """Return the mean squared error."""
        return functional.mse_loss(self.probabilities(logits), wanted)

    def probabilities(self, logits: Float[Tensor, "b 1 1"]) -> Float[Tensor, "b 1 1"]:
        """Return the IoU that a mask scorer sees, 0..1."""
        return torch.sigmoid(logits.float())

    def score(self, scored: Float[Tensor, "n b 1 1"], *, amplification: bool) -> Float[Tensor, "b"]:
        """Return the mean over the mask scorers."""
        return scored.double().mean(dim=0)[:, IOU, 0]

    def true_score(
        self,
        labels: UInt8[Tensor, "b 1 h w"],
        inconsistent: Bool[Tensor, "b 1 h w"],
        truth: UInt8[Tensor, "b 1 h w"],
    ) -> Float[Tensor, "b"]:
        """Return the IoU with what remains of the truth; 0 if nothing remains."""
        mask, remaining = block_output(labels, inconsistent), blanked(truth, inconsistent)
        return plane_ious(mask, remaining, empty=0.0)[:, 0]


class _TwoHeads:
    """What mask scorers of several classes or labels have in common."""

    __slots__ = ()

    def loss(
        self, logits: Float[Tensor, "b 2 k"], wanted: Float[Tensor, "b 2 k"]
    ) -> Float[Tensor, ""]:
        """Return the squared error of IoU plus the cross-entropy of presence, means over all."""
        error = functional.mse_loss(torch.sigmoid(logits[:, IOU].float()), wanted[:, IOU])
        return error + functional.binary_cross_entropy_with_logits(
            logits[:, PRESENCE].float(), wanted[:, PRESENCE]
        )

    def probabilities(self, logits: Float[Tensor, "b 2 k"]) -> Float[Tensor, "b 2 k"]:
        """Return IoU and probability of presence that a mask scorer sees, 0..1."""
        return torch.sigmoid(logits.float())


@dataclass(frozen=True, slots=True, kw_only=True)
class MulticlassQuality(_TwoHeads):
    """IoU and presence of each class, the reserved class "inconsistent" among them."""

    outputs: int
    """Classes, the reserved one included."""

    def as_input(self, labels: UInt8[Tensor, "b 1 h w"]) -> Float[Tensor, "b k h w"]:
        """Return one plane a class, the reserved one included."""
        return one_hot(labels, self.outputs)

    def of_consensus(
        self,
        labels: UInt8[Tensor, "b 1 h w"],
        inconsistent: Bool[Tensor, "b 1 h w"],
        truth: UInt8[Tensor, "b 1 h w"],
    ) -> Float[Tensor, "b 2 k"]:
        """Return IoU with the whole truth, and which classes can still be seen of it.

        A class is present where teachers leave 30 % of its true pixels, or 10 % of the image, to be
        seen; "inconsistent" where they leave out anything. The IoU of "inconsistent", which no
        person draws, is 1 if it occurs in the mask.
        """
        matrices = self._matrices(block_output(labels, inconsistent), truth)
        ious = _of_true_classes(matrices)
        true, masked = matrices.sum(dim=-1), matrices.sum(dim=-2)
        without = true[:, INCONSISTENT] == 0
        ious[without, INCONSISTENT] = (masked[without, INCONSISTENT] > 0).double()
        remaining = blanked(truth, inconsistent)
        left = self._matrices(remaining, remaining).sum(dim=-1)
        image = left.sum(dim=-1, keepdim=True)
        # Whole numbers: a class with exactly 30 % left is present whatever 3 / 10 is in floats.
        present = (left > 0) & ((10 * left >= 3 * true) | (10 * left >= image))
        present[:, INCONSISTENT] = left[:, INCONSISTENT] > 0
        return torch.stack([ious, present.double()], dim=1).float()

    def of_prediction(
        self, labels: UInt8[Tensor, "b 1 h w"], truth: UInt8[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "b 2 k"]:
        """Return IoU, and which classes cover more than 1 % of the truth."""
        matrices = self._matrices(labels, truth)
        true = matrices.sum(dim=-1)
        present = 100 * true > true.sum(dim=-1, keepdim=True)
        return torch.stack([_of_true_classes(matrices), present.double()], dim=1).float()

    def score(self, scored: Float[Tensor, "n b 2 k"], *, amplification: bool) -> Float[Tensor, "b"]:
        """Return the mean IoU of the classes present, for copies without "inconsistent"."""
        return mean_of_present(scored[..., 1:] if amplification else scored)

    def true_score(
        self,
        labels: UInt8[Tensor, "b 1 h w"],
        inconsistent: Bool[Tensor, "b 1 h w"],
        truth: UInt8[Tensor, "b 1 h w"],
    ) -> Float[Tensor, "b"]:
        """Return the mean IoU of the classes in what remains of the truth; 0 if none is."""
        mask, remaining = block_output(labels, inconsistent), blanked(truth, inconsistent)
        matrices = self._matrices(mask, remaining)
        present = matrices.sum(dim=-1) > 0
        return _mean_where(_of_true_classes(matrices)[:, 1:], present[:, 1:])

    def _matrices(
        self, labels: UInt8[Tensor, "b 1 h w"], truth: UInt8[Tensor, "b 1 h w"]
    ) -> Int[Tensor, "b k k"]:
        valid = (truth != VOID)[:, 0]
        return overlap.confusion_matrices(
            labels[:, 0], truth[:, 0], classes=self.outputs, valid=valid
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MultilabelQuality(_TwoHeads):
    """IoU and presence of each plane."""

    spec: TargetSpec
    """Which planes there are, and which of them are areas."""

    @property
    def outputs(self) -> int:
        """Planes."""
        return self.spec.planes

    def as_input(self, labels: UInt8[Tensor, "b t h w"]) -> Float[Tensor, "b t h w"]:
        """Return the planes."""
        return (labels == 1).float()

    def of_consensus(
        self,
        labels: UInt8[Tensor, "b t h w"],
        inconsistent: Bool[Tensor, "b 1 h w"],
        truth: UInt8[Tensor, "b t h w"],
    ) -> Float[Tensor, "b 2 t"]:
        """Return IoU of what remains of the consensus with the whole truth, and presence in it."""
        ious = plane_ious(block_output(labels, inconsistent), truth, empty=0.0)
        return torch.stack([ious, self._present(truth).double()], dim=1).float()

    def of_prediction(
        self, labels: UInt8[Tensor, "b t h w"], truth: UInt8[Tensor, "b t h w"]
    ) -> Float[Tensor, "b 2 t"]:
        """Return IoU, 0 for planes that are absent, and which planes are present."""
        present = self._present(truth).double()
        ious = plane_ious(labels, truth, empty=0.0) * present
        return torch.stack([ious, present], dim=1).float()

    def _present(self, truth: UInt8[Tensor, "b t h w"]) -> Bool[Tensor, "b t"]:
        """Return which planes cover 1 % of the truth; of marks and borders 0.1 %."""
        covered = (truth == 1).sum(dim=(2, 3))
        pixels = (truth != VOID).sum(dim=(2, 3))
        parts = [100 if plane in self.spec.areas else 1000 for plane in range(self.outputs)]
        enough = torch.tensor(parts, device=truth.device) * covered >= pixels
        return (covered > 0) & enough

    def score(self, scored: Float[Tensor, "n b 2 t"], *, amplification: bool) -> Float[Tensor, "b"]:
        """Return the mean IoU of the planes present."""
        return mean_of_present(scored)

    def true_score(
        self,
        labels: UInt8[Tensor, "b t h w"],
        inconsistent: Bool[Tensor, "b 1 h w"],
        truth: UInt8[Tensor, "b t h w"],
    ) -> Float[Tensor, "b"]:
        """Return the mean IoU of the planes in what remains of the truth; 0 if none is."""
        mask, remaining = block_output(labels, inconsistent), blanked(truth, inconsistent)
        present = (remaining == 1).any(dim=3).any(dim=2)
        return _mean_where(plane_ious(mask, remaining, empty=0.0), present)


def blanked(
    truth: UInt8[Tensor, "b t h w"], inconsistent: Bool[Tensor, "b 1 h w"]
) -> UInt8[Tensor, "b t h w"]:
    """Return a truth that is 0 where teachers disagree; void stays void."""
    return truth.masked_fill(inconsistent & (truth != VOID), 0)


def plane_ious(
    labels: UInt8[Tensor, "b t h w"], truth: UInt8[Tensor, "b t h w"], *, empty: float
) -> Float[Tensor, "b t"]:
    """Return the IoU of each plane; void does not count.

    Args:
        labels: 1 inside.
        truth: 1 inside.
        empty: The IoU of two empty planes.
    """
    guess, true, valid = labels == 1, truth == 1, truth != VOID
    flat = [planes.flatten(0, 1) for planes in (guess, true, valid)]
    ious = overlap.iou(flat[0], flat[1], valid=flat[2], empty=empty)
    return ious.reshape(guess.shape[:2])


def mean_of_present(scored: Float[Tensor, "n b 2 k"]) -> Float[Tensor, "b"]:
    """Return the mean IoU, averaged over scorers, of the classes that they find present; or 0."""
    mean = scored.double().mean(dim=0)
    return _mean_where(mean[:, IOU], mean[:, PRESENCE] >= PRESENT)


def _mean_where(values: Float[Tensor, "b k"], chosen: Bool[Tensor, "b k"]) -> Float[Tensor, "b"]:
    return (values * chosen).sum(dim=1) / chosen.sum(dim=1).clamp(min=1)


def _of_true_classes(matrices: Int[Tensor, "b k k"]) -> Float[Tensor, "b k"]:
    """Return IoU by class; 0 where a class is not in the truth."""
    # Not a number where it is in neither; a class that is predicted alone has no overlap anyway.
    return overlap.iou_by_class(matrices).nan_to_num(nan=0.0)
