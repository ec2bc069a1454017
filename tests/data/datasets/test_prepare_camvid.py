"""Preparing CamVid: SegNet's six folders, and labels for stretches of film."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.data.datasets import prepared
from tests.data.datasets.prepared import (
    contents,
    fingerprint,
    load,
    noise,
    pack,
    real_data,
    save,
    stems,
)

from imseg.data.datasets import prepare_data_set
from imseg.data.datasets.streets import film_of, label_stretches

prepare_camvid = partial(prepare_data_set, "camvid")

FILMS = {
    "train": {"0001TP": 6, "0006R0": 8, "0016E5": 16},
    "val": {"0016E5": 3},
    "test": {"0001TP": 1, "Seq05VD": 3},
}
FIRST_OF = {"train": 0, "val": 5000, "test": 9000}


def make_tree(root: Path) -> Path:
    number = 0
    for part, films in FILMS.items():
        for film, count in films.items():
            for index in range(count):
                number += 1
                name = f"{film}_{FIRST_OF[part] + 30 * index:06}.png"
                save(root / part / name, noise(number, 16, 20, 3))
                mask = np.full((16, 20), number % 11, np.uint8)
                mask[0] = 11
                save(root / f"{part}annot" / name, mask)
        (root / f"{part}.txt").write_text("paths of pictures")
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("raw") / "CamVid")


def test_the_official_parts_stay_and_11_is_void(tree, tmp_path):
    counts = prepare_camvid(tree, tmp_path / "out", labeled=0.1)
    assert (counts.labeled, counts.unlabeled, counts.val, counts.test) == (3, 27, 3, 4)
    splits = prepared.check_folder(tmp_path / "out")
    prepared.check_disjoint(splits)
    for split, part in (("val", "val"), ("test", "test")):
        assert splits[split] == stems(tree / part)
    config = prepared.config(tmp_path / "out")
    assert config["task"] == "multiclass" and config["void"] == 11
    names = [config["classes"][str(value)]["name"] for value in range(11)]
    assert " ".join(names) == (
        "sky building pole road pavement tree sign fence car pedestrian bicyclist"
    )
    assert prepared.spec_of(tmp_path / "out").values == tuple(range(11))
    assert fingerprint(tmp_path / "out") == "3550580e438350d7"


frames = st.dictionaries(
    st.sampled_from(["0001TP", "0006R0", "0016E5", "Seq05VD"]), st.integers(1, 200), min_size=1
)


def pairs_of(films: dict[str, int]) -> dict[str, tuple[Path, Path]]:
    names = [f"{film}_{30 * index:06}" for film, count in films.items() for index in range(count)]
    return {name: (Path(name), Path(name)) for name in names}


@given(films=frames, share=st.floats(0.01, 0.99), seed=st.integers(0, 9))
def test_each_film_gets_one_stretch_in_proportion_to_its_length(films, share, seed):
    training = pairs_of(films)
    count = int(Fraction(str(share)) * len(training))
    assume(count >= 1)
    chosen, others = label_stretches(training, labeled=share, seed=seed)
    assert len(chosen) == count and chosen.keys() | others.keys() == training.keys()
    assert not chosen.keys() & others.keys()
    for film, length in films.items():
        names = sorted(name for name in training if film_of(name) == film)
        places = [names.index(name) for name in sorted(chosen) if film_of(name) == film]
        assert places == list(range(min(places, default=0), min(places, default=0) + len(places)))
        assert abs(len(places) - share * length) <= 2, "about its share"


@given(films=frames, shares=st.tuples(*[st.floats(0.01, 0.99)] * 2), seed=st.integers(0, 9))
def test_a_larger_share_contains_the_smaller_one(films, shares, seed):
    training = pairs_of(films)
    assume(min(shares) * len(training) >= 1.01)
    small, large = (
        label_stretches(training, labeled=each, seed=seed)[0] for each in sorted(shares)
    )
    assert small.keys() <= large.keys()


def test_the_seed_moves_the_stretches():
    training = pairs_of({"0016E5": 100})
    places = {min(label_stretches(training, labeled=0.1, seed=seed)[0]) for seed in range(50)}
    assert len(places) > 25
    assert min(places) < "0016E5_000300" and max(places) > "0016E5_002400"


def test_films_that_official_parts_share_are_told(tree, tmp_path):
    counts = prepare_camvid(tree, tmp_path / "out")
    assert len(counts.notes) == 2
    assert "training and val parts share a film (0016E5)" in counts.notes[0]
    assert "training and test parts share a film (0001TP)" in counts.notes[1]


def test_the_archive_gives_what_the_unpacked_tree_gives(tree, tmp_path):
    prepare_camvid(pack(tree, tmp_path / "zips/CamVid.zip", top="CamVid"), tmp_path / "zipped")
    prepare_camvid(tree, tmp_path / "plain")
    assert contents(tmp_path / "zipped") == contents(tmp_path / "plain")


def test_colored_masks_of_the_original_release_are_refused(tree, tmp_path):
    raw = make_tree(tmp_path / "raw")
    save(raw / "trainannot/0001TP_000000.png", noise(1, 16, 20, 3))
    text = prepared.refusal(prepare_camvid, raw, tmp_path / "out")
    assert "trainannot/0001TP_000000.png is not the kind of mask" in text


def test_values_that_are_no_class_are_refused(tmp_path):
    raw = make_tree(tmp_path / "raw")
    save(raw / "valannot/0016E5_005000.png", np.full((16, 20), 12, np.uint8))
    text = prepared.refusal(prepare_camvid, raw, tmp_path / "out")
    assert "valannot/0016E5_005000.png holds values" in text and "Got:      12." in text


def test_a_misspelt_folder_is_guessed(tmp_path):
    raw = make_tree(tmp_path / "raw")
    (raw / "trainannot").rename(raw / "trainanot")
    text = prepared.refusal(prepare_camvid, raw, tmp_path / "out")
    assert "The CamVid download in" in text and "no trainannot" in text
    assert "is trainanot meant to be trainannot?" in text


def test_too_small_a_share_is_refused(tree, tmp_path):
    text = prepared.refusal(prepare_camvid, tree, tmp_path / "out", labeled=0.001)
    assert "at least 1 of the 30 training images" in text


def test_the_real_frames_are_prepared(tmp_path):
    raw = real_data("camvid")
    counts = prepare_camvid(raw, tmp_path / "out")
    assert (counts.labeled, counts.unlabeled, counts.val, counts.test) == (36, 331, 101, 117)
    splits = prepared.check_folder(tmp_path / "out")
    prepared.check_disjoint(splits)
    name = sorted(splits["unlabeled"])[0]
    assert np.array_equal(
        load(tmp_path / f"out/hidden/masks/{name}.png"), load(raw / f"trainannot/{name}.png")
    )
