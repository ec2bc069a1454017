"""What the command line says about itself, and what it needs for that."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from typing import Any, Literal, get_args, get_origin

import pytest
import tomli_w
from tests.approaches.settled import settled
from typer.main import get_command

from imseg.approaches.methods.catalog import APPROACHES
from imseg.approaches.planning.budget import make_plan
from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.settings import declared, default_of, settings_from
from imseg.cli.arguments import HEADINGS, MOST_USED
from imseg.cli.main import app
from imseg.options import Option

FACTS = Facts(
    task="binary", labeled=20, validation=10, unlabeled=100, channels=3, outputs=1,
    typical_size=(64, 64),
)  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [[], ["--help"], ["--version"], *([name, "--help"] for name in ("check", "status", "predict"))],
    ids=" ".join,
)
def test_help_needs_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from imseg.cli.main import run; status = run(sys.argv[1:]);"
        " print('torch is loaded:', 'torch' in sys.modules); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.endswith("torch is loaded: False\n")


def choices_of(one: Option) -> tuple[str, ...]:
    """Return the words that an option can have."""
    kinds = (one.type, *get_args(one.type))
    return next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), ())


def test_every_declared_option_has_help_and_is_one_of_train(cli: Any) -> None:
    status, out, _ = cli("train", "--help")
    assert status == 0
    assert choices_of(declared()["effort"]) == ("quick", "standard", "paper")
    assert "cityscapes" in choices_of(declared()["paper"])
    shown = {
        name: each
        for each in get_command(app).commands["train"].params
        for name in (*each.opts, *each.secondary_opts)
    }
    for name, one in declared().items():
        assert one.name == name
        assert one.help.endswith((".", "]", "...", ")")), name
        assert len(one.help) > 15, name
        assert f"  {one.flag} " in out or f"  {one.flag}\n" in out or f"{one.flag} /" in out, name
        panel = MOST_USED if one.essential else HEADINGS[one.group]
        assert shown[one.flag].rich_help_panel == panel
        for word in choices_of(one):
            assert word in one.help, f"{name}: {word} is not named"


def test_a_default_that_is_the_same_everywhere_is_shown() -> None:
    told = {each.name: each.help for each in get_command(app).commands["train"].params}
    for name in declared():
        value = default_of(name)
        if value is not None and "[default:" not in declared()[name].help:
            assert "[default:" in told[name], name
    assert told["learning_rate"].endswith("[default: 0.01]")
    assert told["seed"].endswith("[default: 0]")


OTHER: dict[str, Any] = {
    "networks": 7,
    "generations": 4,
    "patience": 3,
    "fresh_copies": True,
    "teachers": 3,
    "vote": "majority",
    "views": 7,
    "plain_view": False,
    "erode": 3,
    "dilate": 5,
    "grow_labels": True,
    "blocking": "input",
    "ignore": True,
    "block_color": "mean",
    "mask_scorers": 3,
    "select": "all",
    "thresholds": (0.25, 0.5),
    "reblock": True,
    "strength_level": 4,
    "strength_schedule": "hela",
    "rotate": False,
    "consistency_weight": 0.25,
    "consistency_ramp": 3,
    "consistency_level": "high",
    "teacher_weight": 0.25,
    "teacher_ramp": 0.125,
    "labeled_share": 0.75,
    "learners": 3,
    "averaged_teachers": False,
    "exchange": True,
    "filter": "both",
    "confidence": 0.75,
    "cutmix": 0.25,
    "strong_views": 2,
    "feature_dropout": 0.25,
    "start_share": 0.125,
    "epochs": 77,
    "max_steps": 33,
    "batch_size": 5,
    "learning_rate": 0.0625,
    "weight_decay": 0.125,
    "learning_rate_schedule": "cosine",
    "warm_up_steps": 9,
    "average_weights": 0.75,
    "keep_weights": "last",
    "augment": "weak",
    "loss": "cross-entropy",
    "class_balance": 0.25,
    "rare_share": 0.25,
    "optimizer": "adamw",
    "clip_gradients": 2.0,
    "validate_every": 6,
    "width": 0.375,
    "weights": "first.safetensors",
    "seed": 5,
    "image_size": (48, 80),
    "limit_unlabeled": 9,
    "tta": True,
    "precision": "float32",
    "workers": 3,
}
"""For every option that a plan holds as it is, another value than it has by itself."""
NOT_KEPT = {
    "approach",
    "effort",
    "paper",
    "recipe",
    "network",
    "task",
    "unlabeled_masks",
    "match",
    "reuse",
}
NOT_KEPT |= {"device", "compile", "follow_links", "start_with", "executor", "address"}
NOT_KEPT |= {
    "minutes",
    "scale",
    "patch",
    "whole_image",
    "object_size",
}  # see tests/approaches/planning
NOT_KEPT |= {"encoder_learning_rate", "decoder_width"}  # see tests/networks/test_encoders.py
"""Options that are settled to something else, or say where something is."""


NEEDED: dict[str, dict[str, Any]] = {
    "exchange": {
        key: {"learners": 2, "filter": "none"}
        for key in ("auto", "fixmatch", "unimatch", "unimatch+im", "online-im")
    },
    "filter": {
        **{key: {"learners": 2} for key in ("fixmatch", "unimatch")},
        "cps": {"exchange": False},
    },
    "confidence": {key: {"filter": "confidence"} for key in ("auto", "cps", "online-im")},
}
"""What else must be given for an option to change something, by its name and the approach."""


def test_every_option_is_looked_at() -> None:
    assert set(OTHER) | NOT_KEPT == set(declared())
    assert not set(OTHER) & NOT_KEPT


@pytest.mark.parametrize("effort", ["quick", "paper"])
@pytest.mark.parametrize("name", OTHER)
def test_an_option_survives_from_settings_to_plan_to_toml_and_back(name: str, effort: str) -> None:
    taken = 0
    for approach, each in APPROACHES.items():
        if each.matched or (name not in each.options and name in component_options()):
            continue
        given = {"approach": approach, "effort": effort, "device": "cpu", "recipe": "paper"}
        given[name] = OTHER[name]
        if each.sees_truth:
            given["unlabeled_masks"] = "hidden"
        if name == "limit_unlabeled" and not each.needs_unlabeled:
            continue
        if name in ("vote", "reblock") and approach == "noisy-student":
            continue  # one teacher always agrees with itself, and nothing is blocked
        given |= NEEDED.get(name, {}).get(approach, {})
        if name == "exchange" and approach == "cps":
            given[name] = False  # True is what it does by itself
        if name == "averaged_teachers" and approach not in ("auto", "online-im"):
            given[name] = True
        if name == "strong_views" and approach.startswith("unimatch"):
            given[name] = 1  # 2 is what it has by itself
        if name == "filter" and approach == "unimatch+im":
            given[name] = "none"
        if name in ("reblock", "ignore") and effort == "quick":
            given[name] = False  # True is what it does there by itself
        if name == "plain_view" and effort == "paper":
            given[name] = True
        plan = make_plan(settings_from(given), FACTS)
        assert settled(plan, name) == given[name], approach
        again = Plan.from_dict(tomllib.loads(tomli_w.dumps(plan.as_dict())))
        assert again == plan
        assert settled(again, name) == given[name]
        without = {key: value for key, value in given.items() if key != name}
        assert make_plan(settings_from(without), FACTS) != plan, f"{approach} has it by itself"
        taken += 1
    assert taken


def component_options() -> set[str]:
    """Return the options that approaches have, or do not have."""
    return {name for each in APPROACHES.values() for name in each.options}
