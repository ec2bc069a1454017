"""What a user may ask for: every mistake is named, all at once, with what to try."""

from __future__ import annotations

from pathlib import Path

import pytest

from imseg.approaches.methods.catalog import APPROACHES
from imseg.approaches.planning.settings import Settings, settings_from
from imseg.errors import ImsegError, ImsegErrors, and_more

MASKING = ["im", "im+", "im++", "aim+", "aim++", "gt-im++"]
STUDENTS = ["model-ensemble", "input-ensemble", "noisy-student", "evalnet", *MASKING]
ONLINE = ["auto", "fixmatch", "unimatch", "unimatch+im", "cps", "online-im"]
AUGMENTING = ["aldt", "aldt-matched", "ldt-online", "consistency", "mean-teacher"]
AUGMENTING += [*ONLINE, *STUDENTS[1:]]
AUGMENTING.remove("im")


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
        ({"approach": "im", "teachers": 5}, "--teachers cannot be 5"),
        ({"approach": "im", "teachers": 1}, "--teachers cannot be 1"),
        ({"approach": "im", "erode": 2}, "--erode cannot be 2"),
        ({"approach": "im", "dilate": 7}, "--dilate cannot be 7"),
        ({"approach": "im", "erode": 3, "ignore": True}, "--erode cannot be joined with --ignore"),
        ({"width": 0.01}, "--width cannot be 0.01"),
        ({"width": float("nan")}, "--width cannot be nan"),
        ({"image_size": [8, 64]}, "--image-size cannot be (8, 64)"),
        ({"seed": -1}, "--seed cannot be -1"),
        ({"effort": "heroic"}, "The setting effort cannot have this value"),
        ({"blocking": "some"}, "The setting blocking cannot have this value"),
        ({"precision": "float16"}, "The setting precision cannot have this value"),
        ({"task": "depth"}, "The setting task cannot have this value"),
        ({"block_color": "gray"}, "The setting block_color cannot have this value"),
        ({"approach": "im+", "strength_level": 0}, "--strength-level cannot be 0"),
        ({"approach": "im+", "strength_level": 6}, "--strength-level cannot be 6"),
        ({"image_size": [64]}, "The setting image_size cannot have this value"),
        *(
            ({"approach": "im", name: 0}, f"--{name.replace('_', '-')} cannot be 0")
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
        (
            {"approach": "im", "teachers": 3, "networks": 2},
            "There are more teachers than networks.",
        ),
        ({"match": "runs/a"}, "auto is not a matched baseline, so --match changes nothing."),
        ({"approach": "ldt", "match": "runs/a"}, "ldt is not a matched baseline"),
        ({"approach": "im", "strength_schedule": "hela"}, "im has no use for --strength-schedule."),
        ({"approach": "ldt", "recipe": "paper", "rotate": True}, "ldt has no use for --rotate."),
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
        ({"approach": "gt-im++"}, "gt-im++ needs the hidden masks of the unlabeled images."),
    ],
)
def test_options_that_do_not_fit_the_approach_are_refused(options, expected: str) -> None:
    error = complaint(options)
    assert not isinstance(error, ImsegErrors)
    assert str(error).startswith(expected)
    assert error.expected


def test_several_misfits_are_reported_together() -> None:
    """Hidden masks are no misfit of ``im`` anymore (issue 4): its pseudo-labels are audited."""
    wrong = {"teachers": 3, "match": "runs/a", "networks": 2, "views": 3}
    error = complaint({"approach": "im", **wrong})
    assert isinstance(error, ImsegErrors)
    assert len(error.errors) == 3
    several = {"approach": "ldt", "teachers": 3, "match": "runs/a", "unlabeled_masks": "hidden"}
    error = complaint(several)
    assert isinstance(error, ImsegErrors)
    assert len(error.errors) == 3


