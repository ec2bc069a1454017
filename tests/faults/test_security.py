"""Runs and data of a stranger: nothing is executed, nothing leads out, nothing swells."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pickle
import shutil
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter
from safetensors.torch import save
from tests.e2e.small_sets import (
    Killed,
    Mortal,
    Told,
    scenes,
    small_set,
    train,
    weights_of,
    write_hidden,
)
from tests.sets import rest_but

from imseg.approaches.runs.run import load_run
from imseg.approaches.runs.verification import survey
from imseg.cli.main import run as command
from imseg.data.cache.store import open_array
from imseg.data.files.listing import folder_names, sheet
from imseg.data.folder.config import read_config
from imseg.data.images.picture_file import probe, read_image
from imseg.data.masks.io import read_mask
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.storage.run_folder import RunFolder
from imseg.engine.storage.sealed import read_sealed, write_sealed
from imseg.engine.training.checkpoint import _checksum, read_saved
from imseg.engine.training.job import build, hash_of, load_network
from imseg.errors import ImsegError, ImsegErrors, TrainingFailed, shown
from imseg.networks import registry
from imseg.networks.registry import (
    CustomConfig,
    EvalNetConfig,
    Network,
    PaperUNetConfig,
    UNetConfig,
    UNetPlusConfig,
    import_callable,
)
from imseg.report.predictions.places import mask_files

OPTIONS: dict[str, Any] = {"generations": 1, "select": "all"}
STEERING = "a\x1b[2J\x07\u202eb"
"""Clears the screen, rings, and turns the text around."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished run with planes, mask scorers and an audit, and its hidden masks."""
    place = tmp_path_factory.mktemp("whole")
    hidden = write_hidden(place / "hidden", "multilabel")
    train(small_set("multilabel"), "im++", place / "run", unlabeled_masks=hidden, **OPTIONS)
    return place / "run", hidden


@pytest.fixture
def planted(whole: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the run, to plant something in."""
    return shutil.copytree(whole[0], tmp_path / "run")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with two pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, image in enumerate(scenes(5, 2)[0]):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that has to be refused with one error; gives its text."""

    def call(*words: object) -> str:
        capsys.readouterr()
        status = command([str(word) for word in words])
        text = capsys.readouterr().err
        assert status == 2, text
        assert text.count("imseg: ") == 1 and "Traceback" not in text
        assert all(each.isprintable() or each in "\n\t" for each in text)
        return text

    return call


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.fixture
def bomb(tmp_path: Path) -> Callable[..., tuple[bytes, Path]]:
    """Pickles that make a file when they are executed, and that file."""

    def make(kind: str = "plain") -> tuple[bytes, Path]:
        target = tmp_path / "executed"
        stream = io.BytesIO()
        if kind == "torch":
            torch.save({"weight": Bomb(target)}, stream)
        elif kind == "npy":
            np.save(stream, np.array([Bomb(target)], dtype=object), allow_pickle=True)
        else:
            pickle.dump(Bomb(target), stream)
        return stream.getvalue(), target

    return make


def test_the_pickles_below_would_be_executed(bomb) -> None:
    content, target = bomb()
    pickle.loads(content)
    assert target.exists()


# 1. Pickles.


@pytest.mark.parametrize("kind", ["plain", "torch"])
@pytest.mark.parametrize("resealed", [True, False])
def test_a_pickle_as_weights_is_refused(planted, pictures, refused, bomb, kind, resealed) -> None:
    content, executed = bomb(kind)
    weights = planted / f"{load_run(planted).members()[0]}.safetensors"
    weights.write_bytes(content)
    if resealed:  # so that no checksum is in the way
        known = weights.with_suffix(".json")
        write_sealed(known, {**read_sealed(known), "sha256": hash_of(weights)})
    text = refused("predict", planted, pictures, "--out", planted.parent / "masks")
    assert str(weights) in text and not executed.exists()


@pytest.mark.parametrize("name", ["start/DONE", "summary.json", "target.json", "experiment.toml"])
def test_a_pickle_as_a_document_is_refused(planted, pictures, refused, bomb, name) -> None:
    content, executed = bomb()
    (planted / name).write_bytes(content)
    if name == "experiment.toml":
        (planted / "provenance.json").write_bytes(content)
    if name == "start/DONE":  # is not needed for predicting
        assert any(name in each.wrong for each in survey(planted))
    else:
        text = refused("predict", planted, pictures, "--out", planted.parent / "masks")
        assert name in text
    assert not executed.exists()


def test_pickles_in_an_unfinished_run_are_made_again(tmp_path, bomb) -> None:
    run = tmp_path / "run"
    with pytest.raises(Killed):
        train(small_set("binary"), "ldt", run, executor=Mortal(1))
    executed = bomb()[1]
    (run / "start" / "network-0.safetensors").write_bytes(bomb("torch")[0])
    (run / "start" / "network-1.checkpoint").write_bytes(bomb("torch")[0])
    (run / "cache" / "labeled-images.npy").write_bytes(bomb("npy")[0])
    (run / "cache" / "labeled.json").write_bytes(bomb()[0])
    told = Told()
    train(small_set("binary"), "ldt", run, told=told)
    assert told.said("network-0.safetensors")
    assert not executed.exists()
    clean = train(small_set("binary"), "ldt", tmp_path / "clean")
    assert weights_of(run) == weights_of(clean.path)


def test_a_pickle_as_an_array_a_checkpoint_or_a_picture_is_refused(tmp_path, bomb) -> None:
    content, executed = bomb("npy")
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"[Oo]bject"):
        open_array(tmp_path / "a.npy")
    assert read_saved(tmp_path / "a.npy") is None
    for name in ("a.png", "a.tif", "a.jpg"):
        (tmp_path / name).write_bytes(bomb()[0])
        for read in (read_image, read_mask):
            with pytest.raises(ImsegError, match=name):
                read(tmp_path / name)
    assert not executed.exists()


