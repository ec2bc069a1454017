"""Masks that lie where their images show nothing: of other images, turned, shifted, inverted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.sets import rest_but

from imseg.data.checks.folder_check import check_folder
from imseg.data.checks.repair import repair_folder
from imseg.data.folder import facts
from imseg.data.folder.facts import is_sampled
from imseg.data.images.decoding import turned, ways_of_turning
from imseg.data.synthetic import CellScene, draw_cells
from imseg.errors import Finding

EXIF = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
"""By which number a seen picture must be turned so that it is stored as each number asks."""


def scene(seed: int, size: tuple[int, int] = (80, 96), *, objects: int = 3) -> np.ndarray:
    """Return bright discs on a dark ground, and where they are, ``2 h w``."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    image, mask = generator.normal(60, 12, size), np.zeros(size, bool)
    for _ in range(objects):
        row, column, radius = (
            int(generator.integers(low, high))
            for low, high in ((12, size[0] - 12), (12, size[1] - 12), (8, 14))
        )
        disc = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        mask |= disc
        image[disc] = generator.normal(170, 12, int(disc.sum()))
    return np.stack([np.clip(image, 0, 255).astype(np.uint8), mask * np.uint8(255)])


def scenes(count: int, size: tuple[int, int] = (80, 96)) -> list[np.ndarray]:
    return [scene(seed, size) for seed in range(count)]


def save(
    folder: Path,
    pairs: Sequence[Sequence[np.ndarray]],
    *,
    orientations: Sequence[int] = (),
    names: Sequence[str] = (),
    split: str = "labeled",
) -> Path:
    """Write pairs into a data folder; orientations are written into the EXIF data of images."""
    for kind in ("images", "masks"):
        (folder / split / kind).mkdir(parents=True, exist_ok=True)
    (folder / "unlabeled").mkdir(exist_ok=True)
    Image.fromarray(scene(99)[0]).save(folder / "unlabeled/u.png")
    for place, (image, mask) in enumerate(pairs):
        name = names[place] if names else f"a{place:02}"
        exif = Image.Exif()
        if place < len(orientations) and orientations[place] != 1:
            exif[0x0112] = orientations[place]
        path = folder / split / "images" / f"{name}.jpg"
        Image.fromarray(np.ascontiguousarray(image)).save(path, exif=exif, quality=95)
        Image.fromarray(np.ascontiguousarray(mask)).save(folder / split / f"masks/{name}.png")
    return folder


def doubts(folder: Path) -> list[Finding]:
    words = ("do not fit", "does not fit", "turned", "inverted")
    findings = check_folder(folder).findings
    return [each for each in findings if any(word in each.what for word in words)]


def only(folder: Path) -> Finding:
    found = doubts(folder)
    assert len(found) == 1, found
    return found[0]


def exchange(pairs: Sequence[np.ndarray], order: Sequence[int]) -> list[tuple[np.ndarray, ...]]:
    return [(image, pairs[place][1]) for (image, _), place in zip(pairs, order, strict=True)]


def test_right_masks_are_not_doubted(tmp_path):
    assert doubts(save(tmp_path / "discs", scenes(16))) == []
    faint = CellScene(difficulty=0.7)
    cells = [draw_cells(np.random.default_rng([7, seed]), faint) for seed in range(24)]
    assert doubts(save(tmp_path / "cells", cells)) == []


def test_masks_of_noise_are_not_doubted(tmp_path):
    """Where an image does not show what is marked, another mask fits better by chance alone."""
    generator = np.random.default_rng(0)
    noise = [(generator.integers(0, 255, (64, 64), np.uint8), m) for _, m in scenes(20, (64, 64))]
    assert doubts(save(tmp_path, noise)) == []


def test_objects_in_the_middle_fit_each_others_masks_and_are_not_doubted(tmp_path):
    rows, columns = np.mgrid[:64, :64]
    pairs = []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        near, radius = generator.normal(32, 2, 2), generator.uniform(12, 18)
        disc = (rows - near[0]) ** 2 + (columns - near[1]) ** 2 < radius**2
        image = np.where(disc, 90, 180) + generator.normal(0, 12, disc.shape)
        pairs.append((np.clip(image, 0, 255).astype(np.uint8), disc * np.uint8(255)))
    assert doubts(save(tmp_path, pairs)) == []


@pytest.mark.parametrize(("step", "words"), [(1, "before its own"), (-1, "after its own")])
def test_every_mask_is_that_of_a_neighbor(tmp_path, step: int, words: str):
    order = [(place - step) % 16 for place in range(16)]
    finding = only(save(tmp_path, exchange(scenes(16), order)))
    assert finding.severity == "warning"
    assert finding.what.startswith("16 of 16 masks in labeled do not fit their images; they fit ")
    assert words in finding.what
    other = 0 if step == 1 else 2
    assert f"labeled/masks/a01.png fits labeled/images/a{other:02}.jpg" in finding.got