REFUSALS = [
    (
        {"approach": "im", "teachers": 3, "networks": 2},
        """There are more teachers than networks.
  Expected: --teachers at most --networks.
  Got:      3 teachers, 2 networks.
  Try:      --networks 3, or fewer teachers.""",
    ),
    (
        {"approach": "im", "networks": 1},
        """There are more teachers than networks.
  Expected: --teachers at most --networks.
  Got:      2 teachers, 1 network.
  Try:      --networks 2 or more.""",
    ),
    (
        {"approach": "evalnet", "mask_scorers": 4, "networks": 3},
        """There are more mask scorers than networks.
  Expected: --mask-scorers at most --networks.
  Got:      4 mask scorers, 3 networks.
  Try:      --networks 4, or fewer mask scorers.""",
    ),
    (
        {"approach": "evalnet", "networks": 1},
        """There are more mask scorers than networks.
  Expected: --mask-scorers at most --networks.
  Got:      2 mask scorers, 1 network.
  Try:      --networks 2, or fewer mask scorers.""",
    ),
    (
        {"approach": "input-ensemble", "views": 4},
        """--views cannot be 4.
  Expected: 3, 5 or 7.
  Got:      4""",
    ),
    (
        {"approach": "evalnet", "mask_scorers": 5},
        """--mask-scorers cannot be 5.
  Expected: 1, 2, 3 or 4.
  Got:      5""",
    ),
    (
        {"approach": "im", "patience": -1},
        """--patience cannot be -1.
  Expected: 0 (never stop early) or more.
  Got:      -1""",
    ),
    (
        {"approach": "im++", "thresholds": (0.8, 0.7)},
        """--thresholds cannot be (0.8, 0.7).
  Expected: two rising scores from 0 to 1, such as 0.72 0.75.
  Got:      (0.8, 0.7)""",
    ),
    (
        {"approach": "consistency", "consistency_weight": -1},
        """--consistency-weight cannot be -1.0.
  Expected: a number that is not negative.
  Got:      -1.0""",
    ),
    (
        {"approach": "consistency", "consistency_ramp": -1},
        """--consistency-ramp cannot be -1.
  Expected: 0 epochs or more.
  Got:      -1""",
    ),
    (
        {"paper": "suim", "effort": "quick"},
        """--paper cannot be joined with --effort quick.
  Expected: it alone, or with --effort paper.
  Got:      joined with --effort quick""",
    ),
    (
        {"paper": "suim", "approach": "im+", "strength_schedule": "hela"},
        """im+ has no use for --strength-schedule.
  Expected: options that change something.
  Got:      im+; --paper settles the strengths.
  Try:      leave them out, or see imseg explain im+.""",
    ),
    (
        {"paper": "suim", "approach": "im+", "strength_level": 3},
        """im+ has no use for --strength-level.
  Expected: options that change something.
  Got:      im+; --paper settles the strengths.
  Try:      leave them out, or see imseg explain im+.""",
    ),
    (
        {"approach": "im+", "blocking": "output", "block_color": "black", "reblock": True},
        """im+ has no use for --reblock, --block-color.
  Expected: options that change something.
  Got:      im+; --blocking output leaves images as they are.
  Try:      leave them out, or see imseg explain im+.""",
    ),
    (
        {"approach": "im", "blocking": "none", "block_color": "noise"},
        """im has no use for --block-color.
  Expected: options that change something.
  Got:      im; --blocking none leaves images as they are.
  Try:      leave them out, or see imseg explain im.""",
    ),
    (
        {"approach": "im", "views": 3, "plain_view": True, "vote": "mean"},
        """im has no use for --vote, --views, --plain-view.
  Expected: options that change something.
  Got:      im.
  Try:      leave them out, or --approach input-ensemble, or see imseg explain im.""",
    ),
    (
        {"approach": "consistency", "unlabeled_masks": "hidden"},
        """consistency may not see the hidden masks of the unlabeled images.
  Expected: --unlabeled-masks with an upper bound (fdt, gt-im++), or with an approach whose \
pseudo-labels can be compared with them.
  Got:      consistency, which makes no pseudo-labels.
  Try:      leave --unlabeled-masks out, or --approach im.""",
    ),
    (
        {"approach": "gt-im++"},
        """gt-im++ needs the hidden masks of the unlabeled images.
  Expected: --unlabeled-masks FOLDER with one mask per unlabeled image.
  Try:      --unlabeled-masks DATA/hidden/masks, where `imseg prepare` puts them.""",
    ),
]


@pytest.mark.parametrize(("options", "text"), REFUSALS)
def test_a_refusal_says_what_was_expected_and_what_to_try(options, text: str) -> None:
    error = complaint(options)
    assert not isinstance(error, ImsegErrors)
    assert str(error) == text


