"""Approaches whose networks learn from what they say about unlabeled images meanwhile."""

from imseg.approaches.methods.approach import Approach, Labeled, variant
from imseg.engine.training.objectives.mean_teacher import MeanTeacher
from imseg.engine.training.objectives.mixed import DECAY
from imseg.engine.training.objectives.online_labels import OnlineLabels
from imseg.engine.training.recipe import Recipe

MEAN_TEACHER = Approach(
    name="mean-teacher",
    summary="Labeled and unlabeled images in one batch; for unlabeled ones the network is to agree"
    " with the average of its own earlier weights, which is kept in the end.",
    labeled=Labeled(online=True),
    objective=MeanTeacher(),
    recipe=Recipe(average=DECAY),
)
ONLINE_IM = variant(
    MEAN_TEACHER,
    name="online-im",
    summary="Inconsistency masks while networks learn: two learn side by side, and unlabeled images"
    " count where the averages of both agree, after a start on labels alone.",
    objective=OnlineLabels(learners=2),
)
FIXMATCH = variant(
    ONLINE_IM,
    name="fixmatch",
    summary="One network learns strong views of unlabeled images by what it says itself about weak"
    " ones, where it is confident.",
    objective=OnlineLabels(averaged=False, filter="confidence"),
)
UNIMATCH = variant(
    FIXMATCH,
    name="unimatch",
    summary="FixMatch with two strong views of each unlabeled image, and a weak one some of whose"
    " features are dropped.",
    objective=OnlineLabels(
        averaged=False, filter="confidence", strong_views=2, feature_dropout=0.5
    ),
)
UNIMATCH_IM = variant(
    UNIMATCH,
    name="unimatch+im",
    summary="UniMatch with inconsistency masks: two networks learn side by side, and what they say"
    " about unlabeled images counts where they agree and are confident.",
    objective=OnlineLabels(
        learners=2, averaged=False, filter="both", strong_views=2, feature_dropout=0.5
    ),
)
CPS = variant(
    ONLINE_IM,
    name="cps",
    summary="Cross Pseudo Supervision: two networks learn side by side, each from what the other"
    " says about unlabeled images.",
    objective=OnlineLabels(learners=2, averaged=False, exchange=True, filter="none"),
)

ONLINE = (MEAN_TEACHER, FIXMATCH, UNIMATCH, UNIMATCH_IM, CPS, ONLINE_IM)