def test_masks_that_were_numbered_in_another_order(tmp_path):
    """1, 10, 11, 2 as text; 1, 2, 10, 11 as people count."""
    names = [str(number) for number in range(1, 25)]
    as_text = sorted(names)
    pairs = scenes(24)
    order = [names.index(as_text[place]) for place in range(24)]
    finding = only(save(tmp_path, exchange(pairs, order), names=names))
    assert "do not fit their images" in finding.what
    assert "labeled/masks/2.png fits labeled/images/10.jpg" in finding.got


def test_a_few_exchanged_masks_are_named_and_no_other(tmp_path):
    order = list(range(20))
    order[3], order[11] = 11, 3
    order[5], order[6], order[15] = 6, 15, 5
    finding = only(save(tmp_path, exchange(scenes(20), order)))
    assert finding.what.startswith("5 of 20 masks")
    assert set(finding.files) == {f"labeled/masks/a{n:02}.png" for n in (3, 5, 6, 11, 15)}


def test_val_alone_may_be_wrong(tmp_path):
    save(tmp_path, scenes(10))
    others = [scene(seed) for seed in range(40, 50)]
    finding = only(save(tmp_path, exchange(others, [*range(1, 10), 0]), split="val"))
    assert "masks in val do not fit" in finding.what


MOVES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "transposed": (lambda mask: mask.T, "transposed"),
    "half a turn": (lambda mask: mask[::-1, ::-1], "turned by 180 degrees"),
    "mirrored": (lambda mask: mask[:, ::-1], "mirrored left to right"),
    "upside down": (lambda mask: mask[::-1], "mirrored top to bottom"),
    "clockwise": (lambda mask: np.rot90(mask, -1), "turned by 90 degrees counterclockwise"),
    "counterclockwise": (np.rot90, "turned by 90 degrees clockwise"),
    "shifted": (lambda mask: np.roll(mask, (8, 0), (0, 1)), "about 8 px up"),
}


@pytest.mark.parametrize(
    "move", rest_but(MOVES, lambda move: move in ("transposed", "half a turn", "shifted"))
)
def test_masks_that_were_moved_as_a_whole(tmp_path, move: str):
    change, words = MOVES[move]
    pairs = [(image, change(mask)) for image, mask in scenes(12, (96, 96))]
    finding = only(save(tmp_path, pairs))
    assert finding.what.startswith("12 of 12 masks in labeled do not fit")
    assert words in finding.what


def test_a_fault_late_in_a_large_split_is_seen_and_what_was_compared_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(facts, "_RUNS", 2)
    pairs = scenes(60)
    late = [*range(30), *range(31, 60), 30]
    finding = only(save(tmp_path, exchange(pairs, late)))
    assert " of the 32 masks in labeled that were compared do not fit" in finding.what
    wrong = {f"labeled/masks/a{place}.png" for place in range(44, 60)}
    assert len(wrong & set(finding.files)) >= 12
    assert set(finding.files) <= wrong


def test_pairs_to_look_at_are_runs_all_over_a_split():
    assert all(is_sampled(place, 256) for place in range(256))
    for count in (257, 300, 1000, 12_345):
        chosen = [place for place in range(count) if is_sampled(place, count)]
        assert len(chosen) == 256
        assert (chosen[0], chosen[-1]) == (0, count - 1)
        neighbors = sum(place + 1 == after for place, after in itertools.pairwise(chosen))
        assert neighbors >= 240
        assert max(np.diff(chosen)) <= count / 15 + 1


def test_a_third_of_the_masks_is_upside_down(tmp_path):
    pairs = [
        (image, mask[::-1] if place % 3 == 0 else mask)
        for place, (image, mask) in enumerate(scenes(18))
    ]
    finding = only(save(tmp_path, pairs))
    assert set(finding.files) == {f"labeled/masks/a{n:02}.png" for n in range(0, 18, 3)}


def test_classes_colors_labels_and_objects_are_compared_too(tmp_path):
    def classes(mask: np.ndarray) -> np.ndarray:
        ids = mask // 255
        ids[:, 48:] *= 2
        return ids

    def colors(mask: np.ndarray) -> np.ndarray:
        return np.where(mask[..., None] > 0, [250, 30, 20], [10, 20, 200]).astype(np.uint8)

    for name, paint in (("classes", classes), ("colors", colors)):
        pairs = [(image, paint(mask)) for image, mask in scenes(14)]
        assert doubts(save(tmp_path / name, pairs)) == []
        wrong = [(pairs[i][0], pairs[(i + 1) % 14][1]) for i in range(14)]
        assert "do not fit" in only(save(tmp_path / f"{name} wrong", wrong)).what
    for step in (0, 1):
        data = save(tmp_path / f"labels {step}", exchange(scenes(14), [*range(step, 14), 0][:14]))
        for path in sorted((data / "labeled/masks").glob("*.png")):
            for label in ("alive", "dead"):
                (path.parent / label).mkdir(exist_ok=True)
            mask = np.array(Image.open(path))
            Image.fromarray(mask * (np.arange(96) < 48)).save(path.parent / "alive" / path.name)
            path.rename(path.parent / "dead" / path.name)
        assert len(doubts(data)) == step


