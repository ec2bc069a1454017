"""``imseg.toml`` in a data folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imseg.data.folder.config import FolderConfig, read_config
from imseg.errors import ImsegError, ImsegErrors


def written(folder: Path, text: str) -> Path:
    (folder / "imseg.toml").write_text(text, encoding="utf-8")
    return folder


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(ImsegError) as caught:
        read_config(written(folder, text))
    assert "imseg.toml" in str(caught.value)
    return str(caught.value)


def test_without_a_file_nothing_is_said(tmp_path: Path) -> None:
    assert read_config(tmp_path) == FolderConfig()


def test_everything_that_can_be_said_is_read(tmp_path: Path) -> None:
    text = """
    task = "multiclass"
    void = 11
    pixel_size = 0.65
    pages = "channels"
    unit = "m"
    [classes]
    0 = "sky"
    128 = { name = "cell", color = "#e6A000" }
    200 = { color = [1, 2, 3] }
    """
    config = read_config(written(tmp_path, text))
    assert config == FolderConfig(
        task="multiclass",
        void=11,
        pixel_size=0.65,
        pages="channels",
        unit="m",
        names={0: "sky", 128: "cell", 200: "class 200"},
        colors={128: (230, 160, 0), 200: (1, 2, 3)},
    )
    assert config.listed == (0, 128, 200)


def test_classes_may_be_colors_or_labels(tmp_path: Path) -> None:
    text = 'void = "#FFffff"\n[classes]\n"#00FF00" = "plant"\n"#0000ff" = {color = "#010203"}'
    config = read_config(written(tmp_path, text))
    assert config.void == "#ffffff"
    assert config.names == {"#00ff00": "plant", "#0000ff": "#0000ff"}
    assert config.colors == {"#0000ff": (1, 2, 3)}
    labels = read_config(written(tmp_path, '[classes]\nalive = {color = "#00ff00"}\ndead = "dead"'))
    assert labels.listed == ("alive", "dead")


@pytest.mark.parametrize("word", ["binary", "multiclass", "multilabel", "instances", "regression"])
def test_every_task_has_a_word(tmp_path: Path, word: str) -> None:
    assert read_config(written(tmp_path, f'task = "{word}"')).task == word


def test_the_first_pattern_that_a_file_name_matches_says_its_size_of_pixels(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, '[pixel_size]\n"*_40X*" = 0.16\n"a*.tif" = 1\n'))
    assert config.pixel_size is None and config.pixel_sizes == {"*_40X*": 0.16, "a*.tif": 1.0}
    sizes = {name: config.pixel_size_of(name) for name in ("b/a_40x.tif", "A.TIF", "a/b.tif")}
    assert sizes == {"b/a_40x.tif": 0.16, "A.TIF": 1.0, "a/b.tif": None}
    turned = read_config(written(tmp_path, '[pixel_size]\n"a*.tif" = 1\n"*_40x*" = 0.16\n'))
    assert turned.pixel_size_of("a_40x.tif") == 1
    assert read_config(written(tmp_path, "pixel_size = 2")).pixel_size_of("a_40x.tif") == 2


def test_a_syntax_error_has_its_line(tmp_path: Path) -> None:
    text = complaint(tmp_path, 'task = "binary"\n[classes]\n0 = sky\n')
    assert "not valid TOML" in text
    assert "line 3" in text


def test_a_decimal_comma_is_told_to_be_a_point(tmp_path: Path) -> None:
    text = complaint(tmp_path, "void = 255\npixel_size = 12,5  # from the microscope\n")
    assert "numbers have a decimal point: pixel_size = 12.5" in text


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "imseg.toml").write_bytes(b"\xff\xfe\x00task")
    with pytest.raises(ImsegError, match=r"imseg\.toml cannot be read"):
        read_config(tmp_path)


def test_unknown_keys_are_refused_with_a_near_miss(tmp_path: Path) -> None:
    assert 'did you mean "task"' in complaint(tmp_path, 'taks = "binary"')
    assert 'remove "xyzzy"' in complaint(tmp_path, "xyzzy = 1")
    text = complaint(tmp_path, '[classes]\n0 = { name = "a", colour = "#000000" }')
    assert 'did you mean "color"' in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('task = "binery"', 'did you mean "binary"'),
        ("task = 3", '"task" is wrong'),
        ("task = []", '"task" is wrong'),
        ("void = true", '"void" is wrong'),
        ("void = 1.5", '"void" is wrong'),
        ('void = "11"', '"void" is wrong'),
        ('void = "white"', "#rrggbb"),
        ('task = "instance"', 'did you mean "instances"'),
        ('pixel_size = "1"', '"pixel_size" is wrong'),
        ("pixel_size = 0", "above 0, such as 0.65"),
        ("pixel_size = inf", '"pixel_size" is wrong'),
        ("pixel_size = true", '"pixel_size" is wrong'),
        ('[pixel_size]\n"*" = 0', 'patterns of file names: [pixel_size], then "*_40x*" = 0.16'),
        ('[pixel_size]\n"*" = "0.65"', '"pixel_size" is wrong'),
        ('[pixel_size]\n"a*" = 1\n"b*" = true', "{'a*': 1, 'b*': True}"),
        ("pixel_size = [0.65]", '"pixel_size" is wrong'),
        ('pages = "chanels"', 'did you mean "channels"'),
        ("unit = 3", "a text"),
        ('[classes]\n1 = "a"\n"#00ff00" = "b"', "mixes mask values and colors"),
        ('[classes]\ncell = "a"\n"#00ff00" = "b"', "mixes labels and colors"),
        ('[classes]\n70000 = "a"', "0..65535"),
        ('[classes]\n0 = "a\\u0007b"', '"classes.0.name" is wrong'),
        ('void = "#ffffff"\n[classes]\n"#FFFFFF" = "a"', "both void and a class"),
        ('classes = ["sky"]', "a table"),
        ('[classes]\nsky = "0"', "a mask value"),
        ("[classes]\n0 = 3", "a name"),
        ('[classes]\n0 = ""', "not empty"),
        ('[classes]\n0 = { name = "a", color = "red" }', "#rrggbb"),
        ('[classes]\n0 = { name = "a", color = [1, 2, 256] }', "#rrggbb"),
        ('[classes]\n0 = { name = "a", color = [1, 2, true] }', "#rrggbb"),
        ('[classes]\n0 = "a"\n1 = "a"', 'two classes are called "a"'),
        ('[classes]\n1 = "a"\n01 = "b"', "there twice"),
        ('void = 1\n[classes]\n1 = "a"', "both void and a class"),
    ],
)
def test_each_wrong_entry_says_what_is_expected(tmp_path: Path, text: str, words: str) -> None:
    assert words in complaint(tmp_path, text)


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(ImsegErrors) as caught:
        read_config(written(tmp_path, 'taks = 1\nvoid = []\n[classes]\n"#00ff00" = ""\n0 = 1\n'))
    assert len(caught.value.errors) == 4


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 3000 + "]" * 3000,
        "a = " + "{a=" * 3000 + "1" + "}" * 3000,
        "void = " + "9" * 6000,
    ],
    ids=["brackets", "braces", "digits"],
)
def test_what_the_toml_reader_cannot_bear_is_no_valid_toml(tmp_path: Path, text: str) -> None:
    assert "is not valid TOML" in complaint(tmp_path, text)


def test_numbers_too_long_to_be_written_are_named_without_their_digits(tmp_path: Path) -> None:
    said = complaint(tmp_path, f"void = 0x{'f' * 5000}\npixel_size = 1{'0' * 400}\n")
    assert '"void" is wrong' in said and "a number of thousands of digits" in said
    assert '"pixel_size" is wrong' in said and len(said) < 1500


def test_a_pixel_so_large_that_areas_are_no_numbers_is_refused(tmp_path: Path) -> None:
    assert '"pixel_size" is wrong' in complaint(tmp_path, "pixel_size = 1e300")


def test_a_unit_is_one_line(tmp_path: Path) -> None:
    assert '"unit" is wrong' in complaint(tmp_path, r'unit = "m\u001b[31m"')


def test_ends_of_lines_in_keys_make_no_lines(tmp_path: Path) -> None:
    said = complaint(tmp_path, '"a\\nEVIL" = 1\n[classes]\n"b\\nEVIL" = "x"\n2 = "y"\n')
    assert said.count("EVIL") == 3
    assert not [line for line in said.splitlines() if line.lstrip().startswith("EVIL")]


@pytest.mark.parametrize("kind", ["pipe", "folder", "circle", "nowhere"])
def test_settings_that_are_no_file_are_refused_and_not_waited_for(tmp_path: Path, kind) -> None:
    place = tmp_path / "imseg.toml"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to("imseg.toml" if kind == "circle" else "nowhere")
    with pytest.raises(ImsegError, match=r"imseg\.toml (is a|cannot be read)"):
        read_config(tmp_path)