# 2. Networks that are named in files.


FOREIGN = (
    "imseg.cli.main:run",
    "imseg.cli.main:main",
    "imseg.networks.unet:nn",
    "imseg.networks.unet:unet.__globals__",
    "imseg.approaches.running.experiment:fit",
    "os:system",
    "imseg.../planted:main",
    "",
)


@pytest.mark.parametrize("name", FOREIGN)
def test_only_our_own_networks_are_made_from_their_names(name, monkeypatch) -> None:
    import importlib

    def nothing(*_: object) -> None:
        raise AssertionError("a module was looked up")

    monkeypatch.setattr(importlib, "import_module", nothing)
    with pytest.raises(ImsegError, match="cannot be made from its name"):
        build(CustomConfig(callable=name), ComputeConfig(), channels=1, outputs=1)


def test_a_planted_network_is_refused(planted, pictures, refused) -> None:
    network = load_run(planted).members()[0]
    known = planted / f"{network}.json"
    content = read_sealed(known)
    content["network"] = {"kind": "custom", "callable": "imseg.cli.main:run"}
    write_sealed(known, content)
    text = refused("predict", planted, pictures, "--out", planted.parent / "masks")
    assert "'imseg.cli.main:run' is not part of imseg" in text


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "RUN", "PICTURES", "--out", "OUT"),
        ("report", "RUN"),
        ("status", "RUN"),
        ("verify", "RUN"),
        ("verify", "RUN", "--retrain", "generation-1/network-0", "--data", "PICTURES"),
    ],
    ids=lambda words: "-".join(word.lstrip("-") for word in words if word.islower()),
)
@pytest.mark.parametrize("named", ["networks", "record", "both"])
def test_no_command_imports_what_the_files_of_a_run_name(
    whole, planted, pictures, monkeypatch, words, named
) -> None:
    """The module could be imported: it lies where Python looks for modules."""
    folder = planted.parent / "modules"
    folder.mkdir()
    (folder / "planted_network.py").write_text("imported = True\n\ndef main(**_): ...\n")
    monkeypatch.syspath_prepend(str(folder))
    name = "planted_network:main"
    custom = {"kind": "custom", "callable": name}
    if named in ("networks", "both"):
        for known in planted.glob("*/network-*.json"):
            plant(known, ("network",), custom)
    if named in ("record", "both"):
        for place in (("plan", "network"), ("asked", "network")):
            value: object = name if place[0] == "asked" else custom
            plant(planted / "experiment.toml", place, value)
        (planted / "provenance.json").unlink()
    places = {"RUN": planted, "PICTURES": pictures, "OUT": planted.parent / "masks"}
    command([str(places.get(word, word)) for word in words])
    with contextlib.suppress(ImsegError, TrainingFailed):
        train(small_set("multilabel"), "im++", planted, unlabeled_masks=whole[1], **OPTIONS)
    assert "planted_network" not in sys.modules
    assert import_callable(name), "it is there"
    del sys.modules["planted_network"]