@pytest.mark.parametrize("orientation", rest_but(range(2, 9), lambda number: number in (3, 6)))
def test_masks_drawn_before_an_exif_turn_are_said_and_mended(tmp_path, orientation: int):
    seen = scenes(12, (96, 96))
    stored = [
        turned(pair.transpose(1, 2, 0), EXIF[orientation]).transpose(2, 0, 1) for pair in seen
    ]
    data = save(tmp_path / "data", stored, orientations=[orientation] * 12)
    finding = only(data)
    assert finding.severity == "warning"
    assert f"EXIF orientation {orientation}" in finding.what
    assert "--fix" in finding.hint
    assert len(finding.files) == 12
    fixed = repair_folder(data, tmp_path / "fixed")
    assert doubts(fixed.folder) == []
    for place, (_, mask) in enumerate(seen):
        mended = np.array(Image.open(fixed.folder / f"labeled/masks/a{place:02}.png"))
        assert np.array_equal(mended, mask)


@pytest.mark.parametrize("orientation", [3, 6])
def test_masks_drawn_on_pictures_as_they_are_seen_are_right(tmp_path, orientation: int):
    """Phones write EXIF orientations, and most programs heed them."""
    size = (96, 96) if orientation == 6 else (80, 96)
    pairs = [(turned(image, EXIF[orientation]), mask) for image, mask in scenes(12, size)]
    data = save(tmp_path / "data", pairs, orientations=[orientation] * 12)
    assert doubts(data) == []
    fixed = repair_folder(data, tmp_path / "fixed")
    for place, (_, mask) in enumerate(pairs):
        kept = np.array(Image.open(fixed.folder / f"labeled/masks/a{place:02}.png"))
        assert np.array_equal(kept, mask)


def test_only_some_pictures_have_an_exif_turn(tmp_path):
    pairs = scenes(12)
    data = save(tmp_path, pairs, orientations=[3, 1, 1, 1] * 3)
    finding = only(data)
    assert set(finding.files) == {f"labeled/masks/a{n:02}.png" for n in (0, 4, 8)}
    assert "EXIF orientation 3" in finding.what


@pytest.fixture
def few_are_sampled(monkeypatch) -> None:
    """Let a split of more than eight pairs be a large one."""
    monkeypatch.setattr(facts, "_RUN", 2)
    monkeypatch.setattr(facts, "_RUNS", 4)


@pytest.mark.usefixtures("few_are_sampled")
def test_every_picture_with_an_exif_turn_is_mended_however_many_there_are(tmp_path):
    upright = scenes(20)
    stored = [(turned(image, 3), turned(mask, 3)) for image, mask in upright]
    data = save(tmp_path / "data", stored, orientations=[3] * 20)
    assert len(only(data).files) == 20
    fixed = repair_folder(data, tmp_path / "fixed").folder
    for place, (_, mask) in enumerate(upright):
        written = np.asarray(Image.open(fixed / f"labeled/masks/a{place:02}.png"))
        assert (written == mask).all()


@pytest.mark.usefixtures("few_are_sampled")
@pytest.mark.parametrize("size", [(80, 96), (80, 80)])
def test_exif_turns_between_the_chosen_pairs_of_a_large_split_are_seen(tmp_path, size):
    turns = [1] * 14 + [3, 6, 3] + [1] * 3
    pairs = scenes(len(turns), size)
    stored = [
        (turned(i, EXIF.get(n, 1)), turned(m, EXIF.get(n, 1)))
        for (i, m), n in zip(pairs, turns, strict=True)
    ]
    report = check_folder(save(tmp_path, stored, orientations=turns))
    found = [each for each in report.findings if "EXIF orientation" in each.what + each.got]
    names = {name for each in found for name in each.files}
    assert names == {f"labeled/masks/a{place}.png" for place in (14, 15, 16)}


def test_an_exif_turn_of_which_pixels_tell_nothing_is_mentioned(tmp_path):
    generator = np.random.default_rng(0)
    noise = [(generator.integers(0, 255, (80, 96), np.uint8), mask) for _, mask in scenes(10)]
    finding = only(save(tmp_path, noise, orientations=[3] * 10))
    assert "10 images have an EXIF orientation 3 and are turned on reading" in finding.what


