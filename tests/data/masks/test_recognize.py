"""From values, colors and numbers to what they mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imseg.data.folder.config import TASK_WORDS, FolderConfig
from imseg.data.masks.classes import find_color_spec, find_spec
from imseg.data.masks.colors import distinct_colors
from imseg.data.masks.recognize import word_of
from imseg.errors import ImsegError
from imseg.types import OBJECT_PLANES, TargetSpec

NOTHING_SAID = FolderConfig()
WHITE, RED, GREEN, BLACK = 0xFFFFFF, 0xFF0000, 0x00FF00, 0


def spec_of(*values: int, config: FolderConfig = NOTHING_SAID, **options: Any) -> TargetSpec:
    return find_spec(dict.fromkeys(values, 100), task=options.get("task"), config=config)


def spec_of_colors(counts: dict[int, int], **said: Any) -> TargetSpec:
    task = said.pop("task", None)
    return find_color_spec(counts, task=task, config=FolderConfig(**said))


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (1, 2), (7, 300)])
def test_two_values_are_background_and_foreground(values: tuple[int, int]) -> None:
    spec = spec_of(*values)
    assert (spec.kind, spec.coding, spec.values) == ("binary", "values", values)
    assert spec.names == ("background", "foreground")
    assert spec.colors == ((0, 0, 0), distinct_colors(1)[0])


def test_gray_codes_are_a_class_each() -> None:
    spec = spec_of(255, 0, 128)
    assert (spec.kind, spec.values) == ("multiclass", (0, 128, 255))
    assert spec.names == ("class 0", "class 128", "class 255")


@pytest.mark.parametrize("void", [255, "#ffffff"])
def test_void_is_no_class(void: Any) -> None:
    spec = spec_of(0, 1, 255, config=FolderConfig(void=void))
    assert (spec.kind, spec.values, spec.void) == ("binary", (0, 1), 255)
    low = spec_of(0, 1, 2, 3, config=FolderConfig(void=0))
    assert (low.values, low.void) == ((1, 2, 3), 0)


def test_the_task_can_be_overridden() -> None:
    assert spec_of(0, 255, task="multiclass").kind == "multiclass"
    assert spec_of(0, 255, config=FolderConfig(task="multiclass")).kind == "multiclass"
    assert spec_of(0, 9, task="binary", config=FolderConfig(task="multiclass")).kind == "binary"


def test_listed_classes_stay_though_no_mask_has_them() -> None:
    spec = spec_of(0, 2, config=FolderConfig(names={1: "rare", 2: "cell"}))
    assert spec.kind == "multiclass"
    assert spec.values == (0, 1, 2)
    assert spec.names == ("class 0", "rare", "cell")


def test_colors_are_the_given_ones_or_distinct() -> None:
    first = distinct_colors(1)[0]
    spec = spec_of(0, 1, 2, 3, config=FolderConfig(colors={2: first}))
    assert spec.colors[2] == first
    assert len(set(spec.colors)) == 4


def test_the_size_of_a_pixel_is_kept() -> None:
    assert spec_of(0, 1, config=FolderConfig(pixel_size=0.5)).pixel_size == 0.5
    assert spec_of_colors({BLACK: 1, RED: 1}, pixel_size=0.5).pixel_size == 0.5


def complaint(counts: dict[int, int], **options: Any) -> str:
    with pytest.raises(ImsegError) as caught:
        find_spec(counts, task=options.get("task"), config=options.get("config", NOTHING_SAID))
    return str(caught.value)


def test_one_value_is_nothing_to_learn() -> None:
    assert "one class only" in complaint({0: 500})
    assert "only 0" in complaint({0: 500, 255: 3}, config=FolderConfig(void=255))
    assert "no pixel that is not void" in complaint({9: 3}, config=FolderConfig(void=9))


def test_smeared_masks_are_recognized() -> None:
    counts = {0: 90_000, 255: 50_000, **dict.fromkeys(range(1, 255), 5)}
    text = complaint(counts)
    assert "256 different values" in text
    assert "JPEG" in text
    assert "threshold" in text
    assert "imseg check DATA --fix DIR" in text


def test_many_values_may_be_measurements_or_objects() -> None:
    text = complaint({value * 37: 20 for value in range(500)})
    assert "500 different values" in text
    assert "at most 64" in text
    assert 'task = "regression" in imseg.toml if they are measurements' in text
    assert '"instances" if each object has a number of its own' in text


def test_a_binary_task_with_three_values_is_refused() -> None:
    text = complaint({0: 50, 128: 3, 255: 50}, task="binary")
    assert "task is binary" in text
    assert "0, 128, 255" in text
    assert "void = 255" in text
    smear = dict.fromkeys(range(1, 9), 1)
    assert "PNG, not JPEG" in complaint({0: 500, **smear, 255: 500}, task="binary")


def test_values_beyond_16_bits_or_below_zero_are_refused() -> None:
    assert "0 to 65535" in complaint({0: 5, 1_000_000: 5})
    assert "-1 to 3" in complaint({-1: 5, 3: 5})


@pytest.mark.parametrize("void", [70000, "#ff0000"])
def test_a_void_that_values_cannot_have_is_refused(void: Any) -> None:
    text = complaint({0: 5, 1: 5}, config=FolderConfig(void=void))
    assert "void does not fit the masks" in text
    assert "a whole number from 0 to 65535" in text
    assert f"{void}." in text


def test_listed_colors_do_not_fit_values() -> None:
    text = complaint({0: 5, 1: 5}, config=FolderConfig(names={"#00ff00": "plant"}))
    assert "they hold whole numbers" in text
    assert '"#00ff00"' in text
    assert '1 = "cell"' in text


# Colors.


def test_more_than_two_colors_are_a_class_each_and_keep_their_colors() -> None:
    spec = spec_of_colors({RED: 5, BLACK: 9, GREEN: 3}, names={"#00ff00": "plant"})
    assert (spec.kind, spec.coding) == ("multiclass", "colors")
    assert spec.values == (BLACK, GREEN, RED)
    assert spec.names == ("#000000", "plant", "#ff0000")
    assert spec.colors == ((0, 0, 0), (0, 255, 0), (255, 0, 0))


@pytest.mark.parametrize(
    ("counts", "names", "values"),
    [
        ({RED: 9, BLACK: 1}, {}, (BLACK, RED)),
        ({RED: 1, WHITE: 9}, {}, (WHITE, RED)),
        ({RED: 9, WHITE: 1}, {}, (RED, WHITE)),
        ({RED: 9, WHITE: 1}, {"#ffffff": "Background"}, (WHITE, RED)),
        ({RED: 9, BLACK: 1}, {"#ff0000": "background"}, (RED, BLACK)),
    ],
)
def test_background_is_what_is_called_so_else_black_else_frequent(
    counts: dict[int, int], names: dict[Any, str], values: tuple[int, int]
) -> None:
    spec = spec_of_colors(counts, names=names)
    assert (spec.kind, spec.values) == ("binary", values)
    assert spec.names[1] == "foreground"


@pytest.mark.parametrize("void", ["#ffffff", 255])
def test_a_void_color_is_no_class(void: Any) -> None:
    spec = spec_of_colors({RED: 5, BLACK: 9, WHITE: 3}, void=void)
    assert (spec.kind, spec.values, spec.void) == ("binary", (BLACK, RED), WHITE)


def test_listed_colors_stay_and_may_be_drawn_otherwise() -> None:
    spec = spec_of_colors(
        {RED: 5, BLACK: 9}, names={"#00ff00": "rare"}, colors={"#ff0000": (9, 9, 9)}
    )
    assert spec.values == (BLACK, GREEN, RED)
    assert spec.colors == ((0, 0, 0), (0, 255, 0), (9, 9, 9))


def color_complaint(counts: dict[int, int], **said: Any) -> str:
    with pytest.raises(ImsegError) as caught:
        spec_of_colors(counts, **said)
    return str(caught.value)


def test_impure_colors_are_counted_and_the_main_ones_are_named() -> None:
    impure = {RED + 3 * number: 2 for number in range(1, 80)}
    text = color_complaint({RED: 60_000, BLACK: 40_000, **impure})
    assert "81 different colors, most of them impure" in text
    assert "at most 64" in text
    assert "mainly #ff0000 (60%), #000000 (40%)" in text
    assert "imseg check DATA --fix DIR" in text


def test_a_photograph_has_no_main_colors() -> None:
    text = color_complaint({997 * number: 1 for number in range(500)})
    assert "none of them on 1 % of the pixels" in text
    assert "--fix" not in text


def test_a_binary_task_with_three_colors_is_refused() -> None:
    text = color_complaint({RED: 5, BLACK: 9, WHITE: 3}, task="binary")
    assert "#000000, #ff0000, #ffffff" in text
    assert 'void = "#ffffff"' in text


def test_listed_values_beyond_gray_do_not_fit_colors() -> None:
    text = color_complaint({RED: 5, BLACK: 9}, names={300: "cell"})
    assert "they hold colors" in text
    assert '"#00ff00" = "plant"' in text
    assert 'a color, such as "#ffffff"' in color_complaint({RED: 5, BLACK: 9}, void=300)


def test_every_spec_has_a_word_for_its_task() -> None:
    colors = ((0, 0, 0),) * 3
    objects = TargetSpec(kind="multilabel", coding="objects", names=OBJECT_PLANES, colors=colors)
    planes = TargetSpec(kind="multilabel", coding="planes", names=OBJECT_PLANES, colors=colors)
    numbers = TargetSpec(kind="regression", coding="numbers", names=("value",), colors=colors[:1])
    specs = [spec_of(0, 1), spec_of(0, 1, 2), planes, objects, numbers]
    assert tuple(word_of(spec) for spec in specs) == TASK_WORDS


def test_shades_of_a_palette_next_to_each_other_are_not_drawn_with() -> None:
    ramp = {value: (value, value, value) for value in range(3)}
    spec = find_spec({0: 5, 1: 5, 2: 5}, task=None, config=NOTHING_SAID, palette=ramp)
    assert spec.indexed
    assert len({max(color) for color in spec.colors} | set(spec.colors)) > 3
    assert np.ptp(spec.colors) > 200


def test_listed_classes_may_be_more_than_would_be_believed() -> None:
    names = {value: f"thing {value}" for value in range(90)}
    assert len(spec_of(*range(91), config=FolderConfig(names=names)).values) == 91
    with pytest.raises(ImsegError, match="90 different values"):
        spec_of(*range(90))


def test_label_images_are_not_taken_for_smeared_masks() -> None:
    text = complaint({0: 90_000, **dict.fromkeys(range(1, 79), 100)})
    assert "instances" in text
    assert "smeared" not in text and "255" not in text


def test_with_more_classes_than_colors_there_are_colors_for_all() -> None:
    names = {value: f"part {value}" for value in range(250)}
    spec = find_spec({0: 9, 1: 9}, task=None, config=FolderConfig(names=names))
    assert len(spec.colors) == 250 and len(set(spec.colors)) > 200
