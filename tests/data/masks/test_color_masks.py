"""Masks of colors, and indexed masks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pillow

from imseg.data.checks.folder_check import check_folder
from imseg.data.checks.repair import repair_folder
from imseg.data.folder.scan import hidden_masks, read_folder
from imseg.errors import ImsegError

Complaint = Callable[[], str]
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def painted(*colors: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Return stripes of these colors."""
    rows = np.arange(24) * len(colors) // 24
    return np.repeat(np.array(colors, np.uint8)[rows][:, None], 20, axis=1)


def found_warnings(maker: Any) -> str:
    report = check_folder(maker.root)
    assert report.errors == (), report.errors
    return "\n".join(f"{each.what} | {each.got} | {each.hint}" for each in report.warnings)


def test_colors_become_classes(maker) -> None:
    maker.pairs_with([painted(BLACK, RED), painted(GREEN, RED), painted(BLUE, BLACK)])
    spec = read_folder(maker.root).spec
    assert (spec.kind, spec.coding) == ("multiclass", "colors")
    assert spec.values == (0, 0x0000FF, 0x00FF00, 0xFF0000)
    assert spec.colors == (BLACK, BLUE, GREEN, RED)


def test_gray_files_count_as_colors_among_colors(maker) -> None:
    maker.pairs_with([painted(BLACK, RED), painted(BLACK), painted(WHITE, RED)])
    maker.save("labeled/images/gray.png", maker.picture())
    maker.save("labeled/masks/gray.png", maker.mask((0, 255)))
    maker.write("imseg.toml", 'void = "#ffffff"')
    dataset = read_folder(maker.root)
    assert (dataset.spec.kind, dataset.spec.values) == ("binary", (0, 0xFF0000))
    assert dataset.spec.void == 0xFFFFFF
    report = check_folder(maker.root)
    background, foreground = report.classes
    assert (background.key, background.images) == ("#000000", 3)
    assert (foreground.key, foreground.images) == ("#ff0000", 2)
    assert foreground.share == pytest.approx(1 / 3)
    maker.pairs_with([painted(BLACK), painted(BLACK)], "val")
    assert read_folder(maker.root).spec == dataset.spec


def test_deep_gray_values_are_no_colors(maker, complaint: Complaint) -> None:
    maker.pairs_with([painted(BLACK, RED), np.full((24, 20), 3000, np.uint16)])
    text = complaint()
    assert "Some labeled masks hold colors, others gray values above 255" in text
    assert "3000 is the greatest value" in text


def test_fractions_among_colors_are_refused(maker, complaint: Complaint) -> None:
    maker.pairs_with([painted(BLACK, RED), painted(BLACK, RED)])
    maker.save("labeled/images/a.png", maker.picture())
    maker.save("labeled/masks/a.tif", np.full((24, 20), 0.5, np.float32))
    assert "Some labeled masks hold colors, others fractions" in complaint()


def test_impure_colors_are_refused(maker, complaint: Complaint) -> None:
    mask = np.repeat(np.repeat(painted(BLACK, RED, GREEN), 4, axis=0), 4, axis=1)
    for index in range(3):
        maker.save(f"labeled/images/{index}.png", maker.picture((96, 80)))
        maker.save(f"labeled/masks/{index}.jpg", np.roll(mask, 9 * index, 0), quality=70)
    text = complaint()
    assert "different colors, most of them impure" in text
    assert "at most 64" in text
    assert "--fix" in text


def test_unknown_colors_in_val_are_named(maker, complaint: Complaint) -> None:
    maker.pairs_with([painted(BLACK, RED), painted(BLACK, RED, GREEN)])
    maker.pairs_with([painted(BLACK, BLUE), painted(WHITE, RED)], "val")
    text = complaint()
    assert "2 masks in val hold values that no labeled mask has" in text
    assert "#000000, #00ff00, #ff0000" in text
    assert "val/masks/cell_00.png has #0000ff" in text


def test_colors_in_val_among_gray_ones_are_named(good, complaint: Complaint) -> None:
    good.save("val/masks/cell_00.png", painted(BLACK, RED))
    text = complaint()
    assert "1 mask is not of the kind that is needed" in text
    assert "val/masks/cell_00.png holds colors" in text


def test_colors_that_are_listed_and_not_are_mentioned(maker) -> None:
    maker.pairs_with([painted(BLACK, RED, GREEN), painted(BLACK, RED)])
    maker.write(
        "imseg.toml", '[classes]\n"#000000" = "water"\n"#ff0000" = "fish"\n"#0000ff" = "ghost"'
    )
    text = found_warnings(maker)
    assert "Colors that imseg.toml does not list became classes. | #00ff00" in text
    assert "No labeled mask shows some of the listed classes" in text
    assert "#0000ff (ghost)" in text
    assert read_folder(maker.root).spec.names == ("water", "ghost", "#00ff00", "fish")


