"""Pseudo-labels compared with hidden masks: right numbers, and nobody learns from them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from tests.e2e.small_sets import (
    UNLABELED,
    VALIDATION,
    Killed,
    Mortal,
    pairs,
    scenes,
    small_set,
    train,
    weights_of,
    write_hidden,
)
from tests.sets import rest_but

import imseg
from imseg.approaches.runs.run import Run
from imseg.engine.loading.samples import SampleSet
from imseg.engine.storage.sealed import read_sealed
from imseg.report.tables import audit_table, judgment_text
from imseg.types import DataSet

VOID = 9
LONGER = {"epochs": 60, "max_steps": 60}
"""Enough for two networks to agree about some disks and to differ about others."""
Masks = npt.NDArray[np.bool_]


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hidden(tmp_path_factory.mktemp("audit") / "hidden", "binary")


@pytest.mark.parametrize(
    "approach", rest_but(["im++", "evalnet", "input-ensemble"], lambda name: name == "im++")
)
def test_hidden_masks_change_no_bit_of_any_network(tmp_path, hidden, approach):
    options = {"generations": 2, "select": "all"}
    if approach == "evalnet":
        options["thresholds"] = (0.05, 0.1)
    blind = train(small_set("binary"), approach, tmp_path / "blind", **options)
    audited = train(
        small_set("binary"), approach, tmp_path / "audited", unlabeled_masks=hidden, **options
    )
    assert weights_of(blind.path) == weights_of(audited.path)
    taught = [[stage.get("pseudo_labels") for stage in run.summary["stages"]]
              for run in (blind, audited)]  # fmt: skip
    assert taught[0] == taught[1]
    places = sorted(path.parent.name for path in audited.path.rglob("audit.json"))
    assert places == ["generation-1", "generation-2"]
    assert not list(blind.path.rglob("audit.json"))
    # What ``imseg evaluate`` shows: a row a generation, and how far judges can be trusted.
    assert audit_table(blind) == "" and list(audited.audits) == places
    shown = audit_table(audited).splitlines()
    assert [line.split()[1] for line in shown[4:6]] == places
    assert f"{audited.audits['generation-1']['coverage']:.4f}" in shown[4]
    scored = judgment_text(audited)
    assert ("rank correlation" in scored) == (approach != "input-ensemble")


def with_void(folder: Path) -> tuple[DataSet, npt.NDArray[np.uint8]]:
    """Return a data set with void rows, and the hidden masks that are now files in a folder."""
    images, masks = pairs("binary", 0, 8)
    truth = np.stack(pairs("binary", 1, UNLABELED)[1])
    for mask in (*masks, *truth):
        mask[:4] = VOID
    folder.mkdir()
    for number, mask in enumerate(truth):
        Image.fromarray(mask).save(folder / f"unlabeled[{number}].png")
    data = imseg.dataset_from_arrays(
        (images, masks),
        unlabeled=scenes(1, UNLABELED)[0],
        val=pairs("binary", 2, VALIDATION),
        void=VOID,
    )
    return data, truth


def says(run: Run, network: str, images: npt.NDArray[np.uint8]) -> Masks:
    """Return where a network of a run sees foreground (``n h w``)."""
    (module,) = run.load([network], device="cpu")
    with torch.inference_mode():
        logits = module(torch.from_numpy(images.astype(np.float32) / 255)[:, None])
    return logits[:, 0].numpy() > 0


def widened(mask: Masks) -> Masks:
    """Return masks dilated by 3 x 3."""
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    height, width = mask.shape[1:]
    shifts = itertools.product(range(3), repeat=2)
    return np.any([padded[:, i : i + height, j : j + width] for i, j in shifts], axis=0)


def by_hand(
    one: Masks, other: Masks, truth: npt.NDArray[np.uint8], *, select: str
) -> dict[str, object]:
    """Return what an audit of the consensus of two networks, dilated by 3, has to say."""
    consensus, disputed = one & other, one ^ other
    blocked = widened(disputed)
    size = consensus.sum(axis=(1, 2))
    used = (size > disputed.sum(axis=(1, 2))) & (size > 0)
    if select == "all":
        used[:] = True
    known, true = truth != VOID, truth == 1

    def scores(labels: Masks, where: Masks) -> dict[str, float | None]:
        where = where & known
        hits = np.count_nonzero(labels & true & where)
        said = np.count_nonzero(labels & where)
        union = np.count_nonzero((labels | true) & where)
        return {
            "precision": hits / said if said else None,
            "score": hits / union if union else None,
        }

    here, rest = used[:, None, None] & np.ones_like(one), ~used[:, None, None] & np.ones_like(one)
    in_use = np.count_nonzero(known & here)
    return {
        "images": len(one),
        "admitted": int(used.sum()),
        "coverage": np.count_nonzero(known & here & ~blocked) / in_use if in_use else None,
        "metric": "iou",
        "outside": scores(consensus, here & ~blocked),
        "inside": scores(one, here & blocked),
        "learned": scores(consensus, here & ~blocked),
        "everywhere": scores(one, here),
        "not_admitted": scores(one, rest),
    }


@dataclass(frozen=True)
class Started:
    """A finished start whose two networks agree about some disks and differ about others."""

    data: DataSet
    hidden: Path
    truth: npt.NDArray[np.uint8]
    run: Run

    def teach(self, approach: str, out: Path, **options: Any) -> tuple[Any, SampleSet]:
        """Let the start teach, and end when students would be trained; returns what they get."""
        executor = Mortal(0)
        with pytest.raises(Killed):
            train(
                self.data, approach, out, executor=executor, reuse=self.run.path, generations=1,
                unlabeled_masks=self.hidden, **LONGER, **options,
            )  # fmt: skip
        found = read_sealed(out / "generation-1" / "audit.json")
        return found, executor.jobs["generation-1"][0].samples[-1]

    def opinions(self, images: npt.NDArray[np.uint8]) -> list[Masks]:
        """Return where the best and the second network of the start see foreground."""
        return [says(self.run, name, images) for name in self.run.summary["ranking"]]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Started:
    folder = tmp_path_factory.mktemp("started")
    data, truth = with_void(folder / "hidden")
    return Started(data, folder / "hidden", truth, train(data, "ldt", folder / "run", **LONGER))


@pytest.mark.parametrize("select", ["paper", "all"])
def test_an_audit_says_what_numpy_says(started, tmp_path, select):
    found, part = started.teach("im", tmp_path / "run", dilate=3, select=select)
    one, other = started.opinions(scenes(1, UNLABELED)[0])
    wanted = by_hand(one, other, started.truth, select=select)
    assert found == wanted
    assert wanted["admitted"] == len(part.indices)
    assert (wanted["admitted"] < UNLABELED) == (select == "paper"), "else the rule changes nothing"
    assert wanted["outside"] != wanted["inside"], "else the mask changes nothing"


def test_of_fewer_unlabeled_images_each_is_compared_with_its_own_mask(started, tmp_path):
    found, _ = started.teach("im", tmp_path / "run", dilate=3, select="all", limit_unlabeled=3)
    one, other = started.opinions(scenes(1, UNLABELED)[0])
    fitting = [
        chosen
        for chosen in map(list, itertools.combinations(range(UNLABELED), 3))
        if by_hand(one[chosen], other[chosen], started.truth[chosen], select="all") == found
    ]
    assert len(fitting) == 1


def oracle(one: Masks, other: Masks, truth: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the IoU of the blocked consensus with the truth blanked there; 0 for nothing."""
    kept = ~(one ^ other) & (truth != VOID)
    mask, rest = one & other & kept, (truth == 1) & kept
    shared = (mask & rest).sum(axis=(1, 2))
    return shared / np.maximum((mask | rest).sum(axis=(1, 2)), 1)


