"""What ``imseg verify`` finds: every damaged file, and networks that come out as they were."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.e2e.small_sets import Killed, Mortal, Told, contents, small_set, train
from tests.e2e.test_integrity import flip

import imseg
from imseg.approaches.runs.retraining import Retrained, copy_run, differing_weights, retrain
from imseg.approaches.runs.run import load_run
from imseg.approaches.runs.verification import kind_of, remedy_of, verify
from imseg.cli.commands.status import network_text
from imseg.engine.storage import sealed
from imseg.engine.storage.run_folder import RunFolder
from imseg.engine.storage.sealed import read_sealed, write_sealed
from imseg.engine.training.job import read_trained, save_weights
from imseg.engine.workers.executors import index_networks
from imseg.errors import ImsegError
from imseg.types import VERSION

OPTIONS = {"generations": 2, "select": "all", "patience": 0}
TRAINED = ["--networks", "2", "--max-steps", "4", "--image-size", "32", "32", "--width", "0.25"]
TRAINED += ["--batch-size", "8", "--workers", "1", "--device", "cpu", "--precision", "float32"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A finished run of im++, with judges."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(small_set("binary"), "im++", out, **OPTIONS)
    return out


@pytest.fixture(scope="module")
def from_files(tmp_path_factory, cells) -> Path:
    """A finished run of im++ on pictures in files."""
    from imseg.cli.main import run

    out = tmp_path_factory.mktemp("files") / "run"
    words = ["train", str(cells), "--approach", "im++", "--generations", "2", "--select", "all"]
    words += ["--patience", "0"]
    assert run([*words, *TRAINED, "--no-report", "--out", str(out)]) == 0
    return out


def test_a_whole_run_is_found_whole(cli, cli_json, whole) -> None:
    before = contents(whole)
    code, text, _ = cli("verify", whole)
    assert code == 0 and "Nothing is damaged or missing." in text
    assert contents(whole) == before
    found = cli_json("verify", whole)
    files = {kind: each["whole"] for kind, each in found["files"].items()}
    assert files == {
        "weights": 8,
        "scores of networks": 8,
        "rankings of stages": 4,
        "settings and provenance": 4,
        "results": 2,
    }
    assert found["whole"] and found["damaged"] == []
    total = sum(path.is_file() for path in whole.rglob("*"))
    assert sum(files.values()) == total - 1, "all but the log"


@pytest.mark.parametrize(
    ("name", "kind", "remedy"),
    [
        ("start/network-0.safetensors", "weights", "only what is damaged is trained again"),
        ("scorers/network-1.json", "scores of networks", "only what is damaged is trained again"),
        ("generation-1/DONE", "rankings of stages", "only what is damaged is made again"),
        ("experiment.toml", "settings and provenance", "taken from provenance.json"),
        ("summary.json", "results", "only what is damaged is made again"),
    ],
)
def test_a_flipped_byte_is_named_with_what_to_do(
    cli, cli_json, whole, tmp_path, name, kind, remedy
):
    run = shutil.copytree(whole, tmp_path / "run")
    flip(run / name)
    code, text, _ = cli("verify", run)
    assert code == 1 and f"* {run / name} is damaged" in text and remedy in text
    assert "Nothing is damaged" not in text
    found = verify(run)
    assert found.counts[kind].damaged == 1
    assert sum(each.damaged for each in found.counts.values()) == 1


@pytest.mark.parametrize("name", ["start/network-0.safetensors", "generation-2/DONE"])
def test_a_missing_file_is_named(cli, whole, tmp_path, name) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    (run / name).unlink()
    code, text, _ = cli("verify", run)
    assert code == 1 and f"* {run / name} is missing." in text
    assert [each.path for each in verify(run).damages] == [run / name]


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\0\xff", b'{"ranking": 3}', b"a = ["])
@pytest.mark.parametrize("name", ["start/DONE", "summary.json", "start/network-0.json"])
def test_whatever_stands_in_a_file_it_is_named(cli, whole, tmp_path, name, content) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    (run / name).write_bytes(content)
    code, text, _ = cli("verify", run)
    assert code == 1 and f"* {run / name}" in text
    train(small_set("binary"), "im++", run, **OPTIONS)
    assert verify(run).damages == ()


def test_a_run_that_is_trained_is_not_looked_at(cli, whole, tmp_path) -> None:
    from imseg.engine.storage.run_folder import locked

    run = shutil.copytree(whole, tmp_path / "run")
    with locked(run):
        code, _, err = cli("verify", run)
    assert code == 2 and f"process {os.getpid()}" in err and f"imseg status {run}" in err
    assert cli("verify", run)[0] == 0


def test_a_run_of_an_earlier_version_is_refused_with_both_versions(
    cli, cells, whole, tmp_path, monkeypatch
) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    documents = [path for path in run.rglob("*") if path.name == "DONE" or path.suffix == ".json"]
    with monkeypatch.context() as earlier:
        for path in (run / "experiment.toml", *documents):
            content = read_sealed(path)
            earlier.setattr(sealed, "_WRITTEN_BY", "imseg, format 1")
            write_sealed(path, content)
            earlier.undo()
    before = contents(run)
    for words in (
        ["verify", run], ["status", run], ["report", run], ["train", cells, "--out", run],
        ["train", cells, "--out", tmp_path / "new", "--reuse", run],
        ["predict", run, cells / "test" / "images", "--out", tmp_path / "masks"],
    ):  # fmt: skip
        code, _, err = cli(*words)
        assert code == 2 and err.count("was written by another version of imseg") == 1, words
        assert f"imseg {VERSION}, format 2." in err and "imseg, format 1." in err
    assert contents(run) == before


def test_stored_images_and_checkpoints_of_a_stopped_run_are_looked_at(tmp_path) -> None:
    run = tmp_path / "run"
    with pytest.raises(Killed):
        train(small_set("binary"), "im", run, executor=Mortal(1), **OPTIONS)
    assert verify(run).damages == () and verify(run).counts["stored images"].whole >= 3
    flip(run / "cache" / "labeled-images.npy", share=0.8)
    (run / "start" / "network-1.checkpoint").write_bytes(b"torn")
    found = verify(run)
    assert found.counts["stored images"].damaged == found.counts["checkpoints"].damaged == 1
    remedies = {each.path.name: each.remedy for each in found.damages}
    assert remedies["labeled.json"].startswith("nothing: it is made again")


def test_a_comparison_is_looked_at_as_a_whole(cli, compared, tmp_path) -> None:
    assert cli("verify", compared)[0] == 0
    part = shutil.copytree(compared, tmp_path / "part")
    weights = part / "seed-1" / "im" / "generation-1" / "network-0.safetensors"
    flip(weights)
    code, text, _ = cli("verify", part)
    assert code == 1 and str(weights) in text and "repeat the compare command" in text
    code, _, err = cli("verify", part, "--retrain", "start/network-0", "--data", tmp_path)
    assert code == 2 and "is a comparison" in err and "seed-0/ldt" in err
    with pytest.raises(ImsegError, match="There is no run in") as refused:
        retrain(compared, "start/network-0", small_set("binary"))
    assert "one of its runs" in str(refused.value)


def test_what_is_no_run_is_refused(cli, tmp_path) -> None:
    code, _, err = cli("verify", tmp_path)
    assert code == 2 and "There is no run in" in err


def test_every_kind_of_file_has_a_remedy() -> None:
    folder = Path("run")
    for name in ("comparison.toml", "report/tables/time.csv", "cache/val.json", "x/y.json"):
        assert remedy_of(folder / name, folder)
    assert kind_of(folder / "scores" / "seed-0" / "im.json") == "results"
    assert kind_of(folder / "cache" / "generation-1" / "labels.json") == "stored images"


@pytest.mark.parametrize(
    "network",
    ["start/network-1", "scorers/network-0", "generation-1/network-0", "generation-2/network-1"],
)
def test_a_network_trained_again_is_the_same_to_the_bit(whole, network) -> None:
    before, told = contents(whole), Told()
    links = {path: path.stat().st_nlink for path in whole.rglob("*") if path.is_file()}
    again = retrain(whole, network, small_set("binary"), progress=told)
    assert again.same and again.same_weights and again.same_job and again.largest_difference == 0.0
    assert again.differing_scores == {} and again.tensors > 10
    assert contents(whole) == before, "the run was not touched"
    assert links == {path: path.stat().st_nlink for path in whole.rglob("*") if path.is_file()}
    assert told.warnings == [] and told.reused == []


@pytest.mark.rest
def test_the_command_trains_a_network_again(cli, cli_json, cells, from_files) -> None:
    before = contents(from_files)
    for network in ("start/network-0", "generation-2/network-1"):
        code, text, err = cli("verify", from_files, "--retrain", network, "--data", cells)
        assert code == 0, err
        assert f"{network} trained again is the same to the bit" in text
    assert contents(from_files) == before
    found = cli_json("verify", from_files, "--retrain", "start/network-1", "--data", cells)
    assert found["retrained"]["same"] and found["retrained"]["largest_difference"] == 0


def plant(run: Path, network: str, *, by: float) -> None:
    """Change the weights of a network a little, with a checksum that is right."""
    weights = RunFolder(run).weights(network)
    state = load_file(weights)
    name = next(key for key, value in state.items() if value.dtype == torch.float32)
    state[name] = state[name] + by
    known = read_sealed(weights.with_suffix(".json"))
    known["scores"]["iou"] = 0.987654
    write_sealed(weights.with_suffix(".json"), {**known, "sha256": save_weights(state, weights)})


@pytest.mark.rest
def test_other_weights_with_a_checksum_that_is_right_are_found_by_training_again(
    cli, cells, from_files, tmp_path
) -> None:
    run = shutil.copytree(from_files, tmp_path / "run")
    plant(run, "start/network-0", by=0.25)
    before = contents(run)
    assert cli("verify", run)[0] == 0, "every checksum is right"
    code, text, _ = cli("verify", run, "--retrain", "start/network-0", "--data", cells)
    assert code == 1 and "start/network-0 trained again differs." in text
    assert "weights: 1 of" in text and "by 0.25 at most" in text and "iou: 0.987654 then" in text
    assert "Versions and machine are those of then." in text
    assert "float32 on the CPU" in text and "not promised" not in text
    assert contents(run) == before


def test_what_is_expected_elsewhere_is_said() -> None:
    again = Retrained(
        network="start/network-0", same_weights=False, same_job=True,
        differing_tensors=("a",), tensors=2, largest_difference=1e-6, differing_scores={},
        differing_surroundings={}, device="cpu", precision="bfloat16",
    )  # fmt: skip
    assert "cpu in bfloat16, where that is not promised" in network_text(again)
    assert "A GPU" not in network_text(again)
    on_gpu = network_text(dataclasses.replace(again, device="cuda:0"))
    assert "cuda:0 in bfloat16" in on_gpu and "A GPU does not always add" in on_gpu


def test_what_a_network_learned_from_is_looked_at_too(whole, tmp_path) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    stage = read_sealed(run / "start" / "DONE")
    plant(run, stage["ranking"][0], by=2.0)  # it is the teacher of the first generation
    again = retrain(run, "generation-1/network-0", small_set("binary"))
    assert not again.same and not again.same_job


@pytest.mark.rest
def test_versions_and_machine_that_differ_are_named(cli, cells, from_files, tmp_path) -> None:
    run = shutil.copytree(from_files, tmp_path / "run")
    plant(run, "start/network-0", by=1.0)
    known = read_sealed(run / "provenance.json")
    known["versions"]["torch"], known["cpu"] = "1.0.0", "ABACUS"
    write_sealed(run / "provenance.json", known)
    code, text, _ = cli("verify", run, "--retrain", "start/network-0", "--data", cells)
    assert code == 1
    assert f"* version of torch: 1.0.0 then, {torch.__version__} now" in text
    assert "* cpu: ABACUS then" in text


def test_a_run_need_not_be_finished_if_the_network_is(tmp_path) -> None:
    run = tmp_path / "run"
    with pytest.raises(Killed):
        train(small_set("binary"), "im", run, executor=Mortal(3), **OPTIONS)
    before = contents(run)
    for network in ("start/network-0", "generation-1/network-0"):
        assert retrain(run, network, small_set("binary")).same
    assert contents(run) == before
    with pytest.raises(ImsegError, match=r"no finished network named 'generation-1/network-1'"):
        retrain(run, "generation-1/network-1", small_set("binary"))


@pytest.mark.rest
def test_a_network_that_others_are_missing_for_is_not_trained(whole, tmp_path) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    (run / "scorers" / "network-0.safetensors").unlink()
    with pytest.raises(ImsegError, match="cannot be trained alone") as refused:
        retrain(run, "generation-1/network-0", small_set("binary"))
    assert "scorers/network-0 would be trained first" in str(refused.value)


@pytest.mark.rest
def test_other_data_is_refused_in_words_about_the_run(cli, cells, from_files, tmp_path) -> None:
    from PIL import Image, ImageOps

    other = shutil.copytree(cells, tmp_path / "cells")
    picture = sorted((other / "labeled" / "images").iterdir())[0]
    ImageOps.invert(Image.open(picture).convert("L")).save(picture)
    before = contents(from_files)
    code, _, err = cli("verify", from_files, "--retrain", "start/network-0", "--data", other)
    assert code == 2 and f"The data has changed since {from_files} was begun." in err
    assert "imseg-verify-" not in err and "--data with the folder" in err and "--out" not in err
    assert contents(from_files) == before


def test_what_cannot_be_trained_again_is_refused(cli, cells, whole, tmp_path) -> None:
    code, _, err = cli("verify", whole, "--retrain", "start/network-9", "--data", cells)
    assert code == 2 and "no finished network named 'start/network-9'" in err
    assert "start/network-0, start/network-1" in err
    code, _, err = cli("verify", whole, "--retrain", "start/network-0")
    assert code == 2 and "--data is missing" in err
    code, _, err = cli("verify", whole, "--data", cells)
    assert code == 2 and "--retrain is missing" in err
    run = shutil.copytree(whole, tmp_path / "run")
    flip(run / "start" / "network-0.safetensors")
    code, text, _ = cli("verify", run, "--retrain", "start/network-0", "--data", cells)
    assert code == 1 and "was not trained again" in text
    with pytest.raises(ImsegError, match="is not whole"):
        retrain(run, "start/network-0", small_set("binary"))


def small_network(channels: int, outputs: int, width: float) -> torch.nn.Module:
    return torch.nn.Conv2d(channels, outputs, 3, padding=1)


def test_a_network_of_the_users_own_is_refused(tmp_path) -> None:
    out, data = tmp_path / "run", small_set("binary")
    imseg.fit(
        data, approach="ldt", out=out, network=small_network, progress=Told(), networks=1,
        max_steps=2, image_size=(32, 32), batch_size=8, device="cpu", precision="float32",
    )  # fmt: skip
    with pytest.raises(ImsegError, match="a network of your own"):
        retrain(out, "start/network-0", data)
    assert verify(out).damages == ()


def test_a_copy_shares_files_and_leaves_out_what_is_trained_again(whole, tmp_path) -> None:
    copy = RunFolder(tmp_path / "copy")
    copy_run(RunFolder(whole), copy, without="start/network-0")
    ours = {path.relative_to(whole) for path in whole.rglob("*") if path.is_file()}
    theirs = {path.relative_to(copy.path) for path in copy.path.rglob("*") if path.is_file()}
    left_out = {str(path) for path in ours - theirs}
    assert left_out == {
        "start/network-0.safetensors", "start/network-0.json", "start/DONE", "summary.json",
        "log.jsonl",
    }  # fmt: skip
    assert not theirs - ours
    shared = whole.stat().st_dev == tmp_path.stat().st_dev
    assert (copy.path / "data.json").samefile(whole / "data.json") == shared
    assert len(index_networks(copy.path)) == len(index_networks(whole)) - 1


def test_a_disk_without_links_gets_copies(whole, tmp_path, monkeypatch) -> None:
    def refused(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refused)
    copy = RunFolder(tmp_path / "copy")
    copy_run(RunFolder(whole), copy, without="start/network-0")
    assert not (copy.path / "data.json").samefile(whole / "data.json")
    assert (copy.path / "data.json").read_bytes() == (whole / "data.json").read_bytes()


def test_weights_are_compared_bit_by_bit(tmp_path) -> None:
    one, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    state = {"x": torch.tensor([1.0, float("nan")]), "n": torch.tensor(3), "y": torch.zeros(2)}
    save_weights(state, one)
    save_weights(state, other)
    assert differing_weights(one, other) == ([], 3, 0.0)
    save_weights({**state, "y": torch.tensor([0.0, -0.0])}, other)
    assert differing_weights(one, other) == (["y"], 3, 0.0), "minus zero is another number"
    save_weights({**state, "n": torch.tensor(5), "y": torch.tensor([0.5, 0.0])}, other)
    assert differing_weights(one, other) == (["n", "y"], 3, 2.0)
    save_weights({**state, "y": torch.zeros(3)}, other)
    assert differing_weights(one, other) == (["y"], 3, float("inf"))


@pytest.mark.rest
def test_matched_baselines_and_other_kinds_of_masks_come_out_again(tmp_path) -> None:
    data = small_set("multilabel")
    run = train(data, "im", tmp_path / "im", generations=1, select="all")
    left_out = ("epochs", "max_steps", "image_size", "width", "batch_size")
    matched = train(data, "ldt-matched", tmp_path / "matched", match=run.path, leave_out=left_out)
    assert retrain(run.path, "generation-1/network-1", data).same
    assert retrain(matched.path, "start/network-0", data).same
    assert read_trained(RunFolder(matched.path).weights("start/network-0")) is not None
    assert load_run(matched.path).summary
