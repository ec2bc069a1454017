"""What the doctor says about the values of masks, and what it must not say."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from tests.data.checks.looking import mask_in, masks_in

from imseg.data.checks.mask_colors import find_impure, main_colors
from imseg.data.checks.mask_values import (
    find_mixed_ones,
    find_shifted,
    find_smeared,
    smeared_between,
)
from imseg.data.masks.io import pack_colors, unpack_colors
from imseg.data.masks.recoding import Exchange, Snap, Threshold

seeds = st.integers(0, 10_000)


def discs(seed: int, values: tuple[int, ...] = (255,), size: int = 96) -> np.ndarray:
    """Return a mask of discs of these values on 0."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    mask = np.zeros((size, size), np.uint8)
    for value in values:
        row, column = generator.uniform(0.2, 0.8, 2) * size
        radius = generator.uniform(0.12, 0.25) * size
        mask[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = value
    return mask


def jpeg(mask: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def smooth(mask: np.ndarray, factor: float = 0.5) -> np.ndarray:
    picture = Image.fromarray(mask)
    small = picture.resize([round(side * factor) for side in picture.size], Image.BILINEAR)
    return np.array(small.resize(picture.size, Image.BILINEAR))


@given(seed=seeds, quality=st.integers(20, 95))
def test_jpeg_smears_and_cutting_at_half_undoes_it(seed, quality) -> None:
    clean = discs(seed)
    smeared = jpeg(clean, quality)
    if len(np.unique(smeared)) < 5:
        return
    (finding,) = find_smeared([mask_in("labeled", smeared, name="a.jpg")], None)
    assert finding.severity == "error"
    mended = finding.recode(smeared)
    assert set(np.unique(mended)) == {0, 255}
    assert (mended != clean).mean() < 0.01


@given(seed=seeds, factor=st.floats(0.4, 0.9))
def test_smooth_resizing_smears(seed, factor) -> None:
    (finding,) = find_smeared([mask_in("labeled", smooth(discs(seed), factor))], None)
    mended = finding.recode(smooth(discs(seed), factor))
    assert (mended != discs(seed)).mean() < 0.03


@given(seed=seeds, classes=st.integers(2, 12), step=st.sampled_from([1, 20]))
def test_class_masks_are_not_smeared(seed, classes, step) -> None:
    values = tuple(step * value for value in range(1, classes + 1))
    assert smeared_between(mask_in("labeled", discs(seed, values)).facts) is None


@given(seed=seeds, objects=st.integers(3, 200))
def test_numbers_of_objects_are_not_smeared(seed, objects) -> None:
    generator = np.random.default_rng(seed)
    cells = generator.permutation(256)[:objects]
    mask = np.zeros((16, 16), np.uint8)
    mask.flat[cells] = np.arange(1, objects + 1)
    large = mask.repeat(6, axis=0).repeat(6, axis=1)
    assert smeared_between(mask_in("labeled", large).facts) is None


@given(seed=seeds)
def test_measurements_are_not_smeared(seed) -> None:
    generator = np.random.default_rng(seed)
    slope = np.add.outer(np.arange(96), np.arange(96)) * generator.uniform(0.3, 1.3)
    noisy = np.clip(slope + generator.normal(0, 9, (96, 96)), 0, 255).astype(np.uint8)
    assert smeared_between(mask_in("labeled", noisy).facts) is None


def test_an_undecided_rim_is_a_class() -> None:
    mask = discs(1)
    edge = smooth(mask)
    mask[(edge > 20) & (edge < 235)] = 128
    assert smeared_between(mask_in("labeled", mask).facts) is None


@pytest.mark.parametrize("values", [(0, 254, 255), (0, 1, 254, 255), (0, 255)])
def test_a_few_values_are_classes_and_perhaps_void(values) -> None:
    mask = np.repeat(np.array(values, np.uint8), 50)
    assert smeared_between(mask_in("labeled", mask).facts) is None


def test_void_stays_when_a_smeared_mask_is_cut() -> None:
    smeared = jpeg(discs(2), 50)
    smeared[:6] = 7
    (finding,) = find_smeared([mask_in("labeled", smeared)], 7)
    mended = finding.recode(smeared)
    assert set(np.unique(mended)) == {0, 7, 255}
    assert (mended[:6] == 7).all()


def test_other_ends_than_0_and_255_are_kept() -> None:
    smeared = smooth(np.where(discs(3) > 0, 180, 40).astype(np.uint8))
    (finding,) = find_smeared([mask_in("labeled", smeared)], None)
    assert finding.recode == Threshold(40, 180)


def test_one_finding_names_all_smeared_masks() -> None:
    masks = [
        mask_in("labeled", jpeg(discs(seed), 40), name=f"labeled/masks/{seed}.jpg")
        for seed in range(4)
    ]
    (finding,) = find_smeared([*masks, mask_in("labeled", discs(9))], None)
    assert "4 masks are smeared" in finding.what
    assert finding.files == tuple(mask.facts.name for mask in masks)
    assert "JPEG smears masks" in finding.hint


ONES, FULLS, EMPTY = [0, 1, 1, 0], [0, 255, 255, 0], [0, 0, 0, 0]


def test_ones_among_fulls_are_found_within_and_across_splits() -> None:
    (within,) = find_mixed_ones(
        masks_in({"labeled": [ONES, FULLS, FULLS, EMPTY]}), void=None, listed=()
    )
    assert within.files == ("labeled/masks/0.png",)
    assert within.recode == Exchange({1: 255})
    (across,) = find_mixed_ones(
        masks_in({"labeled": [ONES], "test": [FULLS, FULLS, FULLS]}), void=None, listed=()
    )
    assert "0 and 1 in all masks" in across.expected, "the labeled ones decide"
    assert len(across.files) == 3


def test_the_value_that_is_named_is_kept() -> None:
    masks = masks_in({"labeled": [FULLS, FULLS, ONES]})
    (finding,) = find_mixed_ones(masks, void=None, listed=(0, 1))
    assert finding.recode == Exchange({255: 1})


@pytest.mark.parametrize(
    ("masks", "void", "listed"),
    [
        ([ONES, ONES, EMPTY], None, ()),
        ([FULLS, EMPTY], None, ()),
        ([ONES, FULLS, [0, 1, 255, 0]], None, ()),
        ([ONES, FULLS, [0, 2, 2, 0]], None, ()),
        ([ONES, FULLS], 255, ()),
        ([ONES, FULLS], None, (0, 1, 255)),
        ([EMPTY], None, ()),
    ],
)
def test_nothing_is_said_about_ones_that_mean_something_else(masks, void, listed) -> None:
    assert [*find_mixed_ones(masks_in({"labeled": masks}), void=void, listed=listed)] == []


def test_numbers_beside_the_named_ones_are_moved() -> None:
    masks = masks_in({"labeled": [[1, 2, 3], [1, 3, 3]], "test": [[2, 3, 1]]})
    (finding,) = find_shifted(masks, void=None, listed=(0, 1, 2))
    assert finding.severity == "error"
    assert "1 to 3" in finding.got and "0 to 2" in finding.expected
    assert len(finding.files) == 3
    np.testing.assert_array_equal(finding.recode(np.array([[1, 2, 3]])), [[0, 1, 2]])
    (lower,) = find_shifted(masks_in({"labeled": [[0, 1]]}), void=None, listed=(1, 2))
    np.testing.assert_array_equal(lower.recode(np.array([[0, 1]])), [[1, 2]])


def test_void_is_not_moved() -> None:
    masks = masks_in({"labeled": [[1, 2, 9], [1, 2, 9]]})
    (finding,) = find_shifted(masks, void=9, listed=(0, 1))
    np.testing.assert_array_equal(finding.recode(np.array([[1, 2, 9]])), [[0, 1, 9]])


def test_a_split_that_counts_from_one_is_moved() -> None:
    masks = masks_in({"labeled": [[0, 1, 2]], "val": [[1, 2, 3], [1, 3, 3]]})
    (finding,) = find_shifted(masks, void=None, listed=())
    assert "in val are off by one" in finding.what
    assert set(finding.files) == {"val/masks/0.png", "val/masks/1.png"}


@pytest.mark.parametrize(
    ("splits", "listed"),
    [
        ({"labeled": [[0, 1, 2]], "val": [[0, 1], [1, 2]]}, ()),
        ({"labeled": [[0, 1, 2]], "val": [[0, 1, 3], [1, 3, 3]]}, ()),
        ({"labeled": [[0, 5, 9]], "val": [[1, 6, 10], [1, 6, 10]]}, ()),
        ({"labeled": [[0, 1, 2]], "val": [[1, 2, 3]]}, ()),
        ({"labeled": [[1, 2], [1, 3]]}, (0, 1, 2, 3)),
        ({"labeled": [[1, 2], [0, 2]]}, (0, 1, 2)),
        ({"labeled": [[0, 1], [0, 2], [0, 1, 2]]}, ()),
        ({"labeled": [[0, 255], [0, 255]]}, ()),
        ({"labeled": [[0, 1], [0, 1], [1, 2]]}, ()),
    ],
)
def test_numbers_that_may_be_right_are_left_alone(splits, listed) -> None:
    assert [*find_shifted(masks_in(splits), void=None, listed=listed)] == []


def test_a_mixture_within_a_split_is_only_suspected() -> None:
    masks = masks_in({"labeled": [[0, 1], [0, 1], [0, 0], [1, 2], [1, 2]]})
    (finding,) = find_shifted(masks, void=None, listed=())
    assert finding.severity == "warning"
    assert finding.recode is None
    assert finding.files == ("labeled/masks/3.png", "labeled/masks/4.png")


RED, BLUE, WHITE = 0xC80A0A, 0x0A14C8, 0xFFFFFF
PALETTE = np.array([RED, BLUE, WHITE])


def colored(seed: int, size: int = 96) -> np.ndarray:
    return PALETTE[np.searchsorted([1, 2], discs(seed, (1, 2), size), side="right")]


def unsharp(packed: np.ndarray) -> np.ndarray:
    return pack_colors(smooth(unpack_colors(packed)))


@given(seed=seeds)
def test_mixed_colors_snap_to_the_nearest(seed) -> None:
    """Of colors that count as main ones: they are on a five-hundredth of a mask."""
    assume(all((colored(seed) == color).mean() > 0.004 for color in PALETTE))
    blurred = unsharp(colored(seed))
    masks = masks_in({"labeled": [blurred, colored(seed + 1)]}, form="colors")
    (finding,) = find_impure(masks, listed=())
    assert finding.severity == "error"
    assert finding.files == ("labeled/masks/0.png",)
    assert isinstance(finding.recode, Snap)
    assert set(finding.recode.colors) == {RED, BLUE, WHITE}
    mended = finding.recode(blurred)
    assert set(np.unique(mended)) <= {RED, BLUE, WHITE}
    assert (mended != colored(seed)).mean() < 0.06


def naive_snap(packed: np.ndarray, colors: tuple[int, ...]) -> np.ndarray:
    out = packed.copy()
    for index, color in np.ndenumerate(packed):
        gaps = [
            sum((((color >> shift) & 255) - ((other >> shift) & 255)) ** 2 for shift in (16, 8, 0))
            for other in colors
        ]
        out[index] = colors[int(np.argmin(gaps))]
    return out


@given(seed=seeds)
def test_snapping_is_to_the_color_at_the_least_distance(seed) -> None:
    packed = np.random.default_rng(seed).integers(0, 1 << 24, (4, 5))
    colors = (0x000000, 0xFF0000, 0x00FF80, 0xFFFFFF)
    np.testing.assert_array_equal(Snap(colors)(packed), naive_snap(packed, colors))


def test_pure_colors_are_left_alone_even_if_rare() -> None:
    rare = colored(1)
    rare[:2, :6] = 0x00C800
    masks = masks_in({"labeled": [colored(2), rare]}, form="colors")
    assert [*find_impure(masks, listed=[RED, BLUE, WHITE, 0x00C800])] == []
    assert [*find_impure(masks_in({"labeled": [colored(2)]}, form="colors"), listed=())] == []


def test_a_few_tiny_areas_may_be_classes() -> None:
    rare = colored(1)
    rare[:1, :3] = 0x00C800
    (finding,) = find_impure(masks_in({"labeled": [rare]}, form="colors"), listed=())
    assert finding.severity == "warning" and finding.recode is None
    assert "#00c800" in finding.got


def test_gray_masks_among_colored_ones_count_as_colors() -> None:
    masks = masks_in({"labeled": [unsharp(colored(1))]}, form="colors")
    white = masks_in({"val": [[255, 255, 255]]})
    (finding,) = find_impure([*masks, *white], listed=())
    assert finding.files == ("labeled/masks/0.png",)


def test_main_colors_are_frequent_and_no_mixtures() -> None:
    counts = {RED: 5000, BLUE: 4000, WHITE: 900, 0xC80B0A: 300, (RED + BLUE) // 2: 60}
    middle = 0x690F69
    assert main_colors([{**counts, middle: 80}]) == tuple(sorted((RED, BLUE, WHITE)))


def test_two_main_colors_are_not_nearly_the_same() -> None:
    assert main_colors([{0x28B40C: 900, 0x2AB20E: 400, 0xB4280C: 700}]) == (0x28B40C, 0xB4280C)
    assert main_colors([{0x28B40C: 900, 0x46B40C: 400}]) == (0x28B40C, 0x46B40C)


def test_colors_that_jpeg_moved_a_little_are_full_again() -> None:
    moved = {0x0000FE: 5000, 0xFE0100: 4000, 0x0000FF: 40, 0x28FF0C: 900, 0x010000: 9}
    assert main_colors([moved]) == (0x0000FF, 0x28FF0C, 0xFF0000)
    assert main_colors([moved], [0x0000FE]) == (0x0000FE, 0x28FF0C, 0xFF0000)


def test_recodes_say_what_they_do() -> None:
    assert str(Threshold(0, 255)) == "every value became 0 or 255, whichever is nearer"
    assert str(Exchange({1: 255})) == "1 became 255"
    assert str(Exchange({1: 0, 2: 1, 3: 2})) == "every class number was moved by -1"
    assert str(Snap((1, 2))) == "every color became the nearest of 2 main ones"


def test_one_far_value_does_not_fill_the_memory() -> None:
    far = 2**31 - 1
    masks = {"labeled": [[0, 1, far], [1, 2, far], [0, 2, far]], "val": [[0, 3], [1, 3], [2, 3]]}
    tracemalloc.start()
    try:
        assert [*find_shifted(masks_in(masks), void=None, listed=())] == []
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