def copies(score: float, low: float, high: float) -> int:
    """Return the number of copies: every fifth of the way from low to high is worth one more."""
    if score <= low:
        return 1
    return 5 if score > high else min(5, 1 + int((score - low) // ((high - low) / 5)))


def test_the_oracle_counts_copies_by_the_hidden_truth(started, tmp_path):
    _, part = started.teach("gt-im++", tmp_path / "run", select="all")
    scores = [
        oracle(*started.opinions(images), np.stack(truth))
        for images, truth in (
            (scenes(1, UNLABELED)[0], started.truth),
            pairs("binary", 2, VALIDATION),
        )
    ]
    low, high = np.quantile(scores[1], [0.5, 0.9])
    counts = tuple(copies(score, low, high) for score in scores[0])
    assert len(set(counts)) > 1, "some masks are better than others"
    assert part.copies.counts == counts and part.samples == sum(counts)


@pytest.mark.rest
def test_the_oracle_differs_from_mask_scorers_from_the_first_generation_on(tmp_path, hidden):
    options = {"generations": 1, "select": "all"}
    told = train(small_set("binary"), "gt-im++", tmp_path / "a", unlabeled_masks=hidden, **options)
    scored = train(small_set("binary"), "im++", tmp_path / "b", **options)
    ours, theirs = weights_of(told.path), weights_of(scored.path)
    same = {name for name in ours if ours[name] == theirs[name]}
    assert same == {f"start/network-{number}.safetensors" for number in (0, 1)}