def test_names_are_imported_only_where_jobs_come_from_the_parent_process(
    tmp_path, monkeypatch
) -> None:
    (tmp_path / "own_networks.py").write_text(
        "import functools\nimport torch\n\n"
        "def linear(*, channels, outputs, kernel):\n"
        "    return torch.nn.Conv2d(channels, outputs, kernel)\n\n"
        "alias = functools.partial(linear, kernel=1)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    network = CustomConfig(callable="own_networks:alias")
    with pytest.raises(ImsegError, match="cannot be made from its name"):
        network.make(channels=1, outputs=1)
    assert "own_networks" not in sys.modules
    monkeypatch.setattr(registry, "_trusted", [False])
    monkeypatch.setattr(registry, "_provided", {})
    registry.trust_names()
    assert isinstance(network.make(channels=1, outputs=1), torch.nn.Conv2d)


def test_every_network_of_ours_is_made_from_what_is_written() -> None:
    adapter = TypeAdapter(Network)
    for network in (
        UNetConfig(width=0.25),
        UNetPlusConfig(width=0.25),
        PaperUNetConfig(width=0.5),
        *(EvalNetConfig(width=0.25, heads=h, paper=p) for h in (1, 2) for p in (True, False)),
    ):
        again = adapter.validate_json(adapter.dump_json(network))
        assert again == network and type(again) is type(network)
        made, same = (each.make(channels=1, outputs=1) for each in (network, again))
        assert type(made) is type(same)
    own = {"unet", "unet-plus", "paper-unet", "evalnet", "custom"}
    own.add("encoder-unet")  # see tests/networks/test_encoders.py
    assert set(Network.alternatives()) == own


@pytest.mark.parametrize("width", [1e9, 1e300, -1.0, 0.0])
def test_a_planted_width_takes_no_memory(planted, width) -> None:
    weights = planted / f"{load_run(planted).members()[0]}.safetensors"
    with pytest.raises(ImsegError, match="cannot be loaded"):
        load_network(weights, UNetConfig(width=width), ComputeConfig(), channels=1, outputs=3)


# 3. Names.


LEADING_OUT = ("../x", "/abs", "a/../../x", "..\\x", "..", ".", "", "a\0b", "a\nb", STEERING)


@pytest.mark.parametrize("name", LEADING_OUT)
@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("summary.json", ("network",)),
        ("summary.json", ("ranking", 0)),
        ("summary.json", ("stage",)),
        ("summary.json", ("stages", 0, "name")),
        ("summary.json", ("stages", 0, "best")),
        ("summary.json", ("stages", 1, "networks", 0, "name")),
        ("summary.json", ("aside", 0, "name")),
    ],
)
def test_names_in_a_run_that_lead_elsewhere_are_refused(planted, file, place, name) -> None:
    plant(planted / file, place, name)
    with pytest.raises(ImsegError, match=file) as refusal:
        load_run(planted)
    assert all(each.isprintable() or each == "\n" for each in str(refusal.value))


@pytest.mark.parametrize("name", [*filter(None, LEADING_OUT), "scorers/network-0", "start"])
def test_only_networks_of_the_run_are_looked_up(planted, pictures, refused, name) -> None:
    outside = planted.parent / "x"
    for suffix in (".safetensors", ".json"):
        shutil.copy((planted / "start" / "network-0").with_suffix(suffix), f"{outside}{suffix}")
    words = ["predict", planted, pictures, "--out", planted.parent / "masks", "--network", name]
    refused(*[str(word).replace("\0", "\\0") for word in words])


def test_a_network_that_calls_itself_another_is_not_taken_for_it(planted) -> None:
    run = load_run(planted)
    plant(planted / "start" / "network-0.json", ("name",), "../../x")
    with pytest.raises(ImsegError, match="network-0"):
        run.load(["start/network-0"])


