"""How far samples may be changed: by level, kind and modality, and never so far that objects go."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from imseg.errors import ImsegError
from imseg.ops import intensity, warp
from imseg.ops.limits import LEAST_WIDTH, AugmentLimits, Level, Modality, limits_for
from imseg.types import Kind

EVERY = list(product(get_args(Kind), get_args(Modality), [True, False]))


@pytest.mark.parametrize(("kind", "modality", "rotate"), EVERY)
def test_every_kind_and_modality_has_limits_of_each_level(kind, modality, rotate) -> None:
    how = {"kind": kind, "modality": modality, "rotate": rotate}
    none, weak, strong = (limits_for(level, **how) for level in get_args(Level))
    assert none is None
    assert weak.moves and not weak.share
    upright = modality == "photograph" and not rotate
    assert weak.changes_values == (not upright), "scenes keep their colors"
    for limits in (weak, strong):
        assert limits.mirror and limits.upside_down == limits.swap == rotate
        if modality != "photograph":
            assert limits.saturation == 0, "nothing else has colors"
        if modality == "gray":
            assert limits.channel_gain == limits.channel_contrast == 0
        if modality == "dark":
            assert limits.brightness == 0 < limits.gain
    assert strong.share and strong.scale
    turned = limits_for("strong", kind=kind, modality=modality, rotate=True)
    assert turned.noise_share and turned.noise and turned.blur and turned.gamma
    assert strong.turn == (180 if rotate else 3)
    if not rotate:
        assert strong.gamma == strong.blur_share == strong.noise_share == strong.saturation == 0
        assert strong.scale == (0.69 if kind != "regression" else 0.2), "nearer, and farther away"
    assert bool(strong.elastic) == (rotate and kind != "regression")


@pytest.mark.parametrize("modality", get_args(Modality))
@pytest.mark.parametrize("rotate", [True, False])
@pytest.mark.parametrize("level", ["weak", "strong"])
def test_maps_of_numbers_are_changed_no_further_than_masks(level, modality, rotate) -> None:
    how = {"modality": modality, "rotate": rotate}
    masks, numbers = (
        asdict(limits_for(level, kind=kind, **how)) for kind in ("binary", "regression")
    )
    assert all(numbers[name] <= masks[name] for name in masks)
    if level == "strong":
        smaller = {name for name in masks if numbers[name] < masks[name]}
        assert len(smaller) >= 4 if rotate else "scale" in smaller


def test_limits_are_plain_numbers_in_json() -> None:
    adapter = TypeAdapter(AugmentLimits)
    for kind, modality, rotate in EVERY:
        limits = limits_for("strong", kind=kind, modality=modality, rotate=rotate)
        assert adapter.validate_json(adapter.dump_json(limits)) == limits
        assert all(isinstance(value, (bool, float)) for value in asdict(limits).values())
    with pytest.raises(ValidationError, match="wobble"):
        adapter.validate_python({"wobble": 1})


@pytest.mark.parametrize(
    ("name", "value", "most"),
    [("turn", 181, "180"), ("share", 1.5, "1"), ("blur", 3, "2"), ("gamma", -0.1, "2"),
     ("noise", float("nan"), "1")],
)  # fmt: skip
def test_a_number_out_of_range_is_refused(name, value, most) -> None:
    with pytest.raises(ImsegError) as caught:
        AugmentLimits(**{name: value})
    assert caught.value.what == f"The {name} of the augmentation of samples is out of range."
    assert caught.value.expected == f"a number from 0 to {most}."


@given(smallest=st.floats(0.5, 40), scale=st.floats(0, 1.5), blur=st.floats(0, 2))
def test_small_objects_stay_visible(smallest, scale, blur) -> None:
    limits = AugmentLimits(share=1.0, scale=scale, blur_share=1.0, blur=blur)
    kept = limits.kept_visible(smallest)
    names = list(range(300))
    drawn = warp.draw(names, kept, square=True).linear[:, 0, 0]
    least = smallest / float(drawn.max())
    assert least >= min(smallest, LEAST_WIDTH) - 1e-4
    assert float(drawn.min()) == pytest.approx(
        float(warp.draw(names, limits, square=True).linear[:, 0, 0].min())
    ), "they may still become larger"
    assert kept.blur <= least / 3 + 1e-4
    assert kept.kept_visible(smallest) == kept
    if smallest >= LEAST_WIDTH * 2.72**scale and blur <= smallest / 2.72**scale / 3:
        assert kept == limits


def test_draws_of_each_use_are_drawn_from_bits_of_their_own() -> None:
    uses = [
        value
        for module in (warp, intensity)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, int) and 40 <= value < 70
    ]
    assert len(uses) == len(set(uses)) == 21
    chosen = {use + intensity.CHOSEN for use in uses if use >= 60}
    assert not chosen & set(uses)


def test_shares_are_shares_of_the_samples() -> None:
    limits = replace(AugmentLimits(), share=0.25, turn=90.0, blur_share=0.4, blur=2.0)
    names = list(range(4000))
    turned = warp.draw(names, limits, square=True).linear[:, 0, 1] != 0
    assert abs(float(turned.float().mean()) - 0.25) < 0.03
    blurred = intensity.draw(names, limits, channels=1).taps[:, 0] < 1
    assert abs(float(blurred.float().mean()) - 0.4) < 0.05
