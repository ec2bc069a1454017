"""Pictures that look unlike the others, or show nothing."""

from __future__ import annotations

import numpy as np
import pytest
from tests.data.checks.looking import blobs, facts_of

from imseg.data.checks.appearance import look_at
from imseg.data.checks.unlike import FEWEST, UNLIKE, find_odd_pictures, find_unlike, traits_of
from imseg.data.folder.facts import Survey
from imseg.errors import Finding


def color(seed: int, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    return (blobs(seed, size, 3) * np.array([1.0, 0.7, 0.5])).astype(np.uint8)


ODD = {
    "darker": lambda: (color(50) * 0.1).astype(np.uint8),
    "brighter": lambda: np.uint8(255) - color(50) // 2,
    "gray among color": lambda: blobs(50, channels=3),
    "5x larger": lambda: color(50, (320, 320)),
    "bluer": lambda: color(50)[..., ::-1],
    "wider": lambda: color(50, (32, 128)),
    "sharper or noisier": lambda: np.clip(
        color(50) + np.random.default_rng(0).normal(0, 60, (64, 64, 3)), 0, 255
    ).astype(np.uint8),
}


def survey(odd: np.ndarray | None = None, *, split: str = "unlabeled", count: int = 12) -> Survey:
    splits = {
        "labeled": [color(seed) for seed in range(count)],
        "unlabeled": [color(seed) for seed in range(100, 130)],
        "val": [color(seed) for seed in range(200, 204)],
        "test": [color(seed) for seed in range(300, 304)],
    }
    if odd is not None:
        splits[split].append(odd)
    return Survey(
        **{
            name: tuple(facts_of(f"{name}/{place}.png", each) for place, each in enumerate(all_of))
            for name, all_of in splits.items()
        }
    )


def findings(found: Survey) -> list[Finding]:
    return list(find_odd_pictures(found))


def test_pictures_of_one_kind_give_no_finding() -> None:
    assert findings(survey()) == []


@pytest.mark.parametrize("words", ODD)
def test_an_odd_unlabeled_picture_is_named_with_what_is_odd(words) -> None:
    (finding,) = findings(survey(ODD[words]()))
    assert finding.severity == "warning"
    assert finding.what == "1 unlabeled image looks unlike every labeled one."
    assert finding.files == ("unlabeled/30.png",)
    assert words in finding.got


@pytest.mark.parametrize("split", ["val", "test"])
def test_an_odd_picture_to_measure_by_is_named(split) -> None:
    (finding,) = findings(survey(ODD["darker"](), split=split))
    assert finding.what == f"1 {split} image looks unlike every labeled one."


def test_an_odd_labeled_picture_is_unlike_every_other() -> None:
    (finding,) = findings(survey(ODD["darker"](), split="labeled"))
    assert finding.what == "1 labeled image looks unlike every other image."
    assert finding.files == ("labeled/12.png",)


def test_many_odd_pictures_are_counted_and_a_few_shown() -> None:
    found = survey()
    dark = tuple(
        facts_of(f"unlabeled/dark{seed}.png", (color(seed) * 0.1).astype(np.uint8))
        for seed in range(7)
    )
    (finding,) = findings(
        Survey(labeled=found.labeled, unlabeled=(*found.unlabeled, *dark), val=(), test=())
    )
    assert finding.what == "7 of 37 unlabeled images look unlike every labeled one."
    assert "(and 2 more)" in finding.got and len(finding.files) == 7


def test_what_is_labeled_too_is_not_odd() -> None:
    found = survey(ODD["darker"]())
    dark = facts_of("labeled/dark.png", (color(77) * 0.1).astype(np.uint8))
    assert (
        findings(
            Survey(
                labeled=(*found.labeled, dark),
                unlabeled=found.unlabeled,
                val=found.val,
                test=found.test,
            )
        )
        == []
    )


def test_with_few_labels_nothing_is_said() -> None:
    assert findings(survey(ODD["darker"](), count=FEWEST - 1)) == []


def test_blank_pictures_are_named_and_not_called_odd_as_well() -> None:
    (finding,) = findings(survey(np.zeros((64, 64, 3), np.uint8)))
    assert finding.what == "1 image is blank: one value everywhere."
    assert finding.files == ("unlabeled/30.png",)


def test_nothing_to_look_at_gives_no_finding() -> None:
    assert findings(Survey()) == []


@pytest.mark.parametrize("kind", ["uint16", "float32"])
def test_deep_pictures_are_compared_in_their_own_unit(kind) -> None:
    scale = 80.0 if kind == "uint16" else 1e-4
    labeled = [(blobs(seed) * scale).astype(kind) for seed in range(12)]
    same = [(blobs(seed) * scale).astype(kind) for seed in range(100, 120)]
    dim = (blobs(60) * scale / 20).astype(kind)
    found = Survey(
        labeled=tuple(facts_of(f"{i}", each) for i, each in enumerate(labeled)),
        unlabeled=tuple(facts_of(f"u{i}", each) for i, each in enumerate([*same, dim])),
    )
    (finding,) = findings(found)
    assert finding.files == ("u20",)
    assert "darker" in finding.got


def naive_unlike(traits: np.ndarray, examples: np.ndarray, spreads: np.ndarray) -> set[int]:
    """Return the far ones by loops."""

    def nearest(row: np.ndarray, others: list[np.ndarray]) -> float:
        return min(float(np.sqrt((((row - other) / spreads) ** 2).sum())) for other in others)

    gaps = [
        nearest(row, [other for j, other in enumerate(examples) if j != i])
        for i, row in enumerate(examples)
    ]
    limit = max(UNLIKE, 5 * float(np.median(gaps)))
    return {i for i, row in enumerate(traits) if nearest(row, list(examples)) > limit}


@pytest.mark.parametrize("seed", range(5))
def test_far_is_far_by_an_independent_count(seed) -> None:
    generator = np.random.default_rng(seed)
    looks = [look_at(color(number)) for number in range(30)]
    examples = traits_of(looks[:20], [(64, 64)] * 20)
    traits = traits_of(looks, [(64, 64)] * 30) + generator.normal(0, 25, (30, 9))
    low, high = np.percentile(examples, [25, 75], axis=0)
    least = np.array([15, 10, 12, 10, 10, 0.5, 0.4, 0.25, 1.0])
    spreads = np.maximum(least, (high - low) / 1.349)
    found = {each.index for each in find_unlike(traits, examples, deep=False)}
    assert found == naive_unlike(traits, examples, spreads)


def test_very_many_examples_are_thinned_evenly(monkeypatch) -> None:
    from imseg.data.checks import unlike

    monkeypatch.setattr(unlike, "_MOST_EXAMPLES", 10)
    looks = [look_at(color(number)) for number in range(35)]
    dark = look_at((color(50) * 0.1).astype(np.uint8))
    examples = traits_of([dark, *looks], [(64, 64)] * 36)
    found = find_unlike(examples[:3], examples, deep=False, among=True)
    assert [each.index for each in found] == [0]
