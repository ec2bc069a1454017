"""What a page says in plain words, case by case."""

from __future__ import annotations

import pytest
from tests.report.comparisons import ERROR, difference, row, write

from imseg.comparison.result import read_comparison
from imseg.report import tables
from imseg.report.comparison_tables import verdicts
from imseg.report.html.words import (
    Gain,
    comparison_summary,
    did_unlabeled_help,
    how_good,
    learned_from,
    meaning,
)
from imseg.tasks import Metric

IOU = Metric(key="iou", label="IoU")
INSIDE = "95\N{NO-BREAK SPACE}% interval"
RMSE = Metric(key="rmse", label="RMSE", higher_is_better=False, unit="m")


def answer(tmp_path, **changes):
    return comparison_summary(read_comparison(write(tmp_path / "found", **changes)))


@pytest.mark.parametrize(
    ("labeled", "unlabeled", "hidden", "wanted"),
    [
        (12, 34, 0, "12 labeled and 34 unlabeled images"),
        (1, 1, 0, "1 labeled and 1 unlabeled image"),
        (12, 0, 0, "12 labeled images alone"),
        (12, 0, 34, "12 labeled images and the hidden masks of 34 further images"),
        (1200, 34000, 0, "1,200 labeled and 34,000 unlabeled images"),
    ],
)
def test_it_says_from_what_was_learned(labeled, unlabeled, hidden, wanted):
    assert learned_from(labeled, unlabeled, hidden) == wanted


@pytest.mark.parametrize(
    ("metric", "value", "interval", "wanted"),
    [
        (IOU, 0.65, (0.6, 0.7), f"reaches an **IoU of 0.650** on x ({INSIDE} 0.600 to 0.700)"),
        (IOU, 0.65, None, "reaches an **IoU of 0.650** on x"),
        (RMSE, 1.2345, (1.0, 12.5), f"has an **RMSE of 1.23 m** on x ({INSIDE} 1.00 to 12.5)"),
    ],
)  # fmt: skip
def test_it_says_how_good_a_network_is(metric, value, interval, wanted):
    assert how_good(metric, value, interval, "x") == wanted


@pytest.mark.parametrize(
    ("gain", "wanted"),
    [
        (Gain(value=0.05, interval=(0.02, 0.08), images="x"), "is better than the best of"),
        (Gain(value=-0.05, interval=(-0.08, -0.02), images="x"), "have not helped here"),
        (Gain(value=0.01, interval=(-0.02, 0.04), images="x"), "cannot be told apart"),
        (Gain(value=0.01, interval=None, images="x"), "best of the start by +0.010"),
        (
            Gain(value=-0.05, interval=(-0.08, -0.02), images="x", handed_over=False),
            "the best network that saw them, not handed over, is worse than",
        ),
    ],
)  # fmt: skip
def test_one_run_never_claims_that_unlabeled_images_helped(gain, wanted):
    said = did_unlabeled_help(gain, IOU, unlabeled=5)
    assert wanted in said
    assert "One run cannot prove more" in said and "ldt-matched" in said


def test_of_errors_a_plus_is_explained():
    gain = Gain(value=0.5, interval=(0.1, 0.9), images="4 validation images")
    assert "plus means a smaller error" in did_unlabeled_help(gain, RMSE, unlabeled=5)


def test_labels_alone_say_nothing_about_unlabeled_images():
    alone = did_unlabeled_help(None, IOU, unlabeled=0)
    assert "says nothing about what unlabeled images" in alone
    at_once = did_unlabeled_help(None, IOU, unlabeled=5)
    assert "at the same time" in at_once and "labels alone" not in at_once


def test_every_score_has_a_meaning_in_half_a_sentence():
    for task in ("binary", "multiclass", "multilabel", "instances"):
        assert "1 is perfect" in meaning(IOU, task)
    assert "lower is better" in meaning(RMSE, "regression")
    assert meaning(Metric(key="new", label="New"), "binary") == "higher is better"


