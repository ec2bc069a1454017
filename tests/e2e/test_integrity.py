"""A flipped byte in any file of a run is found, named, and only that piece is made again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.e2e.small_sets import Told, Watched, small_set, train, weights_of, write_hidden
from tests.e2e.test_continue import untimed
from tests.sets import rest_but

from imseg.approaches.runs.run import load_run
from imseg.approaches.runs.verification import survey
from imseg.errors import ImsegError

OPTIONS = {"generations": 2, "select": "all"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, Path]:
    """A finished run with judges and audits, and the hidden masks it was audited with."""
    place = tmp_path_factory.mktemp("whole")
    hidden = write_hidden(place / "hidden", "binary")
    train(small_set("binary"), "im++", place / "run", unlabeled_masks=hidden, **OPTIONS)
    return place / "run", hidden


def names(run: Path) -> list[str]:
    return sorted(
        path.relative_to(run).as_posix()
        for path in run.rglob("*")
        if path.is_file() and path.name != "log.jsonl"
    )


def flip(path: Path, *, share: float = 0.5) -> None:
    """Change a letter or digit near a place in a file; in weights, any byte."""
    content = bytearray(path.read_bytes())
    place = int(len(content) * share)
    if path.suffix != ".safetensors":
        place = next(n for n in range(place, len(content)) if chr(content[n]).isalnum())
    content[place] ^= 1
    path.write_bytes(content)


FILES = {
    "experiment.toml": 0,
    "target.json": 0,
    "data.json": 0,
    "provenance.json": 0,
    "summary.json": 0,
    "start/DONE": 0,
    "start/network-0.json": 1,
    "start/network-1.safetensors": 1,
    "scorers/DONE": 0,
    "scorers/judgment.json": 0,
    "scorers/network-0.safetensors": 1,
    "scorers/network-1.json": 1,
    "generation-1/DONE": 0,
    "generation-1/audit.json": 0,
    "generation-1/network-0.safetensors": 1,
    "generation-2/network-1.json": 1,
    "generation-2/network-1.safetensors": 1,
}


def test_the_files_that_are_damaged_below_are_all_kinds_there_are(whole) -> None:
    run, _ = whole
    kinds = {name.replace("-1.", "-0.").replace("-2/", "-1/") for name in names(run)}
    assert kinds == {name.replace("-1.", "-0.").replace("-2/", "-1/") for name in FILES}


def test_a_whole_run_has_nothing_to_complain_about_and_everything_is_looked_at(whole) -> None:
    run, _ = whole
    found = list(survey(run))
    assert [each for each in found if each.wrong] == []
    assert sorted(each.path.relative_to(run).as_posix() for each in found) == names(run)


@pytest.mark.parametrize(("name", "retrained"), FILES.items())
@pytest.mark.parametrize("share", rest_but([0.02, 0.7], lambda share: share > 0.5))
def test_a_flipped_byte_is_found_named_and_mended(whole, tmp_path, name, retrained, share) -> None:
    first, hidden = whole
    run = shutil.copytree(first, tmp_path / "run")
    flip(run / name, share=share)
    wrong = [each.wrong for each in survey(run) if each.wrong]
    assert wrong and all(name in text for text in wrong)
    told, executor = Told(), Watched()
    again = train(
        small_set("binary"), "im++", run, told=told, executor=executor, unlabeled_masks=hidden,
        **OPTIONS,
    )  # fmt: skip
    assert any(name in text for text in told.warnings)
    assert sum(map(len, executor.jobs.values())) == retrained
    assert weights_of(run) == weights_of(first)
    assert names(run) == names(first)
    assert untimed(again.summary) == untimed(load_run(first).summary)
    for kept in ("experiment.toml", "data.json", "generation-1/audit.json"):
        assert (run / kept).read_bytes() == (first / kept).read_bytes()
    assert [each.wrong for each in survey(run) if each.wrong] == []


@pytest.mark.parametrize("name", ["summary.json", "target.json", "generation-1/network-0.json"])
def test_a_damaged_run_does_not_predict(whole, tmp_path, name) -> None:
    run = shutil.copytree(whole[0], tmp_path / "run")
    flip(run / name)
    with pytest.raises(ImsegError, match=name.split("/")[0]):
        load_run(run).load(["generation-1/network-0"])


def test_damaged_weights_do_not_predict(whole, tmp_path) -> None:
    run = shutil.copytree(whole[0], tmp_path / "run")
    flip(run / "generation-1" / "network-0.safetensors", share=0.9)
    with pytest.raises(ImsegError, match=r"network-0\.safetensors") as refused:
        load_run(run).load(["generation-1/network-0"])
    assert "checksum" in str(refused.value)


def test_settings_that_are_damaged_twice_are_refused(whole, tmp_path) -> None:
    run = shutil.copytree(whole[0], tmp_path / "run")
    for name in ("experiment.toml", "provenance.json"):
        flip(run / name)
    with pytest.raises(ImsegError, match=r"experiment\.toml is damaged"):
        train(small_set("binary"), "im++", run, unlabeled_masks=whole[1], **OPTIONS)


def test_weights_of_a_finished_run_that_are_gone_are_trained_again(whole, tmp_path) -> None:
    run = shutil.copytree(whole[0], tmp_path / "run")
    (run / "generation-2" / "network-0.safetensors").unlink()
    told, executor = Told(), Watched()
    train(
        small_set("binary"), "im++", run, told=told, executor=executor, unlabeled_masks=whole[1],
        **OPTIONS,
    )  # fmt: skip
    assert told.said("network-0.safetensors is missing")
    assert sum(map(len, executor.jobs.values())) == 1
    assert weights_of(run) == weights_of(whole[0])


def test_a_stored_picture_that_is_damaged_is_named_and_read_again(whole, tmp_path) -> None:
    from tests.e2e.small_sets import Killed, Mortal

    run = tmp_path / "run"
    with pytest.raises(Killed):
        train(small_set("binary"), "ldt", run, executor=Mortal(1))
    flip(run / "cache" / "labeled-images.npy", share=0.8)
    assert any("labeled[" in each.wrong for each in survey(run))
    told = Told()
    train(small_set("binary"), "ldt", run, told=told)
    assert told.said("is damaged and was read again")
    whole_one = train(small_set("binary"), "ldt", tmp_path / "whole")
    assert weights_of(run) == weights_of(whole_one.path)


def test_provenance_says_where_a_run_comes_from(whole) -> None:
    content = json.loads((whole[0] / "provenance.json").read_text())
    assert content["experiment"]["plan"]["compute"]["device"] == "cpu"
    assert set(content["experiment"]["digests"]) == {"labeled", "validation", "unlabeled"}
    assert content["git"] is None or len(content["git"]["commit"]) == 40
    assert content["versions"]["torch"]
