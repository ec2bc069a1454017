"""From file values to the numbering inside and back."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imseg.data.folder.config import FolderConfig
from imseg.data.masks.classes import find_spec
from imseg.data.masks.colors import colorize, covered, distinct_colors, scale_bar
from imseg.data.masks.io import (
    UnknownMaskValues,
    classless_value,
    decode,
    describe_values,
    encode,
    pack_colors,
    unknown_values,
    unpack_colors,
)
from imseg.types import INCONSISTENT, VOID, TargetSpec

NOTHING_SAID = FolderConfig()


def spec_of(*values: int, config: FolderConfig = NOTHING_SAID, **options: object) -> TargetSpec:
    return find_spec(dict.fromkeys(values, 100), task=options.get("task"), config=config)


@st.composite
def specs(draw: st.DrawFn) -> TargetSpec:
    values = draw(st.sets(st.integers(0, 65535), min_size=2, max_size=64))
    void = draw(st.none() | st.integers(0, 65535).filter(lambda value: value not in values))
    return spec_of(*values, config=FolderConfig(void=void))


@given(spec=specs(), seed=st.integers(0, 99))
def test_decoding_undoes_encoding(spec: TargetSpec, seed: int) -> None:
    values = [*spec.values, *([spec.void] if spec.void is not None else [])]
    mask = np.random.Generator(np.random.PCG64(seed)).choice(values, (7, 5))
    target = encode(mask, spec)
    assert target.dtype == np.uint8
    assert np.array_equal(decode(target, spec), mask)


@given(spec=specs())
def test_classes_are_numbered_in_the_order_of_their_values(spec: TargetSpec) -> None:
    target = encode(np.array([spec.values]), spec)
    first = 0 if spec.kind == "binary" else 1
    assert target[0, 0].tolist() == list(range(first, first + len(spec.values)))


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (1, 2), (7, 300)])
def test_two_values_are_background_and_foreground(values: tuple[int, int]) -> None:
    spec = spec_of(*values)
    assert (spec.kind, spec.values) == ("binary", values)
    assert spec.names == ("background", "foreground")
    assert encode(np.array([values]), spec).tolist() == [[[0, 1]]]


def test_gray_codes_are_a_class_each() -> None:
    spec = spec_of(255, 0, 128)
    assert (spec.kind, spec.values) == ("multiclass", (0, 128, 255))
    assert spec.names == ("class 0", "class 128", "class 255")
    assert encode(np.array([[0, 128, 255]]), spec).tolist() == [[[1, 2, 3]]]


def test_void_is_no_class() -> None:
    spec = spec_of(0, 1, 255, config=FolderConfig(void=255))
    assert (spec.kind, spec.values, spec.void) == ("binary", (0, 1), 255)
    assert encode(np.array([[0, 1, 255]]), spec).tolist() == [[[0, 1, VOID]]]
    low = spec_of(0, 1, 2, 3, config=FolderConfig(void=0))
    assert encode(np.array([[0, 1, 3]]), low).tolist() == [[[VOID, 1, 3]]]


def test_a_longer_palette_begins_with_a_shorter_one() -> None:
    assert distinct_colors(30)[:7] == distinct_colors(7)
    assert len(set(distinct_colors(100))) == 100
    assert len(distinct_colors(254)) == 254


def test_pixels_of_no_class_get_void_or_a_value_in_no_use() -> None:
    spec = spec_of(0, 128, 255)
    assert classless_value(spec) == 254
    pixels = np.array([[[INCONSISTENT, 1, 2, 3, VOID]]])
    assert decode(pixels, spec).tolist() == [[254, 0, 128, 255, 254]]
    assert classless_value(spec_of(0, 1, 2, config=FolderConfig(void=11))) == 11


def test_the_type_of_decoded_masks_depends_on_the_spec_alone() -> None:
    low = np.ones((1, 2, 2), np.uint8)
    assert decode(low, spec_of(0, 1, 255)).dtype == np.uint8
    assert decode(low, spec_of(0, 1, 256)).dtype == np.uint16


def test_numbers_beyond_the_classes_are_a_programming_error() -> None:
    with pytest.raises(ValueError, match="3 classes"):
        decode(np.array([[[4]]]), spec_of(0, 1, 2))


def test_colors_show_classes_void_and_inconsistent_pixels() -> None:
    spec = spec_of(0, 1, 2)
    painted = colorize(np.array([[[0, 1, 3, VOID]]], np.uint8), spec)
    assert painted.dtype == np.uint8
    assert painted[0].tolist() == [
        [0, 0, 0],
        list(spec.colors[0]),
        list(spec.colors[2]),
        [128, 128, 128],
    ]
    binary = spec_of(0, 255)
    assert colorize(np.array([[[0, 1]]]), binary)[0].tolist() == [list(c) for c in binary.colors]


@pytest.mark.parametrize("stray", [7, 254, 65535, 70000, -1])
def test_unknown_values_are_named(stray: int) -> None:
    spec = spec_of(0, 255)
    with pytest.raises(UnknownMaskValues, match=re.escape(str(stray))) as caught:
        encode(np.array([[0, 255, stray]], np.int64), spec)
    assert caught.value.values == (stray,)
    assert unknown_values([0, stray, 255], spec) == (stray,)


def color_spec(**changes: object) -> TargetSpec:
    fields = {
        "kind": "multiclass",
        "coding": "colors",
        "values": (0x000000, 0x0000FF, 0xFF8000),
        "names": ("water", "diver", "fish"),
        "colors": ((0, 0, 0), (0, 0, 255), (255, 128, 0)),
        "void": 0xFFFFFF,
    }
    return TargetSpec(**{**fields, **changes})


def test_colors_are_packed_and_unpacked_without_loss() -> None:
    colors = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    assert np.array_equal(unpack_colors(pack_colors(colors)), colors)
    assert pack_colors(np.array([255, 128, 0], np.uint8)) == 0xFF8000


def test_colors_become_classes_and_colors_again() -> None:
    spec = color_spec()
    painted = np.array([[[0, 0, 255], [255, 128, 0], [0, 0, 0], [255, 255, 255]]], np.uint8)
    target = encode(pack_colors(painted), spec)
    assert target.tolist() == [[[2, 3, 1, VOID]]]
    assert np.array_equal(decode(target, spec), painted)


def test_an_unknown_color_is_named_as_a_color() -> None:
    with pytest.raises(UnknownMaskValues, match="#00ff01"):
        encode(np.array([[0x00FF01]]), color_spec())
    assert "#ff8000 (fish)" in describe_values(color_spec())


def test_without_void_colors_of_no_class_are_gray() -> None:
    gray = classless_value(color_spec(void=None))
    assert gray == 0x010101


def test_planes_are_1_wherever_the_file_is_not_0() -> None:
    spec = TargetSpec(
        kind="multilabel", coding="planes", names=("a", "b"), colors=((1, 0, 0), (0, 1, 0)), void=9
    )
    masks = np.array([[[0, 255, 9]], [[1, 0, 0]]])
    target = encode(masks, spec)
    assert target.tolist() == [[[0, 1, VOID]], [[1, 0, 0]]]
    assert decode(target, spec).tolist() == [[[0, 255, 0]], [[255, 0, 0]]]


def number_spec(stored: str = "float32", **changes: object) -> TargetSpec:
    fields = {"kind": "regression", "coding": "numbers", "names": ("depth",), "low": 10.0}
    fields |= {"colors": ((0, 0, 0),), "high": 30.0, "stored": stored}
    return TargetSpec(**{**fields, **changes})


@given(seed=st.integers(0, 99))
def test_numbers_are_scaled_to_0_and_1_and_back(seed: int) -> None:
    numbers = np.random.Generator(np.random.PCG64(seed)).uniform(10, 30, (4, 5)).astype(np.float32)
    target = encode(numbers, number_spec())
    assert target.shape == (1, 4, 5) and target.dtype == np.float32
    assert 0 <= target.min() <= target.max() <= 1
    np.testing.assert_allclose(decode(target, number_spec()), numbers, rtol=1e-6)


def test_large_numbers_keep_their_differences() -> None:
    numbers = np.arange(10, dtype=np.int64)[None] + 2**26
    spec = number_spec(low=2.0**26, high=2.0**26 + 9)
    assert len(np.unique(encode(numbers, spec))) == 10


def test_unknown_numbers_are_void_in_every_form() -> None:
    numbers = np.array([[np.nan, np.inf, -1.0, 20.0]], np.float32)
    target = encode(numbers, number_spec(void=-1))
    assert np.isnan(target[0, 0]).tolist() == [True, True, True, False]
    assert target[0, 0, 3] == 0.5


def test_whole_numbers_come_back_rounded_within_their_type() -> None:
    target = np.array([[[0.0, 0.52, 1.0, 99.0]]], np.float32)
    assert decode(target, number_spec("uint8")).tolist() == [[10, 20, 30, 255]]
    assert decode(target, number_spec("uint8")).dtype == np.uint8
    assert decode(target, number_spec("uint16")).dtype == np.uint16


def test_paint_shows_labels_over_nothing_and_numbers_from_dark_to_light() -> None:
    spec = TargetSpec(
        kind="multilabel", coding="planes", names=("a", "b"), colors=((1, 0, 0), (0, 1, 0))
    )
    target = np.array([[[0, 1, 1]], [[0, 0, 1]]], np.uint8)
    assert colorize(target, spec)[0].tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert covered(target, spec).tolist() == [[False, True, True]]
    numbers = np.array([[[0.0, 0.5, 1.0, np.nan]]], np.float32)
    lightness = colorize(numbers, number_spec()).astype(int).sum(axis=2)[0]
    assert lightness[0] < lightness[1] < lightness[2]
    assert covered(numbers, number_spec()).tolist() == [[True, True, True, False]]
    bar = scale_bar(2, 50).astype(int).sum(axis=2)
    assert (np.diff(bar, axis=1) >= 0).all()
