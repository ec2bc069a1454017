"""Finding pictures that show nearly the same."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.data.checks.looking import blobs, facts_of
from tests.data.datasets.prepared import real_data

from imseg.data.checks import duplicates
from imseg.data.checks.appearance import look_at
from imseg.data.checks.duplicates import (
    NEAR,
    find_near_duplicates,
    groups_of,
    near_pairs,
    tolerance_for,
    vectors_of,
)
from imseg.data.folder.facts import Survey
from imseg.data.images.picture_file import read_image
from imseg.errors import Finding


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file)


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "recompressed": lambda p: jpeg(p, 50),
    "half the size": lambda p: p.resize((p.width // 2, p.height // 2)),
    "three times the size": lambda p: p.resize((p.width * 3, p.height * 3)),
    "squeezed": lambda p: p.resize((p.width, p.height * 3 // 4)),
    "brighter": lambda p: p.point(lambda level: min(255, level * 1.1)),
    "darker": lambda p: p.point(lambda level: level * 0.8),
    "gamma": lambda p: p.point(lambda level: 255 * (level / 255) ** 1.2),
    "all at once": lambda p: jpeg(p.resize((48, 48)).point(lambda v: min(255, v * 1.1)), 50),
}


def looks_of(count: int, *, start: int = 0) -> list:
    return [look_at(blobs(seed, (96, 96))) for seed in range(start, start + count)]


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_found_and_nothing_else(name) -> None:
    pictures = [Image.fromarray(blobs(seed, (96, 96))[..., 0]) for seed in range(40)]
    looks = looks_of(40)
    copies = [look_at(np.asarray(COPIES[name](each))[..., None]) for each in pictures[:10]]
    pairs = near_pairs(vectors_of(copies), vectors_of(looks))
    assert {(pair.one, pair.other) for pair in pairs} == {(index, index) for index in range(10)}
    assert near_pairs(vectors_of(looks)) == []


def test_mirror_images_are_other_pictures() -> None:
    mirrored = [look_at(blobs(seed, (96, 96))[:, ::-1]) for seed in range(10)]
    assert near_pairs(vectors_of(looks_of(10)), vectors_of(mirrored)) == []


def random_vectors(seed: int, groups: int, count: int) -> duplicates.Vectors:
    """Return vectors that lie in groups, at all distances, half of them of soft pictures."""
    generator = np.random.default_rng(seed)

    def plane(number: int) -> np.ndarray:
        soft = generator.normal(0, 1, (number, 8, 8)).repeat(2, axis=1).repeat(2, axis=2)
        fine = generator.normal(0, 1, (number, 16, 16))
        return np.where(generator.random((number, 1, 1)) < 0.5, soft, fine).reshape(number, 256)

    spread = generator.uniform(0, 0.4, (count, 1))
    vectors = plane(groups)[generator.integers(0, groups, count)] + plane(count) * spread
    vectors -= vectors.mean(axis=1, keepdims=True)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[generator.integers(0, count, 3)] = 0
    return vectors.astype(np.float32)


@given(seed=st.integers(0, 10_000), tolerance=st.sampled_from([0.001, 0.02, 0.1]))
def test_no_pair_is_missed_or_made_up(seed, tolerance) -> None:
    vectors = random_vectors(seed, groups=30, count=150)
    seen = vectors.any(axis=1)
    apart = 1 - vectors.astype(np.float64) @ vectors.astype(np.float64).T
    wanted = {
        (one, other)
        for one in range(150)
        for other in range(one + 1, 150)
        if seen[one] and seen[other] and apart[one, other] <= tolerance - 1e-6
    }
    possible = {
        (one, other)
        for one in range(150)
        for other in range(one + 1, 150)
        if seen[one] and seen[other] and apart[one, other] <= tolerance + 1e-6
    }
    found = {(pair.one, pair.other) for pair in near_pairs(vectors, tolerance=tolerance)}
    assert wanted <= found <= possible
    half = near_pairs(vectors[:70], vectors[70:], tolerance=tolerance)
    across = {(one, other - 70) for one, other in possible if one < 70 <= other}
    assert {(pair.one, pair.other) for pair in half} <= across


def test_the_closest_come_first_and_blocks_do_not_matter(monkeypatch) -> None:
    vectors = random_vectors(1, groups=40, count=120)
    whole = near_pairs(vectors, tolerance=0.1)
    distances = [pair.distance for pair in whole]
    assert distances == sorted(distances) and len(whole) > 20
    monkeypatch.setattr(duplicates, "_ROWS", 7)
    assert [pair[:2] for pair in near_pairs(vectors, tolerance=0.1)] == [p[:2] for p in whole]


def test_an_unmoving_video_stays_small_and_in_one_group() -> None:
    vectors = random_vectors(2, groups=1, count=400)
    vectors = vectors[vectors.any(axis=1)]
    moved = vectors[:1] + np.random.default_rng(0).normal(0, 0.001, (400, 256))
    moved = (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)
    pairs = near_pairs(moved)
    assert len(pairs) <= 400 * 16
    assert len(groups_of((pair.one, pair.other) for pair in pairs)[0]) > 350


def test_flat_and_dark_pictures_are_like_none() -> None:
    generator = np.random.default_rng(0)
    dark = [
        look_at(np.clip(generator.normal(2, 1, (64, 64, 1)), 0, 255).astype(np.uint8))
        for _ in range(30)
    ]
    blank = [look_at(np.full((64, 64, 1), level, np.uint8)) for level in (0, 0, 9, 255)]
    assert near_pairs(vectors_of(dark + blank)) == []


def test_where_all_pictures_look_alike_copies_must_be_closer() -> None:
    rows, columns = np.mgrid[:64, :64]
    light = 200 - ((rows - 32) ** 2 + (columns - 32) ** 2) / 20
    shots = [
        np.clip(light[..., None] + blobs(seed) * 0.05, 0, 255).astype(np.uint8)
        for seed in range(30)
    ]
    vectors = vectors_of([look_at(shot) for shot in shots])
    assert len(near_pairs(vectors)) > 50, "uneven light hides what differs"
    tolerance = tolerance_for(vectors)
    assert tolerance < NEAR / 10
    assert near_pairs(vectors, tolerance=tolerance) == []
    again = vectors_of([look_at(shots[0] + np.uint8(3))])
    assert [pair.other for pair in near_pairs(again, vectors, tolerance=tolerance)] == [0]


def test_varied_pictures_are_compared_with_the_full_tolerance() -> None:
    assert tolerance_for(vectors_of(looks_of(30))) == NEAR
    assert tolerance_for(vectors_of(looks_of(2))) == NEAR
    assert tolerance_for(vectors_of([])) == NEAR


def test_groups_are_what_hangs_together() -> None:
    assert groups_of([(4, 2), (7, 8), (2, 9), (9, 1), (8, 7)]) == [[1, 2, 4, 9], [7, 8]]
    assert groups_of([]) == []


def survey(**splits: list[int]) -> Survey:
    """Return the facts about blobs of these seeds; a seed above 1000 is a near copy."""
    return Survey(
        **{
            split: tuple(
                facts_of(f"{split}/images/{place}.png", blob_or_copy(seed))
                for place, seed in enumerate(seeds)
            )
            for split, seeds in splits.items()
        }
    )


def blob_or_copy(seed: int) -> np.ndarray:
    if seed < 1000:
        return blobs(seed)
    return (blobs(seed % 1000) * (0.9 + seed // 1000 * 0.01)).astype(np.uint8)


def findings(**splits: list[int]) -> list[Finding]:
    return list(find_near_duplicates(survey(**splits)))


@pytest.mark.parametrize(
    ("one", "other", "severity"),
    [
        ("labeled", "test", "warning"),
        ("unlabeled", "test", "warning"),
        ("val", "test", "warning"),
        ("labeled", "val", "warning"),
        ("unlabeled", "val", "note"),
        ("labeled", "unlabeled", "note"),
    ],
)
def test_near_duplicates_across_splits_are_named_with_their_partners(one, other, severity) -> None:
    splits = {"labeled": [1, 2], "unlabeled": [3, 4], "val": [5, 6], "test": [7, 8]}
    assert findings(**splits) == []
    splits[other] = [*splits[other], splits[one][1] + 1000]
    (finding,) = findings(**splits)
    assert finding.severity == severity
    assert f"1 image in {other} is nearly the same as an image in {one}" in finding.what
    assert finding.got == f"{other}/images/2.png ~ {one}/images/1.png."
    assert finding.files == (f"{other}/images/2.png", f"{one}/images/1.png")
    assert finding.why and finding.hint


def test_exact_copies_are_left_to_the_check_by_content() -> None:
    assert findings(labeled=[1, 2], test=[1, 3], val=[4], unlabeled=[5, 5]) == []


def test_groups_within_a_split_are_notes() -> None:
    (finding,) = findings(
        labeled=[1, 2], unlabeled=[10, 1010, 2010, 11, 1011, 12], val=[5], test=[6]
    )
    assert finding.severity == "note"
    assert finding.what == "5 images in unlabeled form 2 groups that show nearly the same."
    assert finding.got == (
        "unlabeled/images/0.png, unlabeled/images/1.png (and 1 more); "
        "unlabeled/images/3.png, unlabeled/images/4.png."
    )


def test_without_val_copies_among_the_labeled_are_a_warning() -> None:
    (near_copies,) = findings(labeled=[1, 2, 1002, 3], test=[6])
    assert near_copies.severity == "warning" and "both sides" in near_copies.why
    (exact_copies,) = findings(labeled=[1, 2, 2, 3], test=[6])
    assert exact_copies.severity == "warning"
    assert findings(labeled=[1, 2, 1002, 3], val=[9])[0].severity == "note"


def test_without_val_exact_copies_count_even_if_they_are_too_dark_to_be_compared() -> None:
    dark = np.random.default_rng(0).integers(0, 3, (64, 64, 1)).astype(np.uint8)
    labeled = (blobs(1), dark, dark)
    found = find_near_duplicates(
        Survey(labeled=tuple(facts_of(f"{place}.png", each) for place, each in enumerate(labeled)))
    )
    assert [each.files for each in found] == [("1.png", "2.png")]


@pytest.mark.slow
def test_real_lesions_that_were_published_twice_are_found() -> None:
    folder = real_data("isic2017") / "ISIC-2017_Training_Data"
    paths = sorted(folder.glob("*.jpg"))
    vectors = vectors_of([look_at(read_image(path)) for path in paths])
    pairs = near_pairs(vectors, tolerance=tolerance_for(vectors))
    found = {(paths[pair.one].stem, paths[pair.other].stem) for pair in pairs}
    assert found >= {
        ("ISIC_0012290", "ISIC_0013594"),
        ("ISIC_0000222", "ISIC_0014846"),
        ("ISIC_0000165", "ISIC_0014788"),
    }
    assert len(found) < 15


@pytest.mark.slow
def test_real_nuclei_are_all_different() -> None:
    paths = sorted((real_data("nuclei") / "images").glob("*.png"))
    vectors = vectors_of([look_at(read_image(path)) for path in paths])
    assert near_pairs(vectors, tolerance=tolerance_for(vectors)) == []


def test_comparing_many_pictures_takes_two_kilobytes_a_picture():
    generator = np.random.default_rng(0)
    count = 4096
    noise = generator.integers(0, 256, (count, 64, 64, 1), dtype=np.uint8)
    looks = [look_at(pixels) for pixels in noise]

    def peak_of(work: Callable[[], object]) -> float:
        tracemalloc.start()
        try:
            work()
            return tracemalloc.get_traced_memory()[1] / count
        finally:
            tracemalloc.stop()

    vectors = vectors_of(looks)
    assert peak_of(lambda: vectors_of(looks)) < 2000, "1,024 of them are the vector itself"
    assert peak_of(lambda: near_pairs(vectors)) < 1200
