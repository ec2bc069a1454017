"""Teachers in front of a batch of images: all that a labeler may ask."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.inference.predictor import probabilities_of
from imseg.ops.augment import UNMOVED, Move
from imseg.ops.inconsistency import BlockColor, clean_up
from imseg.ops.photometric import Strength
from imseg.options import Component, option
from imseg.tasks import Planes, Task, Votes
from imseg.tasks.quality import Quality
from imseg.types import Bytes

Blocking = Literal["both", "input", "output", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What becomes of inconsistent pixels when a student is trained."""

    blocking: Blocking = option(
        "both",
        "Set inconsistent pixels to 0 in image and label: both (as in the paper), input, output,"
        " none.  [default: none, or both with --erode, --block-color, --reblock]",
        group="method",
    )
    """Where they are set to 0: in the image (input), in the target (output: background, or the
    reserved class), in both or in none."""
    ignore: bool = option(
        False,
        "Leave inconsistent pixels out of the loss.  [default: where --blocking is not given and"
        " not implied]",
        group="method",
    )
    """Whether they have no weight in the loss."""
    color: BlockColor = option(
        "black",
        "What blocked pixels of the image become: black, mean (of the image) or noise (always the"
        " same for an image).",
        group="method",
        name="block_color",
    )
    """What blocked pixels of the image become: black, the image's own mean, or noise that is always
    the same for an image."""

    @property
    def input(self) -> bool:
        """Whether they are blocked in the image."""
        return self.blocking in ("both", "input")

    @property
    def output(self) -> bool:
        """Whether they are 0 in the target."""
        return self.blocking in ("both", "output")


@dataclass(frozen=True, slots=True)
class PseudoLabelBatch:
    """What teachers say about a batch of images, and what becomes of it."""

    labels: Planes
    """The pseudo-labels, not yet blocked."""
    inconsistent: Bool[Tensor, "b 1 h w"]
    """Where they disagree about any label, after clean-up: the pixels to be blocked. False
    everywhere where nothing is."""
    disputed: Bool[Tensor, "b 1 h w"]
    """Where they disagree about any label, before clean-up: what selection looks at."""
    consensus: Planes
    """What they agree on, before labels are grown: what selection looks at."""
    first: Planes
    """What the best teacher alone says."""
    admitted: Bool[Tensor, "b"] | None = None
    """Images that the labeler itself has a label for; None: all."""


@dataclass(frozen=True, slots=True)
class ScorerGroup:
    """Mask scorers, and when they are content."""

    scorers: Sequence[nn.Module]
    """Networks in inference mode, best first."""
    quality: Quality
    """What they say about a mask."""
    thresholds: tuple[float, float]
    """The scores from which on a mask is good, and very good; 0..1."""


@dataclass(frozen=True)
class TeacherBatch:
    """Teachers in front of a batch of images."""

    task: Task
    """What a pixel is."""
    teachers: Sequence[nn.Module]
    """Networks in inference mode, best first."""
    images: Bytes
    """``n h w c``."""
    compute: ComputeConfig
    """How they are computed."""
    seeds: tuple[int, ...]
    """One an image, for views that are drawn anew in each generation."""
    strength: Strength
    """How far a view may be pushed."""
    rotate: bool
    """Whether views may also be turned and flipped upside down."""
    moves: tuple[Move, ...] = UNMOVED
    """The orientations in which teachers see the images; what each says is the mean over them."""
    bench: ScorerGroup | None = None
    """Mask scorers, if there are any."""
    kept: tuple[Planes, Bool[Tensor, "b"]] | None = None
    """Labels from the generation before, and which images have one; None if there was none."""

    @cached_property
    def pixels(self) -> UInt8[Tensor, "b c h w"]:
        """The images on the device of the teachers."""
        there = torch.from_numpy(self.images.copy()).to(self.compute.device)
        return there.permute(0, 3, 1, 2)

    @cached_property
    def probabilities(self) -> Float[Tensor, "v b k h w"]:
        """What each teacher says about the images."""
        ask = partial(self.ask, pixels=self.pixels, moves=self.moves)
        return torch.stack([ask(teacher) for teacher in self.teachers])

    @cached_property
    def hard_predictions(self) -> Votes:
        """The same made discrete."""
        return torch.stack([self.task.hard_prediction(each) for each in self.probabilities])

    def ask(
        self,
        teacher: nn.Module,
        pixels: UInt8[Tensor, "b c h w"],
        *,
        moves: Sequence[Move] = UNMOVED,
    ) -> Float[Tensor, "b k h w"]:
        """Return what a teacher says about other images, such as views of these.

        Args:
            teacher: A network in inference mode.
            pixels: The images, on its device.
            moves: The orientations in which it sees them.
        """
        return probabilities_of(teacher, pixels, self.task, self.compute, moves=moves)


class Labeler(Component, ABC):
    """Gives unlabeled images labels. Settings and code in one: a frozen dataclass."""

    teachers: int | None
    """How many of the best networks are asked; None for all."""
    block: Block | None
    """What becomes of inconsistent pixels; None if none are known."""

    @abstractmethod
    def label(self, teacher_batch: TeacherBatch) -> PseudoLabelBatch:
        """Return labels for the images that the teachers see."""


TEACHERS: Mapping[str, Any] = {
    "help": "Networks that must agree: 2 to 4.",
    "group": "method",
    "among": (2, 3, 4),
    "essential": True,
}
"""What is declared about the option ``teachers``, which several labelers have."""

KERNEL: Mapping[str, Any] = {"group": "method", "among": (0, 3, 5), "expected": "0, 3 or 5 pixels."}
"""What is declared about the side of a square in pixels."""

