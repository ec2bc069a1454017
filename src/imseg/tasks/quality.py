"""How good a mask is: what a learned scorer of masks sees, learns and says.

Source: METHOD, "EvalNet".
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from imseg.errors import ImsegError
from imseg.ops import overlap
from imseg.ops.inconsistency import block_output
from imseg.ops.memory_layout import PixelMask
from imseg.tasks.base import PerImage, Planes, Scalar, Task
from imseg.tasks.multiclass import one_hot
from imseg.types import INCONSISTENT, VOID, Kind

Heads = Float[Tensor, "b r k"]
"""Numbers about a mask: ``r`` heads of a mask scorer (IoU; presence), ``k`` classes of each."""

Labels = UInt8[Tensor, "b t h w"]
"""Masks: classes, or planes of 0 and 1."""

PRESENT = 0.5
"""A class is present if the mask scorers say so with this probability or a higher one."""
IOU, PRESENCE = 0, 1
"""The heads of a mask scorer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality(ABC):
    """A kind of target, as far as its masks are scored.

    Axes beside those of all signatures: ``n`` mask scorers, ``m`` planes of a mask that they see,
    ``r`` heads of a mask scorer (IoU; presence), here with ``k`` for the classes of each head.
    """

    outputs: int
    """Numbers that each head gives: one a class or plane."""

    def as_input(self, labels: Planes) -> Float[Tensor, "b m h w"]:
        """Return masks as a mask scorer sees them: 0 or 1; void is nothing."""
        return (labels == 1).float()

    @abstractmethod
    def of_consensus(self, labels: Planes, inconsistent: PixelMask, truth: Planes) -> Heads:
        """Return what a mask scorer is to say about the consensus of several teachers, 0..1.

        Args:
            labels: What they agree on; blocked here, if it is not yet.
            inconsistent: Where they disagree.
            truth: The mask that a person drew; void does not count.
        """

    @abstractmethod
    def of_prediction(self, labels: Planes, truth: Planes) -> Heads:
        """Return what a mask scorer is to say about the prediction of one network, 0..1."""

    def loss(self, logits: Heads, wanted: Heads) -> Scalar:
        """Return the squared error of IoU plus the cross-entropy of presence, means over all."""
        error = functional.mse_loss(torch.sigmoid(logits[:, IOU].float()), wanted[:, IOU])
        return error + functional.binary_cross_entropy_with_logits(
            logits[:, PRESENCE].float(), wanted[:, PRESENCE]
        )

    def probabilities(self, logits: Heads) -> Heads:
        """Return what a mask scorer says, 0..1."""
        return torch.sigmoid(logits.float())

    def score(self, scored: Float[Tensor, "n b r k"], *, amplification: bool) -> PerImage:
        """Return how good mask scorers find masks on average: the mean IoU of the classes present.

        Args:
            scored: Probabilities.
            amplification: For the number of copies; the class "inconsistent" is left out.
        """
        return mean_of_present(scored)

    def true_score(self, labels: Planes, inconsistent: PixelMask, truth: Planes) -> PerImage:
        """Return the true mean IoU of a consensus, with the truth blanked where it is inconsistent.

        Classes that are not in what remains of the truth do not count; 0 if none is.
        """
        mask, remaining = block_output(labels, inconsistent), blanked(truth, inconsistent)
        present = (remaining == 1).any(dim=3).any(dim=2)
        return _mean_where(plane_ious(mask, remaining, empty=0.0), present)


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
            return MultilabelQuality(outputs=task.spec.planes, areas=task.spec.areas)
        case "regression":
            raise ImsegError(
                "Masks of numbers cannot be scored.",
                expected="binary, multiclass or multilabel masks: a mask scorer learns their IoU.",
                got=f"the quantity {task.spec.names[0]!r}",
                hint="an approach without a mask scorer, such as im+ or noisy-student.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryQuality(Quality):
    """One number: the IoU of the foreground."""

    outputs: int = 1
    """One."""
    empty: float = 1.0
    """The IoU of an empty mask of an image that shows nothing; 0 in the reference."""

    def of_consensus(
        self, labels: Labels, inconsistent: PixelMask, truth: Labels
    ) -> Float[Tensor, "b 1 1"]:
        """Return the IoU of what remains of the consensus with the whole truth."""
        return self.of_prediction(block_output(labels, inconsistent), truth)

    def of_prediction(self, labels: Labels, truth: Labels) -> Float[Tensor, "b 1 1"]:
        """Return the IoU."""
        return plane_ious(labels, truth, empty=self.empty).unsqueeze(1).float()

    def loss(self, logits: Heads, wanted: Heads) -> Scalar:
        """Return the mean squared error."""
        return functional.mse_loss(self.probabilities(logits), wanted)

    def score(self, scored: Float[Tensor, "n b 1 1"], *, amplification: bool) -> PerImage:
        """Return the mean over the mask scorers."""
        return scored.double().mean(dim=0)[:, IOU, 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class MulticlassQuality(Quality):
    """IoU and presence of each class, the reserved class "inconsistent" among them.

    ``outputs``: classes, the reserved one included.
    """

    def as_input(self, labels: Labels) -> Float[Tensor, "b k h w"]:
        """Return one plane a class, the reserved one included."""
        return one_hot(labels, self.outputs)

    def of_consensus(self, labels: Labels, inconsistent: PixelMask, truth: Labels) -> Heads:
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

    def of_prediction(self, labels: Labels, truth: Labels) -> Heads:
        """Return IoU, and which classes cover more than 1 % of the truth."""
        matrices = self._matrices(labels, truth)
        true = matrices.sum(dim=-1)
        present = 100 * true > true.sum(dim=-1, keepdim=True)
        return torch.stack([_of_true_classes(matrices), present.double()], dim=1).float()

    def score(self, scored: Float[Tensor, "n b 2 k"], *, amplification: bool) -> PerImage:
        """Return the mean IoU of the classes present, for copies without "inconsistent"."""
        return mean_of_present(scored[..., 1:] if amplification else scored)

    def true_score(self, labels: Labels, inconsistent: PixelMask, truth: Labels) -> PerImage:
        """Return the mean IoU of the classes in what remains of the truth; 0 if none is."""
        mask, remaining = block_output(labels, inconsistent), blanked(truth, inconsistent)
        matrices = self._matrices(mask, remaining)
        present = matrices.sum(dim=-1) > 0
        return _mean_where(_of_true_classes(matrices)[:, 1:], present[:, 1:])

    def _matrices(self, labels: Labels, truth: Labels) -> Int[Tensor, "b k k"]:
        return overlap.confusion_matrices(labels, truth, classes=self.outputs, valid=truth != VOID)


@dataclass(frozen=True, slots=True, kw_only=True)
class MultilabelQuality(Quality):
    """IoU and presence of each plane; ``outputs``: planes."""

    areas: tuple[int, ...]
    """Which of them are areas."""

    def of_consensus(self, labels: Labels, inconsistent: PixelMask, truth: Labels) -> Heads:
        """Return IoU of what remains of the consensus with the whole truth, and presence in it."""
        ious = plane_ious(block_output(labels, inconsistent), truth, empty=0.0)
        return torch.stack([ious, self._present(truth).double()], dim=1).float()

    def of_prediction(self, labels: Labels, truth: Labels) -> Heads:
        """Return IoU, 0 for planes that are absent, and which planes are present."""
        present = self._present(truth).double()
        ious = plane_ious(labels, truth, empty=0.0) * present
        return torch.stack([ious, present], dim=1).float()

    def _present(self, truth: Labels) -> Bool[Tensor, "b t"]:
        """Return which planes cover 1 % of the truth; of marks and borders 0.1 %."""
        covered = (truth == 1).sum(dim=(2, 3))
        pixels = (truth != VOID).sum(dim=(2, 3))
        parts = [100 if plane in self.areas else 1000 for plane in range(self.outputs)]
        enough = torch.tensor(parts, device=truth.device) * covered >= pixels
        return (covered > 0) & enough


def blanked(truth: Labels, inconsistent: PixelMask) -> Labels:
    """Return a truth that is 0 where teachers disagree; void stays void."""
    return truth.masked_fill(inconsistent & (truth != VOID), 0)


def plane_ious(labels: Labels, truth: Labels, *, empty: float) -> Float[Tensor, "b t"]:
    """Return the IoU of each plane; void does not count.

    Args:
        labels: 1 inside.
        truth: 1 inside.
        empty: The IoU of two empty planes.
    """
    return overlap.iou(labels == 1, truth == 1, valid=truth != VOID, empty=empty)


def mean_of_present(scored: Float[Tensor, "n b 2 k"]) -> PerImage:
    """Return the mean IoU, averaged over scorers, of the classes that they find present; or 0."""
    mean = scored.double().mean(dim=0)
    return _mean_where(mean[:, IOU], mean[:, PRESENCE] >= PRESENT)


def _mean_where(values: Float[Tensor, "b k"], chosen: Bool[Tensor, "b k"]) -> PerImage:
    return (values * chosen).sum(dim=1) / chosen.sum(dim=1).clamp(min=1)


def _of_true_classes(matrices: Int[Tensor, "b k k"]) -> Float[Tensor, "b k"]:
    """Return IoU by class; 0 where a class is not in the truth."""
    # Not a number where it is in neither; a class that is predicted alone has no overlap anyway.
    return overlap.iou_by_class(matrices).nan_to_num(nan=0.0)
