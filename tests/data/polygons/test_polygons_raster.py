"""From outlines to pixels: which pixels belong, against a naive rule and the library itself."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as pycocotools
from tests.data.polygons.polygon_files import distances, inside, square

from imseg.data.polygons.drawings import (
    Outline,
    Runs,
    Stencil,
    check_counts,
    decode_counts,
    ellipse,
    merge_rings,
    turn,
)
from imseg.data.polygons.rasterize import CannotDraw, clip, rasterize

SIZE = (24, 20)

# The library's own way to unfold runs, with which ours is compared, is older than NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def drawn(area, size=SIZE):
    """Return all pixels of a picture, and whether something was clipped."""
    patch, clipped = rasterize(area, size)
    found = np.zeros(size, bool)
    if patch is not None:
        found[patch.window] |= patch.covers
    return found, clipped


def outline(*rings):
    return Outline(tuple(np.asarray(ring, float) for ring in rings))


def test_a_square_at_whole_coordinates_covers_the_pixels_between_them():
    found, clipped = drawn(outline(square(2, 3, 4)))
    wanted = np.zeros(SIZE, bool)
    wanted[3:7, 2:6] = True
    assert np.array_equal(found, wanted) and not clipped


def test_the_whole_picture_is_covered_by_its_own_edges():
    found, clipped = drawn(outline([(0, 0), (20, 0), (20, 24), (0, 24)]))
    assert found.all() and not clipped


def test_a_pixel_belongs_if_its_center_is_inside_however_little_more():
    assert drawn(outline(square(4.4, 4.4, 0.2)))[0].sum() == 1
    assert drawn(outline(square(4.6, 4.6, 0.8)))[0].sum() == 0


def test_a_triangle_covers_the_pixels_whose_centers_are_inside():
    corners = [(1.0, 1.0), (9.0, 1.0), (1.0, 9.0)]
    found, _ = drawn(outline(corners))
    sure = distances(corners, SIZE) > 0.05  # centers on the slope may go either way
    assert np.array_equal(found[sure], inside(corners, SIZE)[sure])
    assert 28 <= found.sum() <= 36


points = st.tuples(st.floats(-8, 30), st.floats(-8, 30))


@given(corners=st.lists(points, min_size=3, max_size=8))
def test_pixels_agree_with_counting_crossings_but_for_a_third_of_a_pixel(corners):
    found, _ = drawn(outline(corners))
    sure = distances(corners, SIZE) > 0.34
    assert np.array_equal(found[sure], inside(corners, SIZE)[sure])


@given(corners=st.lists(st.tuples(st.floats(0, 20), st.floats(0, 24)), min_size=3, max_size=8))
def test_drawing_in_a_small_window_gives_what_drawing_on_the_whole_picture_gives(corners):
    numbers = [number for corner in corners for number in corner]
    whole = pycocotools.decode(pycocotools.frPyObjects([numbers], *SIZE))[..., 0].astype(bool)
    assert np.array_equal(drawn(outline(corners))[0], whole)


@given(corners=st.lists(points, min_size=3, max_size=8))
def test_clipping_keeps_the_inside_and_leaves_nothing_outside(corners):
    kept = clip(np.asarray(corners, float), SIZE)
    assert len(kept) == 0 or (kept.min() >= 0 and (kept <= (20, 24)).all())
    again = [tuple(corner) for corner in kept.tolist()]
    sure = distances(corners, SIZE) > 1e-6
    before = inside(corners, SIZE)
    after = inside(again, SIZE) if len(again) >= 3 else np.zeros(SIZE, bool)
    assert np.array_equal(after[sure], before[sure])


def test_a_region_that_reaches_out_is_cut_and_said_so():
    found, clipped = drawn(outline(square(-100, -1e8, 2e8)))
    assert found.all() and clipped
    found, clipped = drawn(outline(square(-9, -9, 5)))
    assert not found.any() and clipped


def test_rings_add_up_and_cross_only_themselves():
    found, _ = drawn(outline(square(1, 1, 4), square(3, 3, 4)))
    assert found.sum() == 16 + 16 - 4
    bow, _ = drawn(outline([(1, 1), (9, 9), (9, 1), (1, 9)]))
    assert bow[2, 1] and bow[2, 8] and not bow[1, 5]


@pytest.mark.parametrize("ring", [[(1, 1), (9, 9), (5, 5)], [(3, 3)] * 4, [(1, 2), (9, 2), (4, 2)]])
def test_what_has_no_area_covers_nothing(ring):
    assert rasterize(outline(ring), SIZE) == (None, False)


def test_an_outline_that_would_fill_the_memory_is_refused():
    zigzag = [(float(20 * (i % 2)), 24 * i / 2_000_000) for i in range(2_000_000)]
    with pytest.raises(CannotDraw, match="more than can be drawn"):
        rasterize(outline(zigzag), SIZE)


@pytest.mark.parametrize(
    ("radii", "degrees"), [((5, 5), 0), ((8, 3), 0), ((8, 3), 30), ((3, 8), 90)]
)
def test_an_ellipse_covers_the_pixels_that_its_equation_says(radii, degrees):
    center = (10.25, 12.25)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    angle = math.radians(degrees)
    along = (columns - center[0]) * math.cos(angle) + (rows - center[1]) * math.sin(angle)
    across = (rows - center[1]) * math.cos(angle) - (columns - center[0]) * math.sin(angle)
    value = (along / radii[0]) ** 2 + (across / radii[1]) ** 2
    found, _ = drawn(Outline((ellipse(center, radii, degrees),)))
    sure = np.abs(value - 1) > 0.15
    assert np.array_equal(found[sure], (value < 1)[sure])
    assert found.sum() == pytest.approx(math.pi * radii[0] * radii[1], rel=0.06)


def test_an_ellipse_never_strays_from_the_curve():
    points = ellipse((0, 0), (1000, 1000))
    middles = (points + np.roll(points, -1, axis=0)) / 2
    assert np.hypot(*points.T) == pytest.approx(1000)
    assert np.hypot(*middles.T).min() > 1000 - 0.06


def test_a_quarter_turn_is_clockwise_on_the_screen():
    assert turn(np.array([[3.0, 2.0]]), (2, 2), 90) == pytest.approx(np.array([[2.0, 3.0]]))


masks = st.integers(1, 12).flatmap(
    lambda height: st.integers(1, 12).flatmap(
        lambda width: st.lists(st.booleans(), min_size=height * width, max_size=height * width).map(
            lambda flat: np.array(flat).reshape(height, width)
        )
    )
)


@given(mask=masks)
def test_compressed_runs_are_what_the_library_encodes(mask):
    encoded = pycocotools.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = check_counts(decode_counts(encoded["counts"].decode()), mask.size)
    height, width = mask.shape
    runs = Runs(counts=counts, height=height, width=width, by_columns=True)
    assert np.array_equal(drawn(runs, mask.shape)[0], mask)


def test_long_runs_survive_compression():
    mask = np.zeros((900, 800), np.uint8)
    mask[100:700, 5:790] = 1
    counts = decode_counts(pycocotools.encode(np.asfortranarray(mask))["counts"].decode())
    runs = Runs(counts=counts, height=900, width=800, by_columns=True)
    assert np.array_equal(drawn(runs, (900, 800))[0], mask)


@pytest.mark.parametrize("text", ["p", "0\x7f", "a b", "\u00e9", "P", "0P", "PPPPPPPPPPPPPPPP0"])
def test_texts_that_are_no_runs_are_refused(text):
    with pytest.raises(ValueError, match=r"cannot stand there|ends inside a number"):
        decode_counts(text)


@pytest.mark.parametrize("counts", [[], [3], [8, 9], [-1, 17], [3, 2**62], [17, -1]])
def test_runs_that_do_not_fill_the_picture_are_refused(counts):
    with pytest.raises(ValueError, match=r"not 16|negative or longer"):
        check_counts(np.array(counts, np.int64), 16)


def test_runs_along_rows_go_into_their_window_and_are_cut_at_the_border():
    counts = np.array([1, 2, 3])  # .xx / ...
    runs = Runs(counts=counts, height=2, width=3, top=4, left=18)
    found, clipped = drawn(runs)
    assert np.argwhere(found).tolist() == [[4, 19]] and clipped


def test_a_mask_for_another_picture_is_refused_before_it_is_unfolded():
    huge = Runs(counts=np.array([2**60]), height=2**30, width=2**30, by_columns=True)
    with pytest.raises(CannotDraw, match="the picture is 24x20"):
        rasterize(huge, SIZE)


def png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="PNG")
    return stream.getvalue()


def test_a_stencil_is_put_where_its_window_is():
    covers = np.array([[0, 1, 0], [1, 1, 1]], np.uint8)
    found, clipped = drawn(Stencil(png=png(covers), height=2, width=3, top=5, left=6))
    assert np.array_equal(found[5:7, 6:9], covers == 1) and found.sum() == 4 and not clipped


def test_a_stencil_that_claims_more_pixels_than_its_window_is_not_decoded():
    content = png(np.ones((2000, 3000), np.uint8))
    with pytest.raises(CannotDraw, match="a mask of 2000x3000 for a window of 2x3"):
        rasterize(Stencil(png=content, height=2, width=3, top=0, left=0), SIZE)


def test_a_stencil_that_is_cut_short_is_refused():
    content = png(np.ones((2, 3), np.uint8))[:50]
    with pytest.raises(CannotDraw, match="not a whole PNG"):
        rasterize(Stencil(png=content, height=2, width=3, top=0, left=0), SIZE)


rings = st.lists(st.lists(points, min_size=3, max_size=6), min_size=1, max_size=5)


@given(rings=rings)
def test_merged_rings_are_inside_where_an_odd_number_of_them_is(rings):
    arrays = [np.asarray(ring, float) for ring in rings]
    merged, _ = drawn(Outline((merge_rings(arrays),)))
    # Where edges are cut at the border, a corner is rounded once more.
    sure = np.min([distances(ring, SIZE) for ring in rings], axis=0) > 0.34
    wanted = np.logical_xor.reduce([inside(ring, SIZE) for ring in rings])
    assert np.array_equal(merged[sure], wanted[sure])


# In eighths nothing is rounded: a corner such as 3.3 may go either way, as its window lies.
inner = st.tuples(*(st.integers(0, 8 * side).map(lambda n: n / 8) for side in (20, 24)))


@given(rings=st.lists(st.lists(inner, min_size=3, max_size=6), min_size=1, max_size=5))
def test_joining_rings_moves_no_pixel(rings):
    merged, _ = drawn(Outline((merge_rings([np.asarray(ring, float) for ring in rings]),)))
    single = [drawn(outline(ring))[0] for ring in rings]
    assert np.array_equal(merged, np.logical_xor.reduce(single))


def test_edges_that_join_a_thousand_holes_are_short():
    places = [(10 * x, 10 * y) for x in range(32) for y in range(32)]
    holes = [np.asarray(square(x + 1, y + 1, 5), float) for x, y in places]
    merged = merge_rings([np.asarray(square(0, 0, 320), float), *holes])
    length = np.abs(np.diff(merged, axis=0)).max(axis=1).sum()
    assert length < 5 * (1024 * 20 + 1280)
    found, _ = drawn(Outline((merged,)), (320, 320))
    assert found.sum() == 320 * 320 - 1024 * 25


def test_shares_of_the_picture_are_scaled_to_its_size():
    ring = np.asarray([(0.1, 0.25), (0.5, 0.25), (0.5, 0.75), (0.1, 0.75)])
    found, clipped = drawn(Outline((ring,), shares=True))
    assert np.array_equal(np.argwhere(found)[[0, -1]], [[6, 2], [17, 9]]) and not clipped
    assert found.sum() == 12 * 8
