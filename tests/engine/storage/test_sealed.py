"""Sealed files: what was written comes back, and no flipped byte passes for it."""

from __future__ import annotations

import json
import math
import re

import pytest

from imseg.engine.storage import sealed
from imseg.engine.storage.sealed import OtherVersion, read_sealed, write_sealed
from imseg.errors import ImsegError
from imseg.types import VERSION

CONTENT = {
    "name": "größer",
    "scores": {"iou": 0.1 + 0.2, "dice": 1e-17, "whole": 2.0, "count": 3},
    "ranking": ["generation-1/network-0", "start/network-1"],
    "yes": True,
}


@pytest.mark.parametrize("name", ["file.json", "file.toml", "file"])
def test_no_flipped_byte_passes_for_what_was_written(tmp_path, name) -> None:
    path = tmp_path / name
    write_sealed(path, CONTENT)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in (0, 4, 7):
            path.write_bytes(
                whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :]
            )
            with pytest.raises(ImsegError, match=re.escape(str(path))):
                read_sealed(path)
    path.write_bytes(whole)
    assert read_sealed(path) == CONTENT


@pytest.mark.parametrize("removed", ["written_by", "checksum"])
def test_a_seal_cannot_be_half_removed(tmp_path, removed) -> None:
    path = tmp_path / "file.json"
    write_sealed(path, CONTENT)
    content = json.loads(path.read_text())
    del content[removed]
    path.write_text(json.dumps(content))
    with pytest.raises(ImsegError, match="damaged"):
        read_sealed(path)


def test_files_without_a_seal_are_damaged(tmp_path) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(CONTENT))
    with pytest.raises(ImsegError, match="damaged"):
        read_sealed(path)


@pytest.mark.parametrize("name", ["file.json", "file.toml", "file"])
def test_a_file_of_another_version_is_refused_and_both_versions_are_named(
    tmp_path, monkeypatch, name
) -> None:
    path = tmp_path / name
    with monkeypatch.context() as earlier:
        earlier.setattr(sealed, "_WRITTEN_BY", "imseg, format 1")
        write_sealed(path, CONTENT)
    with pytest.raises(OtherVersion) as refused:
        read_sealed(path)
    assert f"imseg {VERSION}, format 2." in str(refused.value)
    assert "imseg, format 1." in str(refused.value) and str(path) in str(refused.value)


def test_what_json_changes_is_sealed_as_it_is_read(tmp_path) -> None:
    write_sealed(tmp_path / "file.json", {"pair": (1, 2), "by": {1: "one"}, "no": math.nan})
    content = read_sealed(tmp_path / "file.json")
    assert content["pair"] == [1, 2]
    assert content["by"] == {"1": "one"}
    assert math.isnan(content["no"])
