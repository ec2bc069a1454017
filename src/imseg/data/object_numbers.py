"""Whether the numbers in masks are objects, each with a number of its own, or classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from imseg.data.config import FILE_NAME
from imseg.data.facts import MaskFacts
from imseg.data.inspection import ABRUPT, CELLS, FEW_VALUES, SMALLEST_OBJECT
from imseg.errors import ImsegError

_NEARLY_ALL = 0.9
_ONE_PIECE = 0.95
_SEVERAL = 5  # class masks of nested or neighboring parts have seldom as many, all in one piece
_COUNTS = 3
_POSSIBLE = 3
_MANY = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectEvidence:
    """What speaks for numbers of objects, over all masks that hold more than 0."""

    masks: int
    """Masks that hold a number above 0."""
    most: int
    """Most numbers in a mask."""
    counts: int
    """How many different counts of numbers there are: objects vary from image to image, but the
    classes of small class masks do not."""
    gapless: float
    """Share of the masks that hold 1, 2, ... without gaps."""
    whole: float | None
    """Numbers a connected region, 0..1: 1 if every number is one region; None: unknown."""

    abrupt: float
    """Share of the steps between unequal neighbors that lead from or to 0, or jump."""
    area: float
    """Mean area of a number, in pixels."""

    @property
    def _in_one_piece(self) -> bool:
        """Whether numbers are connected regions, as neither noise nor ramps of measurements are."""
        pieces = self.whole is not None and self.whole >= _ONE_PIECE
        return pieces and self.abrupt >= ABRUPT and self.area >= SMALLEST_OBJECT

    @property
    def is_strong(self) -> bool:
        """Whether the numbers are objects; classes look like this next to never.

        Raises:
            ImsegError: If only the regions could tell, and scikit-image is not there to find them.
        """
        crowd = self.most > FEW_VALUES
        varied = self.most >= _SEVERAL and self.counts >= min(_COUNTS, self.masks)
        if not (crowd or (varied and self.gapless >= _NEARLY_ALL)):
            return False
        if self.whole is None:
            raise ImsegError(
                "The masks may number objects, or hold class values; "
                "scikit-image, which could tell, is not installed.",
                expected=f"up to {self.most} values above 0 in a mask, as objects have.",
                hint=f"pip install 'imseg[{CELLS}]', or say which in {FILE_NAME}: "
                'task = "instances" or task = "multiclass".',
            )
        return self._in_one_piece

    @property
    def is_weak(self) -> bool:
        """Whether numbers that are taken for classes may be objects."""
        varied = self.most >= _POSSIBLE and self.counts > 1
        many = varied or self.most >= _MANY
        return self._in_one_piece and self.gapless >= _NEARLY_ALL and many


def weigh_objects(masks: Iterable[MaskFacts]) -> ObjectEvidence:
    """Return what speaks for numbers of objects in masks of whole numbers."""
    marked = [mask for mask in masks if mask.whole and mask.objects]
    looked_at = [mask for mask in marked if mask.regions is not None]
    regions = sum(mask.regions or 0 for mask in looked_at)
    numbers = sum(mask.objects for mask in looked_at)
    abrupt = [mask.abrupt for mask in looked_at if mask.abrupt is not None]
    return ObjectEvidence(
        masks=len(marked),
        most=max((mask.objects for mask in marked), default=0),
        counts=len({mask.objects for mask in marked}),
        gapless=sum(mask.gapless for mask in marked) / max(1, len(marked)),
        whole=numbers / regions if regions else None,
        abrupt=sum(abrupt) / max(1, len(abrupt)),
        area=sum(mask.known - mask.zeros for mask in looked_at) / max(1, numbers),
    )