COLORS_IN_WORDS: dict[BlockColor, str] = {
    "black": "black in the image",
    "mean": "of the image's mean color",
    "noise": "noise in the image",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Consensus(Labeler):
    """Several teachers label an image; where they disagree, the inconsistency mask begins.

    Source: arXiv 2401.14387; METHOD, "Inconsistency mask".
    """

    kind = "consensus"

    teachers: int = option(2, **TEACHERS)
    """How many of the best networks vote: 2, 3 or 4."""
    erode: int = option(0, "Erode inconsistency masks by 0, 3 or 5 px.", **KERNEL)
    """Side of the square by which the mask is eroded first, in pixels: 0 (off), 3 or 5."""
    dilate: int = option(0, "Dilate inconsistency masks by 0, 3 or 5 px.", **KERNEL)
    """Side of the square by which the mask is dilated then, in pixels: 0 (off), 3 or 5."""
    grow_labels: bool = option(False, "Dilate class labels by 3 px too.", group="method")
    """Dilate class labels by 3x3 too, as the reference does when it erodes the mask."""
    block: Block = field(default_factory=Block)
    """What becomes of inconsistent pixels."""

    def __post_init__(self) -> None:
        if self.teachers < 2:
            raise ValueError("inconsistency needs at least two teachers")

    def __str__(self) -> str:
        parts = [f"the {self.teachers} best networks vote"]
        if self.erode or self.dilate:
            parts.append(
                f"their disagreement is eroded by {self.erode}, dilated by {self.dilate} px"
            )
        switches = {
            COLORS_IN_WORDS[self.block.color]: self.block.input,
            "0 in the label": self.block.output,
            "without weight in the loss": self.block.ignore,
        }
        done = [text for text, switch in switches.items() if switch]
        parts.append("pixels on which they disagree are " + (" and ".join(done) or "kept"))
        return "; ".join(parts)

    def __call__(self, task: Task, votes: Votes) -> PseudoLabelBatch:
        """Return what the teachers agree on.

        Args:
            task: What a pixel is.
            votes: Ballots of ``teachers`` networks.
        """
        consensus, planes = task.vote(votes)
        disputed = planes.any(dim=1, keepdim=True)
        inconsistent = clean_up(disputed, erode_by=self.erode, dilate_by=self.dilate)
        if self.block.ignore:
            # What the teachers dispute has no label to learn, whatever erosion takes off the mask.
            inconsistent = inconsistent | disputed
        return PseudoLabelBatch(
            labels=task.redraw(task.grow_labels(consensus) if self.grow_labels else consensus),
            inconsistent=inconsistent,
            disputed=disputed,
            consensus=consensus,
            first=votes[0],
        )

    def label(self, teacher_batch: TeacherBatch) -> PseudoLabelBatch:
        """Return what the teachers of a panel agree on."""
        return self(teacher_batch.task, teacher_batch.hard_predictions)


class Select(Component, ABC):
    """Chooses images of a batch."""

    @abstractmethod
    def __call__(self, task: Task, votes: Votes, agreement: PseudoLabelBatch) -> Bool[Tensor, "b"]:
        """Return true for the images that are used."""


@dataclass(frozen=True, slots=True)
class Everything(Select):
    """Every image is used."""

    kind = "all"

    def __str__(self) -> str:
        return "all"

    def __call__(self, task: Task, votes: Votes, agreement: PseudoLabelBatch) -> Bool[Tensor, "b"]:
        """Return true throughout."""
        return torch.ones(votes.shape[1], dtype=torch.bool, device=votes.device)


@dataclass(frozen=True, slots=True)
class ForegroundExceedsInconsistency(Select):
    """The paper's rule: a binary image needs more agreed foreground than disputed pixels."""

    kind = "foreground-exceeds-inconsistency"

    def __str__(self) -> str:
        return "binary: those with more agreed foreground than disputed pixels; other kinds: all"

    def __call__(self, task: Task, votes: Votes, agreement: PseudoLabelBatch) -> Bool[Tensor, "b"]:
        """Return true where the rule of the task holds."""
        return task.exceeds_inconsistency(agreement.consensus, agreement.disputed)


@dataclass(frozen=True, slots=True)
class SameClasses(Select):
    """Only images on which all teachers found the same set of classes."""

    kind = "same-classes"

    def __str__(self) -> str:
        return "those on which all teachers found the same classes"

    def __call__(self, task: Task, votes: Votes, agreement: PseudoLabelBatch) -> Bool[Tensor, "b"]:
        """Return true where the sets are equal."""
        teachers, images = votes.shape[:2]
        found = torch.zeros(teachers, images, 256, dtype=torch.bool, device=votes.device)
        found.scatter_(2, votes.reshape(teachers, images, -1).long(), True)
        return (found == found[:1]).all(dim=(0, 2))


@dataclass(frozen=True, slots=True)
class SurvivesErosion(Select):
    """A binary image needs foreground thicker than a square: the rule of Input Ensemble."""

    kind = "survives-erosion"

    kernel: int = 5
    """Side of the eroding square in pixels, odd."""

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"the eroding square has an odd side, not {self.kernel}")

    def __str__(self) -> str:
        return (
            f"binary: those whose foreground does not vanish under a {self.kernel}x{self.kernel}"
            " erosion; other kinds: all"
        )

    def __call__(self, task: Task, votes: Votes, agreement: PseudoLabelBatch) -> Bool[Tensor, "b"]:
        """Return true where the label is still there after the erosion."""
        return task.survives(agreement.consensus, self.kernel)
