"""A training of which nothing is said but its data takes some minutes, and labels alone first."""

from __future__ import annotations

import pytest

from imseg.approaches.planning.run_options import MINUTES
from imseg.approaches.planning.settings import Settings, settings_from
from imseg.errors import ImsegError


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"seed": 3, "device": "cpu", "workers": 1},
        {"networks": 3, "width": 1.0},
        {"scale": 0.5, "task": "binary"},
    ],
)
def test_without_a_word_about_its_length_a_training_takes_some_minutes(given) -> None:
    assert Settings(**given).with_length == Settings(**given, minutes=MINUTES)


@pytest.mark.parametrize(
    "given",
    [
        {"approach": "im"},
        {"approach": "ldt"},
        {"effort": "quick"},
        {"minutes": 3.0},
        {"max_steps": 100},
        {"epochs": 4},
        {"generations": 1},
        {"recipe": "paper"},
        {"paper": "isic2018"},
        {"teachers": 3},
    ],
)
def test_whatever_says_what_is_to_be_trained_is_taken_as_it_is(given) -> None:
    assert Settings(**given).with_length == Settings(**given)


def test_one_network_is_enough_where_labels_alone_come_first() -> None:
    assert settings_from({"networks": 1}).with_length.minutes == MINUTES
    with pytest.raises(ImsegError, match="more teachers than networks"):
        settings_from({"networks": 1, "approach": "im"})
