"""Classes that look like what smearing leaves, and smears that look like classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from tests.data.checks.looking import mask_in
from tests.data.checks.test_doctor_masks import colored, discs, jpeg, smooth, unsharp

from imseg.data.checks.mask_colors import find_impure, own_colors
from imseg.data.checks.mask_values import find_smeared
from imseg.data.masks.edges import on_edges
from imseg.data.masks.io import pack_colors, unpack_colors
from imseg.data.masks.recoding import Snap

seeds = st.integers(0, 10_000)


def grown(shown: np.ndarray, by: int = 1) -> np.ndarray:
    for _ in range(by):
        padded = np.pad(shown, 1)
        shown = padded[1:-1, 1:-1].copy()
        for part in (padded[2:, 1:-1], padded[:-2, 1:-1], padded[1:-1, 2:], padded[1:-1, :-2]):
            shown |= part
    return shown


def rimmed(mask: np.ndarray, void: int, width: int = 1) -> np.ndarray:
    """Return a mask with an undecided rim around what it shows."""
    return np.where(grown(mask > 0, width) & (mask == 0), np.uint8(void), mask)


def patches(seed: int, values: tuple[int, ...], size: int = 96) -> np.ndarray:
    """Return a mask whose classes cover all of it, each next to several others."""
    generator = np.random.default_rng(seed)
    centers = generator.uniform(0, size, (14, 2))
    rows, columns = np.mgrid[:size, :size]
    apart = (rows[..., None] - centers[:, 0]) ** 2 + (columns[..., None] - centers[:, 1]) ** 2
    return np.array(values, np.uint8)[generator.integers(0, len(values), 14)][apart.argmin(-1)]


def strokes(seed: int, values: tuple[int, ...], size: int = 96) -> np.ndarray:
    """Return a mask of lines of one pixel."""
    generator = np.random.default_rng(seed)
    picture = Image.fromarray(np.zeros((size, size), np.uint8))
    for value in values:
        ImageDraw.Draw(picture).line(generator.integers(0, size, 4).tolist(), fill=int(value))
    return np.array(picture)


def dots(seed: int, values: tuple[int, ...], size: int = 96) -> np.ndarray:
    """Return a mask of single pixels."""
    mask = np.zeros((size, size), np.uint8)
    places = np.random.default_rng(seed).permutation(size * size)
    for number, value in enumerate(values):
        mask.flat[places[6 * number : 6 * number + 6]] = value
    return mask


def some(values: list[int], seed: int) -> tuple[int, ...]:
    """Return some of the values, at random."""
    generator = np.random.default_rng(seed)
    return tuple(generator.choice(values, generator.integers(1, len(values) + 1), replace=False))


def smeared_among(masks: list[np.ndarray], void: int | None = None) -> list:
    named = [mask_in("labeled", mask, name=f"{place}.png") for place, mask in enumerate(masks)]
    return [*find_smeared(named, void)]


@given(
    seed=seeds,
    draw=st.sampled_from([discs, patches, strokes, dots]),
    classes=st.integers(1, 40),
    step=st.sampled_from([1, 1, 2, 5, 6]),
    void=st.sampled_from([255, 254, 250, 128, 0, None]),
    width=st.integers(1, 3),
)
def test_class_numbers_beside_undecided_pixels_are_not_smeared(
    seed, draw, classes, step, void, width
) -> None:
    numbers = [step * number for number in range(1, classes + 1)]
    masks = [draw(seed + place, some(numbers, seed + place)) for place in range(4)]
    if void:
        masks = [rimmed(mask, void, width) for mask in masks]
    assert smeared_among(masks) == []
    assert smeared_among(masks, void) == []


@pytest.mark.parametrize("draw", [discs, patches, strokes, dots])
@pytest.mark.parametrize(
    "levels",
    [
        (50, 100, 150, 200, 250), (60, 120, 180, 240, 255), (10, 250, 245, 5, 128),
        (1, 2, 3, 4, 5, 6, 251, 252, 253, 254, 255), (36, 73, 109, 146, 182, 219, 255),
    ],
)  # fmt: skip
def test_classes_painted_as_gray_levels_are_not_smeared(draw, levels) -> None:
    for seed in range(6):
        assert smeared_among([draw(seed, levels)]) == []


@pytest.mark.parametrize("size", [96, 200])
@pytest.mark.parametrize("ends", [(0, 255), (0, 200), (40, 180)])
def test_smears_of_any_size_between_any_two_values_are_found(size, ends) -> None:
    for seed in range(4):
        clean = np.where(discs(seed, size=size) > 0, *np.array(ends[::-1], np.uint8))
        shown = discs(seed, size=4 * size) > 0
        fine = Image.fromarray(np.where(shown, *np.array(ends[::-1], np.uint8)))
        small = np.array(fine.resize((size, size), Image.Resampling.LANCZOS))
        large = np.array(Image.fromarray(clean).resize((3 * size,) * 2, Image.Resampling.BICUBIC))
        for smeared in (small, large, jpeg(clean, 60), smooth(clean)):
            (finding,) = smeared_among([smeared])
            mended = finding.recode(smeared)
            assert len(np.unique(mended)) == 2
            if smeared.shape == clean.shape:
                assert ((mended > ends[0]) != (clean > ends[0])).mean() < 0.02


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_rectangles_that_were_enlarged_smoothly_are_found(factor) -> None:
    clean = np.zeros((60, 80), np.uint8)
    clean[20:44, 11:60] = 255
    picture = Image.fromarray(clean)
    large = picture.resize((80 * factor, 60 * factor), Image.Resampling.BILINEAR)
    (finding,) = smeared_among([np.array(large)])
    exact = clean.repeat(factor, 0).repeat(factor, 1)
    assert (finding.recode(np.array(large)) != exact).mean() < 0.01


def test_a_thin_mask_of_classes_that_others_show_in_full_is_not_smeared() -> None:
    values = (1, 2, 3, 4, 250, 253, 254, 255)
    thin = strokes(3, values)
    assert smeared_among([discs(1, values), patches(2, (0, *values)), thin]) == []


def test_a_smeared_mask_among_masks_of_classes_is_not_cut_at_half() -> None:
    masks = [discs(seed, (1, 2, 3, 4)) for seed in range(4)]
    (finding,) = smeared_among([*masks, jpeg(discs(9), 50)])
    assert finding.files == ("4.png",) and finding.recode is None
    assert "cannot tell which class" in finding.hint


def naive_on_edges(values: np.ndarray) -> np.ndarray:
    height, width = values.shape
    found = np.zeros(values.shape, bool)
    for row in range(height):
        for column in range(width):
            here, around = values[row, column], []
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    if 0 <= row + down < height and 0 <= column + right < width:
                        around.append(values[row + down, column + right])
            squares = [
                values[top : top + 2, left : left + 2]
                for top in (row - 1, row)
                for left in (column - 1, column)
                if 0 <= top < height - 1 and 0 <= left < width - 1
            ]
            flat = any((square == here).all() for square in squares)
            found[row, column] = min(around) < here < max(around) and not flat
    return found


@given(seed=seeds, height=st.integers(1, 6), width=st.integers(1, 6), levels=st.integers(1, 5))
def test_edges_are_those_of_the_definition(seed, height, width, levels) -> None:
    values = np.random.default_rng(seed).integers(0, levels, (height, width))
    np.testing.assert_array_equal(on_edges(values), naive_on_edges(values))


GREEN = 0x00C800


def impure(masks: list[np.ndarray]) -> list:
    named = [
        mask_in("labeled", mask, name=f"labeled/masks/{place}.png", form="colors")
        for place, mask in enumerate(masks)
    ]
    return [*find_impure(named, listed=())]


def with_dots(mask: np.ndarray, color: int, way: str) -> np.ndarray:
    """Return a mask with seven pixels of a color: in a row, in a square, or alone."""
    mask = mask.copy()
    if way == "row":
        mask[2, 3:10] = color
    elif way == "square":
        mask[2:5, 3:6].flat[:7] = color
    else:
        mask[2, 3:31:4] = color
    return mask


@pytest.mark.parametrize("way", ["row", "square", "alone"])
@pytest.mark.parametrize("smears", [0, 1, 3])
def test_a_color_on_seven_pixels_of_a_whole_set_is_never_snapped(way, smears) -> None:
    masks = [colored(seed) for seed in range(4)]
    masks[3] = with_dots(masks[3], GREEN, way)
    masks[:smears] = [unsharp(mask) for mask in masks[:smears]]
    *cures, last = impure(masks)
    assert last.severity == "warning" and "#00c800" in last.got and last.recode is None
    assert len(cures) == (smears > 0)
    for cure in cures:
        assert isinstance(cure.recode, Snap) and GREEN in cure.recode.colors
        assert cure.files == tuple(f"labeled/masks/{place}.png" for place in range(smears))


@pytest.mark.parametrize("way", ["row", "square"])
def test_a_pure_color_in_a_smeared_mask_is_kept(way) -> None:
    masks = [with_dots(unsharp(colored(seed)), GREEN, way) for seed in range(2)]
    cure, rare = impure(masks)
    assert GREEN in cure.recode.colors and "#00c800" in rare.got


def test_a_dozen_rare_colors_are_classes_until_a_person_says_otherwise() -> None:
    masks = [colored(seed) for seed in range(12)]
    for place, mask in enumerate(masks):
        mask[1:3, 1:4] = 0x005000 + 0x1000 * place
    (finding,) = impure(masks)
    assert finding.severity == "warning" and finding.recode is None


@pytest.mark.parametrize("step", [0x010000, 0x000001, 0x010101 + 1, 0x0A0000])
def test_colors_that_are_close_to_each_other_by_design_are_classes(step) -> None:
    """Some simulators write the number of a class into the red channel."""
    masks = [step * patches(seed, (0, 1, 2, 3, 4, 7, 8, 12)).astype(np.int32) for seed in range(5)]
    masks[0][2:4, 2:5] = 20 * step
    assert not [finding for finding in impure(masks) if finding.recode]
    numbers = [mask_in("labeled", mask, form="colors").facts for mask in masks]
    assert own_colors(numbers, ()) == set(np.unique(np.stack(masks)).tolist())


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_jpegs_of_color_masks_have_no_colors_of_their_own(quality) -> None:
    masks = [pack_colors(jpeg(unpack_colors(colored(seed)), quality)) for seed in range(4)]
    (finding,) = impure(masks)
    assert len(finding.recode.colors) == 3
    for seed, mask in enumerate(masks):
        clean, mended = colored(seed), finding.recode(mask)
        assert len(np.unique(mended)) == 3
        apart = unpack_colors(mended).astype(int) - unpack_colors(clean)
        assert (abs(apart).max(axis=-1) < 24).mean() > 0.95


def test_the_middle_of_two_colors_is_no_class_where_all_is_smooth_however_frequent() -> None:
    """Small discs that were shrunk to half have long edges of exactly the mean of two colors."""
    paints = np.array([[0, 0, 0], [200, 0, 0], [0, 200, 0]], np.uint8)
    rows, columns = np.mgrid[:160, :160]
    masks = []
    for seed in range(8):
        large, places = np.zeros((160, 160), int), np.random.default_rng(seed).integers(12, 148, 8)
        for number in range(4):
            row, column = places[2 * number : 2 * number + 2]
            square = np.maximum(abs(rows - row), abs(columns - column)) < 9
            large[square] = 1 + number % 2
        shrunk = Image.fromarray(paints[large]).resize((80, 80), Image.Resampling.BILINEAR)
        masks.append(pack_colors(np.asarray(shrunk)))
    (finding,) = impure(masks)
    assert set(finding.recode.colors) == {0x000000, 0xC80000, 0x00C800}


RARE = np.array([0x000000, 0x800000, 0x008000, 0xC08080])
"""Black, two classes, and one that is painted on hardly any pixel."""


def streets(seed: int, *, rare: bool) -> np.ndarray:
    """Return a mask of two large classes, and perhaps a person of 12 x 7 pixels."""
    mask = np.zeros((160, 160), np.uint8)
    mask[100 + seed :] = 1
    mask[20:60, 30 + seed : 90] = 2
    if rare:
        mask[62 + seed : 74 + seed, 110:117] = 3
    return RARE[mask]


@pytest.mark.parametrize("quality", [60, 75, 90])
@pytest.mark.parametrize("rare", [True, False])
def test_a_rare_color_that_forms_areas_in_jpeg_masks_is_named_before_and_after_the_cure(
    quality: int, rare: bool
):
    masks = [
        mask_in(
            "labeled",
            pack_colors(jpeg(unpack_colors(streets(seed, rare=rare)), quality)),
            name=f"{seed}.jpg",
            form="colors",
        )
        for seed in range(6)
    ]
    (finding,) = find_impure(masks, listed=[])
    assert isinstance(finding.recode, Snap)
    kept = any(is_close(color, RARE[3]) for color in finding.recode.colors)
    assert ("may be a class" in finding.got) == (finding.doubt is not None) == (rare and not kept)
    if finding.doubt is not None:
        named = int(finding.doubt.got.split()[0][1:], 16)
        assert is_close(named, RARE[3])
        assert "on 6 masks" in finding.doubt.got
    # Who lists it keeps it.
    (listed,) = find_impure(masks, listed=[int(RARE[3])])
    assert listed.doubt is None
    assert isinstance(listed.recode, Snap) and int(RARE[3]) in listed.recode.colors


def is_close(one: int, other: int) -> bool:
    colors = unpack_colors(np.array([one, other])).astype(int)
    return int(np.abs(colors[0] - colors[1]).max()) <= 16


def test_smooth_steps_between_two_colors_are_no_classes() -> None:
    for factor in (0.02, 0.05, 0.2):
        soft = pack_colors(smooth(unpack_colors(streets(3, rare=False)), factor))
        masks = [mask_in("labeled", soft, name=f"{n}.png", form="colors") for n in range(3)]
        assert all(finding.doubt is None for finding in find_impure(masks, listed=[]))
