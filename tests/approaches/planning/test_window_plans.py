"""When networks see windows of images, and at which scale."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imseg.approaches.planning.budget import make_plan, match_plan, narrow_as_asked, seen_size
from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.settings import Settings, settings_from
from imseg.approaches.planning.stage_plan import planned_stages
from imseg.data.doubts.small_objects import LEAST_SEEN, SEEN
from imseg.errors import ImsegError
from imseg.ops.tiling import Size, scaled
from imseg.types import Modality

CELLS = Facts(
    task="binary",
    labeled=10,
    validation=8,
    unlabeled=50,
    channels=1,
    outputs=1,
    typical_size=(1024, 1536),
    modality="gray",
    narrow=30 / 1536,
)


def planned(facts: Facts = CELLS, **asked: Any) -> Plan:
    return make_plan(Settings(device="cpu", **{"approach": "ldt", **asked}), facts)


def seen_at(plan: Plan, size: Size) -> Size:
    seen = plan.seen_size
    return scaled(size, seen) if isinstance(seen, float) else seen


@given(
    narrow=st.floats(0.002, 0.5),
    longest=st.integers(64, 4000),
    modality=st.sampled_from(("gray", "dark", "channels")),
)
def test_objects_of_micrographs_are_never_too_small(
    narrow: float, longest: int, modality: Modality
) -> None:
    size = (longest, max(32, longest // 2))
    plan = planned(replace(CELLS, narrow=narrow, typical_size=size, modality=modality))
    native = narrow * longest
    seen = narrow * max(seen_at(plan, size))
    assert seen >= min(LEAST_SEEN, native) - 2 * narrow, "but for rounding to whole pixels"
    if plan.tiles is not None:
        assert plan.tiles.scale <= 1
        assert seen == pytest.approx(min(SEEN, native), abs=2 * narrow)
        assert plan.image_size == (128, 128) == plan.window
        assert plan.row_size == plan.tiles.tiling.tile == (192, 192)


def test_cells_on_a_large_field_are_seen_in_windows() -> None:
    plan = planned()
    assert plan.tiles is not None and plan.tiles.scale == pytest.approx(12 / 30)
    assert seen_at(plan, (1024, 1536)) == (410, 614)
    assert plan.tiles_each == plan.tiles.tiling.count((410, 614)) == 3 * 5
    stage = planned_stages(plan, CELLS)[0]
    assert (stage.labeled, stage.validation) == (10 * 15, 8 * 15), "tiles are counted"
    assert plan.unlabeled_used(CELLS) == 50 * 15
    assert Plan.from_dict(plan.as_dict()) == plan


@pytest.mark.parametrize("changes", [{"modality": "photograph"}, {"narrow": 0.1}, {"narrow": None}])
def test_otherwise_images_are_whole(changes: dict[str, Any]) -> None:
    plan = planned(replace(CELLS, **changes))
    assert plan.tiles is None and plan.window is None and plan.tiles_each == 1
    assert plan.image_size == plan.row_size == plan.seen_size


@pytest.mark.parametrize(
    "asked",
    [
        {"whole_image": True},
        {"image_size": (256, 256)},
        {"recipe": "paper"},
        {"effort": "paper"},
        {"approach": "ldt-matched", "match": Path("run")},
    ],
)
def test_whole_images_can_be_asked_for(asked: dict[str, Any]) -> None:
    assert planned(**asked).tiles is None


def test_what_was_asked_for_is_taken() -> None:
    photographs = replace(CELLS, modality="photograph", narrow=0.3)
    plan = planned(photographs, scale=0.25, patch=(64, 96))
    assert plan.tiles is not None and plan.tiles.scale == 0.25
    assert plan.image_size == (64, 96) and plan.row_size == (96, 144)
    assert planned(scale=0.25).image_size == (128, 128)
    assert planned(patch=(64, 64)).tiles.scale == pytest.approx(12 / 30)
    assert planned(replace(CELLS, narrow=None), patch=(64, 64)).tiles.scale == 1


@pytest.mark.parametrize("asked", [{}, {"scale": 0.5}, {"whole_image": True}, {"patch": (64, 64)}])
def test_checks_look_at_the_size_that_is_planned(asked: dict[str, Any]) -> None:
    settings = Settings(approach="ldt", device="cpu", **asked)
    how = {"narrow": CELLS.narrow, "modality": CELLS.modality}
    assert seen_size(settings, (1024, 1536), **how) == planned(**asked).seen_size


@pytest.mark.parametrize("other", ["image_size", "paper", "whole_image"])
def test_windows_and_whole_images_are_not_asked_for_together(other: str) -> None:
    value = {"image_size": (64, 64), "paper": "isic2018", "whole_image": True}[other]
    with pytest.raises(ImsegError, match=f"--scale cannot be joined with --{other[:5]}"):
        settings_from({"scale": 0.5, other: value})


def test_augmentation_knows_the_scale() -> None:
    """How far images may be blurred depends on what is left of objects then."""
    small, large = planned(scale=0.1), planned(scale=1.0)
    assert small.recipe.augmentation.limits.blur < large.recipe.augmentation.limits.blur


def test_a_matched_baseline_sees_the_windows_of_its_match() -> None:
    method = planned(approach="im")
    own = planned(approach="ldt-matched", match=Path("run"))
    plan = match_plan(own, matched=method, steps=230, network=method.network, labeled=10)
    assert (plan.tiles, plan.tiles_each, plan.window) == (method.tiles, 15, (128, 128))
    assert planned_stages(plan, CELLS)[0].steps == 230


def test_the_width_of_objects_can_be_said() -> None:
    def seen(size: float | None, facts: Facts = CELLS) -> tuple[float | None, Size]:
        asked = Settings(device="cpu", approach="ldt", object_size=size)
        narrow = narrow_as_asked(asked, facts.typical_size, facts.narrow)
        plan = make_plan(asked, replace(facts, narrow=narrow))
        return (None if plan.tiles is None else plan.tiles.scale), plan.image_size

    assert seen(None) == seen(30.0) == (pytest.approx(12 / 30), (128, 128))
    assert seen(10.0)[0] == 1.0 and seen(48.0)[0] == pytest.approx(0.25)
    assert seen(90.0) == (None, (80, 128)), "large enough on whole images"
    photographs = replace(CELLS, modality="photograph")
    assert seen(None, photographs)[0] is None and seen(30.0, photographs)[0] is not None


@pytest.mark.parametrize("other", [{"scale": 0.5}, {"image_size": (64, 64)}, {"whole_image": True}])
def test_two_words_about_the_size_are_one_too_many(other) -> None:
    with pytest.raises(ImsegError, match="--object-size cannot be joined with"):
        settings_from({"approach": "ldt", "object_size": 20.0, **other})
