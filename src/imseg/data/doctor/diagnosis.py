"""What the doctor says: a finding, and for what can be mended, how."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from imseg.data.doctor.recode import Recode
from imseg.data.facts import MaskFacts, Survey
from imseg.errors import Finding


@dataclass(frozen=True, slots=True)
class Cure:
    """How the values of a mask file are mended."""

    name: str
    """The file, relative to the data folder."""
    recode: Recode
    """What is done to its values."""
    why: str
    """The reason, for the list of repairs."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that is wrong or worth knowing."""

    finding: Finding
    """What, and why it matters."""
    cures: tuple[Cure, ...] = ()
    """How it is mended; empty: not by a program."""


class SplitMask(NamedTuple):
    """A mask and where it belongs."""

    split: str
    """The name of its split."""
    facts: MaskFacts
    """What it turned out to be."""
    label: str | None
    """The label it is the mask of; None: it is the only mask of its image."""


def masks_of(survey: Survey) -> Iterator[SplitMask]:
    """Yield every mask that can be read, split by split."""
    for split, members in survey.splits().items():
        for facts in members:
            if facts.mask is not None:
                yield SplitMask(split, facts.mask, None)
            for label, plane in facts.planes.items():
                yield SplitMask(split, plane, label)