@pytest.mark.parametrize(
    ("lying", "fitting", "upside_down"),
    [(3, 0, "turned"), (0, 3, "kept"), (2, 2, "unclear"), (0, 0, "unclear")],
)
def test_sizes_tell_whether_masks_of_which_pixels_tell_nothing_were_drawn_before_an_exif_turn(
    tmp_path, lying: int, fitting: int, upside_down: str
):
    """Upside down, any mask fits by its size; on their side, pictures tell how all were drawn."""
    generator = np.random.default_rng(0)
    noise = [(generator.integers(0, 255, (80, 96), np.uint8), mask) for _, mask in scenes(9)]
    on_side = lying + fitting
    pairs = [(i, turned(m, 6) if n >= lying else m) for n, (i, m) in enumerate(noise[:on_side])]
    pairs += noise[on_side:]
    data = save(tmp_path / "data", pairs, orientations=[6] * on_side + [3] * (9 - on_side))
    names = tuple(f"a{place:02}" for place in range(on_side, 9))
    told = [each for each in check_folder(data).warnings if "EXIF" in each.what]
    if upside_down == "turned":
        assert told[0].files == tuple(f"labeled/masks/{name}.png" for name in names)
        assert all(name in told[0].got for name in told[0].files)
    assert len(told) == (upside_down != "kept")
    fixed = repair_folder(data, tmp_path / "fixed")
    unclear = [each for each in fixed.report.warnings if "EXIF" in each.what]
    assert len(unclear) == (upside_down == "unclear")
    for each in unclear:
        assert each.files == tuple(f"labeled/images/{name}.png" for name in names)
        assert "turned upright" in each.what
    reasons = {repair.file: repair.why for repair in fixed.repairs if "masks" in repair.file}
    for place, name in enumerate(names, start=on_side):
        kept = np.asarray(Image.open(fixed.folder / f"labeled/masks/{name}.png"))
        mask = pairs[place][1]
        assert np.array_equal(kept, turned(mask, 3) if upside_down == "turned" else mask)
        reason = reasons.get(f"labeled/masks/{name}.png", "")
        assert ("sizes of other masks" in reason) == (upside_down == "turned")
    for place in range(on_side):
        size = Image.open(fixed.folder / f"labeled/masks/a{place:02}.png").size
        assert size == (80, 96)


@pytest.mark.parametrize(
    ("orientation", "words"),
    rest_but(
        [
            (6, "turned by 90 degrees clockwise"),
            (8, "turned by 90 degrees counterclockwise"),
            (5, "mirrored along the diagonal"),
            (7, "mirrored along the other diagonal"),
        ],
        lambda number, _: number in (5, 6),
    ),
)
def test_the_size_error_says_which_way_and_that_exif_is_the_reason(
    tmp_path, orientation: int, words: str
):
    data = save(tmp_path / "data", scenes(6), orientations=[orientation] * 5)
    errors = check_folder(data).errors
    assert len(errors) == 1
    assert errors[0].what == "5 masks do not fit their images."
    assert f"EXIF orientation {orientation}" in errors[0].got
    assert words in errors[0].got
    assert "--fix" in errors[0].hint
    fixed = repair_folder(data, tmp_path / "fixed")
    assert fixed.report.errors == ()
    assert doubts(fixed.folder) == []
    assert fixed.report.counts["labeled"] == 6


def test_a_part_of_the_masks_is_inverted(tmp_path):
    pairs = [(i, 255 - m if place in (2, 5, 9) else m) for place, (i, m) in enumerate(scenes(12))]
    finding = only(save(tmp_path, pairs))
    assert finding.what.startswith("3 of 12 masks seem to be inverted")
    assert set(finding.files) == {f"labeled/masks/a{n:02}.png" for n in (2, 5, 9)}


def test_val_is_inverted_against_labeled(tmp_path):
    save(tmp_path, scenes(12))
    inverted = [(image, 255 - mask) for image, mask in map(scene, range(50, 55))]
    finding = only(save(tmp_path, inverted, split="val"))
    assert len(finding.files) == 5
    assert all(name.startswith("val/") for name in finding.files)


def test_a_large_object_among_small_ones_is_not_inverted(tmp_path):
    mask = np.full((80, 96), 255, np.uint8)
    mask[:20, :20] = 0
    image = np.where(mask > 0, 170, 60).astype(np.uint8)
    assert doubts(save(tmp_path, [*scenes(12), (image, mask)])) == []


def test_several_ways_of_turning_are_told_apart_by_their_numbers():
    assert ways_of_turning((3,)) == "turned by 180 degrees"
    assert ways_of_turning((6, 8)) == (
        "turned by 90 degrees clockwise (orientation 6) or"
        " turned by 90 degrees counterclockwise (orientation 8)"
    )
