"""What people see who judge pseudo-labels by a truth that no labeler knows."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from imseg.components.audit import REGIONS, Audit
from imseg.components.consensus import Consensus, PseudoLabelBatch
from imseg.ops.objects import object_planes
from imseg.tasks import task_for
from imseg.types import OBJECT_PLANES, TargetSpec

BOTH = torch.tensor([True, True])


def row(*values: float, kind: torch.dtype = torch.uint8) -> Tensor:
    """Return an image of one row."""
    return torch.tensor(values, dtype=kind).reshape(1, 1, 1, -1)


def agreement(labels: Tensor, first: Tensor, *, disputed: list[int], blocked: list[int]):
    """Return what teachers say about images of one row; disputed and blocked by column."""
    masks = torch.zeros(2, len(labels), 1, 1, labels.shape[-1], dtype=torch.bool)
    masks[0, ..., disputed] = True
    masks[1, ..., blocked] = True
    return PseudoLabelBatch(
        labels=labels, inconsistent=masks[1], disputed=masks[0], consensus=labels, first=first
    )


def audited(task, *batches) -> dict:
    audit = Audit(task)
    for batch in batches:
        audit.add(*batch)
    return audit.result().as_dict()


def test_every_figure_of_a_binary_audit_is_as_counted_by_hand(binary) -> None:
    # Columns:      0 agree, right; 1 agree, wrong; 2 and 3 disputed; 4 blocked too; 5 agree on 0
    truth, labels = row(1, 0, 1, 0, 1, 1), row(1, 1, 0, 0, 1, 0)
    first = row(1, 1, 1, 1, 0, 0)
    found = audited(
        binary(), (agreement(labels, first, disputed=[2, 3], blocked=[3, 4]), BOTH[:1], truth)
    )
    assert found == {
        "images": 1,
        "admitted": 1,
        "coverage": 3 / 6,
        "metric": "iou",
        # columns 0 1 5 of the labels: 1 hit, 1 too many, 1 missed
        "outside": {"precision": 1 / 2, "score": pytest.approx(1 / 3)},
        # columns 2 3 4 of the best teacher: 1 hit, 1 too many, 1 missed
        "inside": {"precision": 1 / 2, "score": pytest.approx(1 / 3)},
        # columns 0 1 2 5 of the labels: 1 hit, 1 too many, 2 missed
        "learned": {"precision": 1 / 2, "score": pytest.approx(1 / 4)},
        # all of the best teacher: 2 hits, 2 too many, 2 missed
        "everywhere": {"precision": 1 / 2, "score": pytest.approx(2 / 6)},
        "not_admitted": {"precision": None, "score": None},
    }


def test_images_that_were_not_admitted_count_by_themselves(binary) -> None:
    labels = torch.cat([row(1, 1, 0, 0), row(1, 1, 1, 0)])
    truth = torch.cat([row(1, 1, 0, 0), row(1, 0, 0, 1)])
    pair = agreement(labels, labels, disputed=[3], blocked=[])
    found = audited(binary(), (pair, torch.tensor([True, False]), truth))
    assert (found["images"], found["admitted"]) == (2, 1)
    assert found["coverage"] == 3 / 4, "of admitted images alone"
    assert found["everywhere"] == {"precision": 1.0, "score": 1.0}
    assert found["not_admitted"]["precision"] == pytest.approx(1 / 3)
    assert found["not_admitted"]["score"] == pytest.approx(1 / 4)


def test_batches_add_up(binary) -> None:
    generator = torch.Generator().manual_seed(3)
    votes, truth = (
        torch.randint(0, 2, (n, 6, 1, 5, 5), generator=generator).byte() for n in (2, 1)
    )
    used = torch.tensor([True, False, True, True, False, True])
    whole = (Consensus()(binary(), votes), used, truth[0])
    parts = [
        (Consensus()(binary(), votes[:, rows]), used[rows], truth[0, rows])
        for rows in (slice(0, 1), slice(1, 2), slice(2, 6))
    ]
    assert audited(binary(), whole) == audited(binary(), *parts)


def test_void_truth_counts_nowhere(binary) -> None:
    labels, first = row(1, 1, 0, 1), row(1, 0, 1, 1)
    known = agreement(labels[..., :3], first[..., :3], disputed=[1, 2], blocked=[])
    task = binary(void=True)
    expected = audited(task, (known, BOTH[:1], row(1, 1, 0)))
    with_void = agreement(labels, first, disputed=[1, 2], blocked=[])
    assert audited(task, (with_void, BOTH[:1], row(1, 1, 0, 255))) == expected
    nothing = audited(task, (with_void, BOTH[:1], row(255, 255, 255, 255)))
    assert nothing["coverage"] is None
    assert all(nothing[region] == {"precision": None, "score": None} for region in REGIONS)


def test_the_truth_itself_is_left_as_it_was(binary, regression) -> None:
    for task, truth in ((binary(), row(1, 0, 1)), (regression(), torch.rand(1, 1, 1, 3))):
        before = truth.clone()
        audited(task, (agreement(truth, truth, disputed=[1], blocked=[1]), BOTH[:1], truth))
        assert torch.equal(truth, before)


@pytest.mark.parametrize("paper", [False, True])
def test_classes_are_right_or_wrong_outside_the_mask(multiclass, paper) -> None:
    truth, first = row(1, 2, 3, 1), row(1, 2, 1, 1)
    labels = row(1, 2, 0, 3)
    batch = (agreement(labels, first, disputed=[2], blocked=[2]), BOTH[:1], truth)
    found = audited(multiclass(3, paper=paper), batch)
    assert found["coverage"] == 3 / 4
    assert found["outside"]["precision"] == pytest.approx(2 / 3)
    assert found["outside"]["score"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found["inside"] == {"precision": 0.0, "score": 0.0}
    assert found["everywhere"]["precision"] == 3 / 4
    assert found["everywhere"]["score"] == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_planes_of_any_label_are_blanked_together(multilabel) -> None:
    task = multilabel("a", "b")
    truth = torch.cat([row(1, 1, 0), row(0, 1, 1)], dim=1)
    labels = torch.cat([row(1, 0, 1), row(0, 1, 1)], dim=1)
    found = audited(task, (agreement(labels, truth, disputed=[2], blocked=[2]), BOTH[:1], truth))
    assert found["outside"] == {"precision": 1.0, "score": pytest.approx((1 / 2 + 1) / 2)}
    assert found["everywhere"] == {"precision": 1.0, "score": 1.0}


def test_numbers_have_errors_in_their_unit_and_no_precision(regression) -> None:
    task = regression(low=0.0, high=10.0)
    truth, labels = torch.tensor([[[[0.5, 0.5, 0.5]]]]), torch.tensor([[[[0.5, 0.6, 0.9]]]])
    found = audited(task, (agreement(labels, labels, disputed=[2], blocked=[2]), BOTH[:1], truth))
    assert found["metric"] == "rmse"
    assert found["outside"] == {"precision": None, "score": pytest.approx(np.sqrt(1 / 2), rel=1e-5)}
    assert found["inside"]["score"] == pytest.approx(4.0, rel=1e-5)


def test_objects_are_compared_as_the_planes_that_would_be_taught() -> None:
    task = task_for(
        TargetSpec(
            kind="multilabel",
            coding="objects",
            names=OBJECT_PLANES,
            colors=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        )
    )
    objects = np.zeros((40, 40), np.int32)
    objects[4:16, 4:16], objects[24:34, 10:20] = 1, 2
    truth = torch.from_numpy(object_planes(objects))[None]
    votes = torch.stack([truth, truth])
    votes[1, 0, 0, :, 14:] = 0
    votes[0, 0, 0, 36:38, 36:38] = 1  # a speck, which is no object
    found = audited(task, (Consensus()(task, votes), BOTH[:1], truth))
    assert found["outside"] == {"precision": 1.0, "score": 1.0}
    assert found["everywhere"] == {"precision": 1.0, "score": 1.0}
    assert found["coverage"] == 1 - (2 * 12 + 6 * 10 + 2 * 2) / 1600


def test_the_mask_pays_where_it_covers_mistakes(binary) -> None:
    """Two teachers, right but for pixels of their own each: outside their dispute all is right."""
    generator = torch.Generator().manual_seed(1)
    truth = torch.randint(0, 2, (4, 1, 16, 16), generator=generator).byte()
    mistaken = torch.rand(truth.shape, generator=generator)
    votes = torch.stack([truth ^ (mistaken < 0.1), truth ^ (mistaken > 0.9)])
    found = audited(binary(), (Consensus()(binary(), votes), torch.ones(4).bool(), truth))
    assert found["outside"] == {"precision": 1.0, "score": 1.0}
    assert found["everywhere"]["score"] < 0.95
    assert 0 < found["inside"]["score"] < 0.5
    assert found["coverage"] == pytest.approx(0.8, abs=0.05)


def test_nothing_was_looked_at(binary, multiclass, multilabel, regression) -> None:
    for task in (binary(), multiclass(2), multilabel(), regression()):
        found = Audit(task).result().as_dict()
        assert found["images"] == found["admitted"] == 0
        assert found["coverage"] is None
        assert all(found[region] == {"precision": None, "score": None} for region in REGIONS)


def test_nothing_was_admitted(multilabel) -> None:
    planes = torch.randint(0, 2, (2, 2, 5, 5)).byte()
    task = multilabel("a", "b")
    pair = agreement(planes, planes, disputed=[], blocked=[])
    found = audited(task, (pair, ~BOTH, planes))
    assert found["coverage"] is None
    assert found["not_admitted"] == {"precision": 1.0, "score": 1.0}
    assert found["outside"] == {"precision": None, "score": None}


@pytest.mark.parametrize("paper", [False, True])
def test_results_go_into_json_as_they_are(multiclass, paper) -> None:
    truth = row(1, 1)
    batch = (agreement(truth, truth, disputed=[], blocked=[]), BOTH[:1], truth)
    found = audited(multiclass(2, paper=paper), batch)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["inside"] == {"precision": None, "score": None}
