"""All approaches, with ``online.py`` beside it. Each is its parent plus a difference."""

from imseg.approaches.methods.approach import Approach, Labeled, variant
from imseg.approaches.methods.online import ONLINE, ONLINE_IM
from imseg.components import amplification, consensus, votes
from imseg.engine.training.objectives.two_views import TwoViews
from imseg.errors import look_up

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
LDT_SAME_COST = variant(
    LDT_MATCHED,
    name="ldt-same-cost",
    summary="Labeled images alone, one network that trains for as many operations as all networks"
    " of the run named by --match took together, its teachers too.",
    networks=1,
    at_cost=True,
)
ALDT = variant(
    LDT,
    name="aldt",
    summary="Augmented labeled data training: each labeled image and nine augmented copies of it.",
    labeled=Labeled(copies=9),
)
ALDT_MATCHED = variant(
    ALDT,
    name="aldt-matched",
    summary="The fair baseline with augmented copies: as aldt, with as many steps and as wide a"
    " network as the final network of the run named by --match.",
    networks=5,
    matched=True,
)
LDT_ONLINE = variant(
    LDT,
    name="ldt-online",
    summary="Labeled images alone, augmented anew every time they are looked at; with --match as"
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
MODEL_ENSEMBLE = Approach(
    name="model-ensemble",
    summary="The best networks label the unlabeled images together: binary masks unanimously,"
    " others by their mean probability; nothing is masked out.",
    start=LDT,
    generations=5,
    pseudo_label=votes.Vote(teachers=2),
)
INPUT_ENSEMBLE = variant(
    MODEL_ENSEMBLE,
    name="input-ensemble",
    summary="The best network labels several augmented views of each unlabeled image, and they"
    " vote.",
    pseudo_label=votes.VoteOfViews(views=3),
    select=consensus.SurvivesErosion(),
)
NOISY_STUDENT = variant(
    MODEL_ENSEMBLE,
    name="noisy-student",
    summary="The best network labels the unlabeled images; wider students learn from augmented"
    " copies of them.",
    pseudo_label=votes.Vote(teachers=1),
    amplification=amplification.NoisyCopies(count=1),
    growing=True,
)
CONSISTENCY = Approach(
    name="consistency",
    summary="The best start network learns on, from the labels and from giving the same output"
    " for two augmented views of an unlabeled image.",
    start=LDT,
    generations=1,
    objective=TwoViews(),
)
AUTO = variant(
    ONLINE_IM,
    name="auto",
    summary="Labels alone first, then online-im; whichever is better on validation images is handed"
    " over, and the run says what the unlabeled images bought.",
    start=LDT,
    generations=1,
    keeps_start=True,
)
EVALNET = variant(
    MODEL_ENSEMBLE,
    name="evalnet",
    summary="Every network proposes a mask for each unlabeled image; mask scorers (EvalNet), which"
    " have learned what good masks look like, take the best one, if it is good enough.",
    pseudo_label=votes.BestProposal(scorer=amplification.MaskScorer(learns_from="predictions")),
    carry=True,
    scorer_start=ALDT,
)
IM = variant(
    MODEL_ENSEMBLE,
    name="im",
    summary="Inconsistency masks: the best networks label the unlabeled images, pixels on which"
    " they disagree do not count (in the paper they are blacked out), students learn from both"
    " kinds of images, generation after generation.",
    pseudo_label=consensus.Consensus(
        teachers=2, block=consensus.Block(blocking="none", ignore=True)
    ),
    select=consensus.ForegroundExceedsInconsistency(),
)
IM_PLUS = variant(
    IM,
    name="im+",
    summary="im, and students that grow wider learn from an augmented copy of each pseudo-labeled"
    " image, more strongly augmented in each generation.",
    amplification=amplification.NoisyCopies(count=1),
    growing=True,
)
IM_PLUS_PLUS = variant(
    IM_PLUS,
    name="im++",
    summary="im+, with one to five copies of an image: the more, the better its pseudo-label"
    " is scored.",
    amplification=amplification.CopiesByQuality(),
)
AIM_PLUS = variant(
    IM_PLUS,
    name="aim+",
    summary="im+ with augmented copies of the labeled images as well, from the start on; plain"
    " pseudo-labeled images are kept.",
    start=ALDT,
    labeled=Labeled(copies=9),
    amplification=amplification.NoisyCopies(count=1, keep_plain=True),
)
AIM_PLUS_PLUS = variant(
    AIM_PLUS,
    name="aim++",
    summary="aim+, with one to five copies of an image: the more, the better its pseudo-label"
    " is scored.",
    amplification=amplification.CopiesByQuality(keep_plain=True),
)
GT_IM_PLUS_PLUS = variant(
    IM_PLUS_PLUS,
    name="gt-im++",
    summary="im++ with a mask scorer that knows the hidden truth: an upper bound to compare with,"
    " not a method.",
    amplification=amplification.CopiesByTruth(),
)

BASELINES = (LDT, LDT_MATCHED, LDT_SAME_COST, ALDT, ALDT_MATCHED, LDT_ONLINE, FDT)
STUDENTS = (MODEL_ENSEMBLE, INPUT_ENSEMBLE, NOISY_STUDENT, CONSISTENCY, EVALNET)
MASKING = (IM, IM_PLUS, IM_PLUS_PLUS, AIM_PLUS, AIM_PLUS_PLUS, GT_IM_PLUS_PLUS)
APPROACHES: dict[str, Approach] = {
    each.name: each for each in (AUTO, *BASELINES, *STUDENTS, *ONLINE, *MASKING)
}


def find_approach(name: str, command: str = "--approach {}") -> Approach:
    """Return the approach of this name.

    Args:
        name: What the user wrote.
        command: What to try, with ``{}`` where the nearest name goes.

    Raises:
        ImsegError: If there is none; the nearest name is suggested.
    """
    return look_up(name, APPROACHES, noun="approach", command=command)