def test_a_comparison_names_the_best_of_those_that_won(tmp_path):
    found = answer(tmp_path)
    assert found.lead.startswith("The unlabeled images helped: **im++** is better than labels")
    assert "IoU +0.025" in found.lead and "500 test images, 2 seeds" in found.lead
    text = " ".join(found.explained)
    assert "**Better than its baseline**: im++ (+0.025)" in text
    assert "**Not to be told apart from it**: im (+0.011)" in text
    assert "**Worse than it**: noisy-student (\N{MINUS SIGN}0.019)" in text
    assert "im++ 60\xa0%" in text, "how much of the way to all labels"


def test_a_comparison_in_which_nothing_is_clear_says_so(tmp_path):
    rows = [
        row("ldt-matched", "matched", 0.69),
        row("im", "method", 0.70, baseline="ldt-matched", against=difference(0.01, 0.02)),
    ]
    assert "**not clear that the unlabeled images helped**" in answer(tmp_path, rows=rows).lead


def test_a_comparison_that_went_against_the_method_says_so(tmp_path):
    rows = [
        row("ldt-matched", "matched", 0.72),
        row("im", "method", 0.69, baseline="ldt-matched", against=difference(-0.03, 0.01)),
    ]
    assert "**did not help**" in answer(tmp_path, rows=rows).lead


def test_labels_alone_that_were_handed_over_say_nothing_against_unlabeled_images(tmp_path):
    baselines = [row("ldt-matched", "matched", 0.72)]
    against = difference(-0.03, 0.01)
    kept = row("auto", "method", 0.69, baseline="ldt-matched", against=against)
    kept["kept_start"] = [0, 1]
    found = answer(tmp_path, rows=[*baselines, kept])
    assert found.lead.startswith("**Labels alone** were handed over by auto with every seed")
    assert not any("Worse than it" in text for text in found.explained)
    kept["kept_start"] = [1]
    assert "**did not help**" in answer(tmp_path, rows=[*baselines, kept]).lead
    told = " ".join(verdicts(read_comparison(tmp_path / "found")))
    assert "auto, seed 1: its network learned from labels alone" in told


def test_without_baselines_nobody_can_say(tmp_path):
    rows = [row("ldt", "labels", 0.6), row("im", "method", 0.7), row("fdt", "bound", 0.9)]
    found = answer(tmp_path, rows=rows)
    assert "**im** has the best IoU" in found.lead and "is not known" in found.lead
    assert "No matched baseline for im." in found.doubts


def test_of_errors_a_smaller_one_is_better(tmp_path):
    rows = [
        row("ldt-matched", "matched", 1.5),
        row(
            "im",
            "method",
            1.2,
            baseline="ldt-matched",
            against=difference(-0.3, 0.1, higher_is_better=False),
        ),
    ]
    found = answer(tmp_path, rows=rows, metric=ERROR)
    assert "The unlabeled images helped" in found.lead and "\N{MINUS SIGN}0.300 m" in found.lead


def test_doubts_name_single_seeds_few_images_and_many_approaches(tmp_path):
    several = [
        row(f"im{i}", "method", 0.7, baseline="x", against=difference(0.01, 0.02)) for i in range(5)
    ]
    found = answer(tmp_path, seeds=[0], images=7, rows=several)
    text = " ".join(found.doubts)
    assert "One seed" in text and "7 test images are few" in text
    assert "5 approaches were compared" in text


def test_seeds_that_do_not_agree_are_named(tmp_path):
    torn = difference(0.01, 0.02, 0.05, -0.03)
    found = answer(tmp_path, rows=[row("im", "method", 0.7, baseline="x", against=torn)])
    assert "Seeds do not agree on the sign of the difference for im." in found.doubts


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(0.1, "0.100"), (12.0, "12.0"), (123.4, "123"), (1234.5, "1,234"), (0.00123, "0.00123")],
)
def test_errors_have_three_digits(value, wanted):
    assert tables.short(value, RMSE) == wanted


@pytest.mark.parametrize(
    ("seconds", "wanted"), [(0.4, "0.4 s"), (48, "48 s"), (91, "1.5 min"), (7200, "2.0 h")]
)
def test_times_are_in_the_unit_that_fits(seconds, wanted):
    assert tables.minutes(seconds) == wanted
