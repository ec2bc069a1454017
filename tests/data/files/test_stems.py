"""Rules that join the stems of images and masks, and names that no rule may join."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imseg.data.files.stems import join_stems

MIDDLES = (
    [f"cell_{number}" for number in range(1, 14)],
    [f"{number}" for number in (1, 2, 3, 10, 11, 12, 100)],
    ["a", "a_b", "a_b_c", "b"],
    [f"case_{number:03}" for number in (3, 13, 23)],
    [f"aachen_{number:06}_000019" for number in range(5)],
    ["x", "x_2", "x_2_3", "y", "y_2"],
)
AROUND = (
    (("", ""), ("", "_mask")), (("", ""), ("", "_masks")), (("", ""), ("", "_seg")),
    (("", ""), ("", "_label")), (("", ""), ("", "-gt")), (("", ""), ("", "_GT")),
    (("", ""), ("", "_manual1")), (("", ""), ("mask_", "")), (("", "_0000"), ("", "")),
    (("img_", ""), ("mask_", "")), (("", "_leftImg8bit"), ("", "_gtFine_labelIds")),
    (("im_", "_rgb"), ("gt_", "_labels")), (("", "_0000"), ("", "_seg")), (("", ""), ("", " mask")),
)  # fmt: skip


def around(stems: list[str], affixes: tuple[str, str]) -> list[str]:
    return [affixes[0] + stem + affixes[1] for stem in stems]


@pytest.mark.parametrize("middles", MIDDLES)
@pytest.mark.parametrize(("image", "mask"), AROUND)
def test_one_rule_that_explains_all_pairs_joins_them(middles, image, mask) -> None:
    images, masks = around(middles, image), around(middles, mask)
    found = join_stems(images, masks[::-1])
    assert found is not None
    assert found[1] == dict(zip(masks, images, strict=True))


@given(data=st.data())
def test_what_is_joined_differs_by_one_rule_and_is_one_to_one(data) -> None:
    stems = st.lists(st.text("a1_b2", max_size=6), unique=True, max_size=7)
    images, masks = data.draw(stems), data.draw(stems)
    found = join_stems(images, masks)
    if found is None:
        return
    rule, pairs = found
    assert len(pairs) >= 2 and len(set(pairs.values())) == len(pairs)
    for mask, image in pairs.items():
        middle = image[len(rule.image[0]) : len(image) - len(rule.image[1])]
        assert middle and mask in masks and image in images
        assert rule.image[0] + middle + rule.image[1] == image
        assert rule.mask[0] + middle + rule.mask[1] == mask


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["a1", "a2"], ["a10", "a20"]),
        (["a1", "a2"], ["a1_m", "a20_m"]),
        (["1", "2", "3"], ["11", "12", "13"]),
        (["1_a", "1_b"], ["2_a", "2_b"]),
        (["2024-05_a", "2024-05_b"], ["2024-06_a", "2024-06_b"]),
        (["patientA_1", "patientA_2"], ["patientB_1", "patientB_2"]),
        (["c_0000", "d_0000"], ["c_0001", "d_0001"]),
        (["a", "b"], ["ab", "bb"]),
        (["cat", "dog"], ["cell", "road"]),
        (["a", "b", "c"], ["a_ids", "b_ids", "c_ids", "a_color", "b_color", "c_color"]),
        (["c_0000", "c_0001", "d_0000", "d_0001"], ["c", "d"]),
        (["a"], ["a_mask"]),
        ([], ["a_mask", "b_mask"]),
        (["a", "b", "c", "d", "e", "f"], ["a_mask", "b_mask", "x", "y", "z", "v"]),
    ],
)  # fmt: skip
def test_names_that_may_mean_others_are_not_joined(images, masks) -> None:
    assert join_stems(images, masks) is None
    assert join_stems(masks, images) is None


def test_what_a_rule_leaves_is_left() -> None:
    found = join_stems(["a1", "a2", "a3", "b"], ["a1_mask", "a3_mask", "c_mask"])
    assert found is not None and found[1] == {"a1_mask": "a1", "a3_mask": "a3"}
    assert str(found[0]) == "STEM_mask is the mask of STEM"
