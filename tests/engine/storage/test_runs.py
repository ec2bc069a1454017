"""Files of a run are whole or absent, and folders that are no runs are left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imseg.data.files.atomic import sweep_all, write_whole
from imseg.engine.storage.run_folder import RunFolder
from imseg.engine.storage.sealed import read_sealed, write_sealed
from imseg.errors import ImsegError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_written_file_is_whole_and_alone(tmp_path) -> None:
    write_whole(tmp_path / "new" / "a.bin", b"first")
    write_whole(tmp_path / "new" / "a.bin", b"second, longer")
    assert (tmp_path / "new" / "a.bin").read_bytes() == b"second, longer"
    assert names(tmp_path / "new") == ["a.bin"]


def test_a_name_may_be_as_long_as_names_can_be(tmp_path) -> None:
    for name in ("n" * 255, "ö" * 127):
        write_whole(tmp_path / name, b"content")
        assert (tmp_path / name).read_bytes() == b"content"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch) -> None:
    write_whole(tmp_path / "a.bin", b"old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for name in ("a.bin", "b.bin"):
        with pytest.raises(ImsegError, match="No space left") as refused:
            write_whole(tmp_path / name, b"new")
        assert "make room" in str(refused.value)
    assert names(tmp_path) == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"old"


def test_an_interrupted_write_leaves_no_temporary_file(tmp_path, monkeypatch) -> None:
    def interrupted(_handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.bin", b"new")
    assert names(tmp_path) == []


def test_json_comes_back_as_it_was_written(tmp_path) -> None:
    content = {"a": [1, 2.5, None], "b": {"c": "ü"}}
    write_sealed(tmp_path / "a.json", content)
    assert read_sealed(tmp_path / "a.json") == content


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"\xff\xfe{}"])
def test_a_missing_or_damaged_json_file_is_the_users_to_mend(tmp_path, content) -> None:
    path = tmp_path / "summary.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImsegError, match=r"summary\.json"):
        read_sealed(path)


@pytest.mark.parametrize("left", [".probe.a1b2.tmp", ".experiment.toml.c3.tmp"])
def test_what_a_killed_process_left_does_not_make_a_folder_a_strangers(tmp_path, left) -> None:
    (tmp_path / left).touch()
    RunFolder(tmp_path).open_for_writing()
    sweep_all(tmp_path)
    assert names(tmp_path) == []


def test_a_folder_of_something_else_is_not_written_to(tmp_path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ImsegError, match="not empty and is not a run"):
        RunFolder(tmp_path).open_for_writing()
    assert names(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize("present", [(), ("log.jsonl",), ("experiment.toml", "start")])
def test_new_folders_and_runs_are_written_to(tmp_path, present) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    for name in present:
        (folder.path / name).touch()
    folder.open_for_writing()
    assert names(folder.path) == sorted(present)


def test_a_run_folder_that_is_a_file_is_the_users_to_mend(tmp_path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(ImsegError, match="cannot be written"):
        RunFolder(tmp_path / "run").open_for_writing()
