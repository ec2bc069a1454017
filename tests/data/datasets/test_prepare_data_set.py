"""What holds for the preparation of every data set: options, archives, splits, the record."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.datasets import prepared
from tests.data.datasets.prepared import noise, pack, save

from imseg.cli.main import run
from imseg.data.datasets import DATASETS, prepare_data_set
from imseg.data.datasets.sources import divide, share_of, split_parts
from imseg.data.folder.config import config_text
from imseg.errors import ImsegError


def refusal(name: str, *places: Path, **options: Any) -> str:
    return prepared.refusal(partial(prepare_data_set, name), *places, **options)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images of nuclei with label images: the smallest data set there is."""
    root = tmp_path_factory.mktemp("raw") / "nuclei"
    for number in range(8):
        save(root / f"images/{number}.png", noise(number, 9, 9) // 4)
        save(root / f"instances/{number}.png", noise(number, 9, 9) // 100)
    return root


def test_every_data_set_is_listed():
    assert list(DATASETS) == ["isic2018", "hela", "suim", "cityscapes", "camvid", "nuclei"]


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_nothing_there_is_one_clear_error_for_every_data_set(name, tmp_path):
    text = prepared.refusal(
        partial(prepare_data_set, name), tmp_path / "none", tmp_path / "deep/er/out"
    )
    assert text.startswith(f"There is no folder or archive {tmp_path / 'none'}.")
    assert "Expected:" in text and "download it from https://" in text
    assert not (tmp_path / "deep").exists(), "folders made for nothing are removed"


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_file_that_is_no_archive_is_one_clear_error_for_every_data_set(name, tmp_path):
    (tmp_path / "raw.rar").write_bytes(b"Rar!")
    text = refusal(name, tmp_path / "raw.rar", tmp_path / "out")
    assert "is neither a folder nor a zip or tar file" in text


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_an_empty_folder_is_one_clear_error_for_every_data_set(name, tmp_path):
    (tmp_path / "raw").mkdir()
    text = refusal(name, tmp_path / "raw", tmp_path / "out")
    assert "Expected:" in text and "Got:      an empty folder." in text and "Try:" in text


@pytest.mark.parametrize("name", sorted(DATASETS))
@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_that_is_none_is_refused_for_every_data_set(name, share, tmp_path):
    text = prepared.refusal(
        partial(prepare_data_set, name), tmp_path, tmp_path / "out", labeled=share
    )
    assert "between 0 and 1, both excluded" in text


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"cityscapes"}))
@pytest.mark.parametrize(
    ("option", "value", "word"),
    [("classes", 19, "--classes"), ("paper_split", True, "--paper-split")],
)
def test_an_option_that_would_do_nothing_is_refused(name, option, value, word, tmp_path):
    with pytest.raises(ImsegError, match=f"{name} has no use for {word}.") as caught:
        prepare_data_set(name, tmp_path, tmp_path / "out", **{option: value})
    assert f"{word} for cityscapes only" in str(caught.value)


def test_a_misspelt_name_is_guessed(tmp_path):
    with pytest.raises(ImsegError, match="imseg prepare cityscapes RAW --out DATA"):
        prepare_data_set("cityscape", tmp_path, tmp_path / "out")
    with pytest.raises(ImsegError, match=r"nuclei(.*\n)*.*for your own: imseg check"):
        prepare_data_set("voc", tmp_path, tmp_path / "out")


def test_a_mistyped_path_is_guessed(tree, tmp_path):
    (tmp_path / "nuclei-raw").mkdir()
    text = prepared.refusal(
        partial(prepare_data_set, "nuclei"), tmp_path / "nuclei-rwa", tmp_path / "out"
    )
    assert f"Try:      imseg prepare nuclei {tmp_path / 'nuclei-raw'}" in text


def test_a_hostile_archive_is_refused_and_leaves_nothing(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "nuclei.zip", "w") as zipped:
        zipped.writestr("images/a.png", b"1")
        zipped.writestr("../../images/b.png", b"1")
    text = prepared.refusal(
        partial(prepare_data_set, "nuclei"), tmp_path / "nuclei.zip", tmp_path / "out"
    )
    assert "'../../images/b.png', which leaves the folder" in text
    assert [path.name for path in tmp_path.iterdir()] == ["nuclei.zip"]


def test_a_hostile_archive_in_an_archive_is_refused(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "stage1_train.zip", "w") as zipped:
        zipped.writestr("/a/images/b.png", b"1")
    outer = pack(tmp_path, tmp_path.parent / f"{tmp_path.name}-outer.zip")
    text = refusal("nuclei", outer, tmp_path / "out")
    assert "'/a/images/b.png', which has an absolute name" in text
    assert f"{outer}/stage1_train.zip holds" in text, (
        "named by where it is, not by a scratch folder"
    )


