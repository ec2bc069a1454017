"""Objects of a large picture, told apart band by band, as objects of the whole picture."""

import numpy as np
import numpy.typing as npt

SAME = 0.5
"""Above this IoU, over the rows that two bands both look at, two objects are one."""

Labels = npt.NDArray[np.int32]
"""A label image: 0 is background, every other number is one object."""


class JoinedObjects:
    """Numbers objects from band to band: what two bands see alike is one object.

    Each band looks at some rows more, above and below those that it decides about. There, objects
    of two bands are compared; above an IoU of one half nothing can be two things at once. Objects
    of any length are joined, through as many bands as they cross.
    """

    def __init__(self) -> None:
        self._before: Labels | None = None
        self._first = 0
        self._count = 0

    def join(
        self, labels: npt.NDArray[np.integer], *, first: int, top: int, stop: int, next_first: int
    ) -> tuple[Labels, set[int]]:
        """Return the objects of the next band by the numbers that they have in the picture.

        Args:
            labels: ``h w``, the objects of the band, numbered 1..k.
            first: The row of the picture that is the first of ``labels``.
            top: The first row that the band decides about.
            stop: The row after the last of them.
            next_first: The first row at which the next band looks; ``stop`` where there is none.

        Returns:
            The rows from ``top`` to ``stop``; numbers are 1..k without gaps, band after band. And
            the numbers of the objects that may go on in the next band.
        """
        numbers = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
        if self._before is not None:
            start = max(first, self._first)
            end = min(first + len(labels), self._first + len(self._before))
            here = labels[start - first : end - first]
            there = self._before[start - self._first : end - self._first]
            numbers[:] = _same(here, there, len(numbers))
        inside = labels[top - first : stop - first]
        shown = np.unique(inside)
        new = shown[(shown > 0) & (numbers[shown] == 0)]
        numbers[new] = np.arange(self._count + 1, self._count + 1 + len(new))
        self._count += len(new)
        self._before, self._first = numbers[labels[next_first - first :]], next_first
        return numbers[inside], set(np.unique(self._before).tolist()) - {0}


def _same(here: npt.NDArray[np.integer], there: Labels, count: int) -> Labels:
    """Return for each number in one label image the number of the same object in another, or 0."""
    found = np.zeros(count, np.int32)
    both = (here > 0) & (there > 0)
    if not both.any():
        return found
    pairs, shared = np.unique(np.stack([here[both], there[both]]), axis=1, return_counts=True)
    sizes, others = np.bincount(here.ravel()), np.bincount(there.ravel())
    whole = sizes[pairs[0]] + others[pairs[1]] - shared
    alike = shared > SAME * whole
    found[pairs[0][alike]] = pairs[1][alike]
    return found