def test_labels_become_folders_inside(planted, pictures) -> None:
    names = ["../up", "/abs", "a\x1b\nb"]
    plant(planted / "target.json", ("names",), names)
    out = planted.parent / "deep" / "masks"
    assert command(["predict", str(planted), str(pictures), "--out", str(out)]) == 0
    files = [path for path in planted.parent.rglob("*.png") if pictures not in path.parents]
    assert len(files) == 6 and all(path.is_relative_to(out) for path in files)
    assert all(path.parent.name.isprintable() for path in files)


@pytest.mark.parametrize(
    "labels",
    [
        ["a/b", "a_b", "a\\b", "A_B"],
        ["..", ".", "", "_", ".hidden", " "],
        ["e\u0301", "\u00e9"],
        ["overlays", "Overlays", "inconsistency"],
        ["x" * 300, "x" * 301, "\u20ac" * 200],
        list(LEADING_OUT),
    ],
)
def test_folders_of_labels_are_plain_and_different(labels, tmp_path) -> None:
    names = folder_names(labels, others=("overlays", "inconsistency"))
    alike = {name.casefold() for name in names} | {"overlays", "inconsistency"}
    assert len(alike) == len(labels) + 2
    for name in names:
        assert Path(name).parts == (name,) and not name.startswith(".") and name.isprintable()
        (tmp_path / name).mkdir()
    assert len(list(tmp_path.iterdir())) == len(labels)


def test_folders_of_ordinary_labels_are_called_as_they_are() -> None:
    plain = ["alive", "dead", "position", "Zellkern (groß)", "=1", "a.b", "日本"]
    assert folder_names(plain) == plain


def test_masks_and_overlays_do_not_share_a_folder(whole) -> None:
    import dataclasses

    spec = dataclasses.replace(load_run(whole[0]).spec, names=("overlays", "inconsistency", "x"))
    folders = {path.parent.name for path in mask_files("a.png", Path("out"), spec)}
    assert folders == {"overlays_2", "inconsistency_2", "x"}


def test_links_among_masks_are_replaced_and_not_followed(planted, pictures) -> None:
    out, other = planted.parent / "masks", planted.parent / "precious"
    other.write_text("precious")
    (out / "alive").mkdir(parents=True)
    links = [out / "alive" / "0.png", out / "measurements.csv", out / "inconsistency.csv"]
    for link in links:
        link.symlink_to(other)
    words = ["predict", planted, pictures, "--out", out, "--overwrite", "--inconsistency"]
    assert command([str(word) for word in words]) == 0
    assert other.read_text() == "precious"
    assert not any(link.is_symlink() for link in links)


@pytest.mark.parametrize("name", ["start", "cache", "generation-1", "log.jsonl", ".lock"])
def test_a_run_with_links_that_lead_out_is_not_continued(whole, planted, name) -> None:
    other = planted.parent / "other"
    there = planted / name
    if there.is_dir():
        shutil.move(there, other)
    else:
        there.unlink(missing_ok=True)
        other.mkdir() if name == "cache" else other.write_text("precious")
    there.symlink_to(other)
    before = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    with pytest.raises(ImsegError, match="links that lead out") as refusal:
        train(small_set("multilabel"), "im++", planted, unlabeled_masks=whole[1], **OPTIONS)
    assert str(there) in str(refusal.value)
    assert other.is_dir() or other.read_text() == "precious"
    assert before == {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}


def test_a_run_may_itself_be_a_link(whole, planted) -> None:
    link = planted.parent / "link"
    link.symlink_to(planted)
    train(small_set("multilabel"), "im++", link, unlabeled_masks=whole[1], **OPTIONS)
    RunFolder(link).check_links()


def test_a_report_does_not_go_through_a_link_in_a_run(planted, refused) -> None:
    (planted.parent / "other").mkdir()
    (planted / "report").symlink_to(planted.parent / "other")
    assert "links that lead out" in refused("report", planted)
    assert list((planted.parent / "other").iterdir()) == []


# Text that steers terminals, pages or spreadsheets.


def test_what_steers_a_terminal_is_shown_escaped() -> None:
    assert shown(STEERING) == r"a\x1b[2J\x07\u202eb"
    assert shown("a\nb\tc\rd\x9be\udc80f\u2028") == r"a\nb\tc\rd\x9be\udc80f\u2028"
    assert shown("a\nb\tc\rd", lines=True) == "a\nb\tc\\rd"
    assert shown("Zellkern 日本 é ±") == "Zellkern 日本 é ±"
    assert shown(shown(STEERING)) == shown(STEERING)


