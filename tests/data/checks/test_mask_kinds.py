"""Masks whose files say in different ways what a pixel is: they agree, or are refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.checks.test_spared_classes import patches

from imseg.data.checks.folder_check import CheckReport, check_folder
from imseg.data.checks.repair import repair_folder
from imseg.data.folder.config import read_config
from imseg.data.masks.io import pack_colors, read_mask

PAINTS = np.array([[0, 0, 0], [230, 20, 20], [20, 200, 30], [30, 40, 220]], np.uint8)


def indexed(mask: np.ndarray) -> Image.Image:
    picture = Image.fromarray(mask)
    picture.putpalette(PAINTS.ravel().tolist())
    return picture


def indexed_otherwise(mask: np.ndarray) -> Image.Image:
    order = np.array([3, 1, 0, 2], np.uint8)
    picture = Image.fromarray(np.argsort(order).astype(np.uint8)[mask])
    picture.putpalette(PAINTS[order].ravel().tolist())
    return picture


def gray_with_alpha(mask: np.ndarray) -> Image.Image:
    return Image.merge("LA", [Image.fromarray(mask), Image.fromarray(np.full_like(mask, 255))])


def color_with_alpha(mask: np.ndarray) -> Image.Image:
    opaque = np.full((*mask.shape, 1), 255, np.uint8)
    return Image.fromarray(np.concatenate([PAINTS[mask], opaque], axis=2))


WAYS = {
    "gray": Image.fromarray,
    "gray in three channels": lambda mask: Image.fromarray(np.repeat(mask[..., None], 3, 2)),
    "gray and alpha": gray_with_alpha,
    "16 bits": lambda mask: Image.fromarray(mask.astype(np.uint16)),
    "palette": indexed,
    "another palette": indexed_otherwise,
    "color": lambda mask: Image.fromarray(PAINTS[mask]),
    "color and alpha": color_with_alpha,
    "full": lambda mask: Image.fromarray((mask > 0).astype(np.uint8) * 255),
    "1 bit": lambda mask: Image.fromarray(mask > 0),
}


def mixed(root: Path, one: str, other: str, *, by_split: bool) -> Path:
    """Write a folder whose masks are stored in two ways, in turn or split by split."""
    noise = np.random.default_rng(0)
    for split, count in (("labeled", 4), ("val", 2)):
        for place in range(count):
            mask = patches(place + 10 * count, (0, 1, 2, 3), 40)
            picture = Image.fromarray(noise.integers(0, 255, mask.shape, np.uint8))
            first = split == "labeled" if by_split else place % 2 == 0
            stored = WAYS[one if first else other](mask)
            for kind, content in (("images", picture), ("masks", stored)):
                (root / split / kind).mkdir(parents=True, exist_ok=True)
                content.save(root / split / kind / f"{split}{place}.png")
    return root


def keys(report: CheckReport) -> list[str]:
    return [each.key for each in report.classes]


SPLITS = pytest.mark.parametrize("by_split", [False, True])


@SPLITS
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gray", "gray in three channels"), ("gray", "gray and alpha"), ("gray", "16 bits"),
        ("palette", "gray"), ("full", "1 bit"), ("color", "color and alpha"),
    ],
)  # fmt: skip
def test_files_that_mean_the_same_agree(one, other, by_split, tmp_path) -> None:
    report = check_folder(mixed(tmp_path / "data", one, other, by_split=by_split))
    assert report.errors == ()
    assert len(keys(report)) == (2 if one == "full" else 4)


@pytest.mark.parametrize(
    ("palette", "color", "by_split"),
    [
        ("palette", "color", False),
        ("palette", "color", True),
        ("another palette", "color and alpha", False),
    ],
)
def test_palettes_among_colors_become_colors(palette, color, by_split, tmp_path) -> None:
    root = mixed(tmp_path / "data", palette, color, by_split=by_split)
    assert any("numbers with a palette" in error.what for error in check_folder(root).errors)
    fixed = repair_folder(root, tmp_path / "fixed")
    assert fixed.report.errors == () and len(keys(fixed.report)) == 4
    for path in sorted(root.glob("*/masks/*.png")):
        with Image.open(path) as original:
            seen = np.asarray(original.convert("RGB")).astype(int)
        packed = (seen << np.array([16, 8, 0])).sum(axis=2)
        after = read_mask(tmp_path / "fixed" / path.relative_to(root)).values
        np.testing.assert_array_equal(after, packed)


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("color", "gray", "gray levels that no colored mask has"),
        ("color", "gray in three channels", "gray levels that no colored mask has"),
        ("color", "full", "gray levels that no colored mask has"),
        ("gray", "full", "only 0 and 255, where others hold numbers of classes"),
        ("palette", "1 bit", "only 0 and 255, where others hold numbers of classes"),
    ],
)
def test_files_that_may_mean_different_things_are_refused_by_name(
    one, other, told, tmp_path
) -> None:
    root = mixed(tmp_path / "data", one, other, by_split=False)
    (error,) = (each for each in check_folder(root).errors if told in each.what)
    assert set(error.files) == {
        f"{split}/masks/{split}{place}.png"
        for split, places in (("labeled", (1, 3)), ("val", (1,)))
        for place in places
    }
    fixed = repair_folder(root, tmp_path / "fixed")
    assert any(told in each.what for each in fixed.report.errors), "it is not guessed"
    assert fixed.repairs == ()


def test_what_the_user_names_is_no_mixture(tmp_path) -> None:
    root = mixed(tmp_path / "data", "gray", "full", by_split=False)
    (root / "imseg.toml").write_text("void = 255\n")
    assert check_folder(root).errors == ()
    colors = mixed(tmp_path / "colors", "color", "full", by_split=False)
    named = ["#000000", "#e61414", "#14c81e", "#1e28dc", "#ffffff"]
    lines = [f'"{color}" = "class {place}"\n' for place, color in enumerate(named)]
    (colors / "imseg.toml").write_text("[classes]\n" + "".join(lines))
    assert check_folder(colors).errors == ()


def test_one_mask_in_black_and_white_among_colors_is_no_mixture(tmp_path) -> None:
    root = mixed(tmp_path / "data", "color", "color", by_split=False)
    full = WAYS["full"](patches(3, (0, 1), 40))
    full.convert("RGB").save(root / "labeled/masks/labeled2.png")
    assert check_folder(root).errors == ()


def test_one_foreground_of_1_and_8_and_16_bits_becomes_one_value(tmp_path) -> None:
    for place, value in enumerate((255, 255, 255, 1, 1, 65535)):
        mask = patches(place, (0, 1), 40).astype(np.uint16) * np.uint16(value)
        for kind in ("images", "masks"):
            (tmp_path / "data/labeled" / kind).mkdir(parents=True, exist_ok=True)
        picture = np.random.default_rng(place).integers(0, 255, mask.shape, np.uint8)
        Image.fromarray(picture).save(tmp_path / f"data/labeled/images/{place}.png")
        Image.fromarray(mask).save(tmp_path / f"data/labeled/masks/{place}.png")
    found = [each for each in check_folder(tmp_path / "data").errors if "foreground" in each.what]
    assert [len(each.files) for each in found] == [2, 1]
    fixed = repair_folder(tmp_path / "data", tmp_path / "fixed")
    assert fixed.report.errors == ()
    for place in range(6):
        values = read_mask(tmp_path / f"fixed/labeled/masks/{place}.png").values
        assert (values == patches(place, (0, 1), 40) * 255).all()


def test_a_mixture_names_the_colored_masks_too(tmp_path) -> None:
    report = check_folder(mixed(tmp_path, "color", "gray", by_split=False))
    got = next(each.got for each in report.errors if "gray levels" in each.what)
    assert "colors in labeled/masks/" in got


def test_settings_by_number_become_settings_by_color_as_the_masks_do(tmp_path) -> None:
    root = mixed(tmp_path / "data", "palette", "color", by_split=False)
    fish = '{ name = "fish", color = "#123456" }'
    said = f'void = 3\n[classes]\n0 = "ground"\n1 = {fish}\n2 = "weed"\n'
    (root / "imseg.toml").write_text(said)
    fixed = repair_folder(root, tmp_path / "fixed")
    assert fixed.report.errors == ()
    config = read_config(tmp_path / "fixed")
    painted = [f"#{color:06x}" for color in pack_colors(PAINTS).tolist()]
    assert config.names == dict(zip(painted[:3], ("ground", "fish", "weed"), strict=True))
    assert config.void == painted[3] and config.colors == {painted[1]: (0x12, 0x34, 0x56)}
    assert {each.name for each in fixed.report.classes} == {"ground", "fish", "weed"}
    (repair,) = (each for each in fixed.repairs if each.file == "imseg.toml")
    assert f"1 became {painted[1]}" in repair.did and f"void = 3 became {painted[3]}" in repair.did


def test_masks_are_not_painted_if_it_is_not_clear_what_listed_numbers_become(tmp_path) -> None:
    root = mixed(tmp_path / "data", "palette", "color", by_split=False)
    (root / "imseg.toml").write_text('void = 300\n[classes]\n1 = "fish"\n')
    fixed = repair_folder(root, tmp_path / "fixed")
    assert fixed.repairs == ()
    assert any("a color of its own: 300" in error.hint for error in fixed.report.errors)