def test_hidden_masks_may_be_colors(maker) -> None:
    maker.pairs_with([painted(BLACK, RED, GREEN), painted(BLACK, RED)])
    maker.pictures(1)
    maker.save("hidden/masks/cell_u0.png", painted(GREEN, RED, WHITE))
    maker.write("imseg.toml", 'void = "#ffffff"')
    assert len(hidden_masks(read_folder(maker.root), maker.root / "hidden/masks")) == 1
    maker.save("hidden/masks/cell_u0.png", painted(GREEN, BLUE))
    with pytest.raises(ImsegError, match="#0000ff"):
        hidden_masks(read_folder(maker.root), maker.root / "hidden/masks")


def test_real_masks_of_colors_are_recognized(tmp_path) -> None:
    place = os.environ.get("IMSEG_DATA")
    if not place:
        pytest.skip("missing: the environment variable IMSEG_DATA (a folder with suim_samples)")
    source = Path(place) / "suim_samples"
    for kind in ("images", "masks"):
        shutil.copytree(source / kind, tmp_path / "labeled" / kind)
    spec = read_folder(tmp_path).spec
    assert (spec.kind, spec.coding) == ("multiclass", "colors")
    assert spec.values == (0, 0x0000FF, 0xFF0000, 0xFF00FF, 0xFFFF00)


# Indexed files.


def indexed(
    values: npt.NDArray[Any], colors: dict[int, tuple[int, int, int]]
) -> Callable[[Path], None]:
    picture = Pillow.fromarray(values.astype(np.uint8)).convert("P")
    picture.putdata(values.ravel().tolist())
    palette = [part for value in range(256) for part in colors.get(value, (1, 1, 1))]
    picture.putpalette(palette)
    return picture.save


def write_indexed(
    maker: Any, *palettes: dict[int, tuple[int, int, int]], values: tuple[int, ...] = (0, 1, 2)
) -> None:
    for index, palette in enumerate(palettes):
        maker.save(f"labeled/images/{index}.png", maker.picture())
        (maker.root / "labeled/masks").mkdir(exist_ok=True)
        indexed(maker.mask(values), palette)(maker.root / f"labeled/masks/{index}.png")


def test_indexed_files_keep_their_values_and_colors(maker) -> None:
    palette = {0: BLACK, 1: RED, 2: (0, 128, 0), 255: WHITE}
    write_indexed(maker, palette, palette, values=(0, 1, 2, 255))
    maker.write("imseg.toml", "void = 255")
    spec = read_folder(maker.root).spec
    assert (spec.kind, spec.coding, spec.values) == ("multiclass", "values", (0, 1, 2))
    assert spec.indexed
    assert spec.colors == (BLACK, RED, (0, 128, 0))


def test_a_gray_file_among_indexed_ones_makes_plain_values(maker) -> None:
    palette = {0: BLACK, 1: RED, 2: GREEN}
    write_indexed(maker, palette, palette)
    maker.save("labeled/images/gray.png", maker.picture())
    maker.save("labeled/masks/gray.png", maker.mask((0, 1, 2)))
    assert not read_folder(maker.root).spec.indexed


def test_palettes_that_differ_are_refused(maker, complaint: Complaint) -> None:
    one, other = {0: BLACK, 1: RED, 2: GREEN}, {0: BLACK, 1: GREEN, 2: RED}
    write_indexed(maker, one, one, other)
    text = complaint()
    assert "1 indexed mask has other colors for the same values" in text
    assert "1 is #ff0000 in labeled/masks/0.png, #00ff00 in labeled/masks/2.png" in text
    assert "convert the masks to RGB" in text
    maker.write("imseg.toml", '[classes]\n0 = "a"\n1 = "b"\n2 = "c"')
    assert read_folder(maker.root).spec.indexed


def test_colors_of_values_in_no_use_may_differ(maker) -> None:
    write_indexed(maker, {0: BLACK, 1: RED, 9: GREEN}, {0: BLACK, 1: RED, 9: BLUE}, values=(0, 1))
    assert read_folder(maker.root).spec.colors == (BLACK, RED)


@pytest.mark.parametrize(
    "said", ["void = 255", '[classes]\n1 = "fish"\n2 = "plant"', 'void = 3\n[classes]\n1 = "fish"']
)
@pytest.mark.parametrize("traces", [False, True])
def test_numbers_in_the_settings_of_colored_masks_are_refused(
    maker, complaint: Complaint, said: str, traces: bool, tmp_path
) -> None:
    """Class 1 is no color #010101, though JPEG leaves such pixels beside black ones."""
    mask = painted(BLACK, RED, GREEN)
    mask[0, :3] = [(1, 1, 1), (2, 2, 2), (3, 3, 3)] if traces else BLACK
    maker.pairs_with([mask] * 3)
    maker.write("imseg.toml", said)
    text = complaint()
    assert "imseg.toml lists numbers, the masks hold colors" in text
    assert "#ff0000" in text
    fixed = repair_folder(maker.root, tmp_path / "fixed")
    assert any("lists numbers" in each.what for each in fixed.report.errors)
    assert not any("color" in repair.did for repair in fixed.repairs)


def test_numbers_of_gray_levels_that_colored_masks_hold_are_right(maker) -> None:
    maker.pairs_with([painted(BLACK, RED, WHITE), painted(BLACK, WHITE)])
    maker.write("imseg.toml", 'void = 255\n[classes]\n0 = "ground"')
    assert read_folder(maker.root).spec.void == 0xFFFFFF