@pytest.mark.parametrize(
    "options",
    [
        {"approach": "im++", "thresholds": (0.7, 0.7)},
        {"approach": "im++", "thresholds": (-0.1, 0.7)},
        {"approach": "im++", "thresholds": (0.7, 1.1)},
        {"approach": "im++", "thresholds": (float("nan"), 0.7)},
        {"approach": "im++", "thresholds": (0.2, float("nan"))},
        {"approach": "consistency", "consistency_weight": float("nan")},
        {"approach": "consistency", "consistency_weight": float("inf")},
        {"approach": "evalnet", "mask_scorers": 0},
        {"approach": "input-ensemble", "views": 1},
        {"approach": "input-ensemble", "vote": "loudest"},
        {"approach": "consistency", "consistency_level": "wild"},
        {"paper": "camvid"},
    ],
)
def test_new_values_out_of_range_are_refused(options) -> None:
    assert not isinstance(complaint(options), ImsegErrors)


WITH = {
    "teachers": (3, ["model-ensemble", "noisy-student", *MASKING]),
    "erode": (3, MASKING),
    "dilate": (3, MASKING),
    "grow_labels": (True, MASKING),
    "blocking": ("input", MASKING),
    "ignore": (True, MASKING),
    "vote": ("mean", ["model-ensemble", "input-ensemble"]),
    "views": (5, ["input-ensemble"]),
    "plain_view": (False, ["input-ensemble"]),
    "mask_scorers": (1, ["evalnet"]),
    "thresholds": ((0.2, 0.4), ["evalnet", "im++", "aim++", "gt-im++"]),
    "consistency_weight": (2.0, ["consistency"]),
    "consistency_ramp": (3, ["consistency"]),
    "consistency_level": ("low", ["consistency"]),
    "teacher_weight": (2.0, ["mean-teacher", *ONLINE]),
    "teacher_ramp": (0.1, ["mean-teacher", *ONLINE]),
    "labeled_share": (0.3, ["mean-teacher", *ONLINE]),
    "learners": (3, ONLINE),
    "averaged_teachers": (True, ONLINE),
    "exchange": (False, ONLINE),
    "filter": ("none", ONLINE),
    "confidence": (0.9, ["fixmatch", "unimatch", "unimatch+im"]),
    "cutmix": (0.25, ONLINE),
    "strong_views": (2, ONLINE),
    "feature_dropout": (0.25, ONLINE),
    "start_share": (0.1, ONLINE),
    "start_with": ("ldt-online", STUDENTS),
    "generations": (3, STUDENTS),
    "patience": (1, STUDENTS),
    "select": ("all", STUDENTS),
    "limit_unlabeled": (9, ["fdt", "consistency", "mean-teacher", *ONLINE, *STUDENTS]),
    "block_color": ("mean", MASKING),
    "reblock": (False, MASKING[1:]),
    "strength_level": (3, ["noisy-student", *MASKING[1:]]),
    "fresh_copies": (True, ["aldt", "aldt-matched", "noisy-student", *MASKING[1:]]),
    "strength_schedule": ("hela", AUGMENTING),
    "rotate": (True, AUGMENTING),
}
"""Options, a value, and the approaches that have a use for them with the paper's recipe: those with
the stage."""


@pytest.mark.parametrize("approach", APPROACHES)
@pytest.mark.parametrize("name", WITH)
def test_an_option_is_taken_by_approaches_with_its_stage_and_refused_by_others(
    name: str, approach: str
) -> None:
    value, users = WITH[name]
    options = {"approach": approach, "recipe": "paper", name: value}
    if APPROACHES[approach].matched:
        options["match"] = "runs/a"
    if APPROACHES[approach].sees_truth:
        options["unlabeled_masks"] = "hidden"
    if approach in users:
        assert getattr(settings_from(options), name) == value
        return
    error = complaint(options)
    assert not isinstance(error, ImsegErrors)
    option = f"--{name.replace('_', '-')}"
    assert error.what == f"{approach} has no use for {option}."
    plainest = [each for each in ("auto", "im") if each in users]
    named = and_more([*plainest, *(e for e in APPROACHES if e in users and e not in plainest)], 4)
    assert error.hint == f"leave them out, or --approach {named}, or see imseg explain {approach}."


