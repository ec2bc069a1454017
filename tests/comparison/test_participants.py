"""Who takes part in a comparison, and what each run is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imseg.approaches.methods.catalog import APPROACHES, find_approach
from imseg.comparison.participants import check_options, kind_of, participants_of, settings_for
from imseg.errors import ImsegError

METHODS = [name for name, each in APPROACHES.items() if kind_of(each) == "method"]
ALONE = [name for name, each in APPROACHES.items() if kind_of(each) in ("labels", "bound")]


@given(asked=st.lists(st.sampled_from(list(APPROACHES)), min_size=1, max_size=6))
def test_every_method_has_a_baseline_that_is_trained_after_it(asked):
    if not set(asked) & set(METHODS) and any(find_approach(name).matched for name in asked):
        with pytest.raises(ImsegError, match="nothing to be matched to"):
            participants_of(asked)
        return
    rows = participants_of(asked)
    places = {row.name: place for place, row in enumerate(rows)}
    assert len(places) == len(rows), "each row has a name of its own"
    for row in rows:
        approach = find_approach(row.approach)
        if row.kind == "method":
            assert places[row.baseline] > places[row.name]
            matched = rows[places[row.baseline]]
            assert matched.matched_to == row.name
            assert find_approach(matched.approach).labeled == approach.labeled
        if approach.start is not None:
            assert places[approach.start.name] < places[row.name], "its start costs nothing then"
    assert {row.approach for row in rows if row.asked} == set(asked)


def test_a_method_without_a_start_is_matched_by_labels_augmented_alike():
    names = [row.name for row in participants_of(["mean-teacher"])]
    assert names == ["mean-teacher", "ldt-online-to-mean-teacher"]


def test_the_learned_labels_decide_which_baseline_is_the_fair_one():
    baselines = {row.name: row.baseline for row in participants_of(["im", "aim++", "evalnet"])}
    assert baselines["im"] == "ldt-matched-to-im"
    assert baselines["aim++"] == "aldt-matched-to-aim++"
    assert baselines["evalnet"] == "ldt-matched-to-evalnet"


def test_baselines_that_are_asked_for_are_matched_to_every_method():
    rows = participants_of(["im", "aim++", "ldt-online"])
    online = [row for row in rows if row.approach == "ldt-online"]
    assert [row.matched_to for row in online] == ["im", "aim++"]
    assert [row.name for row in participants_of(["ldt-online"])] == ["ldt-online"]


def test_an_option_reaches_those_it_says_something_about():
    rows = {row.name: row for row in participants_of(["im", "fdt"])}
    common = {
        "generations": 2,
        "teachers": 2,
        "max_steps": 50,
        "networks": 2,
        "unlabeled_masks": Path("masks"),
    }
    check_options(list(rows.values()), common)
    told = {name: settings_for(row, common, seed=7, runs=None) for name, row in rows.items()}
    assert {settings.seed for settings in told.values()} == {7}
    assert told["im"].generations == 2 and told["ldt"].generations is None
    assert told["im"].teachers == 2 and told["fdt"].teachers is None
    assert told["ldt"].unlabeled_masks is None, "labels alone do not see hidden masks"
    assert told["fdt"].unlabeled_masks == told["im"].unlabeled_masks == Path("masks")
    matched = told["ldt-matched-to-im"]
    assert matched.match == Path("im") and matched.max_steps is None and matched.networks == 2


def test_networks_are_taken_over_from_the_same_seed(tmp_path):
    rows = {row.name: row for row in participants_of(["im"])}
    settings = settings_for(rows["ldt-matched-to-im"], {}, seed=0, runs=tmp_path)
    assert settings.reuse == tmp_path and settings.match == tmp_path / "im"


@pytest.mark.parametrize(
    ("common", "said"),
    [
        ({"mask_scorers": 2}, "No approach here has a use for --mask-scorers"),
        ({"seed": 3}, "A comparison chooses seed for each of its runs by itself"),
        ({"start_with": "unimatch"}, "A comparison chooses start_with for each of its runs"),
        ({"teachers": 9}, "--teachers cannot be 9"),
        ({"networks": 1}, "There are more teachers than networks"),
    ],
)
def test_an_option_that_changes_nothing_or_cannot_be_is_refused(common, said):
    with pytest.raises(ImsegError, match=said):
        check_options(participants_of(["ldt", "im"]), common)


def test_upper_bounds_ask_for_the_hidden_masks_before_anything_is_trained():
    with pytest.raises(ImsegError, match="fdt needs the hidden masks"):
        check_options(participants_of(["im", "fdt"]), {})
