"""Whatever a user can get wrong: one clear error, exit status 2, nothing written."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imseg.cli.main import run
from imseg.data.synthetic import CellScene, write_demo

Spoil = Callable[[Path], None]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "cells"
    scene = CellScene(difficulty=0.0, size=(32, 32))
    return write_demo(folder, seed=1, labeled=4, unlabeled=3, val=2, test=2, scene=scene)


def first(folder: Path) -> Path:
    return sorted(folder.iterdir())[0]


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    Image.fromarray(change(np.array(Image.open(path)))).save(path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def keep_only_one_pair(data: Path) -> None:
    for kind in ("images", "masks"):
        for path in sorted((data / "labeled" / kind).iterdir())[1:]:
            path.unlink()


def many_ids(data: Path) -> None:
    for path in (data / "labeled" / "masks").iterdir():
        ids = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) % 700
        Image.fromarray(ids).save(path)


def empty_folder(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


SPOILED: dict[str, tuple[Spoil, list[str]]] = {
    "no images": (lambda d: empty_folder(d / "labeled" / "images"), ["no images"]),
    "no masks": (lambda d: empty_folder(d / "labeled" / "masks"), ["no masks"]),
    "a mask without its partner": (
        lambda d: first(d / "labeled" / "images").unlink(),
        ["1 mask", "labeled_000.png"],
    ),
    "an image without its partner, misnamed": (
        lambda d: first(d / "labeled" / "masks").rename(
            d / "labeled" / "masks" / "labeled_000_mask.png"
        ),
        ["labeled_000.png", "labeled_000_mask"],
    ),
    "a truncated labeled image": (
        lambda d: truncate(first(d / "labeled" / "images")),
        ["labeled/images/labeled_000.png"],
    ),
    "a truncated unlabeled image": (
        lambda d: truncate(first(d / "unlabeled")),
        ["unlabeled/unlabeled_000.png"],
    ),
    "a text file that pretends to be an image": (
        lambda d: first(d / "unlabeled").write_text("not a picture"),
        ["unlabeled/unlabeled_000.png"],
    ),
    "a mask of another size": (
        lambda d: rewrite(first(d / "labeled" / "masks"), lambda a: a[:20]),
        ["fit", "20x32", "32x32"],
    ),
    "one labeled image only": (keep_only_one_pair, ["one labeled image only"]),
    "an image under 16 px": (
        lambda d: rewrite(first(d / "unlabeled"), lambda a: a[:9, :9]),
        ["9x9", "16"],
    ),
    "an unknown mask value in test": (
        lambda d: rewrite(first(d / "test" / "masks"), lambda a: np.full_like(a, 77)),
        ["77", "test/masks"],
    ),
    "an unknown mask value in val": (
        lambda d: rewrite(first(d / "val" / "masks"), lambda a: np.full_like(a, 77)),
        ["77", "val/masks"],
    ),
    "a 16-bit mask of instances": (many_ids, ["700"]),
    "no unlabeled images": (lambda d: empty_folder(d / "unlabeled"), ["unlabeled", "ldt"]),
    "the same image in labeled and test": (
        lambda d: shutil.copy(first(d / "labeled" / "images"), first(d / "test" / "images")),
        ["labeled_000.png", "test_000.png"],
    ),
    "an unknown key in imseg.toml": (
        lambda d: (d / "imseg.toml").write_text('tsak = "binary"\n'),
        ["tsak", "task"],
    ),
    "broken TOML": (lambda d: (d / "imseg.toml").write_text("task = \n"), ["imseg.toml"]),
}


@pytest.mark.parametrize("name", SPOILED)
def test_spoiled_data_is_refused_before_training(name, cells, tmp_path, capsys):
    spoil, wanted = SPOILED[name]
    data, out = shutil.copytree(cells, tmp_path / "data"), tmp_path / "run"
    spoil(data)
    assert run(["train", str(data), "--approach", "im", "--out", str(out)]) == 2
    err = capsys.readouterr().err
    assert "imseg: " in err and "Traceback" not in err
    for words in wanted:
        assert words in err, err
    assert "Expected:" in err or "Try:" in err
    assert not out.exists(), "nothing is written before the data is known to be good"


@pytest.mark.parametrize("name", [name for name in SPOILED if name != "no unlabeled images"])
def test_check_finds_what_train_refuses(name, cells, tmp_path, capsys):
    data = shutil.copytree(cells, tmp_path / "data")
    SPOILED[name][0](data)
    assert run(["check", str(data), "--sheet", str(tmp_path / "sheet.png")]) == 2
    assert "error: " in capsys.readouterr().out


ODD_COMMANDS = {
    "no such folder": (["train", "{tmp}/nowhere"], ["There is no folder", "nowhere"]),
    "an unknown approach and unknown keys, all at once": (
        ["train", "{data}", "--approach", "imm", "--config", "{tmp}/bad.toml"],
        ["'imm'", "--approach im", "'epoch'", "epochs", "'lerning'", "width"],
    ),
    "several unknown options, all at once": (
        ["train", "{data}", "--aproach", "im", "--sed", "3"],
        ["--aproach", "--approach", "--sed", "--seed"],
    ),
    "an unknown command": (["trian"], ["'trian'", "imseg train"]),
    "a word for a number": (["train", "{data}", "--seed", "x"], ["--seed"]),
    "a missing argument": (["evaluate"], ["run"]),
    "more teachers than networks": (
        ["train", "{data}", "--approach", "im", "--teachers", "3", "--networks", "2"],
        ["more teachers than networks"],
    ),
    "zero steps": (["train", "{data}", "--max-steps", "0"], ["--max-steps", "1 or more"]),
    "an image size below 16": (["train", "{data}", "--image-size", "8", "64"], ["--image-size"]),
    "a run that does not exist": (["evaluate", "{tmp}/none", "{data}"], ["There is no run"]),
    "a network file as a run": (["predict", "{data}", "{data}", "--out", "{tmp}/m"], ["no run"]),
    "fdt without hidden masks": (["train", "{data}", "--approach", "fdt"], ["--unlabeled-masks"]),
    "a matched baseline without a match": (
        ["train", "{data}", "--approach", "ldt-matched"],
        ["--match"],
    ),
    "an option without use": (
        ["train", "{data}", "--approach", "ldt", "--generations", "2"],
        ["no use for --generations"],
    ),
    "an unknown device": (["train", "{data}", "--device", "gpu9"], ["gpu9", "auto"]),
    "an unknown task": (["train", "{data}", "--task", "binray"], ["task", "binary"]),
    "an unknown data set": (["prepare", "isic", "{data}", "--out", "{tmp}/o"], ["isic2018"]),
    "a file as the run folder": (
        ["train", "{data}", "--max-steps", "3", "--out", "{tmp}/bad.toml"],
        ["bad.toml"],
    ),
    "a folder with other things as the run folder": (
        ["train", "{data}", "--max-steps", "3", "--out", "{data}"],
        ["not empty", "labeled"],
    ),
    "nothing to reuse": (["train", "{data}", "--reuse", "{tmp}/none"], ["reuse"]),
}


@pytest.mark.parametrize("name", ODD_COMMANDS)
def test_odd_commands_get_one_clear_error(name, cells, tmp_path, capsys):
    words, wanted = ODD_COMMANDS[name]
    (tmp_path / "bad.toml").write_text("epoch = 3\nlerning = 1\nwidth = 'wide'\n")
    filled = [word.format(tmp=tmp_path, data=cells) for word in words]
    if filled[0] == "train" and "--out" not in filled:
        filled += ["--out", str(tmp_path / "run")]
    assert run(filled) == 2
    err = capsys.readouterr().err
    assert err.startswith("imseg: ") or "\nimseg: " in err
    for each in wanted:
        assert each in err, err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_predict_does_not_write_among_the_pictures(cells, tmp_path, capsys):
    from imseg.errors import ImsegError
    from imseg.report.predictions.writing import write_predictions

    with pytest.raises(ImsegError, match="among the pictures"):
        write_predictions(None, cells / "unlabeled", cells / "unlabeled" / "masks")


def test_a_damaged_tiff_file_is_named_and_pillow_says_nothing_beside(cells, tmp_path, capfd):
    data = shutil.copytree(cells, tmp_path / "data")
    path = first(data / "unlabeled")
    picture = Image.open(path)
    path.unlink()
    file = path.with_suffix(".tif")
    picture.save(file, dpi=(72, 72))
    # The data of resolutions would lie beyond the end of the file.
    content = bytearray(file.read_bytes())
    for tag in (282, 283):
        place = content.index(tag.to_bytes(2, "little") + b"\x05\0")
        content[place + 8 : place + 12] = (10**6).to_bytes(4, "little")
    file.write_bytes(content)
    with pytest.warns(UserWarning, match="Truncated File Read"), Image.open(file) as picture:
        picture.load()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        status = run(["check", str(data), "--sheet", str(tmp_path / "sheet.png")])
    said = capfd.readouterr()
    assert not warned and "Truncated" not in said.err
    assert status == 0 or file.name in said.out