def test_the_paper_brings_its_schedule_unless_it_is_named_anyway() -> None:
    assert settings_from({"paper": "isic2018"}).effort == "paper"
    assert settings_from({"paper": "isic2018", "effort": "paper"}).paper == "isic2018"
    assert settings_from({"effort": "paper"}).paper is None


def test_the_number_of_mask_scorers_alone_needs_no_more_than_the_published_networks() -> None:
    assert settings_from({"approach": "evalnet", "mask_scorers": 4}).mask_scorers == 4
    assert settings_from({"approach": "evalnet", "mask_scorers": 1, "networks": 1}).networks == 1


@pytest.mark.parametrize(
    "options",
    [
        {"approach": "im", "teachers": 3, "networks": 3},
        {"approach": "ldt-matched", "match": "runs/a", "networks": 2},
        {"approach": "fdt", "unlabeled_masks": "hidden"},
        {"approach": "gt-im++", "unlabeled_masks": "hidden"},
        {"approach": "im", "unlabeled_masks": "hidden"},
        {"approach": "evalnet", "thresholds": [0.0, 1.0]},
        {"approach": "consistency", "consistency_weight": 0.0, "consistency_ramp": 0},
        {"approach": "im", "patience": 0},
        {"approach": "im", "generations": 1},
        {"recipe": "paper", "generations": 1},
        {"generations": 1, "patience": 1, "approach": "evalnet"},
        {"networks": 1, "approach": "noisy-student"},
        {"paper": "hela", "effort": "paper", "approach": "aim++"},
        {"approach": "im", "width": 0.0625, "image_size": [32, 32], "erode": 0, "dilate": 5},
        {"approach": "im", "ignore": True, "blocking": "none"},
        {"approach": "im", "blocking": "input", "block_color": "noise"},
        {"approach": "im+", "effort": "paper", "strength_level": 1, "reblock": True},
        {"approach": "aldt", "fresh_copies": False},
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
    config.write_bytes(b"epochs = 20\n# caf\xe9\n")
    assert "byte 0xe9 in line 2" in str(complaint({}, config=config))


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(AttributeError):
        Settings().epochs = 3
    with pytest.raises(AttributeError):
        Settings().epoch = 3


def test_a_file_too_deep_to_be_read_and_names_of_two_lines_are_the_users_to_mend(tmp_path) -> None:
    config = tmp_path / "settings.toml"
    for text in ("a = " + "[" * 3000 + "]" * 3000, "seed = " + "9" * 6000):
        config.write_text(text)
        with pytest.raises(ImsegError, match="is not TOML"):
            settings_from({}, config=config)
    config.write_text('"a\\nEVIL" = 1\n')
    with pytest.raises(ImsegError) as caught:
        settings_from({}, config=config)
    assert not [line for line in str(caught.value).splitlines() if line.lstrip().startswith("EVIL")]


def test_a_word_that_was_misspelled_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ImsegError) as typed:
        settings_from({"effort": "quik"})
    assert typed.value.hint == "--effort quick"
    (tmp_path / "c.toml").write_text('task = "instance"')
    with pytest.raises(ImsegError) as written:
        settings_from({}, config=tmp_path / "c.toml")
    assert written.value.hint == 'task = "instances"'


@pytest.mark.parametrize("start", ["im", "fdt", "ldt-matched", "consistency"])
def test_teachers_are_trained_in_one_stage_without_hidden_masks(start: str) -> None:
    with pytest.raises(ImsegError, match=f"{start} cannot train the first teachers"):
        settings_from({"approach": "im", "start_with": start})


def test_options_of_the_start_count_where_it_was_chosen() -> None:
    chosen = {"approach": "im", "start_with": "fixmatch", "confidence": 0.8}
    assert settings_from(chosen).composition.start.objective.confidence == 0.8
    with pytest.raises(ImsegError, match="im has no use for --confidence"):
        settings_from({**chosen, "start_with": "online-im"})
    with pytest.raises(ImsegError, match="im has no use for --confidence"):
        settings_from({"approach": "im", "confidence": 0.8})
