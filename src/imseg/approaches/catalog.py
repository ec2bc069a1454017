"""All approaches on one page. Each is its parent plus a difference."""

from __future__ import annotations

from imseg.approaches.approach import Approach, Labeled, variant
from imseg.errors import look_up
from imseg.stages.pseudo_label import Consensus
from imseg.stages.select import ForegroundExceedsInconsistency

LDT = Approach(
    name="ldt",
    summary="Labeled data training: several networks learn from the labeled images alone.",
    networks=10,
)
LDT_MATCHED = variant(
    LDT,
    name="ldt-matched",
    summary="The fair baseline: labeled images alone, with as many steps and as wide a network as"
    " the final network of the run named by --match.",
    networks=5,
    matched=True,
)
ALDT = variant(
    LDT,
    name="aldt",
    summary="Augmented labeled data training: each labeled image and nine disturbed copies of it.",
    labeled=Labeled(copies=9),
)
ALDT_MATCHED = variant(
    ALDT,
    name="aldt-matched",
    summary="The fair baseline with disturbed copies: as aldt, with as many steps and as wide a"
    " network as the final network of the run named by --match.",
    networks=5,
    matched=True,
)
LDT_ONLINE = variant(
    LDT,
    name="ldt-online",
    summary="Labeled images alone, disturbed anew every time they are looked at; with --match as"
    " many steps and as wide a network as another run's final network.",
    labeled=Labeled(online=True),
    matchable=True,
)
FDT = variant(
    LDT,
    name="fdt",
    summary="Full data training: the hidden masks of the unlabeled images are used too; an upper"
    " bound to compare with, not a method.",
    labeled=Labeled(hidden_too=True),
)
IM = Approach(
    name="im",
    summary="Inconsistency masks: the best networks label the unlabeled images, pixels on which"
    " they disagree are blacked out of image and label, students learn from both kinds of images,"
    " generation after generation.",
    start=LDT,
    generations=5,
    pseudo_label=Consensus(teachers=2),
    select=ForegroundExceedsInconsistency(),
)

APPROACHES: dict[str, Approach] = {
    each.name: each for each in (LDT, LDT_MATCHED, ALDT, ALDT_MATCHED, LDT_ONLINE, FDT, IM)
}


def find_approach(name: str) -> Approach:
    """Return the approach of this name.

    Raises:
        ImsegError: If there is none; the nearest name is suggested.
    """
    return look_up(name, APPROACHES, noun="approach", command="--approach {}")
