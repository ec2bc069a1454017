"""From teachers' votes to pseudo-labels."""

from __future__ import annotations

from dataclasses import dataclass, field

from imseg.ops.block_color import BlockColor
from imseg.ops.inconsistency import clean_up
from imseg.stages.panel import Agreement, Block, Panel
from imseg.tasks import Task, Votes

COLORS_IN_WORDS: dict[BlockColor, str] = {
    "black": "black in the image",
    "mean": "of the image's mean color",
    "noise": "noise in the image",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Consensus:
    """Several teachers label an image; where they disagree, the inconsistency mask begins.

    Source: arXiv 2401.14387; METHOD, "Inconsistency mask".
    """

    teachers: int = field(default=2, metadata={"option": "teachers"})
    """How many of the best networks vote: 2, 3 or 4."""
    erode: int = field(default=0, metadata={"option": "erode"})
    """Side of the square by which the mask is eroded first, in pixels: 0 (off), 3 or 5."""
    dilate: int = field(default=0, metadata={"option": "dilate"})
    """Side of the square by which the mask is dilated then, in pixels: 0 (off), 3 or 5."""
    grow_labels: bool = field(default=False, metadata={"option": "grow_labels"})
    """Dilate class labels by 3x3 too, as the reference does when it erodes the mask."""
    block: Block = field(default_factory=Block, metadata={"option": "block"})
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
        done = [
            text
            for switch, text in (
                (self.block.input, COLORS_IN_WORDS[self.block.color]),
                (self.block.output, "0 in the label"),
                (self.block.ignore, "without weight in the loss"),
            )
            if switch
        ]
        parts.append("pixels on which they disagree are " + (" and ".join(done) or "kept"))
        return "; ".join(parts)

    def __call__(self, task: Task, votes: Votes) -> Agreement:
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
        return Agreement(
            labels=task.redraw(task.grow_labels(consensus) if self.grow_labels else consensus),
            inconsistent=inconsistent,
            disputed=disputed,
            consensus=consensus,
            first=votes[0],
        )

    def label(self, panel: Panel) -> Agreement:
        """Return what the teachers of a panel agree on."""
        return self(panel.task, panel.ballots)
