"""What a user may ask for: every mistake is named, all at once, with what to try."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from imseg.approaches.settings import Settings, settings_from
from imseg.errors import ImsegError, ImsegErrors


def complaint(options, **more) -> ImsegError:
    with pytest.raises(ImsegError) as caught:
        settings_from(options, **more)
    return caught.value


def test_nothing_asked_for_gives_the_defaults() -> None:
    assert settings_from({}) == Settings()
    assert settings_from({"epochs": None, "width": None}) == Settings()


def test_options_go_before_the_file(tmp_path) -> None:
    config = tmp_path / "settings.toml"
    config.write_text('epochs = 20\nwidth = 0.75\nimage_size = [64, 96]\napproach = "ldt"\n')
    settings = settings_from({"epochs": 3, "width": None}, config=config)
    assert settings == Settings(epochs=3, width=0.75, image_size=(64, 96), approach="ldt")


def test_every_problem_of_a_file_is_reported_at_once_with_near_misses(tmp_path) -> None:
    config = tmp_path / "settings.toml"
    config.write_text('epoch = 20\napproach = "imm"\nwidth = "wide"\nbatch_size = 0\n')
    error = complaint({}, config=config)
    assert isinstance(error, ImsegErrors)
    assert len(error.errors) == 4
    text = str(error)
    assert "There is no setting named 'epoch'" in text
    assert "epochs = ..." in text
    assert "The setting width cannot have this value" in text
    assert "'wide'" in text
    assert "--batch-size cannot be 0" in text
    assert "There is no approach named 'imm'" in text
    assert "--approach im" in text


def test_an_option_typed_with_a_hyphen_is_recognized() -> None:
    assert "image_size = ..." in str(complaint({"image-size": [64, 64]}))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"teachers": 5}, "--teachers cannot be 5"),
        ({"teachers": 1}, "--teachers cannot be 1"),
        ({"erode": 2}, "--erode cannot be 2"),
        ({"dilate": 7}, "--dilate cannot be 7"),
        ({"width": 0.01}, "--width cannot be 0.01"),
        ({"width": float("nan")}, "--width cannot be nan"),
        ({"image_size": [8, 64]}, "--image-size cannot be (8, 64)"),
        ({"seed": -1}, "--seed cannot be -1"),
        ({"effort": "heroic"}, "The setting effort cannot have this value"),
        ({"blocking": "some"}, "The setting blocking cannot have this value"),
        ({"precision": "float16"}, "The setting precision cannot have this value"),
        ({"task": "depth"}, "The setting task cannot have this value"),
        ({"image_size": [64]}, "The setting image_size cannot have this value"),
        *(
            ({name: 0}, f"--{name.replace('_', '-')} cannot be 0")
            for name in (
                "generations",
                "networks",
                "epochs",
                "max_steps",
                "batch_size",
                "limit_unlabeled",
                "workers",
            )
        ),
    ],
)
def test_a_value_that_cannot_be_is_refused(options, expected: str) -> None:
    error = complaint(options)
    assert str(error).startswith(expected)
    assert error.expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"teachers": 3, "networks": 2}, "There are more teachers than networks."),
        ({"match": "runs/a"}, "im is not a matched baseline, so --match changes nothing."),
        ({"approach": "ldt", "match": "runs/a"}, "ldt is not a matched baseline"),
        ({"approach": "im", "ladder": "hela"}, "im has no use for --ladder."),
        ({"approach": "ldt", "rotate": True}, "ldt has no use for --rotate."),
        (
            {"approach": "ldt-online", "match": "runs/a", "epochs": 3},
            "ldt-online has no use for --epochs.",
        ),
        ({"approach": "aldt-matched"}, "aldt-matched does not know which run it is matched to."),
        ({"approach": "ldt-matched"}, "ldt-matched does not know which run it is matched to."),
        (
            {"approach": "ldt-matched", "match": "runs/a", "epochs": 3, "width": 1.0},
            "ldt-matched has no use for --epochs, --width.",
        ),
        (
            {"approach": "ldt", "teachers": 2, "erode": 3, "ignore": False},
            "ldt has no use for --teachers, --erode, --ignore.",
        ),
        ({"approach": "ldt", "generations": 1}, "ldt has no use for --generations."),
        ({"approach": "ldt", "blocking": "none"}, "ldt has no use for --blocking."),
        ({"approach": "fdt"}, "fdt needs the hidden masks of the unlabeled images."),
        ({"unlabeled_masks": "hidden"}, "im may not see the hidden masks"),
    ],
)
def test_options_that_do_not_fit_the_approach_are_refused(options, expected: str) -> None:
    error = complaint(options)
    assert not isinstance(error, ImsegErrors)
    assert str(error).startswith(expected)
    assert error.expected


def test_several_misfits_are_reported_together() -> None:
    error = complaint(
        {"teachers": 3, "match": "runs/a", "networks": 2, "unlabeled_masks": "hidden"}
    )
    assert isinstance(error, ImsegErrors)
    assert len(error.errors) == 3


@pytest.mark.parametrize(
    "options",
    [
        {"teachers": 3, "networks": 3},
        {"approach": "ldt-matched", "match": "runs/a", "networks": 2},
        {"approach": "fdt", "unlabeled_masks": "hidden"},
        {"width": 0.0625, "image_size": [32, 32], "erode": 0, "dilate": 5},
        {"ignore": True, "blocking": "none"},
    ],
)
def test_what_fits_is_taken(options) -> None:
    settings = settings_from(options)
    for name, value in options.items():
        wanted = tuple(value) if isinstance(value, list) else value
        found = getattr(settings, name)
        assert found == (Path(wanted) if isinstance(found, Path) else wanted)


def test_a_file_that_is_missing_or_no_toml_is_the_users_to_mend(tmp_path) -> None:
    config = tmp_path / "settings.toml"
    assert "cannot be read" in str(complaint({}, config=config))
    config.write_text("epochs: 20\n")
    assert "is not TOML" in str(complaint({}, config=config))
    config.write_bytes(b"\xff\xfe")
    assert "is not TOML" in str(complaint({}, config=config))


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().epochs = 3
