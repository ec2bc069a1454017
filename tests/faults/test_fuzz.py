"""Two thousand cases of bad input: done, or refused with one clear error, and nothing else.

A failing case is seen again with ``python -m tests.faults.fuzz --case NUMBER``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.cases import Runs, play
from tests.faults.fixing import mend
from tests.faults.fuzz import described, runs_in
from tests.sets import rest_but

from imseg.data.checks import mask_values, repair

CASES, CHUNKS = 2000, 40
_WITH_CLASSES = 10


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return runs_in(tmp_path_factory.mktemp("fuzz-runs"))


@pytest.mark.parametrize("chunk", rest_but(range(CHUNKS), lambda chunk: chunk == 0))
def test_bad_input_is_refused_in_words_or_does_no_harm(
    chunk: int, runs: Runs, tmp_path: Path
) -> None:
    failed = []
    for number in range(chunk * CASES // CHUNKS, (chunk + 1) * CASES // CHUNKS):
        folder = tmp_path / str(number)
        folder.mkdir()
        outcome = play(number, folder, runs)
        if outcome.wrong:
            failed.append(described(outcome))
    assert not failed, "\n\n".join(failed)


FOLDERS, STEPS = 600, 20


@pytest.mark.parametrize("step", rest_but(range(STEPS), lambda step: step == 0))
def test_no_label_is_lost_by_a_fix_unless_it_is_reported(step: int, tmp_path: Path) -> None:
    """Seen again with ``python -m tests.faults.fuzz --fix --case NUMBER``."""
    lost = []
    for number in range(step, FOLDERS if step else 6 * STEPS, STEPS):
        (tmp_path / str(number)).mkdir()
        fixed = mend(number, tmp_path / str(number))
        lost += [fixed] if fixed.lost or "would lose" in fixed.refused else []
    assert not lost, "\n\n".join(map(str, lost))


def test_the_folders_show_what_a_wrong_mender_loses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mask_values, "smeared_between", lambda *_: (0, 255))
    monkeypatch.setattr(repair, "_losses_of", lambda *_: [])
    fixed = mend(_WITH_CLASSES, tmp_path)
    assert len(fixed.lost) > 3 and not fixed.refused


@pytest.mark.rest
def test_a_case_is_the_same_whoever_plays_it(runs: Runs, tmp_path: Path) -> None:
    played = []
    for name in ("one", "other"):
        outcomes = []
        for number in range(12):
            folder = tmp_path / name / str(number)
            folder.mkdir(parents=True)
            outcomes.append(play(number, folder, runs))
        played.append([(each.command, each.faults, each.status) for each in outcomes])
    assert played[0] == played[1]


@pytest.mark.rest
def test_the_cases_hold_every_command_and_both_ends(runs: Runs, tmp_path: Path) -> None:
    ends = set()
    for number in range(60):
        (tmp_path / str(number)).mkdir()
        outcome = play(number, tmp_path / str(number), runs)
        ends.add((outcome.command, outcome.status))
    assert ends == {(name, end) for name in ("check", "train", "predict") for end in (0, 2)}