def test_errors_never_steer_a_terminal() -> None:
    error = ImsegError(STEERING, expected=STEERING, got=STEERING, hint=STEERING)
    for text in (str(error), str(ImsegErrors([error, error]))):
        assert all(each.isprintable() or each == "\n" for each in text)


def test_progress_never_steers_a_terminal(capsys) -> None:
    from imseg.cli.show import Bars, say
    from imseg.progress import Note, Working
    from imseg.report.tables import table

    say(STEERING)
    with Bars() as bars:
        bars(Note(text=STEERING, warning=True))
        bars(Working(what=f"{STEERING}[red]x[/nothing]", done=0, total=1))
    printed = capsys.readouterr().err
    assert "\x1b[2J" not in printed and "\u202e" not in printed and "\x07" not in printed
    assert printed.count(r"\x1b[2J") >= 2
    assert table(["a", "b"], [[STEERING, "x\ny"]]).count("\n") == 2


def test_class_names_of_a_run_never_steer_a_terminal(planted, pictures, capsys) -> None:
    plant(planted / "target.json", ("names",), [STEERING, "x\nimseg: all is well", "c"])
    out = planted.parent / "masks"
    assert command(["predict", str(planted), str(pictures), "--out", str(out)]) == 0
    printed = "".join(capsys.readouterr())
    assert all(each.isprintable() or each == "\n" for each in printed)
    assert "\nimseg: all is well" not in printed


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", " =1"]
)
def test_texts_are_no_formulas(cell) -> None:
    ((header,), (value,)) = csv.reader(io.StringIO(sheet([cell], [[cell]])))
    assert header == value == f"'{cell}"


@pytest.mark.parametrize("cell", [-1, -0.5, 1e-9, "-0.125", "+3", "-inf", "1e5", "a=b", "x-y", ""])
def test_numbers_and_plain_texts_stay_as_they_are(cell) -> None:
    rows = list(csv.reader(io.StringIO(sheet(["a", "b"], [[cell, None]]))))
    assert rows[1] == [str(cell), ""]


def test_names_of_pictures_and_classes_are_no_formulas_in_tables(planted, pictures) -> None:
    (pictures / "0.png").rename(pictures / '=HYPERLINK("a,b").png')
    plant(planted / "target.json", ("names",), ["=1", "dead", "position"])
    out = planted.parent / "masks"
    words = ["predict", planted, pictures, "--out", out, "--inconsistency"]
    assert command([str(word) for word in words]) == 0
    for name in ("measurements.csv", "inconsistency.csv"):
        rows = list(csv.DictReader(io.StringIO((out / name).read_text())))
        assert {row["image"] for row in rows} == {"1.png", '\'=HYPERLINK("a,b").png'}
        assert all(set(row) == set(rows[0]) and None not in row for row in rows)
        assert not any(key.startswith("=") for key in rows[0])
        assert all(float(rows[0][key]) >= 0 for key in rows[0] if key != "image")