def test_an_archive_beside_its_own_content_in_an_archive_is_not_unpacked_again(tree, tmp_path):
    pack(tree, tmp_path / "both/all.zip")
    for path, content in prepared.contents(tree).items():
        (tmp_path / "both/all" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "both/all" / path).write_bytes(content)
    outer = pack(tmp_path / "both", tmp_path / "outer.zip")
    assert prepare_data_set("nuclei", outer, tmp_path / "out").test == 1


def test_a_picture_with_too_many_pixels_is_refused(tree, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    text = refusal("nuclei", tree, tmp_path / "out")
    assert str(tree / "images") in text and "pixels" in text


def test_two_archives_of_one_name_are_refused(tree, tmp_path):
    for ending in (".zip", ".tar.gz"):
        pack(tree, tmp_path / f"raw/all{ending}")
    text = refusal("nuclei", tmp_path / "raw", tmp_path / "out")
    assert "all.zip has the name of another archive beside it" in text


@given(
    names=st.sets(st.text(st.characters(codec="ascii"), max_size=5), max_size=40),
    small=st.integers(0, 40),
    large=st.integers(0, 40),
    key=st.text(max_size=3),
)
def test_a_larger_draw_contains_a_smaller_one(names, small, large, key):
    items = {name: name.upper() for name in names}
    first, rest = divide(items, min(small, large), key=key)
    more, _ = divide(items, max(small, large), key=key)
    assert first | rest == items and not first.keys() & rest.keys()
    assert len(first) == min(small, large, len(items)) and first.keys() <= more.keys()
    assert list(first) == sorted(first) and list(rest) == sorted(rest)
    backwards = {name: items[name] for name in sorted(items, reverse=True)}
    assert divide(backwards, len(first), key=key) == (first, rest), "whatever order they come in"


def test_drawn_names_are_frozen():
    """Another version of Python must not draw other images."""
    first, _ = divide(dict.fromkeys("abcdefghij"), 3, key="0/training")
    assert list(first) == ["a", "b", "e"]


@pytest.mark.parametrize(
    ("share", "total", "down", "up"),
    [(0.1, 2594, 259, 260), (0.29, 100, 29, 29), (0.1, 1372, 137, 138), (0.95, 10, 9, 9)],
)
def test_a_share_counts_as_it_is_written(share, total, down, up):
    assert share_of(share, total) == down and share_of(share, total, round_up=True) == up


@given(
    counts=st.tuples(st.integers(4, 60), st.integers(0, 20), st.integers(0, 20)),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
)
def test_whatever_the_parts_every_image_is_in_one_split_and_no_split_is_empty(counts, share, seed):
    names = [
        {f"{part}{index}": index for index in range(count)}
        for part, count in zip(("train", "val", "test"), counts, strict=True)
    ]
    parts = {"training": names[0]}
    parts |= {"validation": names[1]} if len(names[1]) > 1 else {}
    parts |= {"test": names[2]} if names[2] else {}
    splits, notes = split_parts(parts, labeled=share, seed=seed, round_up=True)
    assert all(splits.values())
    placed = [name for images in splits.values() for name in images]
    assert sorted(placed) == sorted(name for part in parts.values() for name in part)
    assert (len(notes) == 0) == (len(parts) == 3)
    if "validation" in parts and "test" in parts:
        assert splits["val"] == dict(sorted(names[1].items()))
        assert splits["test"] == dict(sorted(names[2].items()))


def test_the_configuration_is_toml_as_people_write_it():
    assert config_text("multiclass", classes={0: ("sea floor", (1, 2, 255))}, void=255) == (
        'task = "multiclass"\nvoid = 255\n\n[classes]\n'
        '0 = { name = "sea floor", color = "#0102ff" }\n'
    )


def test_the_command_tells_what_it_did_and_what_comes_next(tree, tmp_path, capsys):
    archive = pack(tree, tmp_path / "nuclei.zip")
    assert run(["prepare", "nuclei", str(archive), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == (
        f"{tmp_path / 'out'}: 1 labeled, 5 unlabeled, 1 val, 1 test (nuclei of the Data Science"
        " Bowl 2018, stage 1)"
    )
    assert lines[1] == "Counted: dark images 8, nuclei 16"
    assert lines[2].startswith("Note: No test images come with the data")
    assert lines[-1] == f"Next: imseg check {tmp_path / 'out'}"
    assert f"The data goes to {tmp_path / 'out'}" in printed.err


def test_the_command_tells_the_same_as_json(tree, tmp_path, capsys):
    words = ["prepare", "nuclei", str(tree), "--out", str(tmp_path / "out"), "--json"]
    assert run([*words, "--labeled", "0.4", "--seed", "3"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["out"] == str(tmp_path / "out") and len(told["notes"]) == 2
    assert [told[split] for split in prepared.SPLITS] == [3, 3, 1, 1]
    assert told["figures"] == {"dark_images": 8, "nuclei": 16}


def test_the_command_refuses_what_it_has_no_use_for(tree, tmp_path, capsys):
    words = ["prepare", "nuclei", str(tree), "--out", str(tmp_path / "out"), "--paper-split"]
    assert run(words) == 2
    assert "nuclei has no use for --paper-split" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
