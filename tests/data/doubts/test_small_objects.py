"""Objects that vanish at the working size, and numbers that follow objects through a film."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.sets import rest_but

from imseg.approaches.planning.settings import settings_from
from imseg.approaches.running.preparation import read_data
from imseg.cli.commands.data_folders import as_text
from imseg.data.checks.appearance import WIDTHS, count_widths
from imseg.data.checks.folder_check import check_folder
from imseg.data.doubts.small_objects import SEEN, narrow_share, scale_for, share_lost
from imseg.data.folder.scan import scan
from imseg.errors import Finding


def squares(seed: int, side: int, *, count: int = 20, size: int = 512) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mask = np.zeros((size, size), np.uint8)
    for row, column in generator.integers(2, size - side - 2, (count, 2)).tolist():
        mask[row : row + side, column : column + side] = 255
    return mask


def save(
    folder: Path,
    masks: list[np.ndarray],
    *,
    suffix: str = ".png",
    name: str = "a{}",
    gray: bool = False,
) -> Path:
    for kind in ("images", "masks"):
        (folder / "labeled" / kind).mkdir(parents=True)
    for place, mask in enumerate(masks):
        noise = np.random.default_rng(place).normal(60, 10, mask.shape[:2]) + 90 * (mask > 0)
        stem = name.format(place)
        # Photographs are seen whole, whatever they show.
        colored = noise[..., None] + ([80, 40, 0] if not gray else [0])
        image = Image.fromarray(np.clip(colored, 0, 255).astype(np.uint8).squeeze())
        image.save(folder / "labeled/images" / f"{stem}.png")
        path = folder / "labeled/masks" / (stem + suffix)
        if suffix == ".tif":
            tifffile.imwrite(path, mask)
        else:
            Image.fromarray(mask).save(path)
    return folder


def found(folder: Path, word: str) -> list[Finding]:
    return [each for each in check_folder(folder).warnings if word in each.what]


@given(data=st.data(), height=st.integers(1, 40), width=st.integers(1, 40))
def test_regions_are_those_that_scikit_image_finds(data: Any, height: int, width: int):
    measure = pytest.importorskip("skimage.measure", reason="missing: scikit-image")
    seed, enlarged = data.draw(st.integers(0, 10**6)), data.draw(st.integers(1, 3))
    values = np.random.default_rng(seed).integers(0, 4, (height, width)).astype(np.uint8)
    values = values.repeat(enlarged, 0).repeat(enlarged, 1)
    regions = measure.label(values, background=0, connectivity=2, return_num=True)[1]
    assert sum(count_widths(values)) == regions


@pytest.mark.parametrize("shape", [(7, 7), (3, 60), (60, 3), (40, 50)])
def test_the_width_is_that_of_the_thin_side(shape: tuple[int, int]):
    values = np.zeros((80, 80), np.uint16)
    values[5 : 5 + shape[0], 9 : 9 + shape[1]] = 700
    counts = count_widths(values)
    assert sum(counts) == 1
    last = len(counts) - 1
    assert WIDTHS[last - 1] < min(shape) <= WIDTHS[last]


def test_objects_that_vanish_are_said_with_the_size_that_would_do(tmp_path):
    data = save(tmp_path, [squares(seed, 5) for seed in range(6)])
    (finding,) = found(data, "smaller than 2 px")
    assert finding.what.startswith("At the default size, 128x128 px, 100 % of the labeled objects")
    height, width = map(int, finding.hint.split("--image-size ")[1].split()[:2])
    assert height == width
    assert 2 / 5 * 512 <= height <= 1.5 * 2 / 5 * 512
    told: list[str] = []

    def listen(event: Any) -> None:
        told.append(getattr(event, "text", ""))

    read_data(data, settings_from({"image_size": (height, width)}), listen)
    assert not any("smaller than" in text for text in told)
    scale = float(finding.hint.split("--scale ")[1].split(",")[0])
    assert scale == pytest.approx(height / 512, abs=0.006)
    read_data(data, settings_from({"scale": scale}), listen)
    assert not any("smaller than" in text for text in told)
    read_data(data, settings_from({"scale": scale / 4}), listen)
    assert any("At the size of this training" in text for text in told)
    told.clear()
    read_data(data, settings_from({"image_size": (96, 96)}), listen)
    assert any("At the size of this training, 96x96 px" in text for text in told)


def test_small_objects_of_micrographs_are_seen_in_windows(tmp_path):
    data = save(tmp_path, [squares(seed, 5) for seed in range(6)], gray=True)
    assert found(data, "smaller than 2 px") == []
    seen = check_folder(data).seen
    assert seen.scale == 1 and seen.size == (512, 512) and 4 < seen.narrow < 6
    photographs = check_folder(save(tmp_path / "p", [squares(seed, 5) for seed in range(6)])).seen
    assert photographs.scale is None and photographs.size == (128, 128)
    assert photographs.narrow == pytest.approx(seen.narrow / 4)
    large = check_folder(save(tmp_path / "l", [squares(seed, 60) for seed in range(6)], gray=True))
    assert large.seen.scale is None and large.seen.narrow > 6


def test_a_scale_is_the_same_for_images_of_all_sizes():
    """Whole images are all brought to one size, windows are not."""
    counts = np.zeros(len(WIDTHS), int)
    counts[np.searchsorted(WIDTHS, 10)] = 20
    measured = [((256, 256), counts), ((1024, 1024), counts)]
    assert share_lost(measured, 0.45, widths=WIDTHS) == 0
    assert share_lost(measured, 0.1, widths=WIDTHS) == 1
    assert share_lost(measured, (128, 128), widths=WIDTHS) == 0.5


@pytest.mark.parametrize(
    "kind",
    rest_but(
        ["classes", "objects", "labels", "colors"], lambda kind: kind in ("objects", "labels")
    ),
)
def test_all_kinds_of_masks_are_measured(tmp_path, kind: str):
    masks = [squares(seed, 5) for seed in range(4)]
    ids = [np.where(mask > 0, 1 + (np.arange(512) > 256), 0).astype(np.uint8) for mask in masks]
    if kind == "colors":
        masks = [np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)[each] for each in ids]
    elif kind != "labels":
        masks = ids
    data = save(
        tmp_path, [mask[..., 0] | mask[..., 2] if mask.ndim == 3 else mask for mask in masks]
    )
    for path, mask in zip(sorted((data / "labeled/masks").glob("*")), masks, strict=True):
        Image.fromarray(mask).save(path)
        if kind == "labels":
            (path.parent / "cell").mkdir(exist_ok=True)
            path.rename(path.parent / "cell" / path.name)
    if kind == "objects":
        (data / "imseg.toml").write_text('task = "instances"\n')
    assert len(found(data, "smaller than 2 px")) == 1


def test_large_objects_and_specks_beside_them_are_no_reason_to_warn(tmp_path):
    large = [squares(seed, 60, count=5) for seed in range(4)]
    for mask in large:
        mask[::50, ::50] = 255  # single pixels, as a threshold leaves them
    assert found(save(tmp_path, large), "smaller than 2 px") == []


def test_a_size_that_no_image_has_is_not_recommended(tmp_path):
    data = save(tmp_path, [squares(seed, 1) for seed in range(4)])
    (finding,) = found(data, "smaller than 2 px")
    assert "--image-size" not in finding.hint
    assert "full size is not enough" in finding.hint


def film(
    masks: int, *, life: int, born: int = 1, dtype: Any = np.uint16, first: int = 1
) -> list[np.ndarray]:
    """Return masks in which each disc keeps its number for some masks; new ones come every mask."""
    rows, columns = np.mgrid[:80, :96]
    every = []
    for place in range(masks):
        values = np.zeros((80, 96), dtype)
        for number in range(max(0, (place - life + 1) * born), (place + 1) * born):
            row, column = 16 + 24 * (number % 3), 16 + 24 * (number // 3 % 4)
            values[(rows - row) ** 2 + (columns - column) ** 2 < 90] = first + number
        every.append(values)
    return every


KINDS_OF_FILMS = ["few", "gaps", "one film after another", "PNG of 8 bits"]
OBJECTS = "their values may number objects"


@pytest.mark.parametrize("kind", KINDS_OF_FILMS)
def test_numbers_that_follow_objects_through_a_film_are_doubted(tmp_path, kind: str):
    masks, name = film(12, life=3), "t{}"
    if kind == "few":
        masks = film(6, life=2, born=2)
    elif kind == "gaps":
        masks = [mask * np.uint16(3) + np.where(mask > 0, np.uint16(4), 0) for mask in masks]
    elif kind == "PNG of 8 bits":
        masks = film(12, life=4, dtype=np.uint8)
    elif kind == "one film after another":
        masks = film(24, life=8)
    data = save(tmp_path, masks, suffix=".png" if kind.startswith("PNG") else ".tif", name=name)
    if kind.startswith("one film"):
        for kept in ("images", "masks"):
            for path in sorted((data / "labeled" / kept).iterdir()):
                number = int(path.stem[1:])
                path.rename(path.with_name(f"film{number % 2}_{number // 2:02}{path.suffix}"))
    (finding,) = found(data, OBJECTS)
    assert 'task = "instances"' in finding.hint
    assert 'task = "multiclass"' in finding.hint


def test_numbers_that_go_on_from_mask_to_mask_are_doubted(tmp_path):
    data = save(tmp_path, film(8, life=3, born=3), suffix=".tif")
    assert len(found(data, OBJECTS)) == 1


def test_what_the_user_says_is_not_doubted(tmp_path):
    data = save(tmp_path, film(12, life=3), suffix=".tif")
    (data / "imseg.toml").write_text('task = "multiclass"\n')
    assert found(data, OBJECTS) == []


@pytest.mark.parametrize("kind", ["every class everywhere", "at random", "one species a folder"])
def test_classes_are_not_taken_for_a_film(tmp_path, kind: str):
    rows, columns = np.mgrid[:80, :96]
    masks = []
    for place in range(14):
        generator = np.random.default_rng(place)
        chosen = {
            "every class everywhere": np.arange(1, 8),
            "at random": generator.choice(np.arange(1, 13), 4, replace=False),
            "one species a folder": np.array([1 + place // 2]),
        }[kind]
        values = np.zeros((80, 96), np.uint8)
        for each, value in enumerate(chosen.tolist()):
            row, column = 16 + 24 * (each % 3), 16 + 24 * (each // 3 % 4)
            values[(rows - row) ** 2 + (columns - column) ** 2 < 90] = value
        masks.append(values)
    assert found(save(tmp_path, masks), OBJECTS) == []


def test_slices_through_organs_of_many_sizes_are_not_taken_for_a_film(tmp_path):
    masks = []
    for place in range(20):
        values = np.zeros((96, 96), np.uint8)
        for organ, side in enumerate((40, 30, 20, 10, 4, 3, 3)):
            if 3 * organ <= place < 3 * organ + 6:
                values[5 : 5 + side, 5 + 40 * (organ % 2) : 5 + 40 * (organ % 2) + side] = organ + 1
        masks.append(values)
    assert found(save(tmp_path, masks), OBJECTS) == []


@pytest.mark.parametrize(("wide", "told"), [(8, False), (20, False), (40, True)])
def test_images_of_very_different_scales_are_told(tmp_path, wide: int, told: bool) -> None:
    masks = [squares(seed, 8, count=12) for seed in range(5)]
    masks += [squares(seed, wide, count=8) for seed in range(5, 9)]
    warned = found(save(tmp_path / "data", masks), "very different scales")
    assert bool(warned) == told
    if told:
        assert "px wide on labeled/images/a" in warned[0].got


def test_one_odd_image_of_many_is_no_other_scale(tmp_path) -> None:
    masks = [squares(seed, 8, count=12) for seed in range(12)] + [squares(99, 60, count=6)]
    assert not found(save(tmp_path / "data", masks), "very different scales")


def test_lines_that_hang_together_are_as_narrow_as_a_line(tmp_path) -> None:
    masks = []
    for seed in range(4):
        mask = np.zeros((512, 512), np.uint8)
        places = 40 + np.random.default_rng(seed).integers(0, 30, 1)[0] + np.arange(0, 420, 70)
        for at in places:
            mask[at : at + 4] = mask[:, at : at + 4] = 255
        masks.append(mask)
    report = check_folder(save(tmp_path / "data", masks, gray=True))
    assert report.seen is not None and report.seen.scale == 1.0, "one net on each of four images"


def at_two_sizes(folder: Path, text: str = "") -> Path:
    """Write micrographs of equal objects, half of them with pixels a fourth as large."""
    sides = (4, 16)
    masks = [squares(n, sides[n % 2], count=6 if n % 2 else 20) for n in range(8)]
    save(folder, masks, gray=True)
    for number in range(1, 8, 2):
        for path in folder.glob(f"labeled/*/a{number}.png"):
            path.rename(path.with_name(f"a{number}_40x.png"))
    (folder / "imseg.toml").write_text(text)
    return folder


SIZES = '[pixel_size]\n"*_40x*" = 0.16\n"*" = 0.64\n'


def test_what_sizes_of_pixels_explain_is_no_other_scale(tmp_path: Path) -> None:
    words = "taken at very different scales"
    assert found(at_two_sizes(tmp_path / "silent"), words)
    assert not found(at_two_sizes(tmp_path / "said", SIZES), words)
    turned = '[pixel_size]\n"*_40x*" = 0.64\n"*" = 0.16\n'
    (told,) = found(at_two_sizes(tmp_path / "turned", turned), words)
    assert re.search(r"objects [345][.\d]* px", told.got), "as wide as they are in the files"


def test_the_scale_is_that_of_objects_in_pixels_of_the_reference(tmp_path: Path) -> None:
    labeled = scan(at_two_sizes(tmp_path / "said", SIZES)).survey.labeled
    fine = [facts for facts in labeled if facts.pixel_size == 0.16]
    alone, together = narrow_share(fine), narrow_share(labeled)
    assert alone is not None and together is not None
    # The reference is the lower one in the middle; all objects are as wide as those of 40x.
    assert together == pytest.approx(alone, rel=0.1)
    assert scale_for((512, 512), together) == pytest.approx(SEEN / 16, rel=0.15)
    silent = [replace(facts, pixel_size=None) for facts in labeled]
    equal = [replace(facts, pixel_size=0.64) for facts in labeled]
    assert narrow_share(silent) == narrow_share(equal) == pytest.approx(together / 4, rel=0.15)


def test_check_says_at_which_sizes_of_pixels_images_are_seen(tmp_path: Path) -> None:
    folder = at_two_sizes(tmp_path / "said", SIZES)
    said = as_text(check_folder(folder), None)
    scale = re.search(r"images at scale ([0-9.]+)", said)[1]
    words = "Images have pixels of 0.16 to 0.64 um: each is scaled so that networks see pixels of"
    seen = re.search(rf"{words} ([0-9.]+) um \(scale {scale} for 0.16 um\)", said)[1]
    assert float(seen) * float(scale) == pytest.approx(0.16, rel=0.03)
    (folder / "imseg.toml").write_text("pixel_size = 0.16")
    assert "Images have pixels" not in as_text(check_folder(folder), None)