# 4. Bounded input; see tests/data for archives, and for what headers of pictures claim.


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a gray PNG of 32 x 32 pixels with further chunks before its pixels."""
    pixels = zlib.compress(bytes(33 * 32))
    header = struct.pack(">IIBBBBB", 32, 32, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def tiff(*entries: tuple[int, int, int, int], more: int = 0) -> bytes:
    """Return a gray TIFF of 32 x 32 pixels with further entries, and ``more`` of no meaning."""
    known = {256: 32, 257: 32, 258: 8, 259: 1, 262: 1, 277: 1, 278: 32, 273: 4096, 279: 1024}
    every = {tag: (tag, 4, 1, value) for tag, value in known.items()}
    every |= {entry[0]: entry for entry in entries}
    if 324 in every:  # tiles in place of strips
        every = {tag: entry for tag, entry in every.items() if tag not in (273, 278, 279)}
    every |= {number: (number, 4, 1, 0) for number in range(40000, 40000 + more)}
    packed = b"".join(struct.pack("<HHII", *every[tag]) for tag in sorted(every))
    head = b"II*\0" + struct.pack("<IH", 8, len(every)) + packed + bytes(4)
    return head.ljust(8192, b"\0")


SWELLS = zlib.compress(bytes(64 << 20), 9)
MOST = 2**31 - 1
BOMBS = {
    "zTXt.png": png((b"zTXt", b"a\0\0" + SWELLS)),
    "iTXt.png": png((b"iTXt", b"a\0\1\0\0\0" + SWELLS)),
    "iCCP.png": png((b"iCCP", b"a\0\0" + SWELLS)),
    "strips.tif": tiff((273, 4, MOST, 200), (279, 4, MOST, 200)),
    "tiles.tif": tiff((322, 4, 1, 2**30), (323, 4, 1, 2**30), (324, 4, 1, 9), (325, 4, 1, 9)),
    "sizes.tif": tiff((256, 4, 1, MOST), (257, 4, 1, MOST)),
    "entries.tif": tiff(more=2000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_pictures_that_swell_are_refused(tmp_path, name) -> None:
    path = tmp_path / name
    path.write_bytes(BOMBS[name])
    tracemalloc.start()
    try:
        with pytest.raises(ImsegError, match=name):
            read_image(path)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_the_pictures_that_swell_would_be_read_without_what_swells(tmp_path) -> None:
    for name, content in {"a.png": png(), "a.tif": tiff()}.items():
        (tmp_path / name).write_bytes(content)
        assert read_image(tmp_path / name).shape == (32, 32, 1)


@pytest.mark.parametrize("read", [read_image, read_mask, probe])
def test_a_pipe_is_no_picture(tmp_path, read) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ImsegError, match=r"a\.png.*pipe"):
        read(tmp_path / "a.png")


def test_a_checkpoint_of_another_network_is_left_aside(tmp_path) -> None:
    run = tmp_path / "run"
    with pytest.raises(Killed):
        train(small_set("binary"), "ldt", run, executor=Mortal(1))
    clean = train(small_set("binary"), "ldt", tmp_path / "clean")
    job = clean.trained("start/network-1").job
    said = {"job": job, "steps": 1, "of": 3, "most": None, "epoch_scores": [0.5], "losses": [0.5]}
    texts = [json.dumps({**said, "passed": 1.0, "clock": {}}), json.dumps(said), '{"job": 1}']
    planted = run / "start" / "network-1.checkpoint"
    for text in texts:
        tensors = {"now/planted": torch.ones(3), "optimizer/999/exp_avg": torch.ones(1)}
        digest = _checksum(text, tensors)
        planted.write_bytes(save(tensors, metadata={"state": text, "sha256": digest}))
        told = Told()
        again = shutil.copytree(run, tmp_path / f"again-{len(text)}")
        train(small_set("binary"), "ldt", again, told=told)
        assert told.said("network-1.checkpoint is damaged")
        assert weights_of(again) == weights_of(clean.path)


@pytest.mark.parametrize("name", ["summary.json", "target.json", "start/network-0.json"])
@pytest.mark.parametrize("odd", ["huge", "pipe", "device", "deep", "number"])
def test_documents_that_swell_or_never_end_are_refused(planted, name, odd) -> None:
    path = planted / name
    path.unlink()
    if odd == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    elif odd == "pipe":
        os.mkfifo(path)
    elif odd == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_text("[" * 10**6 if odd == "deep" else '{"a": ' + "9" * 10**5 + "}")
    with pytest.raises(ImsegError, match=Path(name).name.split(".")[0]):
        load_run(planted).load(["start/network-0"])


@pytest.mark.parametrize("odd", ["pipe", "device"])
def test_weights_that_never_end_are_refused(planted, odd) -> None:
    path = planted / "start" / "network-0.safetensors"
    path.unlink()
    os.mkfifo(path) if odd == "pipe" else path.symlink_to("/dev/zero")
    with pytest.raises(ImsegError, match="network-0"):
        load_run(planted).load(["start/network-0"])
    assert read_saved(path) is None


@pytest.mark.parametrize("kind", ["toml", "json"])
@pytest.mark.parametrize(
    "odd", rest_but(["pipe", "huge", "deep", "bytes"], lambda odd: odd != "huge")
)
def test_settings_and_annotations_that_swell_are_refused(tmp_path, refused, kind, odd) -> None:
    path = tmp_path / f"odd.{kind}"
    if odd == "pipe":
        os.mkfifo(path)
    elif odd == "huge":
        with path.open("wb") as file:
            file.write(b"{")
            file.truncate(1 << 42)
    else:
        start = b"a = " if kind == "toml" else b'{"a": '
        path.write_bytes(start + (b"[" * 10**6 if odd == "deep" else b"\xff\xfe\xff"))
    if kind == "toml":
        assert "odd.toml" in refused("train", tmp_path, "--config", path)
        shutil.move(path, tmp_path / "imseg.toml")
        with pytest.raises(ImsegError, match=r"imseg\.toml"):
            read_config(tmp_path)
    else:
        assert "odd.json" in refused("polygons", path, "--out", tmp_path / "out")


def test_a_log_of_anything_does_no_harm_to_a_report(planted) -> None:
    from imseg.report.html.run_facts import RunFacts

    lines = [b"\xff\xfe", b"[" * 10**5, b"9" * 10**5, b'{"event": "Note", "warning": 1, "text": 5}']
    lines += [b"null"]
    (planted / "log.jsonl").write_bytes(b"\n".join(lines))
    assert RunFacts(load_run(planted)).warnings == ("5",)


# 5. Everything that is wrong, at once and in words.


def plant(path: Path, place: tuple[str | int, ...], value: object) -> None:
    """Put a value into a document of a run and seal it again; None as value removes."""
    content: Any = read_sealed(path)
    inner = content
    for part in place[:-1]:
        inner = inner[part]
    if value is None:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    write_sealed(path, content)


NETWORK = "generation-1/network-0.json"
WRONG: list[tuple[str, tuple[str | int, ...], object]] = [
    ("summary.json", ("stages",), None),
    ("summary.json", ("stages",), []),
    ("summary.json", ("stages",), {"a": 1}),
    ("summary.json", ("stages", 0, "networks"), []),
    ("summary.json", ("stages", 0, "networks", 0, "scores"), {}),
    ("summary.json", ("stages", 0, "networks", 0, "scores"), {"iou": "x"}),
    ("summary.json", ("stages", 0, "networks", 0, "seconds"), float("nan")),
    ("summary.json", ("stages", 1, "pseudo_labels"), {"images": "many"}),
    ("summary.json", ("ranking",), []),
    ("summary.json", ("ranking",), "start/network-0"),
    ("summary.json", ("ranking", 0), "generation-7/network-0"),
    ("summary.json", ("validation",), {}),
    ("summary.json", ("steps",), "5; rm"),
    ("summary.json", ("start_was_better",), "yes"),
    ("target.json", ("kind",), "banana"),
    ("target.json", ("names",), None),
    ("target.json", ("names",), 5),
    ("target.json", ("colors", 0), [1, 2]),
    ("target.json", ("colors", 0), [1, 2, 256]),
    ("target.json", ("pixel_size",), "x"),
    ("target.json", ("reading",), {}),
    ("target.json", ("reading", "channels"), 10**6),
    ("experiment.toml", ("plan", "image_size"), [10**6, 10**6]),
    ("experiment.toml", ("plan", "image_size"), ["a", "b"]),
    ("experiment.toml", ("plan", "workers"), 10**6),
    ("experiment.toml", ("plan", "approach"), None),
    ("experiment.toml", ("plan", "planted"), 1),
    ("experiment.toml", ("digests",), "x"),
    ("experiment.toml", ("planted",), 1),
    (NETWORK, ("outputs",), 10**9),
    (NETWORK, ("channels",), -1),
    (NETWORK, ("network",), None),
    (NETWORK, ("scores",), {}),
    (NETWORK, ("epoch_scores",), "x"),
    ("generation-1/audit.json", ("outside",), None),
    ("generation-1/audit.json", ("coverage",), "x"),
    ("scorers/judgment.json", ("thresholds",), [0.5]),
    ("scorers/judgment.json", ("said",), [0.5]),
    ("provenance.json", ("versions",), None),
    ("provenance.json", ("cores",), "x"),
    ("data.json", ("labeled",), None),
    ("data.json", ("labeled",), ["x"]),
]


@pytest.mark.parametrize(("name", "place", "value"), WRONG)
def test_a_run_that_does_not_hold_what_it_must_is_refused(
    planted, pictures, refused, name, place, value
) -> None:
    plant(planted / name, place, value)
    if name == "experiment.toml":
        (planted / "provenance.json").unlink()
    text = refused("report", planted, "--out", planted.parent / "page.html")
    assert name.removesuffix(".json") in text
    assert not (planted.parent / "page.html").exists()
    if name in ("summary.json", "target.json", "experiment.toml"):
        text = refused("predict", planted, pictures, "--out", planted.parent / "masks")
        assert name in text and not (planted.parent / "masks").exists()


@pytest.mark.parametrize("name", ["summary.json", "generation-1/DONE", "scorers/judgment.json"])
def test_a_document_without_its_content_is_made_again(whole, planted, name) -> None:
    write_sealed(planted / name, {"planted": 1})
    told = Told()
    train(small_set("multilabel"), "im++", planted, told=told, unlabeled_masks=whole[1], **OPTIONS)
    assert told.said(name)
    assert weights_of(planted) == weights_of(whole[0])
    assert [each.wrong for each in survey(planted) if each.wrong] == []


def test_all_problems_of_a_document_are_told_at_once(planted) -> None:
    write_sealed(planted / "summary.json", {"steps": "x", "ranking": [], "flops": -1})
    with pytest.raises(ImsegError) as refusal:
        load_run(planted)
    told = str(refusal.value)
    assert all(name in told for name in ("task", "stage", "network", "more"))


def test_all_mistakes_in_settings_are_told_at_once(tmp_path, capsys) -> None:
    (tmp_path / "data").mkdir()
    lines = ['aproach = "im"', 'epochs = "many"', "networks = 0", "width = 99.0", "seed = -1"]
    (tmp_path / "settings.toml").write_text("\n".join(lines))
    config = str(tmp_path / "settings.toml")
    assert command(["train", str(tmp_path / "data"), "--config", config]) == 2
    told = capsys.readouterr().err
    for word in ("'aproach'", "epochs", "--networks", "--width", "--seed"):
        assert word in told
    assert told.count("imseg: ") == len(lines)


def test_all_mistakes_of_a_data_folder_are_told_at_once(tmp_path, capsys) -> None:
    (tmp_path / "labeled" / "images").mkdir(parents=True)
    text = 'tsak = "binary"\nvoid = "x"\npixel_size = nan\npages = 0\nunit = 1\n[classes]\n'
    text += '99999 = "a"\n1 = "a\\u001bb"\n2 = { nam = "b", color = "red" }\n'
    (tmp_path / "imseg.toml").write_text(text)
    assert command(["train", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    wrong = ["void", "pixel_size", "pages", "unit", "classes.99999", "classes.1.name"]
    wrong += ["classes.2.color", "classes.2.nam", "tsak"]
    assert [word for word in wrong if f'"{word}"' not in told] == []
    assert "\x1b" not in told


# 6. Nobody listens.


def listening(pids: set[int]) -> set[str]:
    """Return the sockets on which any of some processes waits for others to connect."""
    held = set()
    for pid in pids:
        try:
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                held.add(str(entry.readlink()))
        except OSError:
            continue  # it has ended
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            waits = words[3] == "0A" or table.startswith("udp")
            if waits and f"socket:[{words[9]}]" in held:
                found.add(f"{table} {words[1]}")
    return found


def family() -> set[int]:
    """Return this process and all that came of it."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="there is no /proc/net/tcp here")
def test_no_process_of_a_training_listens(tmp_path) -> None:
    import socket

    from imseg.engine.workers.executors import Processes

    seen: dict[str, set[Any]] = {"processes": set(), "listening": set()}

    def look(_: object) -> None:
        seen["processes"] |= family()
        seen["listening"] |= listening(family())

    with Processes(2) as workers:
        train(small_set("binary"), "ldt", tmp_path / "run", told=look, executor=workers)
    assert len(seen["processes"]) >= 3, "this one and two that train"
    assert seen["listening"] == set()
    with socket.create_server(("127.0.0.1", 0)):
        assert listening(family()), "one that listens is found"


def test_the_report_of_names_is_json_that_no_terminal_obeys(whole, capsys) -> None:
    from imseg.cli.show import show_result

    show_result("", {"name": STEERING}, as_json=True)
    assert capsys.readouterr().out.isascii()
    assert json.loads(json.dumps(STEERING)) == STEERING
