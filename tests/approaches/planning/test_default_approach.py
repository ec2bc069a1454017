"""Which approach is trained where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.approaches.planning.test_plan import ISIC
from typer.main import get_command

from imseg.approaches.planning.budget import make_plan
from imseg.approaches.planning.settings import Settings, settings_from
from imseg.approaches.running.preparation import default_out
from imseg.cli.main import app
from imseg.errors import ImsegError


@pytest.mark.parametrize(
    ("given", "approach"),
    [
        ({}, "auto"),
        ({"max_steps": 500}, "auto"),
        ({"effort": "quick"}, "auto"),
        ({"minutes": 5.0}, "auto"),
        ({"recipe": "modern"}, "auto"),
        ({"recipe": "paper"}, "im"),
        ({"effort": "paper"}, "im"),
        ({"effort": "paper", "recipe": "modern"}, "im"),
        ({"effort": "quick", "recipe": "paper"}, "im"),
        ({"paper": "isic2018"}, "im"),
        ({"approach": "ldt", "effort": "paper"}, "ldt"),
        ({"approach": "auto", "recipe": "paper"}, "auto"),
        ({"approach": "im", "max_steps": 500}, "im"),
    ],
)
def test_it_is_auto_and_as_in_the_paper_im(given, approach: str, tmp_path: Path) -> None:
    config = tmp_path / "settings.toml"
    text = [f"{name} = {value!r}".replace("'", '"') for name, value in given.items()]
    config.write_text("\n".join(text))
    for settings in (Settings(**given), settings_from(given), settings_from({}, config=config)):
        assert settings.approach == settings.composition.name == approach
        assert settings.given.get("approach") == given.get("approach"), "it stays without a name"
        assert settings.plain().get("approach") == given.get("approach")
    assert make_plan(Settings(**given, device="cpu"), ISIC).approach.name == approach
    name = "5-minutes" if "minutes" in given else approach
    assert default_out("my-data", Settings(**given)) == Path(f"runs/my-data-{name}-seed0")


def test_the_name_goes_before_that_of_a_file(tmp_path: Path) -> None:
    config = tmp_path / "settings.toml"
    config.write_text('approach = "im"\ngenerations = 2\n')
    assert settings_from({}, config=config).approach == "im"
    with pytest.raises(ImsegError, match="ldt has no use for --generations"):
        settings_from({"approach": "ldt"}, config=config)


def test_the_help_says_so() -> None:
    told = {each.name: each.help for each in get_command(app).commands["train"].params}
    assert told["approach"].endswith(
        "[default: auto; without unlabeled images ldt; with the paper's recipe or schedule im]"
    )


@pytest.mark.parametrize(
    ("given", "flag", "users"),
    [
        (
            {"generations": 2},
            "--generations",
            "im, model-ensemble, input-ensemble, noisy-student (and 6 more)",
        ),
        ({"teachers": 3}, "--teachers", "im, model-ensemble, noisy-student, im+ (and 4 more)"),
        ({"blocking": "none"}, "--blocking", "im, im+, im++, aim+ (and 2 more)"),
        ({"mask_scorers": 2}, "--mask-scorers", "evalnet"),
        ({"views": 3, "effort": "quick"}, "--views", "input-ensemble"),
    ],
)
def test_options_of_other_approaches_are_refused_with_those_that_use_them(
    given, flag: str, users: str
) -> None:
    text = f"""auto has no use for {flag}.
  Expected: options that change something.
  Got:      auto{{}}.
  Try:      leave them out, or --approach {users}, or see imseg explain auto."""
    with pytest.raises(ImsegError) as caught:
        settings_from(given)
    assert str(caught.value) == text.format(", because no approach is named")
    with pytest.raises(ImsegError) as caught:
        settings_from({**given, "approach": "auto"})
    assert str(caught.value) == text.format("")
    named = users.split(",")[0]
    assert settings_from({**given, "approach": named}).approach == named


def test_hidden_masks_are_of_use_to_im() -> None:
    with pytest.raises(ImsegError, match="auto may not see the hidden masks") as caught:
        settings_from({"unlabeled_masks": "hidden", "max_steps": 9})
    assert caught.value.hint == "leave --unlabeled-masks out, or --approach im."
    settings_from({"unlabeled_masks": "hidden", "max_steps": 9, "approach": "im"})
